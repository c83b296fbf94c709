"""Products of matrices, one tile of the result at a time: dense, matmul and their gradients, by strides alone.

Every element is one chain of fused multiply-adds in order of depth, from its start on. How rows, columns or depth are
cut, and whether A or B is packed, changes no bit.
"""

from ..jit import address, fma, kernel
from .quad_tile import QUAD, make_quads
from .tile import WIDTH, make_copy, make_tiles, make_transpose, shape_of, strip

BLOCK = 2048  # bytes of a row of A worked off at once: 512 float32, so that 128 rows are a quarter of a 1 MB L2
QUADS = 4  # vectors of the tile for up to QUAD columns
LINE = 8  # vectors of the tile for one row: more sums at once than for several rows hide the time of each
LOW = 4  # rows of a low tile: two are faster than one of six and one or two rows, whose few sums wait for one another
RUN = 16  # rows that pack copies along all panels: read in long runs, written to as many places as there are panels


def make_product(width):
    """The kernel product for vector registers of width bytes."""
    height, vectors, upper = shape_of(width)
    narrow, double, short = make_tiles(upper, 1, width), make_tiles(upper, 2, width), make_tiles(2, vectors, width)
    full = make_tiles(height, vectors, width, prefetch=True)
    low, low_double, quads = make_tiles(LOW, 1, width), make_tiles(LOW, 2, width), make_quads(QUADS, width)
    pair, line = make_tiles(1, 2, width), make_tiles(1, LINE, width)

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
        size = c.itemsize
        lanes, block = width // size, BLOCK // size
        parts = max(1, (k + block // 2) // block)
        part = k if parts == 1 else -(-k // parts)  # a division takes as long as a product of few rows
        from_c, from_a, from_b, first = address(c), address(a), address(b), address(start) if start.size else 0
        up = k if packed & 2 else a_row
        for p in range(parts):
            k0 = p * part
            d = min(part, k - k0)
            j = 0
            while j < n:
                long = m == 1 and not packed & 1 and n - j > 2 * lanes
                panel = LINE * lanes if long else strip(n - j, lanes, vectors)
                w = min(n - j, panel)
                step = 0
                if packed & 1:  # ask for the next panel while this one is worked on
                    b_row, step = w, size * w if m < 2 * height else size * w // (m // height)
                at_b = from_b + size * (j * k + k0 * w if packed & 1 else j + k0 * b_row)
                ahead = at_b + size * w * k if packed & 1 else at_b
                quad = w <= QUAD < lanes and a_k == 1 and not packed & 2
                high = height if packed & 2 or panel == vectors * lanes else upper
                high = QUADS * lanes // QUAD if quad else high
                whole, fours = 0, False  # without a division where there is nothing to divide
                if m >= high:
                    whole, fours = m // high, high > LOW and 0 < m % high <= 2 * LOW - high
                i, whole = 0, whole - fours
                while i < m:
                    tall, count = (high, whole) if i < whole * high else (m - i, 1)
                    if fours and i >= whole * high and tall > LOW:
                        tall, count = LOW, tall // LOW
                    if packed & 2:
                        a_row, a_k = 1, tall
                    in_c = from_c + size * (i * c_row + j), c_row, tall * c_row
                    in_a = from_a + size * (i * up + k0 * a_k), a_row, tall * up, a_k
                    in_start = first + size * (i * start_row + j) if first else 0, start_row, tall * start_row
                    work = (c, count, tall, w, d, *in_c, *in_a, at_b, b_row, *in_start, ahead, step)
                    if long:
                        line(*work)
                    elif m == 1 and panel <= 2 * lanes:
                        pair(*work)
                    elif tall <= 2:
                        short(*work)
                    elif quad:
                        quads(c, count, tall, w, d, *in_c, *in_a[:3], at_b, b_row, *in_start)
                    elif tall <= LOW and panel == lanes:
                        low(*work)
                    elif tall <= LOW and panel == 2 * lanes:
                        low_double(*work)
                    elif panel == vectors * lanes:
                        full(*work)
                    elif panel == 2 * lanes:
                        double(*work)
                    else:
                        narrow(*work)
                    i += tall * count
                j += w
            first, start_row = from_c, c_row

    return product


@kernel
def plain_product(c, a, b, start, m, n, k, c_row, a_row, a_k, b_row, start_row):
    """What product computes, as a triple loop: the same chains, the same bits."""
    for i in range(m):
        for j in range(n):
            x = start[i * start_row + j] if start.size else c.dtype.type(0)
            for s in range(k):
                x = fma(a[i * a_row + s * a_k], b[s * b_row + j], x)
            c[i * c_row + j] = x


def make_pack(width):
    """The kernels pack and pack_rows for vector registers of width bytes."""
    height, vectors, _ = shape_of(width)
    copy, transpose = make_copy(width), make_transpose(width)

    @kernel
    def panels(p, b, n, k, first, last, b_row, b_col, fixed):
        """Rows first .. last of B's k rows into panels of fixed columns; 0: into the strips that product walks."""
        size, lanes = p.itemsize, width // p.itemsize
        from_p, from_b = address(p), address(b)
        s0 = first
        while s0 < last:
            s1 = min(s0 + RUN, last) if b_col == 1 else last
            j = 0
            while j < n:
                w = min(n - j, fixed if fixed else strip(n - j, lanes, vectors))
                for lane in range((w + lanes - 1) // lanes):
                    v = lane * lanes
                    to, source = from_p + size * (j * k + v), from_b + size * (j + v) * b_col
                    if b_col == 1:
                        for s in range(s0, s1):
                            copy(p, w - v, to + size * s * w, source + size * s * b_row)
                    else:
                        for block in range((s1 - s0 + lanes - 1) // lanes):
                            s = s0 + block * lanes
                            some = min(lanes, s1 - s), min(lanes, w - v)
                            transpose(p, some[0], some[1], to + size * s * w, w, source + size * s, b_col)
                j += w
            s0 = s1

    @kernel
    def pack(p, b, cols, cols_left, depth, depth_left, first, count, b_row, b_col):
        """Rows first .. first + count of B, at b[s*b_row + j*b_col], into the strips that product walks.

        The panel that starts with column j starts at p[j*k] and holds k = min(depth, depth_left) rows of its own width.
        b_row or b_col is 1.
        """
        k = min(depth, depth_left)
        panels(p, b, min(cols, cols_left), k, first, min(first + count, k), b_row, b_col, 0)

    @kernel
    def pack_rows(p, a, rows, rows_left, depth, depth_left, a_row, a_k):
        """A, at a[i*a_row + s*a_k], into panels as high as the tiles of product.

        The panel that starts with row i starts at p[i*k] and holds k = min(depth, depth_left) columns of its height.
        a_row or a_k is 1.
        """
        k = min(depth, depth_left)
        panels(p, a, min(rows, rows_left), k, 0, k, a_k, a_row, height)

    return pack, pack_rows


product = make_product(WIDTH)
pack, pack_rows = make_pack(WIDTH)
