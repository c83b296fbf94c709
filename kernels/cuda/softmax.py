"""Softmax over the rows of x(n, c), and the losses made of it: kernels/cpu/softmax.py on a GPU.

A team has a row. What of it fits into the team's registers is read once; a longer row is gone through twice.
"""

import math

from .check import clamped
from .held import fetch, make_put
from .jit import flat, index, kernel, local, scalar, typed
from .launch import HELD
from .team import each_row, team_max, team_sum

exp, log, maximum = scalar.exp, scalar.log, scalar.maximum
room, other_room = local(HELD), local(HELD)


@kernel
def raise_all(values, top, first, c, me, lanes, keep):
    """The sum of exp(value - top); these powers take the place of the values if that is wanted."""
    total = typed(0, top)
    for j in range(0, HELD, 4):
        if first + index(4) * me + index(j) * lanes < c:
            p, q = exp(values[j] - top), exp(values[j + 1] - top)
            r, s = exp(values[j + 2] - top), exp(values[j + 3] - top)
            total += (p + q) + (r + s)
            if keep:
                values[j], values[j + 1], values[j + 2], values[j + 3] = p, q, r, s
    return total


@kernel
def largest(values):
    top = values[0]
    for j in range(1, HELD):
        top = maximum(values[j], top)
    return top


@kernel
def ratio(old, new):
    """exp(old - new), also where both are infinite."""
    return exp(old - new) if old != new else typed(1, old)


@kernel
def exp_sum(values, x, at, c, me, lanes, keep):
    """The largest element of a row, and the sum of exp(x - that). A short row, or these powers, stay in `values`."""
    none, span, first = x.dtype.type(-math.inf), index(lanes * index(HELD)), index(0)
    if c <= span:
        fetch(values, x, at, first, c, me, lanes, none)
        top = team_max(largest(values), lanes)
        return top, team_sum(raise_all(values, top, first, c, me, lanes, keep), lanes)
    top, total = none, typed(0, none)
    while first < c:
        fetch(values, x, at, first, c, me, lanes, none)
        new = maximum(largest(values), top)
        some = raise_all(values, new if new != none else typed(0, new), first, c, me, lanes, False)
        top, total = new, total * ratio(top, new) + some
        first = index(first + span)
    best = team_max(top, lanes)
    return best, team_sum(total * ratio(top, best), lanes)


def make_exp(prepare, finish, keep):
    """A function of arrays y, x, more: y = finish(value, value, i, prepare(more, row, c, largest, sum)) where value is
    exp(x - largest) if that is to be kept, else x."""
    put = make_put(finish)

    @kernel
    def one(arrays, row, c, me, lanes, there):
        y, x, more = arrays
        at, span, first, values = index(row * c), index(lanes * index(HELD)), index(0), room(x)
        top, total = exp_sum(values, x, at, c, me, lanes, keep)
        numbers = prepare(more, row, c, top, total)
        while there and first < c:
            if c > span:
                fetch(values, x, at, first, c, me, lanes, top)
                if keep:
                    raise_all(values, top, first, c, me, lanes, True)
            put(y, values, values, at, first, c, me, lanes, numbers)
            first = index(first + span)

    return each_row(one)


def make_grad(term, finish):
    """A function of arrays dx, y, dy: dx = finish(y, dy, i, the row's sum of term(y, dy))."""
    put = make_put(finish)

    @kernel
    def one(arrays, row, c, me, lanes, there):
        dx, y, dy = arrays
        at, span, values, others = index(row * c), index(lanes * index(HELD)), room(y), other_room(y)
        none, total, first = y.dtype.type(0), y.dtype.type(0), index(0)
        while first < c:
            fetch(values, y, at, first, c, me, lanes, none)
            fetch(others, dy, at, first, c, me, lanes, none)
            for j in range(0, HELD, 4):
                p, q = term(values[j], others[j]), term(values[j + 1], others[j + 1])
                r, s = term(values[j + 2], others[j + 2]), term(values[j + 3], others[j + 3])
                total += (p + q) + (r + s)
            first = index(first + span)
        total, first = team_sum(total, lanes), index(0)
        while there and first < c:
            if c > span:
                fetch(values, y, at, first, c, me, lanes, none)
                fetch(others, dy, at, first, c, me, lanes, none)
            put(dx, values, others, at, first, c, me, lanes, total)
            first = index(first + span)

    return each_row(one)


each_softmax = make_exp(
    kernel(lambda none, row, c, top, total: typed(1, total) / total),
    kernel(lambda power, _, i, factor: power * factor),
    True,
)
each_logsoftmax = make_exp(
    kernel(lambda none, row, c, top, total: (top, log(total))),
    kernel(lambda x, _, i, numbers: (x - numbers[0]) - numbers[1]),
    False,
)
each_softmax_grad = make_grad(
    kernel(lambda y, dy: y * dy),
    kernel(lambda y, dy, i, total: y * (dy - total)),
)
each_logsoftmax_grad = make_grad(
    kernel(lambda y, dy: dy),
    kernel(lambda y, dy, i, total: dy - exp(y) * total),
)


@kernel
def softmax(y, x):
    """exp(x) by rows, over its sum."""
    n, c = x.shape
    each_softmax((flat(y), flat(x), 0), index(n), index(c))


@kernel
def softmax_grad(dx, y, dy):
    """From y = softmax(x): dx = y * (dy - the row's sum of y * dy)."""
    n, c = y.shape
    each_softmax_grad((flat(dx), flat(y), flat(dy)), index(n), index(c))


@kernel
def logsoftmax(y, x):
    """The logarithm of softmax(x), without its underflow."""
    n, c = x.shape
    each_logsoftmax((flat(y), flat(x), 0), index(n), index(c))


@kernel
def logsoftmax_grad(dx, y, dy):
    """From y = logsoftmax(x): dx = dy - exp(y) * the row's sum of dy."""
    n, c = y.shape
    each_logsoftmax_grad((flat(dx), flat(y), flat(dy)), index(n), index(c))


@kernel
def loss_of(arrays, row, c, me, lanes, there):
    loss, x, labels = arrays
    at = index(row * c)
    top, total = exp_sum(room(x), x, at, c, me, lanes, False)
    if there and me == 0:
        loss[row] = log(total) - (x[index(at + clamped(labels[row], c))] - top)


@kernel
def labelled(labels_and_dloss, row, c, top, total):
    """What is subtracted, where, and the factor of exp(x - top)."""
    labels, dloss = labels_and_dloss
    return clamped(labels[row], c), dloss[row], dloss[row] / total


@kernel
def minus_label(power, _, i, numbers):
    label, dy, factor = numbers
    return power * factor - (dy if i == label else typed(0, dy))


each_loss = each_row(loss_of)
each_loss_grad = make_exp(labelled, minus_label, True)


@kernel
def crossentropy_labels(loss, x, labels):
    """loss[r] = -logsoftmax(x[r])[labels[r]]."""
    n, c = x.shape
    each_loss((loss, flat(x), labels), index(n), index(c))


@kernel
def crossentropy_labels_grad(dx, x, labels, dloss):
    """dx[r] = (softmax(x[r]) - one-hot(labels[r])) * dloss[r]; softmax is computed again."""
    n, c = x.shape
    each_loss_grad((flat(dx), flat(x), (labels, dloss)), index(n), index(c))
