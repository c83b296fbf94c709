"""Checks set a flag or the status word, and look at every element."""

import numpy as np
import pytest

from tests.entries import call

DTYPES = [np.float32, np.float64]
BAD = [np.nan, -np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 15, 16, 17, 61])
def test_finite_finds_one_bad_element_wherever_it_is(n, dtype):
    limits = np.finfo(dtype)
    x = np.resize(np.array([0, -0.0, limits.max, -limits.max, limits.tiny, limits.smallest_subnormal], dtype), n)
    flag = np.full(3, 9)
    call("check.finite", flag[1:2], x)
    assert flag.tolist() == [9, 0, 9]
    for at in range(n):
        for bad in BAD:
            y = x.copy()
            y[at] = bad
            flag[1] = 0
            call("check.finite", flag[1:2], y)
            assert flag.tolist() == [9, 1, 9]


def test_finite_of_nothing_is_good():
    flag = np.array([5])
    call("check.finite", flag, np.empty(0, np.float32))
    assert flag[0] == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 15, 16, 17, 61])
def test_finite_all_names_the_first_bad_element_where_the_status_word_is_clear(n, dtype):
    x = np.resize(np.array([0.0, -1.0, np.finfo(dtype).max, np.finfo(dtype).tiny], dtype), n)
    status = np.zeros(2, np.int64)
    call("check.finite_all", status, x, 7)
    assert status.tolist() == [0, 0]
    for at in range(n):
        for bad in BAD:
            y = x.copy()
            y[at], y[(at + n) // 2] = bad, BAD[0]
            status[:] = 0
            call("check.finite_all", status, y, 7)
            assert status.tolist() == [7, at]
            status[:] = 3, 4
            call("check.finite_all", status, y, 7)
            assert status.tolist() == [3, 4]


def test_flags_names_the_first_that_is_set():
    status = np.zeros(2, np.int64)
    call("check.flags", status, np.zeros(9, np.int64), 4)
    assert status.tolist() == [0, 0]
    call("check.flags", status, np.array([0, 0, 1, 0, 1]), 4)
    assert status.tolist() == [4, 2]
    call("check.flags", status, np.array([1]), 5)
    assert status.tolist() == [4, 2]
