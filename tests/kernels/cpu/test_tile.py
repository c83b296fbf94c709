"""The register tile at every width, on any machine: edges, cuts and packing change no bit and touch nothing outside."""

import itertools

import numpy as np
import pytest
from numba import njit

from numbaflux.kernels.cpu import dense
from numbaflux.kernels.cpu.tile import make_copy, make_transpose, shape_of, strip
from numbaflux.kernels.jit import address

MARGIN = -77.0
CASES = list(itertools.product([64, 32, 16], [np.float32, np.float64]))
product = {width: dense.make_product(width) for width in (64, 32, 16)}


def framed(values, border):
    """The values inside a larger matrix full of border: (the flat larger matrix, where the values start, its row)."""
    m, n = values.shape
    whole = np.full((m + 2, n + 5), border, values.dtype)
    whole[1:-1, 2:-3] = values
    return whole.ravel(), n + 7, n + 5


def panels(matrix, widths):
    """The matrix as panels of so many columns, one after another, each by rows; then a number that nobody may read."""
    cuts = np.cumsum(widths)[:-1]
    return np.concatenate([part.ravel() for part in np.split(matrix, cuts, axis=1)] + [[np.nan]]).astype(matrix.dtype)


def strips(n, lanes, vectors):
    """The widths of the panels of n columns; a row of A's panels has the tile's height everywhere."""
    widths = []
    while n > 0:
        widths.append(min(n, strip(n, lanes, vectors)))
        n -= widths[-1]
    return widths


def numbers(m, n, dtype, seed):
    return np.random.default_rng([seed, m, n]).standard_normal((m, n)).astype(dtype)


def compare(width, dtype, m, n, k, packed, a=None, b=None):
    """One product with a bias, everything inside frames: NaN around A and B is not read, what is around C stays."""
    a = numbers(m, k, dtype, 0) if a is None else a
    b = numbers(k, n, dtype, 1) if b is None else b
    bias = numbers(1, n, dtype, 2).ravel()
    want, (c, at, row) = np.empty(m * n, dtype), framed(np.full((m, n), np.nan, dtype), MARGIN)
    dense.plain_product(want, a.ravel(), b.ravel(), bias, m, n, k, n, k, 1, n, 0)
    (left, in_a, a_row), (right, in_b, b_row) = framed(a, np.nan), framed(b, np.nan)
    left, right = left[in_a:], right[in_b:]
    height, vectors, _ = shape_of(width)
    if packed & 1:
        right, b_row = panels(b, strips(n, width // b.itemsize, vectors)), 0
    if packed & 2:
        left, a_row = panels(a.T, [min(height, m - i) for i in range(0, m, height)]), 0
    product[width](c[at:], left, right, bias, m, m, n, n, k, k, row, a_row, 1, b_row, 0, packed)
    frame = c.reshape(m + 2, row)
    np.testing.assert_array_equal(frame[1:-1, 2:-3], want.reshape(m, n), err_msg=f"{m} x {n} x {k}, packed {packed}")
    frame[1:-1, 2:-3] = MARGIN
    assert np.all(frame == MARGIN), f"written outside: {m} x {n} x {k}, packed {packed}"


@pytest.mark.parametrize(("width", "dtype"), CASES)
def test_edges(width, dtype):
    height, vectors, _ = shape_of(width)
    lanes = width // np.dtype(dtype).itemsize
    rows = sorted({1, 2, 3, 4, height - 1, height, height + 1, height + 2, height + 3, 2 * height, 19, 29})
    most = vectors * lanes
    cols = {1, 3, 4, 5, lanes - 1, lanes, lanes + 1, 2 * lanes, 2 * lanes + 1, most - 1, most, most + 1, 4 * lanes, 101}
    for m, n, k in itertools.product(rows, cols, (0, 1, 2, 13)):
        compare(width, dtype, m, n, k, 0)
    for m, n, packed in itertools.product(rows, cols, (1, 2, 3)):
        compare(width, dtype, m, n, 13, packed)


@pytest.mark.parametrize(("width", "dtype"), CASES)
@pytest.mark.parametrize("packed", [0, 1, 2, 3])
def test_deeper_than_a_block(width, dtype, packed):
    """Blocks of depth go through C in memory; not a bit is lost there."""
    block = dense.BLOCK // np.dtype(dtype).itemsize
    for k in (block + block // 2 - 1, block + block // 2, 3 * block + 7):
        compare(width, dtype, 11, 53, k, packed)


@pytest.mark.parametrize(("width", "dtype"), CASES)
def test_not_finite(width, dtype):
    """NaN and infinity go where arithmetic takes them and nowhere else."""
    a, b = numbers(20, 9, dtype, 0), numbers(9, 61, dtype, 1)
    a[3, 4], a[17, 0], b[2, 7], b[8, 60] = np.nan, np.inf, -np.inf, np.nan
    b[0, 5] = 0
    for packed in range(4):
        compare(width, dtype, 20, 61, 9, packed, a, b)


@pytest.mark.parametrize(("width", "dtype"), CASES)
def test_strides_may_run_backwards(width, dtype):
    a, b = numbers(13, 10, dtype, 0), numbers(10, 40, dtype, 1)
    got, want, none = np.empty(13 * 40, dtype), np.empty(13 * 40, dtype), np.zeros(0, dtype)
    flipped, turned = np.ascontiguousarray(a[::-1, ::-1]), np.ascontiguousarray(b[::-1])
    dense.plain_product(want, flipped.ravel(), turned.ravel(), none, 13, 40, 10, 40, 10, 1, 40, 0)
    product[width](got, a.ravel()[-1:], b.ravel()[9 * 40 :], none, 13, 13, 40, 40, 10, 10, 40, -10, -1, -40, 0, 0)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("vectors", [2, 3])
@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
def test_strips_cover_the_columns(lanes, vectors):
    for n in range(1, 200):
        widths = strips(n, lanes, vectors)
        assert sum(widths) == n
        assert set(widths[:-1]) <= {2 * lanes, vectors * lanes}
        assert n <= lanes or vectors == 2 or widths[-1] > lanes, "a tile one vector wide is slow"


@pytest.mark.parametrize(("width", "dtype"), CASES)
def test_transpose_and_copy(width, dtype):
    lanes = width // np.dtype(dtype).itemsize
    turn, move = make_transpose(width), make_copy(width)

    @njit
    def transpose(m, n, to, to_row, source, source_row):
        turn(to, m, n, address(to), to_row, address(source), source_row)

    @njit
    def copy(n, to, source):
        move(to, n, address(to), address(source))

    for m, n in itertools.product(range(1, lanes + 1), repeat=2):
        x, (to, at, row) = numbers(n, m, dtype, 0), framed(np.full((m, n), np.nan, dtype), MARGIN)
        transpose(m, n, to[at:], row, x.ravel(), m)
        frame = to.reshape(m + 2, row)
        np.testing.assert_array_equal(frame[1:-1, 2:-3], x.T)
        frame[1:-1, 2:-3] = MARGIN
        assert np.all(frame == MARGIN)
    for n in range(1, lanes + 3):
        x, to = numbers(1, lanes + 3, dtype, 0).ravel(), np.full(lanes + 3, MARGIN, dtype)
        copy(n, to, x)
        np.testing.assert_array_equal(to[: min(n, lanes)], x[: min(n, lanes)])
        assert np.all(to[min(n, lanes) :] == MARGIN)
