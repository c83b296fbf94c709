"""Connectionist temporal classification (Graves et al. 2006): the probability of labels, summed over all paths.

A path names a class at every time; equal neighbours count once, then blanks fall away. Its states are the labels with a
blank before, between and behind. Logarithms of probabilities are float64: of long series they are large.
"""

from ..jit import kernel
from ..scalar import exp, inlined, log, maximum, minimum, typed
from .check import clamped
from .reduce import part, stack
from .softmax import log_sums, rows_at_once

NONE = -1e200  # the logarithm of no probability: sums of many stay finite, and minus infinity would give NaN


@inlined
def wrong(labels, count, classes, blank):
    """Whether one of the first labels is the blank, or names no class."""
    found = False
    for i in range(count):
        found |= labels[i] < 0 or labels[i] >= classes or labels[i] == blank
    return found


@inlined
def fill_norms(norms, x, first, times):
    """norms[t]: the logarithm of the sum of exp(x) over row first + t of x."""
    tops, sums, buffer, rows = stack(x), stack(x), stack(x), rows_at_once(x.shape[1])
    for block in range((times + rows - 1) // rows):
        at = block * rows
        taken = min(times - at, rows)
        log_sums(tops, sums, x, first + at, taken, buffer)
        for i in range(taken):
            norms[at + i] = typed(tops[i], 1.0) + typed(sums[i], 1.0)


@inlined
def fill_steps(steps, labels, count):
    """steps[s] = 0 where a path may come to state s from s - 2, past a blank: to a label unlike the one before.

    Into the first label and out of the last one, too: a path enters from place -1, and leaves to place 2 count + 1.
    """
    for s in range(steps.size):
        steps[s] = NONE
    for i in range(1, count):
        steps[2 * i + 1] = 0.0 if labels[i] != labels[i - 1] else NONE
    steps[1], steps[2 * count + 1] = 0.0, 0.0


@inlined
def fill_logs(logs, row, norm, labels, count, blank):
    """logs[s]: the logarithm of the probability of the class of state s, from the logits of one time."""
    of_blank = typed(row[blank], 1.0) - norm
    of_blank = NONE if of_blank < NONE else of_blank
    for i in range(count):
        of_label = typed(row[clamped(labels[i], row.size)], 1.0) - norm
        logs[2 * i] = of_blank
        logs[2 * i + 1] = NONE if of_label < NONE else of_label
    logs[2 * count] = of_blank


@inlined
def log_sum(a, b, c):
    """log(exp(a) + exp(b) + exp(c)): of the largest, without its power, which is 1."""
    less, more = minimum(a, b), maximum(a, b)
    top, middle, least = maximum(more, c), maximum(less, minimum(more, c)), minimum(less, c)
    return top + log(1.0 + exp(middle - top) + exp(least - top))


@inlined
def fill_place(row, place):
    """A row of states and two places more, with all paths in one."""
    for s in range(row.size):
        row[s] = NONE
    row[place] = 0.0


@inlined
def forward(new, old, steps, logs):
    """From old[2 + s], the paths that are in state s, to those of the next time."""
    new[0], new[1] = NONE, NONE
    for s in range(logs.size):
        new[2 + s] = log_sum(old[2 + s], old[1 + s], old[s] + steps[s]) + logs[s]


@inlined
def ends(row):
    """All paths that may end: in the last label, or the blank behind it."""
    return log_sum(row[row.size - 1], row[row.size - 2], NONE)


@kernel
def loss(loss, bad, work, x, labels, counts, times, blank):
    """loss[r] = -log of the probability of labels[r, :counts[r]] by the first times[r] rows of its logits x(n t, c).

    Infinite where there is no path. bad[r] = 1 where a label is wrong, else 0. work(n, t + 4 (2 l + 3)) is filled.
    """
    n, width = labels.shape
    length, classes, places = x.shape[0] // n, x.shape[1], 2 * width + 3
    for r in range(n):
        taken, count = min(max(times[r], 0), length), min(max(counts[r], 0), width)
        own, at = part(labels, r * width, width), r * work.shape[1] + length
        steps, logs = part(work, at, 2 * count + 3), part(work, at + places, 2 * count + 1)
        old, new = part(work, at + 2 * places, 2 * count + 3), part(work, at + 3 * places, 2 * count + 3)
        norms = part(work, at - length, length)
        bad[r] = wrong(own, count, classes, blank)
        fill_norms(norms, x, r * length, taken)
        fill_steps(steps, own, count)
        fill_place(old, 1)
        for t in range(taken):
            fill_logs(logs, part(x, (r * length + t) * classes, classes), norms[t], own, count, blank)
            forward(new, old, steps, logs)
            old, new = new, old
        total = ends(old)
        loss[r] = typed(float("inf") if total < NONE / 2 else -total, loss[r])


@inlined
def share(row, x, norm, paths, labels, count, blank):
    """row[k]: the probability of class k at one time, less its share of paths, paths[s] being that of state s."""
    for k in range(x.size):
        row[k] = exp(typed(typed(x[k], 1.0) - norm, x[k]))
    of_blank = paths[2 * count]
    for i in range(count):
        of_blank += paths[2 * i]
        row[clamped(labels[i], x.size)] -= typed(paths[2 * i + 1], x[0])
    row[blank] -= typed(of_blank, x[0])


@kernel
def grad(dx, work, x, labels, counts, times, dloss, blank):
    """dx(n t, c) from dloss(n,); 0 where there is no path, and behind the first times[r] rows of a sample.

    work(n, t + (t + 5) (2 l + 3)) is filled; what enters is as for loss.
    """
    n, width = labels.shape
    length, classes, places = x.shape[0] // n, x.shape[1], 2 * width + 3
    for r in range(n):
        taken, count = min(max(times[r], 0), length), min(max(counts[r], 0), width)
        own, at, size = part(labels, r * width, width), r * work.shape[1] + length, 2 * count + 1
        steps, logs = part(work, at, size + 2), part(work, at + places, size)
        after, here = part(work, at + 2 * places, size + 2), part(work, at + 3 * places, size + 2)
        norms, first = part(work, at - length, length), at + 4 * places
        fill_norms(norms, x, r * length, taken)
        fill_steps(steps, own, count)
        fill_place(part(work, first, size + 2), 1)
        for t in range(taken):
            old, new = part(work, first + t * places, size + 2), part(work, first + (t + 1) * places, size + 2)
            fill_logs(logs, part(x, (r * length + t) * classes, classes), norms[t], own, count, blank)
            forward(new, old, steps, logs)
        total = ends(part(work, first + taken * places, size + 2))
        taken = 0 if total < NONE / 2 else taken
        fill_place(after, size)
        here[size], here[size + 1] = NONE, NONE
        for back in range(taken):
            t = taken - 1 - back
            source = part(x, (r * length + t) * classes, classes)
            row, paths = part(dx, (r * length + t) * classes, classes), part(work, first + (t + 1) * places + 2, size)
            fill_logs(logs, source, norms[t], own, count, blank)
            for s in range(size):
                here[s] = log_sum(after[s], after[s + 1], after[s + 2] + steps[s + 2])
            for s in range(size):
                paths[s] = exp(paths[s] + here[s] - total)
                here[s] += logs[s]
            after, here = here, after
            here[size], here[size + 1] = NONE, NONE
            share(row, source, norms[t], paths, own, count, blank)
            for k in range(classes):
                row[k] *= dloss[r]
        behind = part(dx, (r * length + taken) * classes, (length - taken) * classes)
        for k in range(behind.size):
            behind[k] = typed(0, behind[k])
