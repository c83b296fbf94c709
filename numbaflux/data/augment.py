"""Changes to batches of images (n, h, w, c) drawn at random: same shape in and out, labels kept or mixed alike.

Each is called as f(x, *rest, rng=...) and gives (x, *rest), x alone where nothing else was given; so it can be the
transform of a DataLoader, which gives each batch a generator of its own. Arrays that are given stay as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..onehot import OneHot
from ..op import DTypeError, ShapeError, expect
from ..ranges import RANGES, check
from ..rng import Generator, as_generator

__all__ = ["Compose", "Cutout", "Jitter", "MixUp", "Noise", "RandomCrop", "RandomFlip", "RandomRotate90"]

Images = NDArray[Any]
Rng = Generator | int | None


def _images(where: str, x: Any, floats: bool) -> None:
    shape = getattr(x, "shape", ())
    good = isinstance(x, np.ndarray) and x.ndim == 4
    got = f"shape {shape}" if isinstance(x, np.ndarray) else type(x).__name__
    expect(good, where, "x", "images of shape (n, h, w, c)", got, error=ShapeError)
    expect(not floats or x.dtype.kind == "f", where, "x", "of floating numbers", str(x.dtype),
           "x.astype(np.float32)", DTypeError)  # fmt: skip


@dataclass(frozen=True)
class _Change:
    """A change of images alone: `changed` makes them, from images and a generator."""

    floats = False  # whether it needs floating numbers

    def __post_init__(self) -> None:
        for field in fields(self):
            name = f"{type(self).__name__}.{field.name}"
            if name in RANGES:
                check(name, getattr(self, field.name))

    def __call__(self, x: Images, *rest: Any, rng: Rng = None) -> Any:
        where = type(self).__name__
        _images(where, x, self.floats)
        y = self.changed(x, as_generator(rng, where))
        return (y, *rest) if rest else y

    def changed(self, x: Images, g: Generator) -> Images:
        return x


@dataclass(frozen=True)
class RandomFlip(_Change):
    """Each image mirrored with probability p: left to right, or upside down where vertical. One draw.

    >>> RandomFlip(p=1.0)(np.arange(3.0).reshape(1, 1, 3, 1)).ravel().tolist()
    [2.0, 1.0, 0.0]
    """

    p: float = 0.5
    vertical: bool = False

    def changed(self, x: Images, g: Generator) -> Images:
        which = g.uniform(len(x)) < self.p
        mirrored = x[:, ::-1] if self.vertical else x[:, :, ::-1]
        return np.where(which[:, None, None, None], mirrored, x)


@dataclass(frozen=True)
class RandomCrop(_Change):
    """Each image moved by up to pad pixels along both axes, zeros where nothing was: pad, then a crop at random. One
    draw.

    >>> RandomCrop(pad=1)(np.ones((2, 5, 5, 3), np.float32)).shape
    (2, 5, 5, 3)
    """

    pad: int = 4

    def changed(self, x: Images, g: Generator) -> Images:
        n, h, w, _ = x.shape
        top, left = g.integers((2, n), 0, 2 * self.pad + 1)
        side = (self.pad, self.pad)
        wide = np.pad(x, ((0, 0), side, side, (0, 0)))
        rows, columns = top[:, None] + np.arange(h), left[:, None] + np.arange(w)
        return wide[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


@dataclass(frozen=True)
class RandomRotate90(_Change):
    """Each image turned by 0, 90, 180 or 270 degrees, equally likely; images must be square. One draw.

    >>> RandomRotate90()(np.ones((2, 5, 5, 3), np.float32)).shape
    (2, 5, 5, 3)
    """

    def changed(self, x: Images, g: Generator) -> Images:
        square = x.shape[1] == x.shape[2]
        expect(square, "RandomRotate90", "x", "images as high as wide", f"shape {x.shape}", error=ShapeError)
        turns, out = g.integers(len(x), 0, 4), x.copy()
        for k in (1, 2, 3):
            out[turns == k] = np.rot90(x[turns == k], k, axes=(1, 2))
        return out


@dataclass(frozen=True)
class Cutout(_Change):
    """A square of size pixels set to zero in each image, its centre anywhere, cut at the edges. One draw.

    Source: DeVries and Taylor 2017.

    >>> int(Cutout(size=9)(np.ones((1, 4, 4, 1))).sum())
    0
    """

    size: int = 8

    def changed(self, x: Images, g: Generator) -> Images:
        n, h, w, _ = x.shape
        at = g.uniform((2, n, 1), dtype=np.float64) * np.array([h, w])[:, None, None]
        first = at.astype(np.int64) - self.size // 2

        def covered(start: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
            return (np.arange(size) >= start) & (np.arange(size) < start + self.size)

        hole = covered(first[0], h)[:, :, None] & covered(first[1], w)[:, None, :]
        return np.where(hole[..., None], x.dtype.type(0), x)


@dataclass(frozen=True)
class Noise(_Change):
    """Normally distributed numbers of standard deviation std added to every number. One draw.

    >>> Noise(std=0.0)(np.ones((1, 1, 1, 1), np.float32)).item()
    1.0
    """

    std: float = 0.1
    floats = True

    def changed(self, x: Images, g: Generator) -> Images:
        return x + g.normal(x.shape, std=self.std, dtype=np.float64).astype(x.dtype, copy=False)


@dataclass(frozen=True)
class Jitter(_Change):
    """Brightness and contrast of each image changed: (x - mean) (1 + u contrast) + mean + v brightness, with u and v
    uniform in [-1, 1) and the mean that of the image. One draw.

    >>> Jitter(brightness=0.0, contrast=0.5)(np.full((1, 2, 2, 1), 3.0)).ravel().tolist()
    [3.0, 3.0, 3.0, 3.0]
    """

    brightness: float = 0.2
    contrast: float = 0.2
    floats = True

    def changed(self, x: Images, g: Generator) -> Images:
        u, v = g.uniform((2, len(x), 1, 1, 1), -1, 1, np.float64).astype(x.dtype)
        mean = x.mean(axis=(1, 2, 3), keepdims=True)
        return (x - mean) * (1 + u * x.dtype.type(self.contrast)) + mean + v * x.dtype.type(self.brightness)


@dataclass(frozen=True)
class MixUp:
    """Images and labels mixed with those of other samples of the batch: l x + (1 - l) x[order], the same for y, with
    one l from Beta(alpha, alpha). Called with (x, y, ...); y one-hot or probabilities (n, c), comes back as floats.
    Two draws.

    Source: Zhang et al. 2018, equations 1 and 2.

    >>> x, y = MixUp()(np.ones((2, 1, 1, 1), np.float32), OneHot([0, 1], 3), rng=0)
    >>> y.shape, y.sum(axis=1).tolist()
    ((2, 3), [1.0, 1.0])
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        check("MixUp.alpha", self.alpha)

    def __call__(self, x: Images, y: Any, *rest: Any, rng: Rng = None) -> Any:
        _images("MixUp", x, True)
        g = as_generator(rng, "MixUp")
        labels = y.astype(x.dtype) if isinstance(y, OneHot) else np.asarray(y)
        good = labels.dtype.kind == "f" and labels.ndim == 2 and len(labels) == len(x)
        expect(good, "MixUp", "y", f"one-hot or probabilities of shape ({len(x)}, c)",
               f"{labels.dtype} of shape {labels.shape}", "nf.onehotbatch(y, labels)", ShapeError)  # fmt: skip
        order = g.permutation(len(x))
        share = np.random.default_rng(int(g.integers((), 0, 2**63 - 1))).beta(self.alpha, self.alpha)

        def mixed(a: NDArray[Any]) -> NDArray[Any]:
            return a.dtype.type(share) * a + a.dtype.type(1 - share) * a[order]

        return (mixed(x), mixed(labels), *rest)


class Compose:
    """Changes one after another, from one generator.

    >>> augment = Compose(RandomFlip(), RandomCrop(pad=2), Noise(0.05))
    >>> augment
    Compose(RandomFlip(p=0.5, vertical=False), RandomCrop(pad=2), Noise(std=0.05))
    >>> x, y = augment(np.zeros((2, 8, 8, 3), np.float32), np.array([1, 0]), rng=0)
    >>> x.shape, y.tolist()
    ((2, 8, 8, 3), [1, 0])
    """

    def __init__(self, *changes: Callable[..., Any]) -> None:
        for change in changes:
            expect(callable(change), "Compose", "changes", "functions", repr(change), error=DTypeError)
        self.changes = changes

    def __call__(self, *batch: Any, rng: Rng = None) -> Any:
        g = as_generator(rng, "Compose")
        for change in self.changes:
            changed = change(*batch, rng=g)
            batch = changed if isinstance(changed, tuple) else (changed,)
        return batch[0] if len(batch) == 1 else batch

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.changes))})"
