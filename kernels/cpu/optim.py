"""Optimiser rules over a stretch of the flat vectors: parameters p, state, gradient g.

hyper holds float64 numbers: steps done, beta1**steps, beta2**steps, beta1, beta2, eta, and what else a rule needs.
"""

from ..jit import kernel, sqrt

STEP, POWER1, POWER2, BETA1, BETA2, ETA, EPS, DECAY, ETA_DECAY = range(9)
WORDS = 9


@kernel
def descent(p, g, hyper):
    """p -= eta g"""
    eta = p.dtype.type(hyper[ETA])
    for i in range(p.size):
        p[i] -= eta * g[i]


@kernel
def momentum(p, v, g, hyper):
    """v = rho v + eta g; p -= v (rho is beta1)"""
    eta, rho = p.dtype.type(hyper[ETA]), p.dtype.type(hyper[BETA1])
    for i in range(p.size):
        v[i] = rho * v[i] + eta * g[i]
        p[i] -= v[i]


@kernel
def adam(p, m, v, g, hyper):
    """Kingma and Ba 2015, algorithm 1; with decay Loshchilov and Hutter 2019: p -= eta m^ / (sqrt(v^) + eps) +
    decay p."""
    t = p.dtype.type
    beta1, beta2, eps, one = t(hyper[BETA1]), t(hyper[BETA2]), t(hyper[EPS]), t(1)
    keep = t(1.0 - hyper[DECAY] - hyper[ETA] * hyper[ETA_DECAY])
    rate = t(hyper[ETA] / (1.0 - hyper[POWER1] * hyper[BETA1]))
    root = t(1.0 / (1.0 - hyper[POWER2] * hyper[BETA2]))
    for i in range(p.size):
        m[i] = beta1 * m[i] + (one - beta1) * g[i]
        v[i] = beta2 * v[i] + (one - beta2) * (g[i] * g[i])
        p[i] = keep * p[i] - rate * m[i] / (sqrt(root * v[i]) + eps)


@kernel
def tick(hyper):
    """A step is done."""
    hyper[STEP] += 1.0
    hyper[POWER1] *= hyper[BETA1]
    hyper[POWER2] *= hyper[BETA2]
