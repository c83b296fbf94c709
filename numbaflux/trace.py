"""Values and the tape: what an operation was applied to. Computes nothing itself.

A Value is concrete (it holds an array: eager, Python may branch on it) or abstract (a shape: a plan is being made).
Each knows the call that made it, so the tape is the graph behind a result; `levels` says which open gradients it
depends on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from .op import Op, PlanError, Spec
from .run import array_of, outputs, run

Levels = frozenset[int]
NONE: Levels = frozenset()
_serial = itertools.count()
new_level = itertools.count(1).__next__


class Call:
    """One operation as it was applied: op, inputs (Values, arrays, None), attrs, outs."""

    __slots__ = ("attrs", "inputs", "op", "outs", "serial")

    def __init__(self, op: Op, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> None:
        self.op, self.inputs, self.attrs, self.serial = op, inputs, attrs, next(_serial)
        self.outs: tuple[Value, ...] = ()


class Value:
    """An array inside a traced function: takes Python's operators, NumPy's functions and numbaflux's own.

    >>> from numbaflux import gradient
    >>> gradient(lambda x: (np.exp(x) - x[0] ** 2).sum(), np.zeros(2, np.float32)).tolist()
    [1.0, 1.0]
    """

    __slots__ = ("array", "call", "dtype", "index", "levels", "memory", "shape")
    __array_priority__ = 1000
    __hash__ = object.__hash__

    def __init__(
        self, spec: Spec, array: np.ndarray | None = None, call: Call | None = None, index: int = 0,
        levels: Levels = NONE, memory: Any = None,
    ) -> None:  # fmt: skip
        self.shape, self.dtype = spec
        self.array, self.call, self.index, self.levels = array, call, index, levels
        self.memory = memory  # of an abstract leaf: the array that holds it, or the number of the plan's argument

    @property
    def abstract(self) -> bool:
        return self.array is None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def spec(self) -> Spec:
        return Spec(self.shape, self.dtype)

    def __repr__(self) -> str:
        held = "abstract" if self.array is None else np.array2string(self.array, threshold=8)
        return f"Value({held}, shape={self.shape}, dtype={self.dtype})"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d value")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))  # type: ignore[index]

    def _concrete(self, what: str) -> np.ndarray:
        if self.array is None:
            raise PlanError(
                f"compile: a number computed from arrays must not be asked for by {what} while a plan is made; "
                "use nf.where, or call the function without compile"
            )
        return self.array

    def __bool__(self) -> bool:
        return bool(self._concrete("if, while, and, or, not"))

    def __float__(self) -> float:
        return float(self._concrete("float()"))

    def __int__(self) -> int:
        return int(self._concrete("int()"))

    def item(self) -> Any:
        """The one element as a Python number."""
        return self._concrete(".item()").item()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise PlanError(
            "gradient: a traced value must not be turned into a NumPy array, which would lose its gradient; "
            "use nf.stop_gradient(x) where that is meant, or numbaflux's functions"
        )


def spec_of(x: Any) -> Spec | None:
    return None if x is None else Spec(tuple(x.shape), x.dtype)


def apply(op: Op, *inputs: Any, **attrs: Any) -> Any:
    """Run an operation on arrays; or, where one of them is a Value, record it (and run it unless one is abstract).

    Returns one array or Value, or a tuple where the operation has several outputs.

    >>> from numbaflux.ops.elementwise import MUL
    >>> apply(MUL, np.array([2.0, 3.0]), np.array([5.0, 7.0])).tolist()
    [10.0, 21.0]
    """
    values = [x for x in inputs if isinstance(x, Value)]
    if not values:
        return run(op, list(inputs), attrs)
    given = inputs
    inputs = tuple(x if x is None or isinstance(x, Value) else array_of(x, op.name) for x in inputs)
    call = Call(op, inputs, attrs)
    levels = NONE.union(*(x.levels for i, x in enumerate(inputs) if isinstance(x, Value) and _has_rule(op, i)))
    if any(v.abstract for v in values):
        _readable(op, given)
        specs = outputs(op, tuple(map(spec_of, inputs)), attrs)
        arrays: tuple[Any, ...] = (None,) * len(specs)
    else:
        found = run(op, [x.array if isinstance(x, Value) else x for x in inputs], attrs)
        arrays = found if isinstance(found, tuple) else (found,)
        specs = tuple(Spec(a.shape, a.dtype) for a in arrays)
    pairs = enumerate(zip(specs, arrays, strict=True))
    call.outs = tuple(Value(s, a, call, i, levels) for i, (s, a) in pairs)
    return call.outs[0] if len(call.outs) == 1 else call.outs


def _has_rule(op: Op, i: int) -> bool:
    """Whether a gradient goes through an input; an operation that cannot say so raises where one would."""
    return op.grad is None or op.grad[i] is not None


def _readable(op: Op, inputs: tuple[Any, ...]) -> None:
    """Refuse captured arrays that a plan could not read where they are: of a copy, changes would not be seen."""
    for x in inputs:
        if isinstance(x, np.ndarray) and x.ndim and not x.flags.c_contiguous:
            raise PlanError(
                f"{op.name}: an array that a compiled function uses must be C-contiguous, got strides {x.strides}; "
                "use np.ascontiguousarray(x) outside of it"
            )


def tape(results: list[Any]) -> list[Call]:
    """The calls behind some results, in the order in which they were made."""
    seen: dict[int, Call] = {}
    todo = [v.call for v in results if isinstance(v, Value) and v.call is not None]
    while todo:
        call = todo.pop()
        if call.serial not in seen:
            seen[call.serial] = call
            todo += [v.call for v in call.inputs if isinstance(v, Value) and v.call is not None]
    return [seen[s] for s in sorted(seen)]
