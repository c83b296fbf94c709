"""Checks on CUDA kernels, by the tests of the CPU's; and arrays that take each thread round several times."""

import numpy as np
import pytest

from tests.cuda.entries import again, call

ONE_BY_ONE = "test_finite_finds_one_bad_element_wherever_it_is"  # a thousand calls
globals().update(again("tests/kernels/cpu/test_check.py", (ONE_BY_ONE,)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 15, 2047, 8196, 18435])
@pytest.mark.parametrize("skip", [0, 1])  # 1: not on 16 bytes
def test_finite_finds_one_bad_element(n, skip, dtype):
    x, flag = np.ones(n + skip, dtype)[skip:], np.array([5])
    call("check.finite", flag, x)
    assert flag[0] == 0
    for at, bad in {0: np.nan, n // 2: np.inf, max(n - 3, 0): -np.inf, n - 1: -np.nan}.items():
        x[at] = bad
        call("check.finite", flag, x)
        assert flag[0] == 1
        x[at] = np.finfo(dtype).max


def test_the_first_of_many_indices_is_named():
    for bad in ([1100, 40, 1900], [1999], [0, 1999]):
        status, given = np.zeros(2, np.int64), np.arange(2000)
        given[bad] = (2000, -1, 2001)[: len(bad)]
        call("check.indices", status, given, 2000, 3)
        assert status.tolist() == [3, min(bad)]
