"""One operation run now: plans kept by shapes, any strides and types, many threads, errors that leave nothing."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import run
from numbaflux.ops import dense as D
from numbaflux.ops import elementwise as E
from numbaflux.ops import move as M
from numbaflux.ops import reduce as R

x32 = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_a_plan_is_kept_for_the_same_shapes_types_and_numbers():
    run.planned.cache_clear()
    for _ in range(3):
        for x in (x32, x32 + 1, x32.T):
            for scale in (1.0, 2.0):
                nf.apply(E.AFFINE, x, scale=scale, shift=0.0)
    nf.apply(E.AFFINE, x32.astype(np.float64), scale=1.0, shift=0.0)
    assert run.planned.cache_info().currsize == 5  # two shapes, two numbers; and float64


def test_results_are_new_at_each_call():
    one, two = nf.apply(E.NEG, x32), nf.apply(E.NEG, x32)
    assert not np.shares_memory(one, two) and not np.shares_memory(one, x32)
    one[:] = 0
    np.testing.assert_array_equal(two, -x32)


def test_another_view_is_no_copy():
    assert np.shares_memory(nf.apply(M.RESHAPE, x32, shape=(3, 2)), x32)


def test_an_input_may_be_left_out():
    w = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(nf.apply(D.DENSE, x32, w, None), x32 @ w)
    np.testing.assert_array_equal(nf.apply(D.DENSE, x32, w, np.ones(2, np.float32)), x32 @ w + 1)


def test_one_array_may_be_several_inputs():
    np.testing.assert_array_equal(nf.apply(E.MUL, x32, x32), x32 * x32)
    square = x32.T @ x32
    np.testing.assert_array_equal(nf.apply(D.MATMUL, square, square, ta=False, tb=True), square @ square.T)


def test_any_strides_and_read_only_arrays():
    for x in (x32.T, x32[:, ::-1], x32[:, 1:], np.broadcast_to(x32[0], (4, 3))):
        np.testing.assert_array_equal(nf.apply(E.SQUARE, x), x * x)
    fixed = x32.copy()
    fixed.flags.writeable = False
    np.testing.assert_array_equal(nf.apply(E.SQUARE, fixed), x32 * x32)


def test_large_and_small_arguments():
    """Small ones are copied into the plan, large ones read where they are."""
    for n in (1, 4095, 4096, 4097, 300_000):
        for k in range(2):
            x = np.full(n, k + 1, np.float32)
            np.testing.assert_array_equal(nf.apply(E.ADD, x, x), 2 * x)
            assert nf.apply(R.SUM, x, start=0, stop=1, scale=1.0) == n * (k + 1)


@pytest.mark.parametrize("dtype", ["float16", "complex64", "longdouble", ">f4", "datetime64[s]", "U3", "O"])
def test_types_that_kernels_do_not_know_are_refused(dtype):
    x = np.zeros(3, dtype)
    with pytest.raises(
        nf.DTypeError, match=r"^neg: array must be of a float or integer type of this machine, got .*; x.astype"
    ):
        nf.apply(E.NEG, x)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"])
def test_integers_are_moved_as_they_are(dtype):
    x = np.array([[0, 1, 2], [3, 100, 5]]).astype(dtype)
    np.testing.assert_array_equal(nf.apply(M.RESHAPE, x, shape=(6,)), x.ravel())
    assert nf.apply(M.STOP, x).dtype == dtype


def test_an_error_leaves_nothing():
    table, bad = x32.copy(), np.array([0, 7])
    for _ in range(2):
        with pytest.raises(nf.RangeError):
            nf.apply(M.TAKE, table, bad)
        np.testing.assert_array_equal(nf.apply(M.TAKE, table, np.array([1, 0])), x32[[1, 0]])
    np.testing.assert_array_equal(table, x32)


def test_many_threads_run_one_plan():
    """Each call has memory of its own, and its own error."""
    rng = np.random.default_rng(0)
    xs = [rng.normal(size=(40, 50)).astype(np.float32) for _ in range(6)]
    w, table = rng.normal(size=(50, 30)).astype(np.float32), np.arange(12, dtype=np.float32)

    def work(i):
        y = nf.apply(D.DENSE, xs[i % 6], w, None)
        try:
            nf.apply(M.TAKE, table, np.array([i % 12, 12 if i % 3 == 0 else 0]))
        except nf.RangeError:
            return y, True
        return y, False

    right = [work(i) for i in range(6)]
    with ThreadPoolExecutor(4) as pool:
        for i, (y, failed) in enumerate(pool.map(work, range(300))):
            assert failed == (i % 3 == 0)
            np.testing.assert_array_equal(y, right[i % 6][0])
