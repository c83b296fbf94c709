"""CrossCor: a Conv by another name."""

import numpy as np
import pytest

import numbaflux as nf


def test_it_is_a_conv_with_its_options(tmp_path):
    options = {"stride": 2, "pad": 1, "dilation": (1, 2), "bias": False, "pad_mode": "reflect"}
    layer = nf.CrossCor((3, 2), 3, 4, nf.relu, rng=0, init=nf.init.glorot_normal, **options)
    other = nf.Conv((3, 2), 3, 4, nf.relu, rng=0, init=nf.init.glorot_normal, **options)
    x = nf.Generator(0).normal((2, 9, 8, 3))
    np.testing.assert_array_equal(layer(x), other(x))
    nf.save(tmp_path / "m.h5", layer)
    again = nf.load(tmp_path / "m.h5")
    np.testing.assert_array_equal(again(x), layer(x))
    assert repr(again) == repr(layer) == repr(other)


def test_the_window_is_not_turned_over():
    layer = nf.CrossCor((2,), 1, 1, init=lambda shape, rng: np.array([1, 10], np.float32).reshape(shape))
    np.testing.assert_array_equal(layer(np.array([[[1], [2], [3]]], np.float32)), [[[21], [32]]])


def test_it_has_no_groups():
    with pytest.raises(TypeError, match="groups"):
        nf.CrossCor((3, 3), 4, 4, groups=2)
