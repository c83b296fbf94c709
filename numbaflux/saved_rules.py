"""Optimiser states in files: rules by name and numbers, counters, what is frozen; the vectors by name and path."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

import numpy as np

from .checkpoint import Builder
from .hdf5_objects import require
from .op import DTypeError, PlanError, expect
from .optim import AROUND, RULES, TRANSFORMS, OptimiserChain, OptState, Record, Rule, setup
from .optim.rules import HYPER, START
from .optim.schedules import CURVES, Curve
from .tree import Moves

NAMED: dict[str, Any] = {one.__name__: one for one in (*RULES, *TRANSFORMS, *AROUND, *CURVES)}
CEILINGS: dict[str, Any] = {"ceil": math.ceil, "floor": math.floor}  # what an Interpolator rounds by
PAIRS = {"parts", "schedules", "parameters"}  # fields of (schedule, steps), and of (name, schedule)
KEYS = ["counters", "frozen", "rule"]
_COUNTERS = [HYPER.index(name) for name in START]


def optimiser(state: OptState, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The vectors of an optimiser state by name, and the rest of it as JSON; arrays: those of its model by path."""
    expect_own(state, arrays, "save")
    counters = [dict(zip(START, row, strict=True)) for row in _counters(state).tolist()]
    frozen = [s.path for s in state.segments if s.frozen]
    return _vectors(state), {"rule": _encode(state.rule), "counters": counters, "frozen": frozen}


def expect_own(state: Any, arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Raise unless this is the optimiser state of the model whose arrays these are."""
    expected, got = "what nf.setup returned for the model", type(state).__name__
    expect(isinstance(state, OptState), where, "opt_state", expected, got, error=DTypeError)
    own = not state.moved and all(s.path in arrays and state.find(arrays[s.path]) is not None for s in state.segments)
    expect(own, where, "opt_state", expected, "that of another", error=PlanError)


def _vectors(state: OptState) -> dict[str, np.ndarray]:
    """A view of each segment of each state vector, `m.0.weight`; ranks that keep a share each put them together."""
    whole = {
        (dtype, name): vector if state.spread is None else state.spread.gathered(v, name)
        for dtype, v in state.vectors.items() for name, vector in v.states.items()
    }  # fmt: skip
    return {
        f"{name}.{s.path}": s.of(vector) for (dtype, name), vector in whole.items()
        for s in state.vectors[dtype].segments
    }  # fmt: skip


def _counters(state: OptState) -> np.ndarray:
    """What steps count, (members of the rule, names of START): a copy."""
    return state.hyper.reshape(-1, len(HYPER))[:, _COUNTERS]


def _encode(value: Any) -> Any:
    """A rule, or what one holds, as JSON; a chain is a list."""
    if isinstance(value, OptimiserChain):
        return [_encode(rule) for rule in value.rules]
    if isinstance(value, Record | Curve):
        name = type(value).__name__
        known = NAMED.get(name) is type(value)
        expect(known, "save", "the rule", f"one of {', '.join(NAMED)}", name, error=DTypeError)
        parts = {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}  # type: ignore[arg-type]
        return {"rule": name, "fields": parts}
    if isinstance(value, tuple | list):
        return {"tuple": [_encode(x) for x in value]}
    if value is None or isinstance(value, bool | str):
        return value
    if callable(value):
        found = [name for name, f in CEILINGS.items() if f is value]
        cure = "use one of nf.schedules, or nf.Schedule, which is not saved"
        expected = "made of rules, numbers and schedules"
        expect(bool(found), "save", "the rule", expected, repr(value), cure, DTypeError)
        return {"ceiling": found[0]}
    number = int(value) if isinstance(value, Integral) else float(value)
    return number if math.isfinite(number) else {"float": repr(number)}


class RuleBuilder(Builder):
    """Makes a rule of JSON that nobody vouches for."""

    def __init__(self) -> None:
        super().__init__({}, {})
        self.kinds = {
            ("fields", "rule"): self.record, ("float",): self.number, ("tuple",): self.sequence,
            ("ceiling",): self.ceiling,
        }  # fmt: skip

    def rule(self, node: Any) -> Rule:
        made = _chained(self.build(node, ".rule"))
        require(isinstance(made, Rule), "the rule", "one by name, or a list of them", node)
        return made

    def record(self, node: Any, path: str) -> Any:
        name, given = node["rule"], node["fields"]
        cls: Any = NAMED.get(name) if isinstance(name, str) else None
        require(cls is not None, "the rule", f"one of {', '.join(NAMED)}", name)
        names = sorted(f.name for f in dataclasses.fields(cls))
        good = isinstance(given, dict) and sorted(given) == names
        require(good, f"the numbers of {name}", ", ".join(names), given)
        made = {key: _chained(self.build(x, f"{path}.{key}")) for key, x in given.items()}
        for key in PAIRS & set(made):
            pairs = made[key]
            good = isinstance(pairs, tuple) and all(isinstance(x, tuple) and len(x) == 2 for x in pairs)
            named = good and (key == "parts" or all(isinstance(x, str) and x not in names for x, _ in pairs))
            require(named, f"the {key} of {name}", "pairs", given[key])
        return getattr(cls, "from_fields", cls)(**made)

    def ceiling(self, node: Any, path: str) -> Any:
        name = node["ceiling"]
        known = isinstance(name, str) and name in CEILINGS
        require(known, "the rule: ceil_fn", f"one of {', '.join(CEILINGS)}", name)
        return CEILINGS[name]


def _chained(made: Any) -> Any:
    """A list of records is a chain."""
    return OptimiserChain(*made) if isinstance(made, list) else made


def load_optimiser(node: Any, model: Any, tensors: Mapping[str, np.ndarray]) -> OptState:
    """The optimiser state of a model that was just loaded: everything must be what setup makes for it."""
    state = setup(saved_rule(node), model)
    restored(state, node, tensors)()
    return state


def saved_rule(node: Any) -> Rule:
    """The rule of a saved optimiser state."""
    require(isinstance(node, dict) and sorted(node) == KEYS, "training: optimiser", ", ".join(KEYS), node)
    return RuleBuilder().rule(node["rule"])


def restored(state: OptState, node: Any, tensors: Mapping[str, np.ndarray]) -> Callable[[], None]:
    """What puts a saved state in the place of one of the same rule; raises, before anything is changed, if it does not
    fit."""
    pairs = _pairs(state, tensors)
    frozen, counters = _frozen(state, node["frozen"]), _counted(state, node["counters"])

    def put() -> None:
        for target, source in pairs:
            target[...] = source
        state.hyper.reshape(-1, len(HYPER))[:, _COUNTERS] = counters
        if [s.path for s in state.segments if s.frozen] != frozen:
            for s in state.segments:
                s.frozen = s.path in frozen
            state.version += 1
            Moves.count += 1
        state.advance()

    return put


def _pairs(state: OptState, tensors: Mapping[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """What of each state vector this process keeps, with the elements of the file that go there."""
    places = {
        f"{name}.{s.path}": (v, vector, s)
        for v in state.vectors.values() for name, vector in v.states.items() for s in v.segments
    }  # fmt: skip
    missing, extra = sorted(set(places) - set(tensors)), sorted(set(tensors) - set(places))
    require(not missing, f"tensor optimiser.{missing[0] if missing else ''}", "in the file", "nothing")
    require(not extra, "the tensors of the optimiser", f"those of {type(state.rule).__name__}", f"also {extra[:1]}")
    pairs = []
    for name, (v, vector, s) in places.items():
        stored = tensors[name]
        expected, got = f"{vector.dtype.name} {list(s.shape)}", f"{stored.dtype.name} {list(stored.shape)}"
        require(expected == got, f"tensor optimiser.{name}", expected, got)
        first, last = max(s.start, v.own[0]), min(s.start + s.size, v.own[1])
        if last > first:
            source = stored.reshape(-1)[first - s.start : last - s.start]
            pairs.append((vector[first - v.own[0] : last - v.own[0]], source))
    return pairs


def _frozen(state: OptState, paths: Any) -> list[str]:
    known = [s.path for s in state.segments]
    good = isinstance(paths, list) and all(isinstance(p, str) and p in known for p in paths)
    require(good, "training: frozen", "paths of parameters", paths)
    return [path for path in known if path in paths]


def _counted(state: OptState, counters: Any) -> list[list[float]]:
    """What steps count, in the order of START, for each member of the rule."""
    count = len(state.hyper) // len(HYPER)
    good = isinstance(counters, list) and all(isinstance(x, dict) and sorted(x) == sorted(START) for x in counters)
    good = good and len(counters) == count
    require(good, "training: counters", f"{', '.join(START)} for each of {count}", counters)
    for given in counters:
        for name, value in given.items():
            most = 2**53 if name in ("step", "size") else 1  # the others are powers of numbers below 1, and flags
            lawful = type(value) is float and 0 <= value <= most and (most == 1 or value == int(value))
            require(lawful, f"training: {name}", f"a number in [0, {most}]", value)
    return [[given[name] for name in START] for given in counters]
