"""nf.debug: where the first value that is not finite comes from."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .devices import moved
from .grad import backward, differentiable, leaf, scalar_loss
from .layers import Checkpointed
from .layers.layer import name_of
from .managed import common
from .op import DTypeError, Spec, expect
from .recompute import begins, serial
from .session import Session
from .trace import Call, Value, new_level, tape
from .tree import BUFFER, PARAM, STATIC, arrays, children, fields, layers, rebuilt, replaced

SHOWN = 60  # characters of an operation's numbers


@dataclass(frozen=True)
class NonFinite:
    """An array with NaN or Inf, as nf.debug.first_nonfinite found it; as text, in one line.

    what: "input", "parameter", "buffer", "constant" (an array that the function made or captured), "output" or
    "gradient"; name: its path, in the batch or model, of an output or gradient "".
    layer, kind: path and name of the layer or function that computed it, or reads it; "" and "loss" outside of the
    model. op: the operation there, with its numbers; "NumPy" of a function that traced nothing, "" where none reads it.
    shape: of the array; count: elements that are not finite; index, value: of the first of them.
    extremes: (shape, smallest, largest) of each array that the operation took, by its finite elements; NaN where it has
    none. Of a gradient the first are those of the gradient that came in.
    """

    what: str
    name: str
    layer: str
    kind: str
    op: str
    shape: tuple[int, ...]
    count: int
    index: tuple[int, ...]
    value: float
    extremes: tuple[tuple[tuple[int, ...], float, float], ...]

    def __str__(self) -> str:
        at = f"layer {self.layer} ({self.kind})" if self.layer else f"the {self.kind}"
        place = f"{self.op} in {at}"
        subject = {
            "output": f"the output of {place}",
            "gradient": f"a gradient made by {place}",
            "constant": f"an array that {place} takes",
        }.get(self.what, f"{self.what} {self.name}" + (f", which {place} reads," if self.op else ""))
        size = int(np.prod(self.shape))
        text = f"{subject} of shape {self.shape} has {self.count} of {size} elements that are NaN or Inf, "
        text += f"the first {self.value} at {self.index}"
        took = ", ".join(f"{shape} from {low:.4g} to {high:.4g}" for shape, low, high in self.extremes)
        return f"{text}; it took {took}" if took and self.what in ("output", "gradient") else text


def first_nonfinite(model: Any, *batch: Any, loss: Callable[..., Any] | None = None) -> NonFinite | None:
    """The first array with NaN or Inf behind a result that is not finite: which layer, which operation, which array;
    None where all results are finite.

    batch: what a step of the training takes, such as x, y. loss(model, *batch) -> scalar or (scalar, anything), as of
    nf.train; without it model(x) is looked at, and y only for NaN and Inf. Both are run as in training, one operation
    after another: results and running statistics first, then the gradients of all parameters (without a loss those of
    the sum of all outputs). An infinity that does no harm there, such as a mask's, is passed over. Nothing is changed:
    no parameter, no statistics, no count of draws; memory is that of a gradient without nf.compile.
    nf.testmode(model) gives the same of inference. Raises what model and loss raise, and DTypeError for a loss that is
    no function.

    >>> import numbaflux as nf
    >>> model = nf.Chain(nf.Dense(2, 3, nf.relu), lambda x: nf.functions.log(x * 0), nf.Dense(3, 1))
    >>> found = first_nonfinite(model, np.ones((4, 2), np.float32))
    >>> found.layer, found.op, found.what, found.value
    ('1', 'log', 'output', -inf)
    >>> print(found)
    the output of log in layer 1 (<lambda>) of shape (4, 3) has 12 of 12 elements that are NaN or Inf, the first -inf \
at (0, 0); it took (4, 3) from 0 to 0
    """
    good = loss is None or callable(loss)
    expect(good, "first_nonfinite", "loss", "a function loss(model, *batch)", type(loss).__name__, error=DTypeError)
    batch = moved(batch, common("first_nonfinite", arrays(model).items()))
    try:
        return _Run(model, batch, loss, opened=True).first()
    except Exception:  # a function that takes no traced inputs, as training without a plan allows; else it raises again
        return _Run(model, batch, loss, opened=False).first()


def cause(loss: Callable[..., Any], model: Any, batch: tuple[Any, ...], world: Any = None) -> str:
    """What to add to an error of a training step: "; " and where its first value that is not finite comes from.

    world: whose ranks all ask for their own batches, and are all told what the first of those that found something
    has. Nothing where the step computes on all ranks together, or where running it once more, one operation after
    another, finds nothing or fails, for lack of memory, say: the error that is told of is the step's.
    """
    text = ""
    if not any(getattr(one, "_world", None) is not None for _, one in layers(model)):
        with contextlib.suppress(Exception):
            text = str(first_nonfinite(model, *batch, loss=loss) or "")
    if world is not None and world.size > 1:  # they meet before one of them ends the job
        found = np.flatnonzero(world.meet("where the first NaN or Inf comes from", [float(bool(text))])[:, 0])
        text = f"on rank {found[0]} {world.share(text, int(found[0]))}" if found.size else ""
    return f"; {text}" if text else ""


class _Rules(tuple[Any, ...]):
    """The gradient rules of a call, which tell of each gradient that they make."""

    call: Call
    rules: Any
    made: list[tuple[Call, int, Sequence[Any], Any]]

    def __getitem__(self, i: Any) -> Any:
        rule = self.rules[i]

        def told(seen: Any, *dys: Any) -> Any:
            dx = rule(seen, *dys)
            self.made.append((self.call, i, dys, dx))
            return dx

        return rule and told


class _Run:
    """One run of a model and its gradient, operation by operation, of which nothing takes effect."""

    def __init__(self, model: Any, batch: tuple[Any, ...], loss: Any, opened: bool) -> None:
        self.level = new_level()
        self.spans: list[tuple[int, int, str, str]] = []
        self.names: dict[int, tuple[str, str, Any]] = {}
        self.leaves: dict[int, Value] = {}
        self.plain: dict[int, tuple[str, str, np.ndarray]] = {}  # what functions made by NumPy alone
        self.opened, self.aside = opened, [] if loss is not None else [str(i) for i in range(1, len(batch))]
        given = replaced(batch, self._input)
        for path, array in arrays(model, BUFFER).items():
            self.names[id(array)] = "buffer", path, array
        traced = self._watched(replaced(model, self._parameter), "")
        session = Session(training=True)
        session.outer = None  # what happens here is no part of another run
        with session:
            result = loss(traced, *given) if loss is not None else traced(*given[:1])
        self.results = [scalar_loss(result, "first_nonfinite")[0]] if loss is not None else _values(result)
        self.changed = [value for _, value in session.changes.values()]

    def _input(self, path: str, kind: str, x: Any) -> Any:
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
            return x
        x = np.ascontiguousarray(x) if x.ndim else x
        made = Value(Spec(x.shape, x.dtype), x, memory=x) if self.opened else x
        self.names[id(made)] = "input", path, made
        return made

    def _parameter(self, path: str, kind: str, x: Any) -> Any:
        if kind != PARAM or not isinstance(x, np.ndarray) or not differentiable(x):
            return x
        if id(x) not in self.leaves:
            made = self.leaves[id(x)] = leaf(x, self.level)
            self.names[id(made)] = "parameter", path, made
        return self.leaves[id(x)]

    def _watched(self, node: Any, path: str) -> Any:
        """A copy of a model whose layers, and functions among them, leave word of when they ran."""
        known, below = fields(node), children(node, STATIC)
        parts = []
        for name, key, child, _ in below or ():
            at = f"{path}.{name}" if path else name
            alone = isinstance(key, tuple) and fields(child) is None and children(child, STATIC) is None
            parts.append(
                (
                    key,
                    self._told(child, at, getattr(child, "__name__", name_of(child)))
                    if alone
                    else self._watched(child, at),
                )
            )
        if below is None:
            return node
        made = rebuilt(node, parts) if parts else copy.copy(node)
        if known is not None:
            owner = type(node)
            run = (lambda self, *xs: self.layer(*xs)) if owner is Checkpointed else owner.__call__
            own = {"__call__": self._told(run, path, owner.__name__)}
            object.__setattr__(made, "__class__", type(owner.__name__, (owner,), own))
        return made

    def _told(self, f: Any, path: str, kind: str) -> Any:
        @functools.wraps(f, updated=())
        def told(*args: Any, **named: Any) -> Any:
            start = serial()
            result = f(*args, **named)
            self.spans.append((start, serial(), path, kind))
            if isinstance(result, np.ndarray) and id(result) not in self.names:
                self.plain.setdefault(id(result), (path, kind, result))
            return result

        return told

    def first(self) -> NonFinite | None:
        aside = [at for at in self.names.values() if at[0] == "input" and at[1] in self.aside and _bad(at[2])]
        found = self._forward([*self.results, *self.changed]) or self._backward()
        return found or next((self._found(*at, None) for at in aside), None)

    def _reader(self, x: Any) -> Call | None:
        """The first call that takes an array."""
        return next((c for c in tape([*self.results, *self.changed]) if any(x is i for i in c.inputs)), None)

    def _forward(self, results: Iterable[Any]) -> NonFinite | None:
        """The first of the arrays with NaN or Inf on the way to such results."""
        todo, seen = [x for x in results if _bad(x)], set()
        found: list[tuple[int, Call | None, Any]] = []
        while todo:
            x = todo.pop()
            call = x.call if isinstance(x, Value) else None
            if id(x) in seen:
                continue
            seen.add(id(x))
            if call is None:
                found.append((-1, None, x))
                continue
            todo += [i for i in begins(call) if isinstance(i, Value) and _bad(i)]
            plain = [i for i in begins(call) if isinstance(i, np.ndarray) and _bad(i)]
            found += [(call.serial - 1, call, i) for i in plain] + [(call.serial, call, x)]
        if not found:
            return None
        _, call, x = min(found, key=lambda one: one[0])
        what, name, _ = self.names.get(id(x), ("output" if isinstance(x, Value) and x.call else "constant", "", None))
        return self._found(what, name, x, call or self._reader(x))

    def _backward(self) -> NonFinite | None:
        """The first gradient with NaN or Inf on the way to one of a parameter."""
        made: list[tuple[Call, int, Sequence[Any], Any]] = []
        for call in tape(self.results):
            if call.op.grad is not None:
                rules = _Rules(call.op.grad)
                rules.call, rules.rules, rules.made = call, call.op.grad, made
                call.op = replace(call.op, grad=rules)
        pairs = [(v, np.ones(v.shape, v.dtype)) for v in self.results if self.level in v.levels and differentiable(v)]
        wanted = list(self.leaves.values())
        found = backward(pairs, wanted, self.level) if pairs else []
        todo = [x for x, g in zip(wanted, found, strict=False) if _bad(g)]
        if not todo:
            return None
        into: dict[int, list[int]] = {}
        for at, (call, i, _, dx) in enumerate(made):
            if _bad(dx):
                into.setdefault(id(call.inputs[i]), []).append(at)
        seen: set[int] = set()
        while todo:
            fresh = [at for at in into.get(id(todo.pop()), ()) if at not in seen]
            seen.update(fresh)
            todo += [out for at in fresh for out, dy in zip(made[at][0].outs, made[at][2], strict=True) if _bad(dy)]
        if not seen:  # each is finite, and their sum is not
            path, x, g = next((self.names[id(x)][1], x, g) for x, g in zip(wanted, found, strict=True) if _bad(g))
            return replace(self._found("gradient", path, g, self._reader(x)), op="the sum of gradients")
        call, _, dys, dx = made[min(seen)]
        return self._found("gradient", "", dx, call, [dy for dy in dys if dy is not None])

    def _found(self, what: str, name: str, x: Any, call: Call | None, before: Sequence[Any] = ()) -> NonFinite:
        array = _array(x)
        wrong = ~np.isfinite(array)
        index = tuple(map(int, np.unravel_index(int(np.argmax(wrong)), array.shape)))
        place, kind, op, taken = "", "loss", "", []
        if id(x) in self.plain:
            what, (place, kind, _), op = "output", self.plain[id(x)], "NumPy"
        elif call is not None:
            inside = [span for span in self.spans if span[0] < call.serial < span[1]]
            place, kind = max(inside, default=(0, 0, "", "loss"))[2:]
            numbers = ", ".join(f"{k}={v:.4g}" for k, v in call.attrs.items() if isinstance(v, float))
            op = call.op.name + (f"({numbers})" if 0 < len(numbers) <= SHOWN else "")
            taken = [i for i in (*before, *begins(call)) if i is not None and _array(i).dtype.kind == "f"]
        extremes = tuple(_extremes(_array(i)) for i in taken)
        count, value = int(wrong.sum()), float(array[index])
        return NonFinite(what, name, place, kind, op, array.shape, count, index, value, extremes)


def _values(result: Any) -> list[Value]:
    """The traced arrays of a result."""
    found: list[Value] = []
    replaced(result, lambda path, kind, x: found.append(x) if isinstance(x, Value) else None)
    return found


def _array(x: Any) -> np.ndarray:
    return np.asarray(x.array if isinstance(x, Value) else x)


def _bad(x: Any) -> bool:
    if x is None:
        return False
    array = _array(x)
    return array.dtype.kind == "f" and not np.isfinite(array).all()


def _extremes(array: np.ndarray) -> tuple[tuple[int, ...], float, float]:
    finite = array[np.isfinite(array)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)
    return array.shape, low, high
