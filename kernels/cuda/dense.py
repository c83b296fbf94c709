"""Products of matrices: kernels/cpu/dense.py on a GPU. A block has a tile of C, a thread some of its rows and
columns."""

from .jit import index, kernel, local, part, rank, ranks
from .launch import TILES
from .tensor import product_bf16 as product_bf16
from .tensor import product_tf32 as product_tf32
from .tile import make_four, make_matrix, make_sum, make_tile

place = local(2)  # where a thread is in a matrix


def make_product(name, tile):
    """The kernel product whose blocks have this tile of C."""
    sums = local(tile.own**2)
    clear, begin, multiply, make_end = make_tile(tile, 16 // tile.own)
    find_a, fetch_a = make_matrix(tile.rows, tile.depth, tile.threads)
    find_b, fetch_b = make_matrix(tile.columns, tile.depth, tile.threads)
    lay_along, lay_across = make_four(tile.rows, tile.depth, tile.threads)[2:4]
    lay_columns = make_four(tile.columns, tile.depth, tile.threads)[3]
    end = make_end(kernel(lambda row, given: given[0] + row * given[1]))

    @kernel
    def lay_a(memory, first, values, at, a, step_row, step_k, along):
        if along:
            lay_along(memory, first, values)
        else:
            lay_across(memory, first, values)

    lay_b = kernel(lambda memory, first, values, at, b, step_row, step_k, along: lay_columns(memory, first, values))
    sum_up = make_sum(tile, multiply, (fetch_a, lay_a), (fetch_b, lay_b))

    def product(
        c, a, b, start, rows, rows_left, cols, cols_left, depth, depth_left, c_row, a_row, a_k, b_row, start_row, packed
    ):
        m, n, k = index(min(rows, rows_left)), index(min(cols, cols_left)), index(min(depth, depth_left))
        row_b = n if packed & 1 else index(b_row)
        row_a, step_a = (k, index(1)) if packed & 2 else (index(a_row), index(a_k))
        along, row_c, one = step_a == 1, index(c_row), index(1)
        acc, at_a, at_b = sums(c), place(one), place(one)
        wide = index((n + index(tile.columns - 1)) // index(tile.columns))
        i0, j0 = index(part() // wide * index(tile.rows)), index(part() % wide * index(tile.columns))
        if i0 >= m:
            return
        find_a(at_a, a, index(0), i0, m, row_a, step_a, along)
        find_b(at_b, b, index(0), j0, n, one, row_b, False)
        clear(acc)
        if start.size > 0:
            begin(acc, start, index(start_row), index(i0 * index(start_row) + j0), index(m - i0), index(n - j0))
        sum_up(acc, k, (at_a, a, row_a, step_a, along), (at_b, b, one, row_b, False))
        end(c, acc, index(m - i0), index(n - j0), (index(i0 * row_c + j0), row_c))

    product.__name__ = product.__qualname__ = name
    return kernel(product)


product_large = make_product("product_large", TILES["_large"])
product_middle = make_product("product_middle", TILES["_middle"])
product_small = make_product("product_small", TILES["_small"])


@kernel
def pack(p, b, cols, cols_left, depth, depth_left, first, count, b_row, b_col):
    """Rows first .. first + count of B, at b[s*b_row + j*b_col], as rows of p."""
    n, k = index(min(cols, cols_left)), min(depth, depth_left)
    i, end = index(first * n + rank()), min(first + count, k) * n
    while i < end:
        p[i] = b[i // n * b_row + i % n * b_col]
        i = index(i + ranks())


@kernel
def pack_rows(p, a, rows, rows_left, depth, depth_left, a_row, a_k):
    """A, at a[i*a_row + s*a_k], as rows of p."""
    k = index(min(depth, depth_left))
    i, end = rank(), min(rows, rows_left) * k
    while i < end:
        p[i] = a[i // k * a_row + i % k * a_k]
        i = index(i + ranks())
