"""Convolution (cross-correlation) of x(n, d, h, w, c) with w(kd, kh, kw, c / groups, o), features last, without im2col.

`dims` holds the sizes (kernels/dims.py). Columns of x are padded in memory, its planes and lines by leaving out taps.
A tile has the output lines first, first + 1, ...; there are OUT of d times OUT of h lines a sample.
"""

from .. import dims as K
from ..jit import address, kernel
from ..scalar import inlined
from ..table import IMAGES
from .conv_tile import make_column_sums, make_images, make_pixels, make_sums
from .tile import WIDTH, shape_of, strip

HEIGHT, VECTORS, _ = shape_of(WIDTH)  # its weights lie in the panels of a product
CHUNK = 96  # output pixels that conv_grad_w goes through at once
WAYS, PLACES = 8, 4096  # a first-level cache keeps so many lines that lie so many bytes apart
PANEL = 16 * 1024  # bytes of weights that a tile goes through at once: half a first-level cache

full, double, narrow = (make_pixels(HEIGHT, vectors, WIDTH) for vectors in (VECTORS, 2, 1))
# On images in lanes: (channels, pixels) of a tile of y, and (rows, columns) of one of dw, as many as registers hold.
SIX, EIGHT = ((6, 4), (8, 3)) if WIDTH == 64 else ((6, 2), (4, 3))
LARGE, SMALL = ((5, 4), (5, 3)) if WIDTH == 64 else ((3, 4), (5, 2))
images_six, images_eight = make_images(*SIX, WIDTH), make_images(*EIGHT, WIDTH)
sums_large, sums_small = make_sums(*LARGE, WIDTH), make_sums(*SMALL, WIDTH)
MANY = 8  # columns of dy that are added up at once
column_sums = make_column_sums(MANY, WIDTH)


@inlined
def pixels(panel, lanes, work):
    """The tile for a panel of columns."""
    if panel == VECTORS * lanes:
        full(*work)
    elif panel == 2 * lanes:
        double(*work)
    else:
        narrow(*work)


@inlined
def filled(shape, rows, columns):
    """Places of the tiles that so many rows and columns take."""
    return (rows + shape[0] - 1) // shape[0] * shape[0] * ((columns + shape[1] - 1) // shape[1] * shape[1])


@kernel
def reached(start, step, count, size):
    """The i in 0..count - 1 for which 0 <= start + i step < size: the first, and one past the last."""
    if step == 1:  # mostly; divisions take long
        low, high = max(0, -start), min(count, size - start)
        return low, max(low, high)
    low = 0 if start >= 0 else (step - 1 - start) // step
    high = min(count, (size - 1 - start) // step + 1)
    return low, max(low, high)


@kernel
def place(dims, line):
    """Sample, plane and line of the sample, of an output line."""
    plane = line // dims[K.H + K.OUT]
    sample = plane // dims[K.D + K.OUT]
    return sample, plane - sample * dims[K.D + K.OUT], line - plane * dims[K.H + K.OUT]


@kernel
def target(dims, sample, di, hi):
    """Elements from the start of y to the first output of a line."""
    d = sample * dims[K.D + K.FULL] + dims[K.D + K.FIRST] + di * dims[K.D + K.STEP]
    h = d * dims[K.H + K.FULL] + dims[K.H + K.FIRST] + hi * dims[K.H + K.STEP]
    return (h * dims[K.W + K.FULL] + dims[K.W + K.FIRST]) * dims[K.OUTS]


@kernel
def planes(dims, di):
    """The taps along d of output plane di that see a plane of x."""
    return reached(dims[K.D + K.FROM] + di * dims[K.D + K.UP], dims[K.D + K.TAP], dims[K.D + K.TAPS], dims[K.D + K.IN])


@kernel
def windows(dims, di, hi, whole):
    """The parts of a line's window that one tile sums up: planes low, high of d, lines low, high of h, and how many
    lines make one part: all where whole."""
    d0, d1 = planes(dims, di)
    h0, h1 = reached(
        dims[K.H + K.FROM] + hi * dims[K.H + K.UP], dims[K.H + K.TAP], dims[K.H + K.TAPS], dims[K.H + K.IN]
    )
    if d0 == d1 or h0 == h1:  # nothing but padding: one part without taps
        return 0, 1, 0, 0, 1
    return d0, d1, h0, h1, h1 - h0 if whole else 1


@kernel
def source(dims, sample, di, hi, kd, kh):
    """Elements from the start of x to what the first tap of a line of the window sees."""
    d = sample * dims[K.D + K.IN] + dims[K.D + K.FROM] + di * dims[K.D + K.UP] + kd * dims[K.D + K.TAP]
    h = d * dims[K.H + K.IN] + dims[K.H + K.FROM] + hi * dims[K.H + K.UP] + kh * dims[K.H + K.TAP]
    return (h * dims[K.W + K.IN] + dims[K.W + K.FROM]) * dims[K.INS]


@kernel
def conv(y, x, w, b, dims, first, rows, left, packed):
    """y = x * w + b (b may be empty); packed: w is what dense.pack makes of it as a matrix of o columns.

    Every element is one chain of fused multiply-adds, from the bias on, in the order of the taps and channels.
    """
    size, lanes = y.itemsize, WIDTH // y.itemsize
    groups, c, o = dims[K.GROUPS], dims[K.INS], dims[K.OUTS]
    cg, og, wide, taps = c // groups, o // groups, dims[K.W + K.OUT], dims[K.W + K.TAPS]
    joined = groups == 1 and dims[K.W + K.TAP] == 1  # the taps of a line are neighbours in memory, channels and all
    depth = taps * cg if joined else cg
    in_all = dims[K.D + K.TAPS] * dims[K.H + K.TAPS] * taps * cg
    from_y, from_x, from_w, bias = address(y), address(x), address(w), address(b) if b.size else 0
    a_row, c_row = dims[K.W + K.UP] * c, dims[K.W + K.STEP] * o
    for line in range(first, first + min(rows, left) * dims[K.LINES]):
        sample, di, hi = place(dims, line)
        to = from_y + size * target(dims, sample, di, hi)
        for g in range(groups):
            j = 0
            while j < og:
                panel = strip(og - j, lanes, VECTORS)
                n = min(og - j, panel)
                b_row = n if packed else o
                at_w = from_w + size * (j * in_all if packed else g * og + j)
                whole = joined and n * size * depth * dims[K.H + K.TAPS] <= PANEL
                d0, d1, h0, h1, some = windows(dims, di, hi, whole)
                for kd in range(d0, d1):
                    for piece in range(max(1, (h1 - h0) // some)):
                        kh = h0 + piece * some
                        rank = (kd * dims[K.H + K.TAPS] + kh) * taps * cg
                        segments = 0 if h0 == h1 else some if joined else taps
                        a_seg = dims[K.H + K.TAP] * dims[K.W + K.IN] * c if joined else dims[K.W + K.TAP] * c
                        b_seg = depth * b_row
                        at_x = from_x + size * (source(dims, sample, di, hi, kd, kh) + g * cg)
                        for i in range(0, wide, HEIGHT):
                            m = min(HEIGHT, wide - i)
                            at = to + size * (i * c_row + g * og + j)
                            start, start_row = at, c_row
                            if kd == d0 and piece == 0:
                                start, start_row = bias + size * (g * og + j) if bias else 0, 0
                            work = (y, m, n, segments, depth, at, c_row, at_x + size * i * a_row, a_row, a_seg, 1,
                                    at_w + size * rank * b_row, b_row, b_seg, start, start_row)  # fmt: skip
                            pixels(panel, lanes, work)
                j += n


@kernel
def conv_grad_w(dw, x, dy, dims, row, row_count, first, rows, left):
    """dw, rows row .. row + row_count of it as a matrix of o columns = the sum of x dy over some output lines."""
    size, lanes = dw.itemsize, WIDTH // dw.itemsize
    groups, c, o = dims[K.GROUPS], dims[K.INS], dims[K.OUTS]
    cg, og, taps, wide, lines = c // groups, o // groups, dims[K.W + K.TAPS], dims[K.W + K.OUT], dims[K.H + K.OUT]
    tap = dims[K.W + K.TAP] * c
    joined = groups == 1 and tap == c
    run, runs = (taps * cg, 1) if joined else (cg, taps)
    last = first + min(rows, left) * dims[K.LINES]
    end = min(row + row_count, dims[K.D + K.TAPS] * dims[K.H + K.TAPS] * taps * cg)
    a_seg, a_k, b_seg = dims[K.H + K.UP] * dims[K.W + K.IN] * c, dims[K.W + K.UP] * c, wide * o
    for i in range((end - row) * o):
        dw[i] = 0
    some = max(1, CHUNK // wide)  # lines whose pixels stay in the first cache for all rows of dw
    line = first
    while line < last:
        sample, di, h_first = place(dims, line)
        h_last = min(lines, h_first + last - line, h_first + some)
        line += h_last - h_first
        d0, d1 = planes(dims, di)
        for kd in range(d0, d1):
            for kh in range(dims[K.H + K.TAPS]):
                h0, h1 = reached(dims[K.H + K.FROM] + kh * dims[K.H + K.TAP], dims[K.H + K.UP], lines, dims[K.H + K.IN])
                h0, h1 = max(h0, h_first), min(h1, h_last)
                if h0 >= h1:
                    continue
                at_x = address(x) + size * source(dims, sample, di, h0, kd, kh)
                at_dy = address(dy) + size * target(dims, sample, di, h0)
                for kw in range(runs):
                    r0 = ((kd * dims[K.H + K.TAPS] + kh) * runs + kw) * run
                    i0, stop = max(0, row - r0), min(run, end - r0)
                    for g in range(groups):
                        a = at_x + size * (kw * tap + g * cg)
                        j = 0
                        while j < og:
                            panel = strip(og - j, lanes, VECTORS)
                            n = min(og - j, panel)
                            b = at_dy + size * (g * og + j)
                            for i in range(i0, stop, HEIGHT):
                                at = address(dw) + size * ((r0 + i - row) * o + g * og + j)
                                m, from_a = min(HEIGHT, stop - i), a + size * i
                                work = dw, m, n, h1 - h0, wide, at, o, from_a, 1, a_seg, a_k, b, o, b_seg, at, o
                                pixels(panel, lanes, work)
                            j += n


@kernel
def flip(f, w, dims, first):
    """The weights with which a convolution of dy gives dx: f(taps, o / groups, c) from w(all taps, c / groups, o).

    dims are those of that convolution: along each axis FROM, UP, TAPS of f's taps in w. f is cut by its taps, from
    first on.
    """
    groups, c, o = dims[K.GROUPS], dims[K.OUTS], dims[K.INS]
    cg, og = c // groups, o // groups
    for tap in range(f.size // (og * c)):
        kw = (first + tap) % dims[K.W + K.TAPS]
        kh = (first + tap) // dims[K.W + K.TAPS] % dims[K.H + K.TAPS]
        kd = (first + tap) // (dims[K.W + K.TAPS] * dims[K.H + K.TAPS])
        d, h, v = (
            dims[K.D + K.FROM] + kd * dims[K.D + K.UP],
            dims[K.H + K.FROM] + kh * dims[K.H + K.UP],
            dims[K.W + K.FROM] + kw * dims[K.W + K.UP],
        )
        base = ((d * dims[K.H + K.FULL] + h) * dims[K.W + K.FULL] + v) * cg * o
        for g in range(groups):
            for i in range(og):
                for j in range(cg):
                    f[(tap * og + i) * c + g * cg + j] = w[base + j * o + g * og + i]


@kernel
def conv_images(y, x, w, b, dims, rows, left):
    """conv on blocks of 16 images: y and x are (blocks, d, h, w, channels, 16), w is as it lies; groups: one.

    Along w, too, taps that see no column of x are left out where UP and TAP are 1; else padding lies in memory.
    """
    size = y.itemsize
    c, o, wide, taps, across = dims[K.INS], dims[K.OUTS], dims[K.W + K.OUT], dims[K.W + K.TAPS], dims[K.W + K.IN]
    joined = dims[K.W + K.TAP] == 1
    cut = joined and dims[K.W + K.UP] == 1
    from_y, from_x, from_w, bias = address(y), address(x), address(w), address(b) if b.size else 0
    x_row, c_vec = dims[K.W + K.UP] * c * IMAGES, dims[K.W + K.STEP] * o * IMAGES
    x_seg = (dims[K.H + K.TAP] * across if joined else dims[K.W + K.TAP]) * c * IMAGES
    blocks = (min(rows, left) + IMAGES - 1) // IMAGES
    six = o % 8 == 6 or o < 6
    height, width = SIX if six else EIGHT
    along = taps if joined else 1
    for line in range(blocks * dims[K.D + K.OUT] * dims[K.H + K.OUT]):
        sample, di, hi = place(dims, line)
        d0, d1, h0, h1, some = windows(dims, di, hi, joined)
        for vector in range(IMAGES * size // WIDTH):
            lane = vector * (WIDTH // size)
            to = from_y + size * (target(dims, sample, di, hi) * IMAGES + lane)
            for kd in range(d0, d1):
                for piece in range(max(1, (h1 - h0) // some)):
                    kh = h0 + piece * some
                    at_w = from_w + size * (kd * dims[K.H + K.TAPS] + kh) * taps * c * o
                    at_x = from_x + size * (source(dims, sample, di, hi, kd, kh) * IMAGES + lane)
                    segments = 0 if h0 == h1 else some if joined else taps
                    later = kd > d0 or piece > 0
                    for band in range((o + height - 1) // height):
                        i = band * height
                        v = 0
                        while v < wide:
                            n, first = min(width, wide - v), dims[K.W + K.FROM] + v if cut else 0
                            many = min(wide - v, across - taps + 1 - first if cut else wide)
                            if first < 0 and (n < width or n > across + 1):
                                n = 1
                            elif first >= 0 and many >= width:
                                n = many - many % width
                            at = to + size * (i * IMAGES + v * c_vec)
                            work = (y, min(height, o - i), n, segments, along, c, at, IMAGES, c_vec,
                                    at_w + size * i, 1, along * c * o, o, at_x + size * v * x_row, x_row, x_seg,
                                    first, across if cut else along + n, at if later else 0,
                                    bias + size * i if bias else 0, 1)  # fmt: skip
                            if six:
                                images_six(*work)
                            else:
                                images_eight(*work)
                            v += n


@inlined
def pixels_kept(stride):
    """How many pixels, stride bytes apart, do not put each other out of the first cache; where a vector is a line, the
    second one is fast enough."""
    if WIDTH == 64:
        return CHUNK
    return min(CHUNK, WAYS * (PLACES // min(PLACES, stride & -stride)))


@kernel
def conv_images_grad_w(dw, x, dy, dims, rows, left):
    """conv_grad_w on blocks of 16 images, all rows of dw, and where dw has one row more, there the sum of dy.

    What images hold that are not there does not count.
    """
    size, samples = dw.itemsize, min(rows, left)
    c, o, taps, wide, lines = dims[K.INS], dims[K.OUTS], dims[K.W + K.TAPS], dims[K.W + K.OUT], dims[K.H + K.OUT]
    tap, a_k, b_k = dims[K.W + K.TAP] * c * IMAGES, dims[K.W + K.UP] * c * IMAGES, o * IMAGES
    a_seg, b_seg = dims[K.H + K.UP] * dims[K.W + K.IN] * c * IMAGES, wide * o * IMAGES
    large = filled(LARGE, taps * c, o) <= filled(SMALL, taps * c, o)
    tall, step = LARGE if large else SMALL
    for i in range(dw.size):
        dw[i] = 0
    some = max(1, pixels_kept(o * IMAGES * size) // wide)  # lines that stay in the first cache for all rows of dw
    pieces, vectors = (lines + some - 1) // some, IMAGES * size // WIDTH
    columns, bottom = (o + step - 1) // step, dims[K.D + K.TAPS] * dims[K.H + K.TAPS] * taps * c * o
    for work in range((samples + IMAGES - 1) // IMAGES * dims[K.D + K.OUT] * pieces * vectors * columns):
        j, lane = work % columns * step, work // columns % vectors * (WIDTH // size)
        h_first = work // (columns * vectors) % pieces * some
        block, di, _ = place(dims, work // (columns * vectors * pieces) * lines)
        count = samples - block * IMAGES - lane
        images = vectors if samples - block * IMAGES >= IMAGES else 1  # all are there: joined before lanes are
        if images > 1 and lane > 0:
            continue
        for v in range(0, o if j == 0 and dw.size > bottom else 0, MANY):
            b = address(dy) + size * ((target(dims, block, di, h_first) + v) * IMAGES + lane)
            at = address(dw) + size * (bottom + v)
            column_sums(dw, images, count, min(MANY, o - v), min(some, lines - h_first), wide, at, b, b_seg, b_k)
        d0, d1 = planes(dims, di)
        for row in range(0, taps * c, tall):  # taps of a channel, of the next: what is read of x is little
            ch = row // taps
            kw, m, n = row - ch * taps, min(tall, taps * c - row), min(step, o - j)
            to = address(dw) + size * ((kw * c + ch) * o + j)
            from_x = address(x) + size * (kw * tap + ch * IMAGES + lane)
            for kd in range(d0, d1):
                for kh in range(dims[K.H + K.TAPS]):
                    above = dims[K.H + K.FROM] + kh * dims[K.H + K.TAP]
                    h0, h1 = reached(above, dims[K.H + K.UP], lines, dims[K.H + K.IN])
                    h0, h1 = max(h0, h_first), min(h1, h_first + some)
                    if h0 >= h1:
                        continue
                    at = to + size * (kd * dims[K.H + K.TAPS] + kh) * taps * c * o
                    a = from_x + size * source(dims, block, di, h0, kd, kh) * IMAGES
                    b = address(dy) + size * ((target(dims, block, di, h0) + j) * IMAGES + lane)
                    given = (dw, images, count, m, n, h1 - h0, wide, at, c * o, o, a, tap, a_seg, a_k, b, b_seg, b_k,
                             kw, taps)  # fmt: skip
                    if large:
                        sums_large(*given)
                    else:
                        sums_small(*given)
