"""Small sets of data: against their formulas, written plainly, and scikit-learn; same seeds, same numbers; messages."""

import math
import sys

import numpy as np
import pytest
from sklearn import datasets as sk

import numbaflux as nf
from numbaflux.data.datasets import load_iris, make_moons, make_poly, make_sin, make_spiral
from numbaflux.op import DTypeError, ShapeError


def test_iris():
    x, species = load_iris()
    assert x.dtype == np.float32 and x[0].tolist() == np.array([5.1, 3.5, 1.4, 0.2], np.float32).tolist()
    assert np.allclose(x.mean(axis=0), [5.8433, 3.0573, 3.758, 1.1993], atol=1e-3)
    assert nf.group_counts(species) == {"setosa": 50, "versicolor": 50, "virginica": 50}


def test_moons():
    x, y = make_moons(101, shuffle=False)
    expected, labels = sk.make_moons(101, shuffle=False)
    assert np.array_equal(x, expected.astype(np.float32)) and np.array_equal(y, labels)
    outer, inner = x[y == 0], x[y == 1]
    assert np.allclose(np.hypot(*outer.T), 1, atol=1e-6) and np.allclose(np.hypot(*(inner - [1, 0.5]).T), 1, atol=1e-6)
    noisy, y = make_moons(4000, noise=0.2, shuffle=False, rng=1)
    assert abs(np.hypot(*noisy[y == 0].T).std() - 0.2) < 0.02
    assert len(set(make_moons(20, rng=0)[1][:10].tolist())) == 2


def test_spiral():
    x, y = make_spiral(5, a=2.0, theta=4.0, b=10.0, noise=0)
    for i in range(5):
        angle, radius = math.pi * i / 4, 2 * (10 - i) / 10
        assert np.allclose(x[i], [radius * math.sin(angle), radius * math.cos(angle)], atol=1e-6)
        assert (x[5 + i] == -x[i]).all()
    assert y.tolist() == [1] * 5 + [0] * 5 and make_spiral()[0].shape == (194, 2) and x.dtype == np.float32


def test_poly():
    x, y = make_poly([2, -1, 3], [0, 1, -2], noise=0)
    assert x.tolist() == [0, 1, -2] and y.tolist() == [3, 4, 13] and y.dtype == x.dtype == np.float32


def test_sin():
    x, y = make_sin(9, 0.0, math.pi, noise=0)
    assert np.allclose(x, [math.pi * i / 8 for i in range(9)]) and np.allclose(y, [math.sin(v) for v in x], atol=1e-6)
    assert make_sin()[0].shape == (50,) and np.isclose(make_sin()[0][-1], 2 * math.pi)


@pytest.mark.parametrize(
    "make",
    [
        lambda noise, rng: make_spiral(2000, noise=noise, rng=rng)[0].ravel(),
        lambda noise, rng: make_poly([0.0], np.zeros(4000), noise, rng)[1],
        lambda noise, rng: make_sin(4000, noise=noise, rng=rng)[1],
        lambda noise, rng: make_moons(2000, noise, False, rng)[0].ravel(),
    ],
)
def test_noise_is_normal_of_its_own_for_each_number_and_drawn_once(make):
    generator = nf.Generator(5)
    noisy = make(0.5, generator)
    assert generator.state == (5, 1)
    added = noisy - make(0, 0)
    assert abs(added.mean()) < 0.03 and abs(added.std() - 0.5) < 0.03 and len(np.unique(added)) > 1900
    assert np.array_equal(noisy, make(0.5, 5)) and not np.array_equal(noisy, make(0.5, 6))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: make_poly(["a"], [1]), DTypeError, "make_poly: coef must be real numbers, got <U1"),
        (lambda: make_poly([1], 2), ShapeError, "make_poly: x must be of one axis, got shape ()"),
        (lambda: make_sin(5, rng=0.5), DTypeError,
         "make_sin: rng must be None, a seed or a numbaflux Generator, got builtins.float; pass a seed: rng=0"),
    ],
)  # fmt: skip
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    text = "^load_iris: scikit-learn must be installed, got none; pip install numbaflux\\[examples\\]$"
    with pytest.raises(ImportError, match=text):
        load_iris()
