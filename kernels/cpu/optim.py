"""Optimiser rules over a stretch of the flat vectors: parameters p, state, gradient g; and what changes g before.

hyper holds float64 numbers of one rule, or of one member of a chain: those that steps change (steps done,
beta1**steps, beta2**steps, whether it waits for more gradients), then what it is given. h is a gradient in a scratch
vector, changed in place.
"""

from .. import hyper as H
from ..jit import bits64, from_bits64, kernel, sqrt
from ..scalar import inlined, maximum, minimum, pow, sign
from .reduce import BLOCK, lane_sum, part, stack

LEAST, MOST = 1e-200, 1e200  # sums of powers as they are; else relative to the largest element
TINY = 1e-300


@inlined
def count(p, hyper):
    """How many elements a rule goes through: none while it waits for more gradients."""
    return p.size if hyper[H.WAIT] == 0.0 else 0


@kernel
def descent(p, g, hyper):
    """p -= eta g"""
    eta = p.dtype.type(hyper[H.ETA])
    for i in range(count(p, hyper)):
        p[i] -= eta * g[i]


@kernel
def momentum(p, v, g, hyper):
    """v = rho v + eta g; p -= v (rho is beta1); ahead, which is Nesterov's: p -= rho v + eta g"""
    eta, rho = p.dtype.type(hyper[H.ETA]), p.dtype.type(hyper[H.BETA1])
    if hyper[H.AHEAD] != 0.0:
        for i in range(count(p, hyper)):
            step = eta * g[i]
            v[i] = rho * v[i] + step
            p[i] -= rho * v[i] + step
    else:
        for i in range(count(p, hyper)):
            v[i] = rho * v[i] + eta * g[i]
            p[i] -= v[i]


@kernel
def rmsprop(p, q, g, hyper):
    """q = rho q + take g**2; p -= eta g / (sqrt(q) + eps) (rho is beta1)"""
    t = p.dtype.type
    eta, rho, take, eps = t(hyper[H.ETA]), t(hyper[H.BETA1]), t(hyper[H.TAKE]), t(hyper[H.EPS])
    for i in range(count(p, hyper)):
        q[i] = rho * q[i] + take * (g[i] * g[i])
        p[i] -= eta * g[i] / (sqrt(q[i]) + eps)


@kernel
def rmsprop_centred(p, q, mean, g, hyper):
    """As rmsprop with the variance, q - mean**2, under the root; rounding must not make it negative."""
    t = p.dtype.type
    eta, rho, take, eps, none = t(hyper[H.ETA]), t(hyper[H.BETA1]), t(hyper[H.TAKE]), t(hyper[H.EPS]), t(0)
    for i in range(count(p, hyper)):
        q[i] = rho * q[i] + take * (g[i] * g[i])
        mean[i] = rho * mean[i] + take * g[i]
        p[i] -= eta * g[i] / (sqrt(maximum(q[i] - mean[i] * mean[i], none)) + eps)


@kernel
def adadelta(p, acc, delta, g, hyper):
    """acc = rho acc + take g**2; d = g sqrt((delta + eps) / (acc + eps)); delta = rho delta + take d**2; p -= d"""
    t = p.dtype.type
    rho, take, eps = t(hyper[H.BETA1]), t(hyper[H.TAKE]), t(hyper[H.EPS])
    for i in range(count(p, hyper)):
        acc[i] = rho * acc[i] + take * (g[i] * g[i])
        d = g[i] * sqrt((delta[i] + eps) / (acc[i] + eps))
        delta[i] = rho * delta[i] + take * (d * d)
        p[i] -= d


@inlined
def corrections(hyper):
    """1 - beta1**t and 1 - beta2**t at step t."""
    return 1.0 - hyper[H.POWER1] * hyper[H.BETA1], 1.0 - hyper[H.POWER2] * hyper[H.BETA2]


@kernel
def adam(p, m, v, g, hyper):
    """Kingma and Ba 2015, algorithm 1; with decay Loshchilov and Hutter 2019: p -= eta m^ / (sqrt(v^) + eps) +
    decay p."""
    t = p.dtype.type
    beta1, beta2, eps, one = t(hyper[H.BETA1]), t(hyper[H.BETA2]), t(hyper[H.EPS]), t(1)
    keep = t(1.0 - hyper[H.DECAY] - hyper[H.ETA] * hyper[H.ETA_DECAY])
    correction1, correction2 = corrections(hyper)
    rate, root = t(hyper[H.ETA] / correction1), t(1.0 / correction2)
    for i in range(count(p, hyper)):
        m[i] = beta1 * m[i] + (one - beta1) * g[i]
        v[i] = beta2 * v[i] + (one - beta2) * (g[i] * g[i])
        p[i] = keep * p[i] - rate * m[i] / (sqrt(root * v[i]) + eps)


@inlined
def rectification(hyper):
    """Liu et al. 2020: what RAdam's step is multiplied by; 0 as long as v is of too few gradients to divide by."""
    correction = corrections(hyper)[1]
    most = 2.0 / (1.0 - hyper[H.BETA2]) - 1.0
    length = most - 2.0 * (hyper[H.STEP] + 1.0) * (1.0 - correction) / correction
    if length <= 4.0:
        return 0.0
    return sqrt((length - 4.0) * (length - 2.0) * most / ((most - 4.0) * (most - 2.0) * length))


@kernel
def adam_variant(p, m, v, g, hyper):
    """Adam with m^ and v^ of the next step and some of g (ahead: NAdam), with g - m in v (belief: AdaBelief), or with
    its step rectified (RAdam)."""
    t = p.dtype.type
    beta1, beta2, eps, one = t(hyper[H.BETA1]), t(hyper[H.BETA2]), t(hyper[H.EPS]), t(1)
    correction1, correction2 = corrections(hyper)
    next1, next2 = (hyper[H.BETA1], hyper[H.BETA2]) if hyper[H.AHEAD] != 0.0 else (1.0, 1.0)
    rectified = rectification(hyper) if hyper[H.RECTIFY] != 0.0 else 1.0
    if rectified == 0.0:
        rate = t(hyper[H.ETA] / correction1)
        for i in range(count(p, hyper)):
            m[i] = beta1 * m[i] + (one - beta1) * g[i]
            v[i] = beta2 * v[i] + (one - beta2) * (g[i] * g[i])
            p[i] -= rate * m[i]
    else:
        rate = t(rectified * hyper[H.ETA] * next1 / (1.0 - (1.0 - correction1) * next1))
        now, root = t(hyper[H.ETA] * (1.0 - next1) / correction1), t(next2 / correction2)
        belief, least = t(hyper[H.BELIEF]), t(hyper[H.BELIEF] * hyper[H.EPS])
        for i in range(count(p, hyper)):
            m[i] = beta1 * m[i] + (one - beta1) * g[i]
            d = g[i] - belief * m[i]
            v[i] = beta2 * v[i] + (one - beta2) * (d * d) + least
            p[i] -= (rate * m[i] + now * g[i]) / (sqrt(root * v[i]) + eps)


@kernel
def adamax(p, m, u, g, hyper):
    """u = max(beta2 u, |g|); p -= eta m^ / (u + eps)"""
    t = p.dtype.type
    beta1, beta2, eps, one = t(hyper[H.BETA1]), t(hyper[H.BETA2]), t(hyper[H.EPS]), t(1)
    rate = t(hyper[H.ETA] / corrections(hyper)[0])
    for i in range(count(p, hyper)):
        m[i] = beta1 * m[i] + (one - beta1) * g[i]
        u[i] = maximum(beta2 * u[i], abs(g[i]))
        p[i] -= rate * m[i] / (u[i] + eps)


@kernel
def amsgrad(p, m, v, most, g, hyper):
    """most = max(most, v); p -= eta m / (sqrt(most) + eps), without corrections."""
    t = p.dtype.type
    beta1, beta2, eps, one, eta = t(hyper[H.BETA1]), t(hyper[H.BETA2]), t(hyper[H.EPS]), t(1), t(hyper[H.ETA])
    for i in range(count(p, hyper)):
        m[i] = beta1 * m[i] + (one - beta1) * g[i]
        v[i] = beta2 * v[i] + (one - beta2) * (g[i] * g[i])
        most[i] = maximum(most[i], v[i])
        p[i] -= eta * m[i] / (sqrt(most[i]) + eps)


@kernel
def oadam(p, m, v, term, g, hyper):
    """new = eta m^ / (sqrt(v^) + eps); p -= 2 new - term; term = new"""
    t = p.dtype.type
    beta1, beta2, eps, one = t(hyper[H.BETA1]), t(hyper[H.BETA2]), t(hyper[H.EPS]), t(1)
    correction1, correction2 = corrections(hyper)
    rate, root = t(hyper[H.ETA] / correction1), t(1.0 / correction2)
    for i in range(count(p, hyper)):
        m[i] = beta1 * m[i] + (one - beta1) * g[i]
        v[i] = beta2 * v[i] + (one - beta2) * (g[i] * g[i])
        new = rate * m[i] / (sqrt(root * v[i]) + eps)
        p[i] -= new + new - term[i]
        term[i] = new


@kernel
def lion(p, m, g, hyper):
    """Chen et al. 2023, algorithm 2: p -= eta (sign(beta1 m + (1 - beta1) g) + decay p); m = beta2 m + (1 - beta2) g"""
    t = p.dtype.type
    beta1, beta2, one, eta = t(hyper[H.BETA1]), t(hyper[H.BETA2]), t(1), t(hyper[H.ETA])
    keep = t(1.0 - hyper[H.ETA] * hyper[H.ETA_DECAY])
    for i in range(count(p, hyper)):
        p[i] = keep * p[i] - eta * sign(beta1 * m[i] + (one - beta1) * g[i])
        m[i] = beta2 * m[i] + (one - beta2) * g[i]


@kernel
def rprop(p, last, size, g, hyper):
    """Each element's step grows by ell2 while its gradient keeps its sign, shrinks by ell1 where that turns; then
    it waits."""
    t = p.dtype.type
    shrink, grow, least, most, none = t(hyper[H.ELL1]), t(hyper[H.ELL2]), t(hyper[H.GAMMA1]), t(hyper[H.GAMMA2]), t(0)
    for i in range(count(p, hyper)):
        turn = sign(last[i]) * g[i]
        smaller, larger = maximum(shrink * size[i], least), minimum(grow * size[i], most)
        kept = larger if turn > none else size[i]
        size[i] = smaller if turn < none else kept
        last[i] = none if turn < none else g[i]
        p[i] -= size[i] * sign(last[i])


@kernel
def blend(y, x, pair, hyper):
    """y = pair[0] y + pair[1] x"""
    keep, give = y.dtype.type(pair[0]), y.dtype.type(pair[1])
    for i in range(count(y, hyper)):
        y[i] = keep * y[i] + give * x[i]


@kernel
def rounded(p, rest, hyper):
    """p + rest, a parameter in full, as p in a shorter format, to the nearest, ties to even, and what that leaves.

    Bits at the end of a float64 are dropped; below the format's least normal number its numbers stand on a grid, on
    which a sum with `grid` rounds; beyond the largest it stays there.
    """
    t, least, grid, largest = p.dtype.type, hyper[H.LEAST_NORMAL], hyper[H.GRID], hyper[H.LARGEST]
    drop = int(hyper[H.DROP])
    half, mask = (1 << (drop - 1)) - 1, -(1 << drop)
    for i in range(count(p, hyper)):
        full = p[i] + rest[i]
        x = 1.0 * full
        bits = bits64(x)
        short = from_bits64((bits + half + ((bits >> drop) & 1)) & mask)
        short = (x + grid) - grid if abs(x) < least else short
        p[i] = t(maximum(minimum(short, largest), -largest))
        rest[i] = full - p[i]


@kernel
def tick(hyper):
    """A step is done."""
    if hyper[H.WAIT] == 0.0:
        hyper[H.STEP] += 1.0
        hyper[H.POWER1] *= hyper[H.BETA1]
        hyper[H.POWER2] *= hyper[H.BETA2]


# --------------------------------------------------------------------------------- what changes gradients before a rule


@kernel
def decay(h, p, hyper):
    """h += decay p + sign_decay sign(p)"""
    share, step = h.dtype.type(hyper[H.DECAY]), h.dtype.type(hyper[H.SIGN_DECAY])
    for i in range(h.size):
        h[i] += share * p[i] + step * sign(p[i])


@kernel
def clip(h, factor, hyper):
    """h *= factor[0], then each element within -delta .. delta."""
    scale, delta = h.dtype.type(factor[0]), h.dtype.type(hyper[H.DELTA])
    for i in range(h.size):
        h[i] = maximum(minimum(scale * h[i], delta), -delta)


@inlined
def sum_of_powers(h, scale, p, sizes):
    """The sum of (scale |h|)**p in float64; sizes is a buffer."""
    total = 0.0
    for block in range((h.size + BLOCK - 1) // BLOCK):
        x = part(h, block * BLOCK, min(h.size - block * BLOCK, BLOCK))
        for i in range(x.size):
            sizes[i] = scale * abs(x[i])
        if p == 2.0:
            for i in range(x.size):
                sizes[i] *= sizes[i]
        else:
            for i in range(x.size):
                sizes[i] = pow(sizes[i], p)
        total += lane_sum(part(sizes, 0, x.size))
    return total


@kernel
def norm(slot, h, hyper):
    """slot(2,): a unit, and the sum of (|h| / unit)**p: the unit is 1 unless that sum is too large or too small."""
    sizes, unit, p = stack(slot), 1.0, hyper[H.P]
    total = sum_of_powers(h, 1.0, p, sizes)
    if not (total > LEAST and total < MOST):
        unit = TINY
        for i in range(h.size):
            unit = maximum(unit, abs(h[i]))
        total = sum_of_powers(h, 1.0 / unit, p, sizes)
    slot[0] = unit
    slot[1] = total


@inlined
def joined(slots, p):
    """(unit, norm in units) of the parts of which norm has made the slots."""
    unit, total = TINY, 0.0
    for i in range(slots.shape[0]):
        unit = maximum(unit, slots[i, 0])
    for i in range(slots.shape[0]):
        total += slots[i, 1] * pow(slots[i, 0] / unit, p)
    return unit, sqrt(total) if p == 2.0 else pow(total, 1.0 / p)


@kernel
def join(factor, slots, hyper):
    """factor(1,): what brings the norm of all the slots' parts to omega; 1 where it is not above."""
    unit, root = joined(slots, hyper[H.P])
    factor[0] = minimum(hyper[H.OMEGA] / unit / root, 1.0) if root > 0.0 else 1.0


@kernel
def trust(pair, over, under, hyper):
    """pair(2,): 1 - rate eta_decay, and rate times the norm of the one by that of the other; rate where one is 0."""
    above, below = joined(over, hyper[H.P]), joined(under, hyper[H.P])
    some = above[1] > 0.0 and below[1] > 0.0
    pair[0] = 1.0 - hyper[H.RATE] * hyper[H.ETA_DECAY]
    pair[1] = hyper[H.RATE] * (above[0] / below[0]) * (above[1] / below[1]) if some else hyper[H.RATE]


@kernel
def gate(later, pair, hyper):
    """One more of the `size` gradients that make a step: later(members, numbers) wait until it is the last of them.

    With pair(2,) blend makes the mean over all of them, of those seen so far: the first replaces what was.
    """
    if hyper[H.WAIT] == 0.0:
        if hyper[H.STEP] >= hyper[H.SIZE]:
            hyper[H.STEP], hyper[H.SIZE] = 0.0, hyper[H.N]
        hyper[H.STEP] += 1.0
    pair[0], pair[1] = 0.0 if hyper[H.STEP] == 1.0 else 1.0, 1.0 / hyper[H.SIZE]
    ready = hyper[H.WAIT] == 0.0 and hyper[H.STEP] >= hyper[H.SIZE]
    for i in range(later.shape[0]):
        later[i, H.WAIT] = 0.0 if ready else 1.0
