"""Normalisation of x(..., c) by mean and variance: of a whole batch, of samples, or of groups of a sample's channels.

Statistics have the shape lead + (2, groups): mean and variance for each index of x's first axes and each group of
neighbouring channels. Those of a batch have no lead and c groups; of an instance the lead (n,) and c groups; of a
layer all axes but the last, and one group.
"""

from __future__ import annotations

import math
from typing import Any

from ..op import DTypeError, Op, ShapeError, Spec, example, expect
from .elementwise import ADD, AFFINE, DIV, FILL, MUL, NEG, SQRT, SUB
from .move import RESHAPE, SLICE
from .norm_entries import fixed_lower, grad_lower, moments_lower, norm_lower, track_lower
from .ranks import MEAN_OF_RANKS
from .reduce import BROADCAST, SUM

# ---------------------------------------------------------------- shapes


def _moments_shape(x: Spec, lead: int, groups: int) -> Spec:
    expect(x.dtype.kind == "f", "moments", "x", "an array of float32 or float64", str(x.dtype), "x.astype(np.float32)",
           DTypeError)  # fmt: skip
    expect(len(x.shape) > lead, "moments", "x", f"of more than {lead} axes", f"shape {x.shape}", error=ShapeError)
    expect(x.shape[-1] % groups == 0, "moments", "groups", f"a divisor of {x.shape[-1]} channels", groups)
    expect(0 not in x.shape, "moments", "x", "of at least one element", f"shape {x.shape}", error=ShapeError)
    return Spec((*x.shape[:lead], 2, groups), x.dtype)


def _norm_shape(x: Spec, stats: Spec, *others: Spec | None, eps: float, world: Any = None) -> Spec:
    """others: by channel."""
    fits = 2 <= len(stats.shape) <= len(x.shape) + 1 and stats.shape[:-2] == x.shape[: len(stats.shape) - 2]
    fits = fits and stats.shape[-2] == 2 and stats.shape[-1] > 0 and x.shape[-1] % stats.shape[-1] == 0
    expect(0 not in x.shape, "norm", "x", "of at least one element", f"shape {x.shape}", error=ShapeError)
    expect(fits, "norm", "statistics", f"for x of shape {x.shape}", f"shape {stats.shape}", error=ShapeError)
    for other in others:
        good = other is None or other.shape == x.shape[-1:]
        expect(good, "norm", "weight", f"of shape {x.shape[-1:]}", str(other and other.shape), error=ShapeError)
    for other in (stats, *others):
        same = other is None or other.dtype == x.dtype
        expect(same, "norm", "x", f"of {other and other.dtype} as weights", str(x.dtype),
               "x.astype(np.float32) or nf.f64(model)", DTypeError)  # fmt: skip
    return x


def _fixed_shape(x: Spec, *others: Spec | None, eps: float) -> Spec:
    """others: mean, variance, weight and bias by channel."""
    return _norm_shape(x, Spec((2, *x.shape[-1:]), x.dtype), *others, eps=eps)


def _track_shape(mean: Spec, var: Spec, stats: Spec, momentum: float, count: int) -> tuple[Spec, Spec]:
    good = mean == var and len(mean.shape) == 1 and stats.shape[-2:] == (2, *mean.shape) and stats.dtype == mean.dtype
    expect(good, "track", "statistics", f"{mean.dtype} of shape (..., 2, {mean.shape[0]})",
           f"{stats.dtype} of shape {stats.shape}", error=ShapeError)  # fmt: skip
    return mean, var


def _grad_shape(
    x: Spec, stats: Spec, w: Spec | None, dy: Spec, eps: float, world: Any = None
) -> tuple[Spec, Spec]:  # fmt: skip
    _norm_shape(x, stats, w, eps=eps)
    expect(dy.shape == x.shape, "norm_grad", "dy", f"of shape {x.shape}", str(dy.shape), error=ShapeError)
    return x, Spec((2, x.shape[-1]), x.dtype)


# ---------------------------------------------------------------- gradients


class Groups:
    """Means and repetition over the groups of x that statistics tell of, made of operations."""

    def __init__(self, c: Any, stats: Any) -> None:
        self.c, self.stats, self.shape = c, stats, tuple(c.x.shape)
        self.lead, self.groups = tuple(stats.shape[:-2]), stats.shape[-1]
        self.outer, self.k = math.prod(self.lead), math.prod(self.shape[len(self.lead) : -1])
        self.m = self.shape[-1] // self.groups
        self.world = c.attrs.get("world")

    def stat(self, which: int) -> Any:
        """Mean (0) or variance (1)."""
        return row(self.c, self.stats, len(self.lead), which)

    def spread(self, v: Any) -> Any:
        """A number a group, on each of its elements."""
        v = self.c.apply(RESHAPE, v, shape=(self.outer, self.groups))
        v = self.c.apply(BROADCAST, v, start=1, sizes=(self.k,))
        v = self.c.apply(BROADCAST, v, start=3, sizes=(self.m,))
        return self.c.apply(RESHAPE, v, shape=self.shape)

    def mean(self, v: Any) -> Any:
        """The mean over each group."""
        v = self.c.apply(RESHAPE, v, shape=(self.outer, self.k, self.groups, self.m))
        v = self.c.apply(SUM, v, start=3, stop=4, scale=1.0 / (self.k * self.m))
        v = self.c.apply(SUM, v, start=1, stop=2, scale=1.0)
        v = self.c.apply(RESHAPE, v, shape=(*self.lead, self.groups))
        return v if self.world is None else self.c.apply(MEAN_OF_RANKS, v, world=self.world, rows=self.shape[0])


def row(c: Any, x: Any, axis: int, i: int) -> Any:
    """x[..., i, ...] at an axis."""
    x = c.apply(SLICE, x, axis=axis, start=i, step=1, size=1)
    return c.apply(RESHAPE, x, shape=(*x.shape[:axis], *x.shape[axis + 1 :]))


def _by_channel(c: Any, v: Any) -> Any:
    """A number a channel, on each element of x."""
    return c.apply(BROADCAST, v, start=0, sizes=tuple(c.x.shape[:-1]))


def _over(c: Any, v: Any) -> Any:
    """The sum for each channel."""
    return c.apply(SUM, v, start=0, stop=len(v.shape) - 1, scale=1.0)


def _deviation(c: Any, var: Any) -> Any:
    return c.apply(SQRT, c.apply(AFFINE, var, scale=1.0, shift=c.attrs["eps"]))


def _moments_grad(c: Any, dy: Any) -> Any:
    """dmean / count + 2 (x - mean) dvar / count, over the count of a group."""
    g = Groups(c, c.y)
    dmean, dvar = (row(c, c.apply(AFFINE, dy, scale=1.0 / (g.k * g.m), shift=-0.0), len(g.lead), i) for i in (0, 1))
    d = c.apply(SUB, c.x, g.spread(g.stat(0)))
    pull = c.apply(MUL, d, g.spread(c.apply(AFFINE, dvar, scale=2.0, shift=-0.0)))
    return c.apply(ADD, g.spread(dmean), pull)


def _backward(c: Any, dy: Any) -> Any:
    """(dx, sums) of norm, once for all of its inputs."""
    return c.once(lambda: c.apply(NORM_GRAD, *c.inputs[:3], dy, **c.attrs))


def _fixed_grad_x(c: Any, dy: Any) -> Any:
    _, _, var, w, _ = c.inputs
    deviation = _deviation(c, var)
    w = c.apply(FILL, deviation, value=1.0) if w is None else w
    return c.apply(MUL, dy, _by_channel(c, c.apply(DIV, w, deviation)))


def _fixed_grad_w(c: Any, dy: Any) -> Any:
    return _over(c, c.apply(MUL, dy, c.apply(NORM_FIXED, *c.inputs[:3], None, None, **c.attrs)))


def _hat(c: Any) -> Any:
    return c.apply(NORM, *c.inputs[:2], None, None, **c.attrs)


def _project(c: Any, v: Any, w: Any = None) -> Any:
    """What the gradient of x is to dy = v."""
    return c.apply(NORM_GRAD, *c.inputs[:2], w, v, **c.attrs)[0]


def _sum_of_terms(c: Any, terms: list[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = c.apply(ADD, total, term)
    return total


def _grad_grad_x(c: Any, gx: Any, gs: Any) -> Any:
    """With P v = scale (v - mean v - h mean(v h)), dx = P u and u = w dy: of <gx, dx> it is
    -scale (h mean(gx dx) + mean(u h) P gx + mean(gx h) dx); of <g, sums of dy h> it is P(g dy)."""
    _, stats, w, dy = c.inputs
    terms = [] if gs is None else [_project(c, dy, row(c, gs, 0, 1))]
    if gx is not None:
        g, hat, dx = Groups(c, stats), _hat(c), c.outs[0]
        u = dy if w is None else c.apply(MUL, dy, _by_channel(c, w))
        means = [g.mean(c.apply(MUL, *pair)) for pair in ((gx, dx), (u, hat), (gx, hat))]
        deviation = c.apply(NEG, _deviation(c, g.stat(1)))
        parts = zip((hat, _project(c, gx), dx), means, strict=True)
        terms += [c.apply(MUL, v, g.spread(c.apply(DIV, mean, deviation))) for v, mean in parts]
    return _sum_of_terms(c, terms)


def _grad_grad_w(c: Any, gx: Any, gs: Any) -> Any:
    return None if gx is None else _over(c, c.apply(MUL, c.inputs[3], _project(c, gx)))


def _grad_grad_dy(c: Any, gx: Any, gs: Any) -> Any:
    w, terms = c.inputs[2], []
    if gx is not None:
        p = _project(c, gx)
        terms.append(p if w is None else c.apply(MUL, p, _by_channel(c, w)))
    if gs is not None:
        terms += [_by_channel(c, row(c, gs, 0, 0)), c.apply(MUL, _hat(c), _by_channel(c, row(c, gs, 0, 1)))]
    return _sum_of_terms(c, terms)


# ---------------------------------------------------------------- records

BATCH, LAYER = {"lead": 0, "groups": 5}, {"lead": 1, "groups": 1}
# mean and variance (of all, not of a sample of them) of each group
MOMENTS = Op(
    "moments",
    _moments_shape,
    moments_lower,
    (_moments_grad,),
    examples=(example("f", (4, 3, 5), **BATCH), example("f", (4, 5), **LAYER)),
)
# (x - mean) / sqrt(var + eps) * w + b. The statistics are x's own: what they add to the gradient is in that of x; with
# a world they are those of a batch over all of its ranks
NORM: Op = Op(
    "norm",
    _norm_shape,
    norm_lower,
    (
        lambda c, dy: _backward(c, dy)[0],
        None,
        lambda c, dy: row(c, _backward(c, dy)[1], 0, 1),
        lambda c, dy: row(c, _backward(c, dy)[1], 0, 0),
    ),
    examples=(
        example("ffff", (4, 3, 5), (2, 5), (5,), (5,), eps=1e-5),
        example("ffff", (4, 5), (4, 2, 1), (5,), (5,), eps=1e-5),
    ),
)
# the same by mean and variance of each channel, which are constants
NORM_FIXED: Op = Op(
    "norm_fixed",
    _fixed_shape,
    fixed_lower,
    (_fixed_grad_x, None, None, _fixed_grad_w, lambda c, dy: _over(c, dy)),
    examples=(example("fffff", (4, 3, 5), (5,), (5,), (5,), (5,), eps=1e-5),),
)
# running mean and variance, a step of momentum toward those of a batch (or to the mean of those of its samples): the
# variance as of a sample of count numbers
TRACK = Op(
    "track",
    _track_shape,
    track_lower,
    (None, None, None),
    examples=(example("fff", (5,), (5,), (3, 2, 5), momentum=0.1, count=9),),
)
# norm's gradient of x, and the sums of dy and of dy * (x - mean) / sqrt(var + eps) by channel: (2, c)
NORM_GRAD: Op = Op(
    "norm_grad",
    _grad_shape,
    grad_lower,
    (_grad_grad_x, None, _grad_grad_w, _grad_grad_dy),
    examples=(
        example("ffff", (4, 3, 5), (2, 5), (5,), (4, 3, 5), eps=1e-5),
        example("ffff", (4, 5), (4, 2, 1), (5,), (4, 5), eps=1e-5),
    ),
)

OPS = (MOMENTS, NORM, NORM_FIXED, TRACK, NORM_GRAD)
