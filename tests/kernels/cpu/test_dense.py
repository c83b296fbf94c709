"""Products tile by tile, as a plan runs them: against float64, and bit for bit against a plain triple loop."""

import numpy as np
import pytest

from numbaflux.kernels.cpu import dense

DTYPES = [np.float32, np.float64]
HEIGHT = dense.shape_of(dense.WIDTH)[0]
made = {width: dense.make_pack(width) for width in (64, 32, 16)}


def numbers(shape, dtype, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def run(kernel, tiles, *arguments):
    """Runs tiles of a kernel; an argument (array, elements a tile) or (integer, step) moves with the tile."""
    for t in range(tiles):
        moved = []
        for x in arguments:
            x, step = x if isinstance(x, tuple) else (x, 0)
            moved.append(x.reshape(-1)[t * step :] if isinstance(x, np.ndarray) else x + t * step)
        kernel(*moved)


def expected(a, b, start=None):
    """start + a @ b by the plain loop; a and b of any strides."""
    (m, k), n = a.shape, b.shape[1]
    c, row = np.empty((m, n), a.dtype), np.ascontiguousarray
    first = np.zeros(0, a.dtype) if start is None else row(start)
    step = 0 if start is None or start.ndim == 1 else n
    dense.plain_product(c.ravel(), row(a).ravel(), row(b).ravel(), first.ravel(), m, n, k, n, k, 1, n, step)
    return c


def same(got, want):
    np.testing.assert_array_equal(got.reshape(want.shape), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (13, 5, 10), (61, 37, 101), (130, 784, 64)])
def test_value(m, k, n, dtype):
    """The error of a sum of k products is at most about k times half an epsilon of the sum of their sizes."""
    a, b = numbers((m, k), dtype), numbers((k, n), dtype, 1)
    c, none = np.full((m, n), np.nan, dtype), np.zeros(0, dtype)
    run(dense.product, 1, c, a, b, none, m, m, n, n, k, k, n, k, 1, n, 0, 0)
    wide = np.longdouble
    bound = (k + 1) * np.finfo(dtype).eps / 2 * (np.abs(a).astype(wide) @ np.abs(b).astype(wide))
    assert np.all(np.abs(c - a.astype(wide) @ b.astype(wide)) <= bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, HEIGHT, 32, 61, 64])
def test_forward_by_rows(block, dtype):
    """y = x w + bias, x cut by rows, w as it is and packed by blocks of its depth."""
    m, k, n = 61, 37, 101
    x, w, bias = numbers((m, k), dtype), numbers((k, n), dtype, 1), numbers((n,), dtype, 2)
    tiles, panels = -(-m // block), np.full(k * n, np.nan, dtype)
    run(dense.pack, -(-k // block), panels, w, n, n, k, k, (0, block), block, n, 1)
    for right, row, packed in ((w, n, 0), (panels, 0, 1)):
        y = np.full((m, n), np.nan, dtype)
        run(dense.product, tiles, (y, block * n), (x, block * k), right, bias,
            block, (m, -block), n, n, k, k, n, k, 1, row, 0, packed)  # fmt: skip
        same(y, expected(x, w, bias))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("block", "n"), [(48, 112), (64, 112), (96, 101), (7, 101)])
def test_by_columns_with_a_private_panel(block, n, dtype):
    """A group of two entries: a block of columns of w is packed into a worker's own buffer, then multiplied."""
    m, k = 19, 41
    x, w, bias = numbers((m, k), dtype), numbers((k, n), dtype, 1), numbers((n,), dtype, 2)
    y, panels = np.full((m, n), np.nan, dtype), np.empty(k * block, dtype)
    for t in range(-(-n // block)):
        j = t * block
        panels[:] = np.nan
        dense.pack(panels, w.ravel()[j:], block, n - j, k, k, 0, k, n, 1)
        dense.product(y.ravel()[j:], x.ravel(), panels, bias[j:], m, m, block, n - j, k, k, n, k, 1, 0, 0, 1)
    same(y, expected(x, w, bias))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "k", "n"), [(5, 10, 61), (33, 64, 48), (17, 101, 1), (17, 1, 101)])
def test_gradient_to_x(m, k, n, dtype):
    """dx = dy w^T: w is packed transposed, in blocks of depth."""
    dy, w = numbers((m, k), dtype), numbers((n, k), dtype, 1)
    panels, dx = np.full(k * n, np.nan, dtype), np.full((m, n), np.nan, dtype)
    run(dense.pack, -(-k // 16), panels, w, n, n, k, k, (0, 16), 16, 1, k)
    none = np.zeros(0, dtype)
    run(dense.product, -(-m // 8), (dx, 8 * n), (dy, 8 * k), panels, none,
        8, (m, -8), n, n, k, k, n, k, 1, 0, 0, 1)  # fmt: skip
    same(dx, expected(dy, w.T))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [HEIGHT, 48, 64])
def test_gradient_to_w_by_rows(block, dtype):
    """dw = x^T dy over the whole batch; a block of x's columns is packed into a worker's own buffer, or not."""
    batch, m, n = 67, 101, 53
    x, dy = numbers((batch, m), dtype), numbers((batch, n), dtype, 1)
    none, own = np.zeros(0, dtype), np.empty(block * batch, dtype)
    for packed in (0, 2):
        dw = np.full((m, n), np.nan, dtype)
        for t in range(-(-m // block)):
            i = t * block
            left = x.ravel()[i:]
            if packed:
                own[:] = np.nan
                dense.pack_rows(own, left, block, m - i, batch, batch, 1, m)
                left = own
            sizes = block, m - i, n, n, batch, batch
            dense.product(dw.ravel()[i * n :], left, dy.ravel(), none, *sizes, n, 1, m, n, 0, packed)
        same(dw, expected(x.T, dy))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_packed_from_a_row_major_matrix(dtype):
    m, k, n = 29, 45, 50
    a, b = numbers((m, k), dtype), numbers((k, n), dtype, 1)
    own, c, none = np.full(m * k, np.nan, dtype), np.full((m, n), np.nan, dtype), np.zeros(0, dtype)
    panels = np.full(k * n, np.nan, dtype)
    run(dense.pack_rows, 1, own, a, m, m, k, k, k, 1)
    run(dense.pack, 1, panels, b, n, n, k, k, 0, k, n, 1)
    run(dense.product, 1, c, own, panels, none, m, m, n, n, k, k, n, 0, 0, 0, 0, 3)
    same(c, expected(a, b))


@pytest.mark.parametrize("dtype", DTYPES)
def test_slots(dtype):
    """Partial sums over blocks of the batch, each in a slot of its own; the last block is ragged."""
    batch, block, m, n = 100, 32, 6, 21
    x, dy = numbers((batch, m), dtype), numbers((batch, n), dtype, 1)
    slots, none = np.full((4, m, n), np.nan, dtype), np.zeros(0, dtype)
    run(dense.product, 4, (slots, m * n), (x, block * m), (dy, block * n), none,
        m, m, n, n, block, (batch, -block), n, 1, m, n, 0, 0)  # fmt: skip
    for t in range(4):
        part = slice(t * block, (t + 1) * block)
        same(slots[t], expected(x[part].T, dy[part]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_depth_by_depth_is_the_whole(dtype):
    """C is added to, block of depth after block of depth: not a bit differs from one long sum."""
    m, k, n = 11, 70, 50
    a, b = numbers((m, k), dtype), numbers((k, n), dtype, 1)
    c = np.zeros((m, n), dtype)
    run(dense.product, 5, c, (a, 16), (b, 16 * n), c, m, m, n, n, 16, (k, -16), n, k, 1, n, n, 0)
    same(c, expected(a, b))


@pytest.mark.parametrize("dtype", DTYPES)
def test_batch_of_products(dtype):
    count, m, k, n = 5, 7, 9, 18
    a, b, none = numbers((count, m, k), dtype), numbers((count, k, n), dtype, 1), np.zeros(0, dtype)
    c = np.full((count, m, n), np.nan, dtype)
    run(dense.product, count, (c, m * n), (a, m * k), (b, k * n), none,
        m, m, n, n, k, k, n, k, 1, n, 0, 0)  # fmt: skip
    for i in range(count):
        same(c[i], expected(a[i], b[i]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_depth(dtype):
    """The sum over nothing is the start, or zero."""
    bias, c = numbers((20,), dtype), np.full((3, 20), np.nan, dtype)
    none = np.zeros(0, dtype)
    run(dense.product, 1, c, none, none, bias, 3, 3, 20, 20, 0, 0, 20, 0, 1, 20, 0, 0)
    same(c, np.tile(bias, (3, 1)))
    run(dense.product, 1, c, none, none, none, 3, 3, 20, 20, 0, 0, 20, 0, 1, 20, 0, 0)
    same(c, np.zeros((3, 20), dtype))


@pytest.mark.parametrize("width", [64, 32, 16])
@pytest.mark.parametrize("transposed", [False, True])
def test_panels(width, transposed):
    """Every number of B once, strip after strip, whatever part of the depth a tile packs; nothing behind the end."""
    _, vectors, _ = dense.shape_of(width)
    pack, _ = made[width]
    for k, n in ((1, 1), (16, 48), (17, 49), (5, 200), (70, 31)):
        b = np.arange(k * n, dtype=np.float32).reshape(k, n)
        source, strides = (b.T, (1, k)) if transposed else (b, (n, 1))
        p, at = np.full(k * n + 1, -1, np.float32), 0
        run(pack, -(-k // 7), p, np.ascontiguousarray(source), n, n, k, k, (0, 7), 7, *strides)
        while at < n:
            w = min(n - at, dense.strip(n - at, width // 4, vectors))
            same(p[at * k : (at + w) * k], b[:, at : at + w])
            at += w
        assert p[-1] == -1
