"""Products of matrices, one tile of the result at a time: dense, matmul and their gradients, by strides alone."""

from numba import types
from numba.extending import overload

from ..jit import LANES, address, kernel
from .tile import make_copy, make_product, make_strip, make_transpose, shape_of

ROWS = 16  # rows that pack copies along all panels: read in long runs, written to as many places as there are panels
LANES_OF = {types.float32: LANES, types.float64: LANES // 2}

HEIGHT = shape_of(LANES, types.float32)[0]


def _by_dtype(make):
    """A function of kernels, f(array, *numbers): what make makes for the dtype of the array."""
    made = {dtype: make(lanes, dtype) for dtype, lanes in LANES_OF.items()}

    def f(array, *numbers):
        raise NotImplementedError("compiled code only")

    @overload(f)
    def choose(array, *numbers):
        g = made[array.dtype]
        return lambda array, *numbers: g(*numbers)

    return f


_multiply, _strip, _copy, _turn = map(_by_dtype, (make_product, make_strip, make_copy, make_transpose))


@kernel
def product(
    c, a, b, start, rows, rows_left, cols, cols_left, depth, depth_left, c_row, a_row, a_k, b_row, start_row, packed
):
    """c[i*c_row + j] = start[i*start_row + j] + sum over s of a[i*a_row + s*a_k] * b[s*b_row + j], for one tile.

    i < min(rows, rows_left), j < min(cols, cols_left), s < min(depth, depth_left).
    start: empty: zero; start_row 0: a bias; c and c_row: what C holds already.
    packed: 1: b is what pack makes of B for the same cols and depth; 2: a is what pack_rows makes of A for the same
    rows and depth; 3: both. Strides of what is packed are not used.
    """
    m, n, k = min(rows, rows_left), min(cols, cols_left), min(depth, depth_left)
    first = address(start) if start.size else 0
    in_a, in_b = (address(a), a_row, a_k, packed & 2), (address(b), b_row, packed & 1)
    work = (m, n, k, address(c), c_row, *in_a, *in_b, first, start_row)
    _multiply(c, *work)


@kernel
def _pack(p, b, n, k, first, last, b_row, b_col, width):
    """Rows first .. last of B's k rows into panels of width columns; width 0: those that product walks."""
    size, lanes = p.itemsize, LANES * 4 // p.itemsize
    pp, pb = address(p), address(b)
    s0 = first
    while s0 < last:
        s1 = min(s0 + ROWS, last) if b_col == 1 else last
        j = 0
        while j < n:
            w = min(n - j, width if width else _strip(p, n - j))
            for v in range(0, w, lanes):
                to, source = pp + size * (j * k + v), pb + size * (j + v) * b_col
                if b_col == 1:
                    for s in range(s0, s1):
                        _copy(p, w - v, to + size * s * w, source + size * s * b_row)
                else:
                    for s in range(s0, s1, lanes):
                        _turn(p, min(lanes, s1 - s), min(lanes, w - v), to + size * s * w, w, source + size * s, b_col)
            j += w
        s0 = s1


@kernel
def pack(p, b, cols, cols_left, depth, depth_left, first, count, b_row, b_col):
    """Rows first .. first + count of B, at b[s*b_row + j*b_col], into panels as wide as the strips that product walks.

    The panel of column j starts at p[j*k] and holds k = min(depth, depth_left) rows of its width. b_row or b_col is 1.
    """
    n, k = min(cols, cols_left), min(depth, depth_left)
    _pack(p, b, n, k, first, min(first + count, k), b_row, b_col, 0)


@kernel
def pack_rows(p, a, rows, rows_left, depth, depth_left, a_row, a_k):
    """A, at a[i*a_row + s*a_k], into panels as high as the tiles of product. a_row or a_k is 1.

    The panel of row i starts at p[i*k] and holds k columns of its height.
    """
    m, k = min(rows, rows_left), min(depth, depth_left)
    _pack(p, a, m, k, 0, k, a_k, a_row, HEIGHT)
