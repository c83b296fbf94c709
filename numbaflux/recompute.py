"""What a function makes inside is not kept for its gradient, but computed again from a recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .grad import differentiable
from .lowering import Build
from .op import DTypeError, Op, expect
from .ops import COPY
from .session import changes
from .trace import NONE, Call, Value, apply, spec_of
from .tree import replaced


class Recipe:
    """What a function did, without what it made: operations whose inputs are numbers of values (those it is given,
    then what each step makes), arrays or None; and the numbers of its results."""

    def __init__(self, steps: list[tuple[Op, list[Any], dict[str, Any]]], results: list[int]) -> None:
        self.steps, self.results = steps, results

    def __call__(self, *given: Any) -> tuple[Any, ...]:
        values = list(given)
        for op, inputs, attrs in self.steps:
            ins = [values[x] if isinstance(x, int) else x for x in inputs]
            if op is CHECKPOINT:
                start = serial()
                values += wrapped(attrs["recipe"], ins, attrs["recipe"](*ins), start)
            else:
                found = apply(op, *ins, **attrs)
                values += found if isinstance(found, tuple) else (found,)
        return tuple(values[i] for i in self.results)

    def __repr__(self) -> str:  # alike in two traces: the steps are on their tapes
        return f"Recipe({len(self.steps)} steps)"


def begins(call: Call) -> tuple[Any, ...]:
    """What a call is computed from; one whose inside is forgotten, from what that began with."""
    return call.inputs[len(call.outs) :] if call.op is CHECKPOINT else call.inputs


def serial() -> int:
    """What the calls from now on have a higher one than."""
    return Call(COPY, (), {}).serial


def inside(results: Sequence[Any], start: int) -> list[Call]:
    """The calls later than start behind some results, in order."""
    seen: dict[int, Call] = {}
    todo = [v.call for v in results if isinstance(v, Value)]
    while todo:
        call = todo.pop()
        if call is not None and call.serial > start and call.serial not in seen:
            seen[call.serial] = call
            todo += [x.call for x in begins(call) if isinstance(x, Value)]
    return [seen[number] for number in sorted(seen)]


def forget(results: Sequence[Any], start: int) -> None:
    """Let go of what was made on the way to some results: a call and what it gave hold each other."""
    for call in inside(results, start):
        call.outs = ()


def recorded(results: Sequence[Value], start: int) -> tuple[Recipe, list[Value]]:
    """The recipe of values made by calls later than start, and the values it begins with."""
    calls = inside(results, start)
    made = [out for call in calls for out in call.outs]
    own = {id(v) for v in made}
    used = {id(x): x for call in calls for x in begins(call) if isinstance(x, Value)}
    given = [x for key, x in used.items() if key not in own]
    number = {id(v): i for i, v in enumerate([*given, *made])}
    steps = [(c.op, [number[id(x)] if isinstance(x, Value) else x for x in begins(c)], c.attrs) for c in calls]
    return Recipe(steps, [number[id(v)] for v in results]), given


def wrapped(recipe: Recipe, given: Sequence[Any], results: Sequence[Any], start: int) -> tuple[Any, ...]:
    """The results of a recipe, made by calls later than start, as those of one call, which holds what the recipe begins
    with, and nothing between."""
    levels = NONE.union(*(x.levels for x in results if isinstance(x, Value)))
    wanted = [i for i, x in enumerate(given) if isinstance(x, Value) and x.levels & levels and differentiable(x)]
    if not wanted:
        return tuple(results)
    held = [x.array if isinstance(x, Value) and not x.abstract else x for x in results]
    call = Call(CHECKPOINT, (*held, *given), {"recipe": recipe, "wanted": wanted})
    arrays = [None if isinstance(x, Value) else x for x in held]
    if all(a is not None for a in arrays):
        forget(results, start)
    call.outs = tuple(
        Value(spec_of(x), array, call, i, getattr(x, "levels", NONE))  # type: ignore[arg-type]
        for i, (x, array) in enumerate(zip(results, arrays, strict=True))
    )
    return call.outs


def _late(x: Any) -> Any:
    """x, read after all that a plan does before; a concrete one is late already."""
    return apply(LATE, x) if isinstance(x, Value) and x.abstract else x


def _again(call: Any, *dys: Any) -> dict[int, Any]:
    """Gradients by the number of an input: the recipe is followed once more."""
    recipe, wanted, first = call.attrs["recipe"], call.attrs["wanted"], len(call.outs)
    given, start = [_late(x) for x in call.inputs[first:]], serial()
    made: list[Any] = []

    def follow(*leaves: Any) -> list[Any]:
        opened = dict(zip(wanted, leaves, strict=True))
        made.extend(recipe(*[opened.get(i, x) for i, x in enumerate(given)]))
        return made

    found = call.vjp(follow, [given[i] for i in wanted], dys)
    if not any(isinstance(x, Value) for x in (*given, *dys)):
        forget(made, start)
    return {first + i: dx for i, dx in zip(wanted, found, strict=True)}


def _alias(b: Build, outs: Any, *xs: Any, **attrs: Any) -> None:
    for out, x in zip(outs if isinstance(outs, list) else [outs], xs, strict=False):
        b.alias(out, x)


class _Rules(tuple):
    """Gradient rules of a call with any number of inputs; of the results, which stand first, there is none."""

    def __getitem__(self, i: Any) -> Any:
        return lambda call, *dys: call.once(lambda: _again(call, *dys)).get(i)


# Neither stands in the registry: they have no kernel. In a plan their results are their first inputs' memory.
CHECKPOINT = Op("checkpointed", lambda *xs, recipe, wanted: xs[: len(recipe.results)],
                _alias, _Rules())  # fmt: skip
LATE = Op("late", lambda x: x, _alias, (lambda call, dy: dy,))


def checkpointed(f: Callable[..., Any], *args: Any) -> Any:
    """f(*args), of which a gradient keeps only what f began with: what it made inside is computed again. Less memory,
    one more forward pass.

    f: a layer or function of anything, of the same results as without this; the models and arrays that it captures have
    their gradients too. Its operations are repeated, not f itself: it runs once, running statistics change once, and
    both passes draw the same numbers. Gradients have the same bits, but where an array is used inside more than once
    and outside too: sums of three or more go in another order. Of n layers in groups of about sqrt(n), each
    checkpointed, about 2 sqrt(n) results live at a time. Raises DTypeError unless f is a function, PlanError where a
    value goes out of f by another way than its result, and a gradient comes back to it.

    Source: Chen et al. 2016, Training deep nets with sublinear memory cost.

    >>> import numbaflux as nf
    >>> nf.gradient(lambda x: checkpointed(lambda x: nf.relu(2 * x) ** 2, x).sum(), nf.init.ones(2)).tolist()
    [8.0, 8.0]
    """
    expect(callable(f), "checkpointed", "f", "a layer or function", type(f).__name__, error=DTypeError)
    start, before = serial(), dict(changes())
    result = f(*args)
    changed = {key: pair for key, pair in changes().items() if before.get(key) is not pair}
    made: dict[int, Value] = {}

    def collect(path: str, kind: str, x: Any) -> Any:
        if isinstance(x, Value) and x.call is not None and x.call.serial > start:
            made[id(x)] = x
        return x

    replaced((result, [value for _, value in changed.values()]), collect)
    recipe, given = recorded(list(made.values()), start)
    outs = dict(zip(made, wrapped(recipe, given, list(made.values()), start), strict=True))
    changes().update({key: (array, outs.get(id(value), value)) for key, (array, value) in changed.items()})
    return replaced(result, lambda path, kind, x: outs.get(id(x), x))
