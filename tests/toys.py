"""Layers and functions as users write them, for tests of files."""

import math

import numpy as np

import numbaflux as nf

ran: list[str] = []  # what ran that loading must not run


@nf.layer
class Block:
    """A layer of a user."""

    scale: np.ndarray = nf.param()
    seen: np.ndarray = nf.buffer()
    inner: nf.Dense
    parts: list
    options: dict
    name: str = "block"

    def __init__(self):
        ran.append("init")
        self.scale, self.seen = np.full(3, 2, np.float32), np.arange(4)
        self.inner, self.parts = nf.Dense(3, 3, twice, rng=0), [nf.Dense(3, 2, rng=1), nf.relu]
        self.options = {"pad": (1, 2), "eps": 1e-5, "limit": math.inf, "on": True, "none": None}

    def __call__(self, x):
        x = self.inner(x) * self.scale
        for part in self.parts:
            x = part(x)
        return x


@nf.layer
class Holder:
    value: object

    def __call__(self, x):
        return x


@nf.layer
class Checked:
    size: int
    weight: np.ndarray = nf.param()

    def check_fields(self):
        if self.weight.shape != (self.size,):
            raise nf.ShapeError(f"Checked: weight must be of {self.size} elements, got {self.weight.size}")


def twice(x):
    return x * 2
