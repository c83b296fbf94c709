"""Gradients: backwards through the tape, by the rules that each operation's record names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import managed
from .op import DTypeError, PlanError, ShapeError, Spec, expect
from .ops import ADD, COPY
from .session import Session
from .trace import NONE, Call, Levels, Value, apply, new_level, tape
from .tree import PARAM, replaced


class Backward:
    """What a gradient rule sees of a call: inputs x and y (all: inputs, outs), attrs, the numbers of the inputs whose
    gradients are wanted, and apply to build on.

    Values stand there under the levels still open: those of gradients inside, which are done, must not come back.
    """

    __slots__ = ("attrs", "inputs", "made", "outs", "wanted")
    apply = staticmethod(apply)

    def __init__(self, call: Call, open_levels: Levels, wanted: Sequence[int]) -> None:
        def seen(x: Any) -> Any:
            return under(x, x.levels & open_levels) if isinstance(x, Value) else x

        self.inputs, self.outs = tuple(map(seen, call.inputs)), tuple(map(seen, call.outs))
        self.attrs, self.wanted = call.attrs, wanted
        self.made: Any = None

    def once(self, make: Callable[[], Any]) -> Any:
        """What the rules of several inputs share: made by the first that asks."""
        if self.made is None:
            self.made = make()
        return self.made

    @staticmethod
    def vjp(f: Callable[..., Any], inputs: Sequence[Any], dys: Sequence[Any]) -> tuple[Any, ...]:
        """Gradients of f's results times dys (None: not of that one) for each input: a rule that is made of another
        way to compute the same."""
        level = new_level()
        leaves = [leaf(x, level) if differentiable(x) else x for x in inputs]
        pairs = [(y, dy) for y, dy in zip(f(*leaves), dys, strict=True) if isinstance(y, Value) and dy is not None]
        opened = [x if isinstance(x, Value) else None for x in leaves]
        found = iter(backward(pairs, [x for x in opened if x is not None], level))
        return tuple(None if x is None else closed(next(found), level) for x in opened)

    @property
    def x(self) -> Any:
        return self.inputs[0]

    @property
    def y(self) -> Any:
        return self.outs[0]


def backward(results: Sequence[tuple[Value, Any]], wanted: Sequence[Value], level: int) -> list[Any]:
    """Gradients of results, each times its seed, for the wanted leaves of a level; None where there is none."""
    values = [x for pair in results for x in pair if isinstance(x, Value)]
    open_levels = NONE.union(*(x.levels for x in values))
    if open_levels == {level} and not any(x.abstract for x in values):
        open_levels = NONE
    grads: dict[int, Any] = {}
    for result, seed in results:
        grads[id(result)] = apply(ADD, grads[id(result)], seed) if id(result) in grads else seed
    for call in reversed(tape([result for result, _ in results])):
        into = [i for i, x in enumerate(call.inputs) if isinstance(x, Value) and level in x.levels]
        expect(not into or bool(call.outs), "checkpointed", "f", "a function whose values go out by its result alone",
               f"one of {call.op.name}", error=PlanError)  # fmt: skip
        dys = [grads.pop(id(out), None) for out in call.outs] if into else []
        if all(dy is None for dy in dys):
            continue
        if call.op.grad is None:
            raise PlanError(f"{call.op.name}: has no gradient: {call.op.reason}")
        seen = Backward(call, open_levels, into)
        for i in into:
            rule = call.op.grad[i]
            dx = None if rule is None else rule(seen, *dys)
            if dx is not None:
                x = call.inputs[i]
                before = grads.get(id(x))
                grads[id(x)] = dx if before is None else apply(ADD, before, dx)
    return [grads.get(id(leaf)) for leaf in wanted]


class Opened:
    """Arguments as leaves of a new level: what a function is traced on, and how gradients go back into their shape."""

    def __init__(self, args: tuple[Any, ...]) -> None:
        self.level = new_level()
        self.args = args
        self.values: dict[Any, Value] = {}
        self.traced = replaced(args, self._leaf)

    def _leaf(self, path: str, kind: str, x: Any) -> Any:
        if kind != PARAM or not differentiable(x):
            return x
        key = tie(path, x)
        value = self.values.get(key)
        if value is None:
            value = self.values[key] = leaf(x, self.level)
        return value

    def gradients(self, result: Value, seed: Any) -> Any:
        """The gradient of result, in the shape of the arguments; one argument: its alone."""
        found = backward([(result, seed)], list(self.values.values()), self.level)
        by_tie = dict(zip(self.values, found, strict=True))

        def place(path: str, kind: str, x: Any) -> Any:
            if kind != PARAM or not differentiable(x):
                return None if isinstance(x, np.ndarray | Value) else x
            g = by_tie[tie(path, x)]
            return zeros(x) if g is None else closed(g, self.level)

        grads = tuple(replaced(self.args, place))
        return grads[0] if len(grads) == 1 else grads


def tie(path: str, x: Any) -> Any:
    """What is one leaf: an array, wherever it stands in one argument; a Python number, which is no object of its own,
    where it stands."""
    return (path.partition(".")[0], id(x)) if isinstance(x, np.ndarray | Value) else path


def differentiable(x: Any) -> bool:
    return isinstance(x, float) or isinstance(x, np.ndarray | np.generic | Value) and x.dtype.kind == "f"


def zeros(x: Any) -> np.ndarray:
    return managed.beside(x, np.zeros(getattr(x, "shape", ()), getattr(x, "dtype", np.dtype(np.float32))))


def leaf(x: Any, level: int) -> Value:
    """A new leaf of a level for an array; for a Value of an open gradient, one that stays joined to it."""
    if isinstance(x, Value):
        return joined(x, x.levels | {level})
    array = np.asarray(x, np.float32 if isinstance(x, float) and not isinstance(x, np.generic) else None)
    array = managed.contiguous(array).reshape(np.shape(x))
    return Value(Spec(array.shape, array.dtype), array, levels=frozenset({level}), memory=array)


def closed(x: Any, level: int) -> Any:
    """What is left of a result when its level ends: an array, or a Value of the levels still open."""
    return under(x, x.levels - {level}) if isinstance(x, Value) else x


def under(x: Value, levels: Levels) -> Any:
    """A value under other levels: its array where none is left."""
    if levels == NONE and not x.abstract:
        return x.array
    return x if levels == x.levels else joined(x, levels)


def joined(x: Value, levels: Levels) -> Value:
    """The same value under other levels."""
    call = Call(COPY, (x,), {})
    call.outs = (Value(x.spec, x.array, call, 0, levels),)
    return call.outs[0]


def scalar_loss(result: Any, where: str) -> tuple[Value, Any]:
    """The loss of a function's result, loss or (loss, aux): a Value without axes, of floats."""
    loss, aux = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    expect(isinstance(loss, Value), where, "loss", "computed from the arguments", type(loss).__name__,
           "return what depends on them", PlanError)  # fmt: skip
    expect(loss.shape == () or loss.size == 1, where, "loss", "a scalar", f"shape {loss.shape}",
           "take its mean or sum", ShapeError)  # fmt: skip
    expect(loss.dtype.kind == "f", where, "loss", "a floating number", str(loss.dtype), error=DTypeError)
    return loss, aux


def withgradient(f: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """Value of f(*args) and its gradient: in the shape of the argument, or a tuple for several.

    f returns a scalar, or (scalar, anything); the value is the same. Arrays of floats are differentiated; integers
    give None.

    >>> value, grad = withgradient(lambda x: (x * x).sum(), np.array([1.0, 2.0], np.float32))
    >>> float(value), grad.tolist()
    (5.0, [2.0, 4.0])
    """
    opened = Opened(args)
    with Session(training=True) as session:
        loss, aux = scalar_loss(f(*opened.traced), "gradient")
        grads = opened.gradients(loss, managed.beside(loss, np.ones(loss.shape, loss.dtype)))
    session.commit()
    value = number(closed(loss, opened.level))
    return (value if aux is None else (value, replaced(aux, lambda p, k, x: closed(x, opened.level)))), grads


def number(x: Any) -> Any:
    """A 0-d array as a NumPy number."""
    return x[()] if isinstance(x, np.ndarray) and x.ndim == 0 else x


def gradient(f: Callable[..., Any], *args: Any) -> Any:
    """The gradient alone.

    >>> gradient(lambda x: (x * x * x).sum(), np.array([2.0], np.float32)).tolist()
    [12.0]
    """
    return withgradient(f, *args)[1]


def pullback(f: Callable[..., Any], *args: Any) -> tuple[Any, Callable[[Any], Any]]:
    """f(*args), and the function that takes a gradient of it to the gradient of the arguments.

    >>> y, back = pullback(lambda x: x * x, np.array([1.0, 3.0], np.float32))
    >>> back(np.array([1.0, 0.5], np.float32)).tolist()
    [2.0, 3.0]
    """
    opened = Opened(args)
    with Session(training=True) as session:
        result = f(*opened.traced)
        expect(isinstance(result, Value), "pullback", "f", "a function that returns one array", type(result).__name__,
               error=PlanError)  # fmt: skip
    session.commit()

    def back(dy: Any) -> Any:
        dy = dy if isinstance(dy, Value) else np.asarray(dy, result.dtype)
        expect(dy.shape == result.shape, "pullback", "dy", f"of shape {result.shape}", f"shape {dy.shape}",
               error=ShapeError)  # fmt: skip
        return opened.gradients(result, dy)

    return closed(result, opened.level), back


def jacobian(f: Callable[..., Any], x: Any) -> Any:
    """All derivatives of f(x), of shape f(x).shape + x.shape; one backward pass an element of f(x).

    >>> jacobian(lambda x: x * x, np.array([1.0, 3.0], np.float32)).tolist()
    [[2.0, 0.0], [0.0, 6.0]]
    """
    return withjacobian(f, x)[1]


def withjacobian(f: Callable[..., Any], x: Any) -> tuple[Any, Any]:
    """f(x) and all its derivatives, as nf.jacobian gives them: the function is run once.

    >>> y, derivatives = withjacobian(lambda x: x * x, np.array([1.0, 3.0], np.float32))
    >>> y.tolist(), derivatives.tolist()
    ([1.0, 9.0], [[2.0, 0.0], [0.0, 6.0]])
    """
    y, back = pullback(f, x)
    rows = managed.beside(y, np.eye(y.size, dtype=y.dtype)).reshape(y.size, *y.shape)
    found = np.stack([back(row) for row in rows]) if y.size else zeros(x)[None][:0]
    return y, managed.beside(y, found).reshape((*y.shape, *np.shape(x)))
