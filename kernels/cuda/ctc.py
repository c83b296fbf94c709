"""Connectionist temporal classification: kernels/cpu/ctc.py on a GPU. A block has a sample, a thread some states.

Times follow one another; at each a state needs those of the time before, which lie in the memory of the block where
they fit. What does not depend on states before is done for all times at once.
"""

import math

from .check import clamped
from .jit import barrier, index, int32, kernel, part, parts, scalar, shared, thread, threads, typed
from .launch import WARP
from .team import block_min, warp_max, warp_sum

NONE = -1e200  # the logarithm of no probability: sums of many stay finite, and minus infinity would give NaN
PLACES = 1536  # of a row of states in the memory of the block
exp, log, maximum, minimum = scalar.exp, scalar.log, scalar.maximum, scalar.minimum
memory = shared(2 * PLACES)


@kernel
def log_sum(a, b, c):
    """log(exp(a) + exp(b) + exp(c)): of the largest, without its power, which is 1."""
    less, more = minimum(a, b), maximum(a, b)
    top, middle, least = maximum(more, c), maximum(less, minimum(more, c)), minimum(less, c)
    return top + log(typed(1, top) + exp(middle - top) + exp(least - top))


@kernel
def fill_norms(norms, x, first, times):
    """norms[t]: the logarithm of the sum of exp(x) over row first + t of x; a warp has a row."""
    classes, lane, t = index(x.shape[1]), index(thread() % index(WARP)), index(thread() // index(WARP))
    while t < times:
        row, top, total, k = x[index(first + t)], x.dtype.type(-math.inf), x.dtype.type(0), lane
        while k < classes:
            top = maximum(top, row[k])
            k = index(k + index(WARP))
        top, k = warp_max(top), lane
        while k < classes:
            total += exp(row[k] - top)
            k = index(k + index(WARP))
        total = warp_sum(total)
        if lane == 0:
            norms[t] = typed(top, norms[0]) + typed(log(total), norms[0])
        t = index(t + threads() // index(WARP))


@kernel
def class_of(labels, s, classes, blank):
    """Of state s: labels with a blank before, between and behind."""
    return index(clamped(labels[index(s // index(2))], classes)) if s % index(2) else index(blank)


@kernel
def step_to(labels, s, count, like):
    """0 where a path may come to state s from s - 2, past a blank: to a label unlike the one before; else NONE.

    Into the first label and out of the last one, too: a path enters from place -1, and leaves to place 2 count + 1.
    """
    i = index(s // index(2))
    free = s % index(2) == 1 and (i == 0 or i == count or labels[i] != labels[index(i - index(1))])
    return typed(0, like) if free else typed(NONE, like)


@kernel
def chance(row, norm, k):
    """The logarithm of the probability of class k at a time."""
    x = typed(row[k], norm) - norm
    return typed(NONE, norm) if x < typed(NONE, norm) else x


@kernel
def rows_of(work, start, size):
    """Two rows of states and two places more, in the memory of the block if they fit."""
    room, places = memory(work), index(size + index(2))
    if places <= index(PLACES):
        return room[: index(PLACES)], room[index(PLACES) :]
    return work[start : index(start + places)], work[index(start + places) : index(start + places + places)]


@kernel
def forward(old, new, norms, x, first, times, labels, count, blank, kept, places):
    """Paths from time to time, states s at place 2 + s; of each time they are kept, if there is room for it. The last
    ones are in old after an even number of times."""
    size, classes, t = index(index(2) * count + index(1)), x.shape[1], index(0)
    own = thread()
    s = own
    while s < size + index(2):
        old[s], new[s] = typed(0, norms[0]) if s == 1 else typed(NONE, norms[0]), typed(NONE, norms[0])
        s = index(s + threads())
    barrier()
    k = class_of(labels, own, classes, blank) if own < size else index(0)
    step = step_to(labels, own, count, norms[0]) if own < size else typed(NONE, norms[0])
    ahead = chance(x[first], norms[0], k) if times > 0 else typed(NONE, norms[0])
    while t < times:
        at, one, s, value, by = index(first + t), norms[t], own, ahead, step
        if t + index(1) < times:  # on its way while this time is worked on
            ahead = chance(x[index(at + index(1))], norms[index(t + index(1))], k)
        while s < size:
            if s != own:
                value = chance(x[at], one, class_of(labels, s, classes, blank))
                by = step_to(labels, s, count, one)
            here = log_sum(old[index(s + index(2))], old[index(s + index(1))], old[s] + by) + value
            new[index(s + index(2))] = here
            if kept.size:
                kept[index(t * places + s)] = here
            s = index(s + threads())
        barrier()
        if own == 0:
            old[1] = typed(NONE, one)  # where all paths entered
        old, new, t = new, old, index(t + index(1))


@kernel
def ends(row, size):
    """All paths that may end: in the last label, or the blank behind it."""
    last = index(size + index(1))
    return log_sum(row[last], row[index(last - index(1))], typed(NONE, row[0]))


@kernel
def is_wrong(labels, count, classes, blank):
    """1 where one of the first labels is the blank, or names no class, else 0."""
    good, i = int32(1), thread()
    while i < count:
        if labels[i] < 0 or labels[i] >= classes or labels[i] == blank:
            good = int32(0)
        i = index(i + threads())
    return 1 - block_min(good)


@kernel
def within(x, most):
    return index(min(max(x, 0), most))


@kernel
def sample(r, work, labels, counts, times, length, places):
    """Of sample r: times and labels that count, its labels, how many states, its first row, its memory, two rows of
    that."""
    count, room = within(counts[r], labels.shape[1]), work[r]
    size = index(index(2) * count + index(1))
    old, new = rows_of(room, index(length + index(2) * places), size)
    return within(times[r], length), count, labels[r], size, index(r * length), room, old, new


@kernel
def loss(loss, bad, work, x, labels, counts, times, blank):
    """loss[r] = -log of the probability of labels[r, :counts[r]] by the first times[r] rows of its logits x(n t, c).

    Infinite where there is no path. bad[r] = 1 where a label is wrong, else 0. work(n, t + 4 (2 l + 3)) is filled.
    """
    n, width = labels.shape
    length, places, r = index(x.shape[0] // n), index(2 * width + 3), part()
    while r < n:
        taken, count, own, size, first, room, old, new = sample(r, work, labels, counts, times, length, places)
        found = is_wrong(own, count, x.shape[1], blank)
        fill_norms(room, x, first, taken)
        barrier()
        forward(old, new, room, x, first, taken, own, count, blank, room[:0], places)
        if thread() == 0:
            total = ends(new if taken % index(2) else old, size)
            bad[r] = found
            loss[r] = loss.dtype.type(math.inf) if total < typed(NONE / 2, total) else typed(-total, loss[0])
        barrier()
        r = index(r + parts())


@kernel
def backward(after, here, norms, x, first, times, labels, count, blank, kept, places, total):
    """What is kept of each time, the paths to a state, becomes the logarithm of its share of all paths."""
    size, classes, t, own = index(index(2) * count + index(1)), x.shape[1], times, thread()
    s = own
    while s < size + index(2):
        after[s], here[s] = typed(0, total) if s == size else typed(NONE, total), typed(NONE, total)
        s = index(s + threads())
    barrier()
    k = class_of(labels, own, classes, blank) if own < size else index(0)
    step = step_to(labels, index(own + index(2)), count, total) if own < size else typed(NONE, total)
    last = index(times - index(1)) if times > 0 else index(0)
    ahead, to = typed(NONE, total), typed(NONE, total)
    if times > 0 and own < size:
        ahead, to = chance(x[index(first + last)], norms[last], k), kept[index(last * places + own)]
    while t > 0:
        t = index(t - index(1))
        at, one, s, value, by, come = index(first + t), norms[t], own, ahead, step, to
        if t > 0 and own < size:
            before = index(t - index(1))
            ahead, to = chance(x[index(at - index(1))], norms[before], k), kept[index(before * places + own)]
        while s < size:
            if s != own:
                value = chance(x[at], one, class_of(labels, s, classes, blank))
                by, come = step_to(labels, index(s + index(2)), count, one), kept[index(t * places + s)]
            onward = log_sum(after[s], after[index(s + index(1))], after[index(s + index(2))] + by)
            kept[index(t * places + s)] = come + onward - total
            here[s] = onward + value
            s = index(s + threads())
        barrier()
        if own == 0:
            after[size] = typed(NONE, one)  # where all paths left
        after, here = here, after
    barrier()


@kernel
def chain(links, labels, count):
    """links[i]: the next label that is the same, count if there is none; below 0, less 1, where i is not the first."""
    i = thread()
    while i < count:
        j, behind, begins = index(0), count, True
        while j < count:
            if labels[j] == labels[i]:
                begins = begins and j >= i
                behind = j if j > i and behind == count else behind
            j = index(j + index(1))
        to = typed(behind, links[0])
        links[i] = to if begins else typed(-1, to) - to
        i = index(i + threads())


@kernel
def probability(x, norm):
    return exp(typed(typed(x, norm) - norm, x))


@kernel
def share_of_label(links, kept, at, i, count):
    """Of all states at a time whose label is that of state 2 i + 1, the first such."""
    total = typed(0, links[0])
    while i < count:
        total += exp(kept[index(at + index(2) * i + index(1))])
        to = links[i]
        i = index(to if to >= typed(0, to) else typed(-1, to) - to)
    return total


@kernel
def fill_probabilities(dx, norms, x, first, times, length, dy):
    """dx at all times: the probability of a class times dy; 0 behind the last."""
    classes, lane, t = index(x.shape[1]), index(thread() % index(WARP)), index(thread() // index(WARP))
    while t < length:
        row, k = index(first + t), lane
        while k < classes:
            dx[row, k] = probability(x[row, k], norms[t]) * dy if t < times else dx.dtype.type(0)
            k = index(k + index(WARP))
        t = index(t + threads() // index(WARP))


@kernel
def take_shares(dx, norms, x, first, times, labels, links, count, blank, kept, places, dy):
    """dx of blanks and of labels: the probability, less the share of paths, times dy."""
    classes, lane, t = x.shape[1], index(thread() % index(WARP)), index(thread() // index(WARP))
    while t < times:
        row, at, i, total = index(first + t), index(t * places), lane, typed(0, norms[0])
        while i <= count:
            total += exp(kept[index(at + index(2) * i)])
            i = index(i + index(WARP))
        total, i, k = warp_sum(total), lane, index(blank)
        if lane == 0:
            dx[row, k] = (probability(x[row, k], norms[t]) - dx.dtype.type(total)) * dy
        while i < count:
            if links[i] >= typed(0, total):
                k, part_of = index(clamped(labels[i], classes)), share_of_label(links, kept, at, i, count)
                dx[row, k] = (probability(x[row, k], norms[t]) - dx.dtype.type(part_of)) * dy
            i = index(i + index(WARP))
        t = index(t + threads() // index(WARP))


@kernel
def grad(dx, work, x, labels, counts, times, dloss, blank):
    """dx(n t, c) from dloss(n,); 0 where there is no path, and behind the first times[r] rows of a sample.

    work(n, t + (t + 5) (2 l + 3)) is filled; what enters is as for loss.
    """
    n, width = labels.shape
    length, places, r = index(x.shape[0] // n), index(2 * width + 3), part()
    while r < n:
        taken, count, own, size, first, room, old, new = sample(r, work, labels, counts, times, length, places)
        links, kept = room[length:], room[index(length + index(4) * places) :]
        chain(links, own, count)
        fill_norms(room, x, first, taken)
        barrier()
        forward(old, new, room, x, first, taken, own, count, blank, kept, places)
        total = ends(new if taken % index(2) else old, size)
        barrier()
        taken = index(0) if total < typed(NONE / 2, total) else taken
        backward(old, new, room, x, first, taken, own, count, blank, kept, places, total)
        fill_probabilities(dx, room, x, first, taken, length, dloss[r])
        barrier()
        take_shares(dx, room, x, first, taken, own, links, count, blank, kept, places, dloss[r])
        barrier()
        r = index(r + parts())
