"""Optimiser rules over a stretch of the flat vectors: kernels/cpu/optim.py on a GPU.

A rule is a function of one element: f(p, state ..., g, numbers) -> p, state ...
"""

from .. import hyper as H
from .fours import each
from .jit import barrier, bits64, from_bits64, index, kernel, rank, ranks, scalar, sqrt, thread, threads, typed
from .team import block_max, block_sum

LEAST, MOST = 1e-200, 1e200  # sums of powers as they are; else relative to the largest element
TINY = 1e-300


@kernel
def count(p, hyper):
    """How many elements a rule goes through: none while it waits for more gradients."""
    return index(p.size) if hyper[H.WAIT] == 0.0 else index(0)


@kernel
def descent_one(p, g, numbers):
    return p - numbers[0] * g


@kernel
def descent(p, g, hyper):
    """p -= eta g"""
    each_descent((p, g), count(p, hyper), (p.dtype.type(hyper[H.ETA]),))


@kernel
def momentum_one(p, v, g, numbers):
    eta, rho, ahead = numbers
    v = rho * v + eta * g
    return p - (rho * v + eta * g if ahead > typed(0, ahead) else v), v


@kernel
def momentum(p, v, g, hyper):
    """v = rho v + eta g; p -= v (rho is beta1); ahead, which is Nesterov's: p -= rho v + eta g"""
    t = p.dtype.type
    each_momentum((p, v, g), count(p, hyper), (t(hyper[H.ETA]), t(hyper[H.BETA1]), t(hyper[H.AHEAD])))


@kernel
def rmsprop_one(p, q, g, numbers):
    eta, rho, take, eps = numbers
    q = rho * q + take * (g * g)
    return p - eta * g / (sqrt(q) + eps), q


@kernel
def rmsprop(p, q, g, hyper):
    """q = rho q + take g**2; p -= eta g / (sqrt(q) + eps) (rho is beta1)"""
    t = p.dtype.type
    numbers = t(hyper[H.ETA]), t(hyper[H.BETA1]), t(hyper[H.TAKE]), t(hyper[H.EPS])
    each_rmsprop((p, q, g), count(p, hyper), numbers)


@kernel
def rmsprop_centred_one(p, q, mean, g, numbers):
    eta, rho, take, eps = numbers
    q = rho * q + take * (g * g)
    mean = rho * mean + take * g
    return p - eta * g / (sqrt(scalar.maximum(q - mean * mean, typed(0, q))) + eps), q, mean


@kernel
def rmsprop_centred(p, q, mean, g, hyper):
    """As rmsprop with the variance, q - mean**2, under the root; rounding must not make it negative."""
    t = p.dtype.type
    numbers = t(hyper[H.ETA]), t(hyper[H.BETA1]), t(hyper[H.TAKE]), t(hyper[H.EPS])
    each_rmsprop_centred((p, q, mean, g), count(p, hyper), numbers)


@kernel
def adadelta_one(p, acc, delta, g, numbers):
    rho, take, eps = numbers
    acc = rho * acc + take * (g * g)
    d = g * sqrt((delta + eps) / (acc + eps))
    return p - d, acc, rho * delta + take * (d * d)


@kernel
def adadelta(p, acc, delta, g, hyper):
    """acc = rho acc + take g**2; d = g sqrt((delta + eps) / (acc + eps)); delta = rho delta + take d**2; p -= d"""
    t = p.dtype.type
    each_adadelta((p, acc, delta, g), count(p, hyper), (t(hyper[H.BETA1]), t(hyper[H.TAKE]), t(hyper[H.EPS])))


@kernel
def corrections(hyper):
    """1 - beta1**t and 1 - beta2**t at step t."""
    return 1.0 - hyper[H.POWER1] * hyper[H.BETA1], 1.0 - hyper[H.POWER2] * hyper[H.BETA2]


@kernel
def moments(m, v, g, beta1, beta2):
    """The running means of g and of its square, one step later."""
    one = typed(1, g)
    return beta1 * m + (one - beta1) * g, beta2 * v + (one - beta2) * (g * g)


@kernel
def adam_one(p, m, v, g, numbers):
    keep, rate, root, beta1, beta2, eps = numbers
    m, v = moments(m, v, g, beta1, beta2)
    return keep * p - rate * m / (sqrt(root * v) + eps), m, v


@kernel
def adam(p, m, v, g, hyper):
    """Kingma and Ba 2015, algorithm 1; with decay Loshchilov and Hutter 2019: p -= eta m^ / (sqrt(v^) + eps) +
    decay p."""
    t = p.dtype.type
    keep = t(1.0 - hyper[H.DECAY] - hyper[H.ETA] * hyper[H.ETA_DECAY])
    correction1, correction2 = corrections(hyper)
    numbers = keep, t(hyper[H.ETA] / correction1), t(1.0 / correction2)
    each_adam((p, m, v, g), count(p, hyper), (*numbers, t(hyper[H.BETA1]), t(hyper[H.BETA2]), t(hyper[H.EPS])))


@kernel
def rectification(hyper):
    """Liu et al. 2020: what RAdam's step is multiplied by; 0 as long as v is of too few gradients to divide by."""
    correction = corrections(hyper)[1]
    most = 2.0 / (1.0 - hyper[H.BETA2]) - 1.0
    length = most - 2.0 * (hyper[H.STEP] + 1.0) * (1.0 - correction) / correction
    if length <= 4.0:
        return 0.0
    return sqrt((length - 4.0) * (length - 2.0) * most / ((most - 4.0) * (most - 2.0) * length))


@kernel
def adam_plain_one(p, m, v, g, numbers):
    """Without v below the step."""
    rate, beta1, beta2 = numbers
    m, v = moments(m, v, g, beta1, beta2)
    return p - rate * m, m, v


@kernel
def adam_variant_one(p, m, v, g, numbers):
    rate, now, root, belief, least, beta1, beta2, eps = numbers
    one = typed(1, g)
    m = beta1 * m + (one - beta1) * g
    d = g - belief * m
    v = beta2 * v + (one - beta2) * (d * d) + least
    return p - (rate * m + now * g) / (sqrt(root * v) + eps), m, v


@kernel
def adam_variant(p, m, v, g, hyper):
    """Adam with m^ and v^ of the next step and some of g (ahead: NAdam), with g - m in v (belief: AdaBelief), or with
    its step rectified (RAdam)."""
    t, n = p.dtype.type, count(p, hyper)
    beta1, beta2, eps = t(hyper[H.BETA1]), t(hyper[H.BETA2]), t(hyper[H.EPS])
    correction1, correction2 = corrections(hyper)
    next1, next2 = (hyper[H.BETA1], hyper[H.BETA2]) if hyper[H.AHEAD] != 0.0 else (1.0, 1.0)
    rectified = rectification(hyper) if hyper[H.RECTIFY] != 0.0 else 1.0
    if rectified == 0.0:
        each_adam_plain((p, m, v, g), n, (t(hyper[H.ETA] / correction1), beta1, beta2))
    else:
        rate = t(rectified * hyper[H.ETA] * next1 / (1.0 - (1.0 - correction1) * next1))
        now, root = t(hyper[H.ETA] * (1.0 - next1) / correction1), t(next2 / correction2)
        belief, least = t(hyper[H.BELIEF]), t(hyper[H.BELIEF] * hyper[H.EPS])
        each_adam_variant((p, m, v, g), n, (rate, now, root, belief, least, beta1, beta2, eps))


@kernel
def adamax_one(p, m, u, g, numbers):
    rate, beta1, beta2, eps = numbers
    m = beta1 * m + (typed(1, g) - beta1) * g
    u = scalar.maximum(beta2 * u, scalar.maximum(g, -g))
    return p - rate * m / (u + eps), m, u


@kernel
def adamax(p, m, u, g, hyper):
    """u = max(beta2 u, |g|); p -= eta m^ / (u + eps)"""
    t = p.dtype.type
    rate = t(hyper[H.ETA] / corrections(hyper)[0])
    each_adamax((p, m, u, g), count(p, hyper), (rate, t(hyper[H.BETA1]), t(hyper[H.BETA2]), t(hyper[H.EPS])))


@kernel
def amsgrad_one(p, m, v, most, g, numbers):
    eta, beta1, beta2, eps = numbers
    m, v = moments(m, v, g, beta1, beta2)
    most = scalar.maximum(most, v)
    return p - eta * m / (sqrt(most) + eps), m, v, most


@kernel
def amsgrad(p, m, v, most, g, hyper):
    """most = max(most, v); p -= eta m / (sqrt(most) + eps), without corrections."""
    t = p.dtype.type
    numbers = t(hyper[H.ETA]), t(hyper[H.BETA1]), t(hyper[H.BETA2]), t(hyper[H.EPS])
    each_amsgrad((p, m, v, most, g), count(p, hyper), numbers)


@kernel
def oadam_one(p, m, v, term, g, numbers):
    rate, root, beta1, beta2, eps = numbers
    m, v = moments(m, v, g, beta1, beta2)
    new = rate * m / (sqrt(root * v) + eps)
    return p - (new + new - term), m, v, new


@kernel
def oadam(p, m, v, term, g, hyper):
    """new = eta m^ / (sqrt(v^) + eps); p -= 2 new - term; term = new"""
    t = p.dtype.type
    correction1, correction2 = corrections(hyper)
    numbers = t(hyper[H.ETA] / correction1), t(1.0 / correction2), t(hyper[H.BETA1]), t(hyper[H.BETA2])
    each_oadam((p, m, v, term, g), count(p, hyper), (*numbers, t(hyper[H.EPS])))


@kernel
def lion_one(p, m, g, numbers):
    keep, eta, beta1, beta2 = numbers
    one = typed(1, g)
    return keep * p - eta * scalar.sign(beta1 * m + (one - beta1) * g), beta2 * m + (one - beta2) * g


@kernel
def lion(p, m, g, hyper):
    """Chen et al. 2023, algorithm 2: p -= eta (sign(beta1 m + (1 - beta1) g) + decay p); m = beta2 m + (1 - beta2) g"""
    t = p.dtype.type
    numbers = t(1.0 - hyper[H.ETA] * hyper[H.ETA_DECAY]), t(hyper[H.ETA]), t(hyper[H.BETA1]), t(hyper[H.BETA2])
    each_lion((p, m, g), count(p, hyper), numbers)


@kernel
def rprop_one(p, last, size, g, numbers):
    shrink, grow, least, most = numbers
    turn, none = scalar.sign(last) * g, typed(0, g)
    smaller, larger = scalar.maximum(shrink * size, least), scalar.minimum(grow * size, most)
    kept = larger if turn > none else size
    size = smaller if turn < none else kept
    last = none if turn < none else g
    return p - size * scalar.sign(last), last, size


@kernel
def rprop(p, last, size, g, hyper):
    """Each element's step grows by ell2 while its gradient keeps its sign, shrinks by ell1 where that turns; then
    it waits."""
    t = p.dtype.type
    numbers = t(hyper[H.ELL1]), t(hyper[H.ELL2]), t(hyper[H.GAMMA1]), t(hyper[H.GAMMA2])
    each_rprop((p, last, size, g), count(p, hyper), numbers)


@kernel
def blend_one(y, x, numbers):
    return numbers[0] * y + numbers[1] * x


@kernel
def blend(y, x, pair, hyper):
    """y = pair[0] y + pair[1] x"""
    each_blend((y, x), count(y, hyper), (y.dtype.type(pair[0]), y.dtype.type(pair[1])))


@kernel
def rounded(p, rest, hyper):
    """p + rest, a parameter in full, as p in a shorter format, to the nearest, ties to even, and what that leaves; as
    on the CPU in float64, whose last bits are dropped."""
    least, grid, largest, drop = hyper[H.LEAST_NORMAL], hyper[H.GRID], hyper[H.LARGEST], int(hyper[H.DROP])
    half, mask = (1 << (drop - 1)) - 1, -(1 << drop)
    n, i = count(p, hyper), rank()
    while i < n:
        full = p[i] + rest[i]
        x = typed(full, least)
        bits = bits64(x)
        short = from_bits64((bits + half + ((bits >> drop) & 1)) & mask)
        short = (x + grid) - grid if scalar.maximum(x, -x) < least else short
        p[i] = p.dtype.type(scalar.maximum(scalar.minimum(short, largest), -largest))
        rest[i] = full - p[i]
        i = index(i + ranks())


@kernel
def tick(hyper):
    """A step is done."""
    if rank() == 0 and hyper[H.WAIT] == 0.0:
        hyper[H.STEP] += 1.0
        hyper[H.POWER1] *= hyper[H.BETA1]
        hyper[H.POWER2] *= hyper[H.BETA2]


# --------------------------------------------------------------------------------- what changes gradients before a rule


@kernel
def decay_one(h, p, numbers):
    return h + (numbers[0] * p + numbers[1] * scalar.sign(p))


@kernel
def decay(h, p, hyper):
    """h += decay p + sign_decay sign(p)"""
    each_decay((h, p), index(h.size), (h.dtype.type(hyper[H.DECAY]), h.dtype.type(hyper[H.SIGN_DECAY])))


@kernel
def clip(h, factor, hyper):
    """h *= factor[0], then each element within -delta .. delta."""
    each_clip((h, h), index(h.size), (h.dtype.type(factor[0]), h.dtype.type(hyper[H.DELTA])))


@kernel
def clip_one(h, same, numbers):
    scale, delta = numbers
    return scalar.maximum(scalar.minimum(scale * h, delta), -delta)


@kernel
def sum_of_powers(h, scale, p):
    """The sum of (scale |h|)**p in float64, in every thread of the block."""
    total, i = typed(0, scale), thread()
    while i < h.size:
        size = scale * typed(scalar.maximum(h[i], -h[i]), scale)
        total += size * size if p == 2.0 else scalar.pow(size, p)
        i = index(i + threads())
    return block_sum(total)


@kernel
def norm(slot, h, hyper):
    """slot(2,): a unit, and the sum of (|h| / unit)**p: the unit is 1 unless that sum is too large or too small."""
    p, i, unit = hyper[H.P], thread(), typed(1.0, hyper[H.P])
    total = sum_of_powers(h, unit, p)
    if not (total > LEAST and total < MOST):
        most = typed(TINY, p)
        while i < h.size:
            most = scalar.maximum(most, typed(scalar.maximum(h[i], -h[i]), most))
            i = index(i + threads())
        unit = block_max(most)
        barrier()
        total = sum_of_powers(h, typed(1, unit) / unit, p)
    if thread() == 0:
        slot[0] = unit
        slot[1] = total


@kernel
def joined(slots, p):
    """(unit, norm in units) of the parts of which norm has made the slots."""
    unit, total, n = typed(TINY, p), typed(0, p), slots.shape[0]
    for i in range(n):
        unit = scalar.maximum(unit, slots[i, 0])
    for i in range(n):
        total += slots[i, 1] * scalar.pow(slots[i, 0] / unit, p)
    return unit, sqrt(total) if p == 2.0 else scalar.pow(total, typed(1, p) / p)


@kernel
def join(factor, slots, hyper):
    """factor(1,): what brings the norm of all the slots' parts to omega; 1 where it is not above."""
    if rank() == 0:
        unit, root = joined(slots, hyper[H.P])
        factor[0] = scalar.minimum(hyper[H.OMEGA] / unit / root, typed(1, unit)) if root > 0.0 else 1.0


@kernel
def trust(pair, over, under, hyper):
    """pair(2,): 1 - rate eta_decay, and rate times the norm of the one by that of the other; rate where one is 0."""
    if rank() == 0:
        above, below = joined(over, hyper[H.P]), joined(under, hyper[H.P])
        some = above[1] > 0.0 and below[1] > 0.0
        pair[0] = 1.0 - hyper[H.RATE] * hyper[H.ETA_DECAY]
        pair[1] = hyper[H.RATE] * (above[0] / below[0]) * (above[1] / below[1]) if some else hyper[H.RATE]


@kernel
def gate(later, pair, hyper):
    """One more of the `size` gradients that make a step: later(members, numbers) wait until it is the last of them.

    With pair(2,) blend makes the mean over all of them, of those seen so far: the first replaces what was.
    """
    if rank() != 0:
        return
    if hyper[H.WAIT] == 0.0:
        if hyper[H.STEP] >= hyper[H.SIZE]:
            hyper[H.STEP], hyper[H.SIZE] = 0.0, hyper[H.N]
        hyper[H.STEP] += 1.0
    pair[0], pair[1] = 0.0 if hyper[H.STEP] == 1.0 else 1.0, 1.0 / hyper[H.SIZE]
    ready = hyper[H.WAIT] == 0.0 and hyper[H.STEP] >= hyper[H.SIZE]
    for i in range(later.shape[0]):
        later[i, H.WAIT] = 0.0 if ready else 1.0


each_descent, each_blend, each_decay, each_clip = (each(f, 2) for f in (descent_one, blend_one, decay_one, clip_one))
each_momentum, each_rmsprop, each_lion = (each(f, 3) for f in (momentum_one, rmsprop_one, lion_one))
each_rmsprop_centred, each_adadelta, each_adam, each_adam_plain, each_adam_variant, each_adamax, each_rprop = (
    each(f, 4)
    for f in (rmsprop_centred_one, adadelta_one, adam_one, adam_plain_one, adam_variant_one, adamax_one, rprop_one)
)
each_amsgrad, each_oadam = each(amsgrad_one, 5), each(oadam_one, 5)
