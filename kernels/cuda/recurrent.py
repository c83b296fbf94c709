"""Recurrent layers: kernels/cpu/recurrent.py on a GPU, where products over all steps are entries of their own: features
is 0. What is left is the chain of steps: a block goes through all of them for its few samples.

In a step its threads multiply the states by the weights. A thread takes four columns and a run of the depth, sixteen
weights at once by loads of 16 bytes; the first of them stay in its registers from step to step. It reads four numbers
of a state at once, the same as its neighbours, and puts its sums into the block's memory four at once: banks are free
of conflicts. A barrier. Then a thread has a unit of a sample, adds up the runs in their order and goes through the
gates; what it needs of the GPU's memory it has asked for a step ahead. A barrier: two a step, four with GRUv3, whose
steps have two products.
"""

from .. import cells as K
from .chain import clear, make_memory, make_multiply, onward, or_zero, sum_up, up
from .jit import barrier, fma, index, kernel, local, scalar, thread, typed
from .launch import CHAINS

relu, relu_grad, tanh, tanh_grad = scalar.relu, scalar.relu_grad, scalar.tanh, scalar.tanh_grad
sigmoid, sigmoid_grad = scalar.sigmoid, scalar.sigmoid_grad


@kernel
def fetch(ahead, gx, at, size, gates):
    """What the inputs give to the sums of a unit's gates in a step."""
    for g in range(4):
        if index(g) < gates:
            ahead[g] = gx[at + index(g) * size]


@kernel
def keep(gates, at, size, count, a, b, c, d):
    """The gates of a unit, for the gradient, if one will be asked for."""
    if gates.size:
        gates[at] = a
        if count > index(1):
            gates[at + size] = b
        if count > index(2):
            gates[at + size + size] = c
        if count > index(3):
            gates[at + index(3) * size] = d


@kernel
def cell(kind, memory, here, there, from_x, sums, cells, at, gates, at_gates, size):
    """A step of a unit: its new state. here: where its old state is, there: LSTM's cell state."""
    if kind == K.LSTM:
        i, f, g, o = sigmoid(sums[0]), sigmoid(sums[1]), tanh(sums[2]), sigmoid(sums[3])
        c = fma(f, memory[there], i * g)
        memory[there] = c
        if cells.size:
            cells[at] = c
        keep(gates, at_gates, size, index(4), i, f, g, o)
        return o * tanh(c)
    if kind == K.GRU:
        r, z, q = sigmoid(from_x[0] + sums[0]), sigmoid(from_x[1] + sums[1]), sums[2]
        new = tanh(fma(r, q, from_x[2]))
        keep(gates, at_gates, size, index(4), r, z, q, new)
        return fma(z, memory[here] - new, new)
    return tanh(sums[0]) if kind == K.RNN else relu(sums[0])


def make_forward(name, team):  # long: a factory, whose functions share sizes
    """The kernel forward for blocks of a kind."""
    jump, samples, held, early = index(team.threads), team.samples, max(1, team.held), team.held > 0
    place = make_memory(team)
    share, hold, multiply = make_multiply(team, team.held)
    multiply_new = make_multiply(team, 0)[2]
    all_sums, some_weights, weights_held, from_inputs, gate_sums = map(local, (4 * samples, 16, 16 * held, 4, 4))

    @kernel
    def begin(arrays, memory, numbers):
        h, c, h0, c0 = arrays
        n, size, row, steps, pitch, gates, s, j = numbers
        while s < n:
            e, at = index(s * size + j), index(s * row + j)
            memory[at] = or_zero(h0, e, h)
            if c.size:
                memory[index(n * row + at)] = or_zero(c0, e, h)
            s, j = onward(s, j, jump, n, size)

    @kernel
    def end(h, c, memory, numbers):
        n, size, row, steps, pitch, gates, s, j = numbers
        while s < n:
            e, at = index(s * size + j), index(s * row + j)
            h[e] = memory[at]
            if c.size:
                c[e] = memory[index(n * row + at)]
            s, j = onward(s, j, jump, n, size)

    @kernel
    def look(ahead, gx, numbers, t):
        """At what this thread's first unit needs in a step."""
        n, size, row, steps, pitch, gates, s, j = numbers
        if early and s < n and t < steps:
            fetch(ahead, gx, index((s * steps + t) * pitch + j), size, gates)

    @kernel
    def pass_gates(kind, arrays, memory, ahead, sums, numbers, wide, gates_first, per, runs, t):
        """All units, after the step's product; of GRUv3 the half before its second."""
        y, cells, gates, gx, state_bias, lengths = arrays
        n, size, row, steps, pitch, gates_all, s, j = numbers
        there = index(n * row)
        while s < n:
            p, here = index(s * steps + t), index(s * row + j)
            at, at_gates = index(p * size + j), index(p * per + j)
            if not early or s * size + j >= jump:
                fetch(ahead, gx, index(p * pitch + j), size, gates_all)
            for g in range(4):
                sums[g] = or_zero(state_bias, index(index(g) * size + j), y) if kind == K.GRU and g < 3 else ahead[g]
            sum_up(sums, memory, index(index(3) * there + s * wide + j), size, gates_first, index(n * wide), runs)
            zero = y.dtype.type(0)
            if lengths.size and t >= lengths[s]:
                y[at] = zero
                keep(gates, at_gates, size, index(per // size), zero, zero, zero, zero)
                if cells.size:
                    cells[at] = memory[index(there + here)] if kind == K.LSTM else zero
            elif kind == K.GRU_V3:
                r, z = sigmoid(sums[0]), sigmoid(sums[1])
                kept = r * memory[here]
                memory[index(there + here)], memory[index(there + there + here)] = kept, z
                keep(gates, at_gates, size, index(2), r, z, z, z)
                if cells.size:
                    cells[at] = kept
            else:
                new = cell(kind, memory, here, index(there + here), ahead, sums, cells, at, gates, at_gates, size)
                memory[here] = y[at] = new
            s, j = onward(s, j, jump, n, size)

    @kernel
    def pass_new(arrays, memory, ahead, sums, numbers, per, runs, t):
        """All units of GRUv3, after its second product."""
        y, cells, gates, gx, state_bias, lengths = arrays
        n, size, row, steps, pitch, gates_all, s, j = numbers
        there = index(n * row)
        while s < n:
            p, here = index(s * steps + t), index(s * row + j)
            if not early or n * size > jump:
                fetch(ahead, gx, index(p * pitch + j), size, gates_all)
            sums[0] = ahead[2]
            sum_up(sums, memory, index(index(3) * there + here), size, index(1), there, runs)
            if lengths.size == 0 or t < lengths[s]:
                new, z = tanh(sums[0]), memory[index(there + there + here)]
                if gates.size:
                    gates[index(p * per + size + size + j)] = new
                state = fma(z, memory[here] - new, new)
                memory[here] = y[index(p * size + j)] = state
            s, j = onward(s, j, jump, n, size)

    def forward(
        y, h, c, cells, gates, xs, gx, sums, x, wi, w, w_new, bias, state_bias, h0, c0, lengths,
        kind, reverse, steps, rows, pitch, features, hidden, columns, width, saved, w_row,
    ):  # fmt: skip
        memory, ahead, own = place(sums), from_inputs(y), gate_sums(y)
        acc, fresh, kept = all_sums(y), some_weights(y), weights_held(y)
        size, wide, row_w, per, last = index(hidden), index(width), index(w_row), index(saved), index(steps - 1)
        n, row = index(h.size // hidden), index(up(size))
        first = index(thread() // size), index(thread() % size)
        numbers = n, size, row, index(steps), index(pitch), index(columns // hidden), *first
        there, to, zero, gates_first = index(n * row), index(index(3) * n * row), index(0), index(width // hidden)
        arrays = y, cells, gates, gx, state_bias, lengths
        work, work_new = share(size, wide), share(size, size)
        t = last if reverse else zero
        clear(memory, to)
        barrier()
        begin((h, c, h0, c0), memory, numbers)
        look(ahead, gx, numbers, t)
        hold(kept, work, w, row_w, size, wide)
        barrier()
        k = zero
        while k <= last:
            multiply(acc, fresh, kept, work, memory, to, zero, row, w, row_w, size, wide, n)
            barrier()
            pass_gates(kind, arrays, memory, ahead, own, numbers, index(up(wide)), gates_first, per, work[0], t)
            barrier()
            if kind == K.GRU_V3:
                multiply_new(acc, fresh, kept, work_new, memory, to, there, row, w_new, row_w, size, size, n)
                barrier()
                pass_new(arrays, memory, ahead, own, numbers, per, work_new[0], t)
                barrier()
            k = index(k + index(1))
            t = index(last - min(k, last)) if reverse else k
            look(ahead, gx, numbers, t)
        end(h, c, memory, numbers)

    forward.__name__ = forward.__qualname__ = name
    return kernel(forward)


# Forward there are registers for fewer weights.
forward_small, forward_alone, forward_some, forward_wide = (
    make_forward(f"forward{k}", t._replace(held=min(t.held, 2))) for k, t in CHAINS.items()
)


@kernel
def fetch_grad(ahead, arrays, kind, s, j, t, numbers):
    """Of a unit in a step: four gates, dy, c (RNN: y), c and h of the step before."""
    dy, y, cells, gates, h0, c0, lengths = arrays
    n, size, row, steps, pitch, per, back = numbers[:7]
    at = index((s * steps + t) * size + j)
    for g in range(4):
        if index(g) * size < per:
            ahead[g] = gates[index((s * steps + t) * per + index(g) * size + j)]
    ahead[4] = or_zero(dy, at, y)
    ahead[5] = cells[at] if kind == K.LSTM else y[at]
    before = index(t + index(1)) if back else index(t - index(min(t, index(1))))
    earlier = (before < steps if back else t > index(0)) and (lengths.size == 0 or before < lengths[s])
    at = index((s * steps + before) * size + j) if earlier else index(s * size + j)
    ahead[6] = typed(0, ahead[4])
    if kind == K.LSTM:
        ahead[6] = cells[at] if earlier else or_zero(c0, at, y)
    ahead[7] = y[at] if earlier else or_zero(h0, at, y)


@kernel
def cell_grad(kind, own, d, memory, there, dh):
    """A step of a unit, backwards. d[:4]: of the sums of its gates; d[4]: of what is left of dh for the state before;
    d[5]: GRU's of the state's part of the last sum. there: LSTM's dc."""
    zero = typed(0, dh)
    d[4] = zero
    if kind == K.LSTM:
        i, f, g, o, bent = own[0], own[1], own[2], own[3], tanh(own[5])
        dc = memory[there] + tanh_grad(bent, dh * o)
        d[0], d[1] = sigmoid_grad(i, dc * g), sigmoid_grad(f, dc * own[6])
        d[2], d[3] = tanh_grad(g, dc * i), sigmoid_grad(o, dh * bent)
        memory[there] = dc * f
    elif kind == K.RNN:
        d[0] = tanh_grad(own[5], dh)
    elif kind == K.RNN_RELU:
        d[0] = relu_grad(own[5], dh)
    else:
        r, z, new, before = own[0], own[1], own[3] if kind == K.GRU else own[2], own[7]
        d[1], d[2] = sigmoid_grad(z, dh * (before - new)), tanh_grad(new, dh - dh * z)
        d[4] = dh * z
        if kind == K.GRU:
            d[5], d[0] = d[2] * r, sigmoid_grad(r, d[2] * own[2])


def make_backward(name, team):  # long: a factory, whose functions share sizes
    """The kernel backward for blocks of a kind."""
    jump, samples, held, early = index(team.threads), team.samples, max(1, team.held), team.held > 0
    place = make_memory(team)
    share, hold, multiply = make_multiply(team, team.held)
    multiply_new = make_multiply(team, 0)[2]
    all_sums, some_weights, weights_held = map(local, (4 * samples, 16, 16 * held))
    from_memory, of_gates, of_state = map(local, (8, 6, 4))

    @kernel
    def begin(memory, dh_last, dc_last, kind, there, numbers):
        n, size, row, steps, pitch, per, back, s, j = numbers
        while s < n:
            e, at = index(s * size + j), index(there + s * row + j)
            memory[index(at + n * row)] = or_zero(dh_last, e, memory)
            if kind == K.LSTM:
                memory[at] = or_zero(dc_last, e, memory)
            s, j = onward(s, j, jump, n, size)

    @kernel
    def end(dh, dc, memory, kind, sums, there, numbers, runs):
        """The gradients of the first state, from what is left and what the last product has."""
        n, size, row, steps, pitch, per, back, s, j = numbers
        while s < n:
            e, at = index(s * size + j), index(there + s * row + j)
            sums[0] = memory[index(at + n * row)]
            sum_up(sums, memory, index(at + index(2) * n * row), size, index(1), index(n * row), runs)
            dh[e] = sums[0]
            if kind == K.LSTM:
                dc[e] = memory[at]
            s, j = onward(s, j, jump, n, size)

    @kernel
    def look(ahead, arrays, kind, t, numbers):
        """At what this thread's first unit needs in a step."""
        s, j = numbers[7:]
        if early and s < numbers[0]:
            fetch_grad(ahead, arrays, kind, s, j, t, numbers)

    @kernel
    def put(kind, d, ds, grads, memory, at, at_d, size, gates, there):
        """A unit's gradients, for the next product and for those over all steps."""
        for g in range(4):
            if index(g) < gates:
                state = grads[5] if kind == K.GRU and g == 2 else grads[g]
                if kind == K.GRU:
                    ds[index(at_d + index(g) * size)] = state
                d[index(at_d + index(g) * size)] = grads[g]
                if kind == K.GRU_V3 and g == 2:
                    memory[there] = grads[g]
                else:
                    memory[index(at + index(g) * size)] = state

    @kernel
    def pass_gates(kind, arrays, d, ds, before, memory, ahead, grads, sums, there, numbers, depth, gates, runs, t):
        """All units, before the step's product; of GRUv3 the half before its first."""
        n, size, row, steps, pitch, per, back, s, j = numbers
        while s < n:
            p, here = index(s * steps + t), index(there + s * row + j)
            if not early or s * size + j >= jump:
                fetch_grad(ahead, arrays, kind, s, j, t, numbers)
            before[index(p * size + j)] = ahead[7]
            left = index(here + n * row)
            sums[0] = memory[left]
            sum_up(sums, memory, index(left + n * row), size, index(1), index(n * row), runs)
            for g in range(6):
                grads[g] = typed(0, sums[0])
            lengths = arrays[6]
            if lengths.size and t >= lengths[s]:
                memory[left] = sums[0]
            else:
                cell_grad(kind, ahead, grads, memory, here, sums[0] + ahead[4])
                memory[left] = grads[4]
            put(kind, d, ds, grads, memory, index(s * depth + j), index(p * pitch + j), size, gates, here)
            s, j = onward(s, j, jump, n, size)

    @kernel
    def pass_reset(kind, arrays, d, memory, ahead, sums, there, numbers, depth, runs, t):
        """All units of GRUv3, after its first product: of the state and of r from that of what they make."""
        n, size, row, steps, pitch, per, back, s, j = numbers
        lengths = arrays[6]
        while s < n:
            if not early or n * size > jump:
                fetch_grad(ahead, arrays, kind, s, j, t, numbers)
            left = index(there + n * row + s * row + j)
            sums[0] = typed(0, ahead[0])
            sum_up(sums, memory, index(left + n * row), size, index(1), index(n * row), runs)
            if lengths.size == 0 or t < lengths[s]:
                memory[left] = fma(sums[0], ahead[0], memory[left])
                reset = sigmoid_grad(ahead[0], sums[0] * ahead[7])
                memory[index(s * depth + j)] = d[index((s * steps + t) * pitch + j)] = reset
            s, j = onward(s, j, jump, n, size)

    def backward(
        dwi, dw, db, dsb, dgx, dh, dc, xs, d, ds, before, kept, free, x, dy, dh_last, dc_last, y, cells, gates, w,
        w_new, h0, c0, lengths, kind, reverse, steps, rows, pitch, features, hidden, columns, width, saved,
    ):  # fmt: skip
        memory, ahead, grads, sums = place(free), from_memory(dh), of_gates(dh), of_state(dh)
        acc, fresh, held_w = all_sums(dh), some_weights(dh), weights_held(dh)
        size, wide, last, zero = index(hidden), index(width), index(steps - 1), index(0)
        n, row, depth = index(dh.size // hidden), index(up(size)), index(up(wide))
        there, gates_all = index(n * depth), index(columns // hidden)
        to = index(there + index(2) * n * row)
        first = index(thread() // size), index(thread() % size)
        numbers = n, size, row, index(steps), index(pitch), index(saved), index(reverse), *first
        arrays = dy, y, cells, gates, h0, c0, lengths
        work, work_new = share(wide, size), share(size, size)
        t = zero if reverse else last
        clear(memory, index(to + work[0] * n * row))
        barrier()
        begin(memory, dh_last, dc_last, kind, there, numbers)
        look(ahead, arrays, kind, t, numbers)
        hold(held_w, work, w, size, wide, size)
        barrier()
        k = zero
        while k <= last:
            pass_gates(
                kind, arrays, d, ds, before, memory, ahead, grads, sums, there, numbers, depth, gates_all, work[0], t
            )
            barrier()
            if kind == K.GRU_V3:
                multiply_new(acc, fresh, held_w, work_new, memory, to, there, row, w_new, size, size, size, n)
                barrier()
                pass_reset(kind, arrays, d, memory, ahead, sums, there, numbers, depth, work_new[0], t)
                barrier()
            k = index(k + index(1))
            t = min(k, last) if reverse else index(last - min(k, last))
            look(ahead, arrays, kind, t, numbers)
            multiply(acc, fresh, held_w, work, memory, to, zero, depth, w, size, wide, size, n)
            barrier()
        end(dh, dc, memory, kind, sums, there, numbers, work[0])

    backward.__name__ = backward.__qualname__ = name
    return kernel(backward)


backward_small, backward_alone, backward_some, backward_wide = (
    make_backward(f"backward{k}", t) for k, t in CHAINS.items()
)
