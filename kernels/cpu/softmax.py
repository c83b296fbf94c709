"""Softmax over the rows of x(n, c), and the losses made of it. A row's result depends on that row alone.

Where c is small a pass over one row is a short loop: so exp, log, products go over as many rows at once as fit.
"""

from ..jit import kernel
from ..scalar import exp, inlined, log, typed
from .check import clamped
from .reduce import BLOCK, max_of, part, stack, sum_of


@inlined
def rows_at_once(c):
    """At least one row; else as many as fill BLOCK elements, which stay in the L1 cache from pass to pass."""
    return max(1, BLOCK // max(1, c))


@inlined
def exp_sums(powers, tops, sums, x, first, width):
    """Of the row first + i of x: tops[i] its largest element, sums[i] the sum of exp(x - tops[i]).

    These powers are made in `powers`, row by row, `width` columns at a time; the last ones are left there.
    """
    c = x.shape[1]
    rows = powers.size // width
    for i in range(rows):
        tops[i] = max_of(part(x, (first + i) * c, c))
        sums[i] = typed(0, tops[i])
    for strip in range((c + width - 1) // width):
        at = strip * width
        taken = min(c - at, width)
        for i in range(rows):
            source, row = part(x, (first + i) * c + at, taken), part(powers, i * taken, taken)
            for j in range(taken):
                row[j] = source[j] - tops[i]
        for i in range(rows * taken):
            powers[i] = exp(powers[i])
        for i in range(rows):
            sums[i] += sum_of(part(powers, i * taken, taken))


@inlined
def log_sums(tops, sums, x, first, rows, buffer):
    """tops and sums as above, but sums[i] the logarithm of the sum; `buffer` has BLOCK elements."""
    width = min(x.shape[1], BLOCK)
    exp_sums(part(buffer, 0, rows * width), tops, sums, x, first, width)
    for i in range(rows):
        sums[i] = log(sums[i])


@kernel
def softmax(y, x):
    """exp(x) by rows, over its sum."""
    n, c = x.shape
    tops, sums, rows = stack(x), stack(x), rows_at_once(c)
    for block in range((n + rows - 1) // rows):
        first = block * rows
        taken = min(n - first, rows)
        exp_sums(part(y, first * c, taken * c), tops, sums, x, first, c)
        for i in range(taken):
            row, factor = part(y, (first + i) * c, c), typed(1, sums[i]) / sums[i]
            for j in range(c):
                row[j] *= factor


@kernel
def softmax_grad(dx, y, dy):
    """From y = softmax(x): dx = y * (dy - the row's sum of y * dy)."""
    n, c = y.shape
    rows = rows_at_once(c)
    for block in range((n + rows - 1) // rows):
        first = block * rows
        taken = min(n - first, rows)
        at, count = first * c, taken * c
        products, ys, dys = part(dx, at, count), part(y, at, count), part(dy, at, count)
        for i in range(count):
            products[i] = ys[i] * dys[i]
        for i in range(taken):
            row, source = part(products, i * c, c), part(ys, i * c, c)
            total = sum_of(row)
            for j in range(c):
                row[j] -= source[j] * total


@kernel
def logsoftmax(y, x):
    """The logarithm of softmax(x), without its underflow."""
    n, c = x.shape
    tops, sums, buffer, rows = stack(x), stack(x), stack(x), rows_at_once(c)
    for block in range((n + rows - 1) // rows):
        first = block * rows
        taken = min(n - first, rows)
        log_sums(tops, sums, x, first, taken, buffer)
        for i in range(taken):
            row, source = part(y, (first + i) * c, c), part(x, (first + i) * c, c)
            for j in range(c):
                row[j] = (source[j] - tops[i]) - sums[i]


@kernel
def logsoftmax_grad(dx, y, dy):
    """From y = logsoftmax(x): dx = dy - exp(y) * the row's sum of dy."""
    n, c = y.shape
    rows = rows_at_once(c)
    for block in range((n + rows - 1) // rows):
        first = block * rows
        taken = min(n - first, rows)
        at, count = first * c, taken * c
        powers, ys, dys = part(dx, at, count), part(y, at, count), part(dy, at, count)
        for i in range(count):
            powers[i] = exp(ys[i])
        for i in range(taken):
            row, source = part(powers, i * c, c), part(dys, i * c, c)
            total = sum_of(source)
            for j in range(c):
                row[j] = source[j] - row[j] * total


@kernel
def crossentropy_labels(loss, x, labels):
    """loss[r] = -logsoftmax(x[r])[labels[r]]."""
    n, c = x.shape
    tops, sums, buffer, rows = stack(x), stack(x), stack(x), rows_at_once(c)
    for block in range((n + rows - 1) // rows):
        first = block * rows
        taken = min(n - first, rows)
        log_sums(tops, sums, x, first, taken, buffer)
        for i in range(taken):
            loss[first + i] = sums[i] - (x[first + i, clamped(labels[first + i], c)] - tops[i])


@kernel
def crossentropy_labels_grad(dx, x, labels, dloss):
    """dx[r] = (softmax(x[r]) - one-hot(labels[r])) * dloss[r]; softmax is computed again."""
    n, c = x.shape
    tops, sums, rows = stack(x), stack(x), rows_at_once(c)
    for block in range((n + rows - 1) // rows):
        first = block * rows
        taken = min(n - first, rows)
        exp_sums(part(dx, first * c, taken * c), tops, sums, x, first, c)
        for i in range(taken):
            row, dy = part(dx, (first + i) * c, c), dloss[first + i]
            factor = dy / sums[i]
            for j in range(c):
                row[j] *= factor
            row[clamped(labels[first + i], c)] -= dy
