"""Recurrent layers: all steps of some samples in one call, forward and backward through time.

Arrays are flat; sequences are (samples, steps, features). The steps are worked off by stretches: as many as give some
`rows` of samples and steps, whose products with the weights of the inputs, and whose part of the gradients of weights,
are one product each while all of it is in the core's cache. Rows of scratch lie `pitch` numbers apart, which is not a
power of two. Each step is one product of the state with its weights, and a pass over what it gives. A sample whose
sequence has ended (lengths) keeps its state; its outputs are zero.

gates   what the gradient needs of each step: LSTM i f g o; GRU r z q h with q the state's part of h; GRUv3 r z h.
        Empty: no gradient will be asked for
cells   LSTM: the cell state after each step; GRUv3: r * state
"""

from .. import cells as K
from ..jit import address, fma, kernel
from ..scalar import inlined, relu, relu_grad, sigmoid, sigmoid_grad, tanh, tanh_grad
from .dense import product
from .reduce import part
from .tile import WIDTH, make_row, shape_of, strip

_, VECTORS, _ = shape_of(WIDTH)
ABREAST = WIDTH  # elements: four vectors of float32, eight of float64
double_row, full_row = make_row(2, WIDTH), make_row(VECTORS, WIDTH)


@inlined
def copy(to, source):
    for j in range(to.size):
        to[j] = source[j]


@inlined
def clear(to):
    for j in range(to.size):
        to[j] = 0


@inlined
def begin(to, source):
    """A state that is given, or zero."""
    if source.size:
        copy(to, source)
    else:
        clear(to)


def applied(f):
    """f of every element. Each is a chain of instructions that wait for one another, so several vectors are worked on
    side by side: a loop of a fixed length becomes straight code."""

    @inlined
    def each(to, x):
        whole = to.size - to.size % ABREAST
        for first in range(0, whole, ABREAST):
            for j in range(ABREAST):
                to[first + j] = f(x[first + j])
        for j in range(whole, to.size):
            to[j] = f(x[j])

    return each


squash, bend = applied(sigmoid), applied(tanh)


@kernel
def gather(to, x, first, count, steps, size):
    """Rows of some steps of each sample of x(n, steps, size), side by side."""
    for i in range(x.size // (steps * size)):
        copy(part(to, i * count * size, count * size), part(x, (i * steps + first) * size, count * size))


@inlined
def lstm(h, c, to, sums):
    """i, f, g, o from their sums; then c and h."""
    n = h.size
    squash(part(to, 0, 2 * n), part(sums, 0, 2 * n))
    bend(part(to, 2 * n, n), part(sums, 2 * n, n))
    squash(part(to, 3 * n, n), part(sums, 3 * n, n))
    i, f, g, o = part(to, 0, n), part(to, n, n), part(to, 2 * n, n), part(to, 3 * n, n)
    for j in range(n):
        c[j] = fma(f[j], c[j], i[j] * g[j])
    bend(h, c)
    for j in range(n):
        h[j] *= o[j]


@inlined
def mix(h, z, new):
    for j in range(h.size):
        h[j] = fma(z[j], h[j] - new[j], new[j])


@inlined
def gru(h, to, sums, from_x):
    """r, z, q, h from r and z of both parts, and q."""
    n = h.size
    for j in range(2 * n):
        sums[j] += from_x[j]
    squash(part(to, 0, 2 * n), part(sums, 0, 2 * n))
    r, z, q, new = part(to, 0, n), part(to, n, n), part(to, 2 * n, n), part(to, 3 * n, n)
    rest, x_new = part(sums, 2 * n, n), part(from_x, 2 * n, n)
    copy(q, rest)
    for j in range(n):
        rest[j] = fma(r[j], q[j], x_new[j])
    bend(new, rest)
    mix(h, z, new)


@kernel
def cell(kind, state, c, mine, row, from_x, kept):
    """One step of one sample from the sums in row; of GRUv3 the half before its second product."""
    hidden = state.size
    if kind == K.LSTM:
        lstm(state, c, mine, row)
        copy(kept, part(c, 0, kept.size))
    elif kind == K.GRU:
        gru(state, mine, row, from_x)
    elif kind == K.RNN:
        bend(state, part(row, 0, hidden))
    elif kind == K.RNN_RELU:
        for j in range(hidden):
            state[j] = relu(row[j])
    else:
        squash(part(mine, 0, 2 * hidden), row)
        for j in range(hidden):
            row[j] = mine[j] * state[j]
        copy(kept, part(row, 0, kept.size))


@kernel
def forward(
    y, h, c, cells, gates, xs, gx, sums, x, wi, w, w_new, bias, state_bias, h0, c0, lengths,
    kind, reverse, steps, rows, pitch, features, hidden, columns, width, saved, w_row,
):  # fmt: skip
    """y, and the last h and c. Scratch: xs and gx for rows; sums: for each sample width sums, then the gates of a step.

    features: 0 where gx is given, all steps being one stretch. wi: packed, of features x columns. w: of width columns
    (GRUv3: of r and z), w_new: of GRUv3 for h; packed, or w_row numbers a row. saved: the gates' size for a sample and
    step.
    """
    n = h.size // hidden
    room, stretch = sums.size // n, max(1, rows // n)
    packed = 1 if w_row == 0 else 0
    begin(h, h0)
    begin(c, c0)
    for piece in range((steps + stretch - 1) // stretch):
        some = min(stretch, steps - piece * stretch)
        first = steps - piece * stretch - some if reverse else piece * stretch
        count = n * some
        if features:
            gather(xs, x, first, some, steps, features)
            product(gx, xs, wi, bias, count, count, columns, columns, features, features, pitch, features, 1, 0, 0, 1)
        for s in range(some):
            k = some - 1 - s if reverse else s
            t = first + k
            start, start_row = (state_bias, 0) if kind == K.GRU else (part(gx, k * pitch, pitch), some * pitch)
            product(sums, h, w, start, n, n, width, width, hidden, hidden, room, hidden, 1, w_row, start_row, packed)
            for i in range(n):
                at, row, state = i * steps + t, part(sums, i * room, room), part(h, i * hidden, hidden)
                mine = part(gates, at * saved, saved) if gates.size else part(row, width, room - width)
                kept = part(cells, at * hidden, hidden if cells.size else 0)
                if lengths.size == 0 or t < lengths[i]:
                    c_i = part(c, i * hidden, hidden if c.size else 0)
                    cell(kind, state, c_i, mine, row, part(gx, (i * some + k) * pitch, columns), kept)
                elif gates.size:
                    clear(mine)
                    begin(kept, part(c, i * hidden, hidden if c.size else 0))
            if kind == K.GRU_V3:
                start, fresh = part(gx, k * pitch + width, pitch), part(sums, hidden, sums.size - hidden)
                work = fresh, sums, w_new, start, n, n, hidden, hidden, hidden, hidden, room, room, 1, w_row, start_row
                product(*work, packed)
            for i in range(n):
                at, row, state = i * steps + t, part(sums, i * room, room), part(h, i * hidden, hidden)
                on = lengths.size == 0 or t < lengths[i]
                if kind == K.GRU_V3 and on:
                    mine = part(gates, at * saved, saved) if gates.size else part(row, width, room - width)
                    new = part(mine, 2 * hidden, hidden)
                    bend(new, part(row, hidden, hidden))
                    mix(state, part(mine, hidden, hidden), new)
                begin(part(y, at * hidden, hidden), part(state, 0, hidden if on else 0))


@inlined
def lstm_grad(d, dh, dc, to, c, last, room):
    """d of i, f, g, o; dc and dh of the step before. last: c before this step, or empty."""
    n = dh.size
    i, f, g, o = part(to, 0, n), part(to, n, n), part(to, 2 * n, n), part(to, 3 * n, n)
    di, df, dg, do = part(d, 0, n), part(d, n, n), part(d, 2 * n, n), part(d, 3 * n, n)
    bend(room, c)
    for j in range(n):
        dc[j] = dc[j] + tanh_grad(room[j], dh[j] * o[j])
    for j in range(n):
        do[j] = sigmoid_grad(o[j], dh[j] * room[j])
    for j in range(n):
        di[j] = sigmoid_grad(i[j], dc[j] * g[j])
    for j in range(n):
        dg[j] = tanh_grad(g[j], dc[j] * i[j])
    if last.size:
        for j in range(n):
            df[j] = sigmoid_grad(f[j], dc[j] * last[j])
    else:
        clear(df)
    for j in range(n):
        dc[j] *= f[j]
    clear(dh)


@inlined
def mix_grad(dz, dnew, dh, z, new, before):
    """Of h = new + z (before - new): of the sums behind z and new, then of before alone."""
    n = dh.size
    for j in range(n):
        dz[j] = sigmoid_grad(z[j], dh[j] * (before[j] - new[j]))
    for j in range(n):
        dnew[j] = tanh_grad(new[j], dh[j] - dh[j] * z[j])
    for j in range(n):
        dh[j] *= z[j]


@kernel
def cell_grad(kind, d, ds, dh, dc, mine, done, c, c_last, before, room):
    """One step of one sample, backwards: d of the gates' sums, ds (GRU) of the state's part of them; dh and dc."""
    n = dh.size
    if kind == K.LSTM:
        lstm_grad(d, dh, dc, mine, c, c_last, room)
    elif kind == K.RNN or kind == K.RNN_RELU:
        if kind == K.RNN:
            for j in range(n):
                d[j] = tanh_grad(done[j], dh[j])
        else:
            for j in range(n):
                d[j] = relu_grad(done[j], dh[j])
        clear(dh)
    else:
        r, z, new = part(mine, 0, n), part(mine, n, n), part(mine, (3 if kind == K.GRU else 2) * n, n)
        dnew = part(d, 2 * n, n)
        mix_grad(part(d, n, n), dnew, dh, z, new, before)
        if kind == K.GRU:
            q, dq = part(mine, 2 * n, n), part(ds, 2 * n, n)
            for j in range(n):
                dq[j] = dnew[j] * r[j]
            for j in range(n):
                d[j] = sigmoid_grad(r[j], dnew[j] * q[j])
            copy(part(ds, 0, 2 * n), part(d, 0, 2 * n))


@kernel
def reset_grad(d, dh, r, before, dkept):
    """GRUv3: of r and of the state from that of their product."""
    for j in range(dh.size):
        dh[j] = fma(dkept[j], r[j], dh[j])
    for j in range(dh.size):
        d[j] = sigmoid_grad(r[j], dkept[j] * before[j])


@kernel
def state_grad(dh, d, w, width, n, hidden, d_row):
    """dh += d W, w packed. One sample has a way of its own: there nothing hides the time of one chain of sums."""
    if n > 1:
        product(dh, d, w, dh, n, n, hidden, hidden, width, width, hidden, d_row, 1, 0, hidden, 1)
        return
    size, lanes, j = dh.itemsize, WIDTH // dh.itemsize, 0
    while j < hidden:
        panel = min(strip(hidden - j, lanes, VECTORS), hidden - j)
        work = dh, panel, width, address(dh) + size * j, address(d), address(w) + size * j * width
        if panel <= 2 * lanes:
            double_row(*work)
        else:
            full_row(*work)
        j += panel


@kernel
def grad_w(kind, dwi, dw, db, dsb, d, ds, xs, before, kept, count, pitch, features, hidden, columns):
    """What a stretch of count rows adds to the gradients of weights and biases."""
    product(
        dwi, xs, d, dwi, features, features, columns, columns, count, count, columns, 1, features, pitch, columns, 0
    )
    wide = 2 * hidden if kind == K.GRU_V3 else columns
    work = hidden, hidden, wide, wide, count, count, columns, 1, hidden, pitch, columns, 0
    product(dw, before, ds if kind == K.GRU else d, dw, *work)
    if kind == K.GRU_V3:
        third, d_new = part(dw, wide, dw.size - wide), part(d, wide, d.size - wide)
        work = hidden, hidden, hidden, hidden, count, count, columns, 1, hidden, pitch, columns, 0
        product(third, kept, d_new, third, *work)
    for i in range(count):
        row, state_row = part(d, i * pitch, db.size), part(ds, i * pitch, dsb.size)
        for j in range(db.size):
            db[j] += row[j]
        for j in range(dsb.size):
            dsb[j] += state_row[j]


@kernel
def backward(
    dwi, dw, db, dsb, dgx, dh, dc, xs, d, ds, before, kept, free, x, dy, dh_last, dc_last, y, cells, gates, w, w_new,
    h0, c0, lengths, kind, reverse, steps, rows, pitch, features, hidden, columns, width, saved,
):  # fmt: skip
    """dwi, dw, db and dsb of these samples, dgx (unless empty) of gx, dh and dc of the first state.

    Scratch: for rows xs, d, ds (GRU), before, kept (GRUv3); for samples free. w, w_new: turned over, then packed.
    features: 0 where d, ds and before, all steps being one stretch, are what is wanted: others make gradients of them.
    """
    n = dh.size // hidden
    stretch, own = max(1, rows // n), kind == K.GRU
    begin(dh, dh_last)
    begin(dc, dc_last)
    clear(dwi)
    clear(dw)
    clear(db)
    clear(dsb)
    for piece in range((steps + stretch - 1) // stretch):
        some = min(stretch, steps - piece * stretch)
        first = piece * stretch if reverse else steps - piece * stretch - some
        if features:
            gather(xs, x, first, some, steps, features)
        if features and kind == K.GRU_V3:
            gather(kept, cells, first, some, steps, hidden)
        for s in range(some):
            k = s if reverse else some - 1 - s
            t = first + k
            last = t + 1 if reverse else t - 1
            for i in range(n):
                at, r, state = i * steps + t, i * some + k, part(dh, i * hidden, hidden)
                row, state_row = part(d, r * pitch, columns), part(ds, r * pitch, columns if own else 0)
                on = lengths.size == 0 or t < lengths[i]
                earlier = 0 <= last and last < steps and (lengths.size == 0 or last < lengths[i])
                begun = part(before, r * hidden, hidden)
                if earlier:
                    copy(begun, part(y, (i * steps + last) * hidden, hidden))
                else:
                    begin(begun, part(h0, i * hidden, hidden if h0.size else 0))
                if on:
                    if dy.size:
                        dyt = part(dy, at * hidden, hidden)
                        for j in range(hidden):
                            state[j] += dyt[j]
                    c_size = hidden if kind == K.LSTM else 0
                    c_last = part(c0, i * hidden, hidden if c0.size else 0)
                    if earlier:
                        c_last = part(cells, (i * steps + last) * c_size, c_size)
                    dc_i, c_i = part(dc, i * c_size, c_size), part(cells, at * c_size, c_size)
                    done, mine = part(y, at * hidden, hidden), part(gates, at * saved, saved)
                    cell_grad(kind, row, state_row, state, dc_i, mine, done, c_i, c_last, begun, part(free, 0, hidden))
                else:
                    clear(row)
                    clear(state_row)
            if kind == K.GRU_V3:
                d_new = part(d, k * pitch + width, pitch)
                none = part(d, 0, 0)
                work = hidden, hidden, hidden, hidden, hidden, some * pitch, 1, 0, 0, 1
                product(free, d_new, w_new, none, n, n, *work)
                for i in range(n):
                    r = i * some + k
                    if lengths.size == 0 or t < lengths[i]:
                        reset = part(gates, (i * steps + t) * saved, hidden)
                        begun, dkept = part(before, r * hidden, hidden), part(free, i * hidden, hidden)
                        reset_grad(part(d, r * pitch, hidden), part(dh, i * hidden, hidden), reset, begun, dkept)
            back = part(ds if own else d, k * pitch, pitch)
            state_grad(dh, back, w, width, n, hidden, some * pitch)
        if dgx.size:
            for i in range(n):
                for k in range(some):
                    to = part(dgx, (i * steps + first + k) * columns, columns)
                    copy(to, part(d, (i * some + k) * pitch, columns))
        if features:
            grad_w(kind, dwi, dw, db, dsb, d, ds, xs, before, kept, n * some, pitch, features, hidden, columns)
