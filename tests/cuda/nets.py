"""Small models and their batches, for tests of what users do with GPUs."""

import numpy as np

import numbaflux as nf


def rows(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def net():
    return nf.Chain(nf.Dense(3, 4, nf.tanh, rng=0), nf.Dropout(0.3, rng=7), nf.BatchNorm(4), nf.Dense(4, 2, rng=1))


def images():
    return nf.Chain(nf.Conv((2, 2), 1, 2, nf.relu, rng=0), nf.MaxPool((2, 2)), nf.flatten, nf.Dense(2, 2, rng=1))


def series():
    return nf.Chain(nf.LSTM(2, 3, rng=0), last, nf.Dense(3, 2, rng=1))


def last(y):
    return y[:, -1]


MODELS = {net: (5, 3), images: (2, 3, 4, 1), series: (2, 2, 2)}


def loss(m, x, y):
    return nf.losses.logitcrossentropy(m(x), y)


def batch(make, n=None):
    x = rows(n or MODELS[make][0], *MODELS[make][1:])
    return x, np.arange(len(x)) % 2


def close(one, two, rtol=1e-5, atol=1e-6):
    for (path, a), b in zip(nf.state(one).items(), nf.state(two).values(), strict=True):
        np.testing.assert_allclose(b, a, rtol=rtol, atol=atol, err_msg=path)
