"""Small models, batches and losses that several tests train, and what to compare of them."""

import itertools
import timeit

import numpy as np

import numbaflux as nf


def mse(m, x, y):
    return nf.losses.mse(m(x), y)


def mlp(*widths, dtype="f4", activation=nf.tanh):
    nf.seed(0)
    pairs = list(itertools.pairwise(widths))
    model = nf.Chain(*[nf.Dense(a, b, activation if i < len(pairs) - 1 else nf.functions.identity)
                       for i, (a, b) in enumerate(pairs)])  # fmt: skip
    return nf.f64(model) if dtype == "f8" else model


def batch(n, inside=7, outside=3, dtype="f4", seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, inside)).astype(dtype), rng.normal(size=(n, outside)).astype(dtype)


def held(state):
    """Every byte that a step may change."""
    vectors = [(v.params.tobytes(), *(s.tobytes() for s in v.states.values())) for v in state.vectors.values()]
    return vectors, state.hyper.tobytes()


def plan_of(one):
    return list(one.programs.values())[-1].plan


def seconds(f, n=3, repeats=5):
    """The best of some times of n calls."""
    return min(timeit.repeat(f, number=n, repeat=repeats))
