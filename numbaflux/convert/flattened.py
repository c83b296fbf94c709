"""Which arrays of a model follow a flatten: PyTorch's has the channels outermost there, numbaflux's innermost."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import functions as F
from ..checkpoint import FUNCTIONS
from ..layers import LAYERS, Dense, flatten
from ..op import PlanError, Spec, expect
from ..ops.conv import CONV, CONV_GRAD_X
from ..ops.dense import BATCHED, DENSE, MATMUL
from ..ops.move import PERMUTE, RESHAPE, TAKE
from ..ops.norm import MOMENTS
from ..ops.pool import MAXPOOL, MEANPOOL
from ..ops.recurrent import RECURRENT
from ..ops.reduce import BROADCAST, MAX, SUM
from ..program import flat_results
from ..session import Session
from ..trace import Call, Value, tape
from ..tree import STATIC, children, fields, layers, replaced
from .layouts import Array

WINDOWS = {CONV, CONV_GRAD_X, MAXPOOL, MEANPOOL}
LAST = {DENSE, MATMUL, BATCHED, TAKE, RECURRENT}  # their features are innermost in PyTorch too
SAME, FIRST, LOST = 0, -1, -2  # how PyTorch has the axes; a number above 0: flattened, of so many channels


def may_flatten(model: Any) -> bool:
    """Whether something in front of a Dense could be a flatten: one that stands there, or code that is not ours."""
    return any(isinstance(one, Dense) for _, one in layers(model)) and _unsure(model)


def _unsure(node: Any) -> bool:
    below = children(node, STATIC)
    if below is None:
        return callable(node) and (node in (flatten, F.flatten) or getattr(node, "func", node) not in FUNCTIONS)
    known = fields(node) is None or type(node) in LAYERS
    return not known or any(_unsure(child) for _, _, child, _ in below)


def channels(model: Any, inputs: tuple[Any, ...]) -> dict[int, int]:
    """id of each array whose first axis is that of flattened features -> how many channels these have.

    Axes are followed through the operations of one call. An array of four axes or more, and what convolutions and
    pools give, has channels first in PyTorch; what Dense and Embedding give has its features last there too.
    """
    arrays: dict[int, Array] = {}  # id of a Value -> the model's array that it is, repeated perhaps

    def leaf(path: str, kind: str, x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        value = Value(Spec(x.shape, x.dtype), memory=x)
        arrays[id(value)] = x
        return value

    traced = replaced(model, leaf)
    given = [Value(Spec(x.shape, x.dtype), memory=i) for i, x in enumerate(inputs)]
    with Session(training=False, planned=True):
        results = flat_results(traced(*given))
    walk = _Walk(arrays, {id(v): FIRST if v.ndim >= 4 else SAME for v in given})
    for call in tape(results):
        walk.step(call)
    return walk.found


class _Walk:
    """What is known of the values of a tape, call after call."""

    def __init__(self, arrays: dict[int, Array], order: dict[int, int]) -> None:
        self.arrays, self.order = arrays, order
        self.even: set[int] = set()  # of which all features are alike
        self.found: dict[int, int] = {}

    def step(self, call: Call) -> None:
        inputs = [x for x in call.inputs if isinstance(x, Value)]
        orders = [self.order.get(id(x), SAME) for x in inputs]
        count, out = max(orders), call.outs[0]
        before = count if count > 0 else min(orders)
        old = tuple(inputs[orders.index(before)].shape)
        self._expect_followed(call, old, before)
        if before > 0:
            own = [self.arrays[id(x)] for x in inputs if id(x) in self.arrays]
            self.found.update({id(a): count for a in own if a.ndim == (2 if call.op is DENSE else 1)})
        if call.op in (BROADCAST, RESHAPE) and id(inputs[0]) in self.arrays:
            self.arrays[id(out)] = self.arrays[id(inputs[0])]
        elif call.op is BROADCAST and call.attrs["start"] + len(call.attrs["sizes"]) == out.ndim:
            self.even.add(id(out))
        for one in call.outs:
            self.order[id(one)] = _after(call, old, tuple(one.shape), before)

    def _expect_followed(self, call: Call, old: tuple[int, ...], before: int) -> None:
        """Raise unless an operation takes flattened features one by one, or all of a sample together."""
        new, good = tuple(call.outs[0].shape), True
        if before == LOST:
            good = call.op not in (DENSE, RECURRENT) and new != _flat(old)
        elif before > 0 and call.op is RESHAPE:
            good = len(new) > 3 and new[-1] == before
        elif before > 0:
            inputs = [x for x in call.inputs if isinstance(x, Value) and id(x) not in self.arrays]
            whole = call.op in (DENSE, SUM, MAX) or call.op is MOMENTS and call.attrs["groups"] == 1
            others = [x for x in inputs if self.order.get(id(x)) != before and id(x) not in self.even]
            good = (whole or new == old) and all(tuple(x.shape)[-1:] != old[-1:] for x in others)
        expect(good, "convert", "a flatten", "of images as they are, for Dense, norms, dropout and activations alone",
               f"{call.op.name} of shape {new}", "convert its parts one by one", PlanError)  # fmt: skip


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[0], math.prod(shape[1:])


def _after(call: Call, old: tuple[int, ...], new: tuple[int, ...], before: int) -> int:
    """How PyTorch has the axes of what a call gives, of this shape."""
    if call.op in WINDOWS:
        return FIRST
    if call.op in LAST:
        return SAME
    if before > 0:  # an image again, the same features, or none
        return FIRST if call.op is RESHAPE else before if new[-1:] == old[-1:] else SAME
    if before == FIRST and call.op is RESHAPE:
        return _reshaped(old, new)
    moved = call.op is PERMUTE and call.attrs["axes"][-1] != len(old) - 1 and len(old) < 6  # more: PixelShuffle's own
    return LOST if before == FIRST and moved else before if len(new) > 2 else SAME


def _reshaped(old: tuple[int, ...], new: tuple[int, ...]) -> int:
    """How PyTorch has the axes of an image that had its channels first."""
    channels = old[-1]
    if new == _flat(old):
        return channels if channels > 1 and math.prod(old[1:-1]) > 1 else SAME
    if new[-1] > channels > 1:  # some of the places, or all samples, are among the features
        return LOST
    return FIRST if len(new) > 3 or len(new) == len(old) else SAME


def restored(array: Array, count: int) -> Array:
    """The way back: features (space, c) of the first axis as (c, space)."""
    return reordered(array, len(array) // count)


def reordered(array: Array, count: int) -> Array:
    """Features (c, space) of the first axis as (space, c)."""
    return array.reshape(count, -1, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)
