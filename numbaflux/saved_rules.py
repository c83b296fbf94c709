"""Optimiser states in files: rules by name and numbers, counters, what is frozen; the vectors by name and path."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np

from .checkpoint import Builder
from .hdf5_objects import require
from .op import DTypeError, PlanError, expect
from .optim import AROUND, RULES, TRANSFORMS, OptimiserChain, OptState, Record, Rule, setup
from .optim.rules import HYPER, START
from .optim.schedules import CURVES, Curve

NAMED: dict[str, Any] = {one.__name__: one for one in (*RULES, *TRANSFORMS, *AROUND, *CURVES)}
CEILINGS: dict[str, Any] = {"ceil": math.ceil, "floor": math.floor}  # what an Interpolator rounds by
PAIRS = {"parts", "schedules", "parameters"}  # fields of (schedule, steps), and of (name, schedule)
KEYS = ["counters", "frozen", "rule"]


def optimiser(state: OptState, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The vectors of an optimiser state by name, and the rest of it as JSON; arrays: those of its model by path."""
    expected, got = "what nf.setup returned for the model", type(state).__name__
    expect(isinstance(state, OptState), "save", "opt_state", expected, got, error=DTypeError)
    own = not state.moved and all(s.path in arrays and state.find(arrays[s.path]) is not None for s in state.segments)
    expect(own, "save", "opt_state", expected, "that of another", error=PlanError)
    counters = [dict(zip(START, row, strict=True)) for row in _counters(state).tolist()]
    frozen = [s.path for s in state.segments if s.frozen]
    return _vectors(state), {"rule": _encode(state.rule), "counters": counters, "frozen": frozen}


def _vectors(state: OptState) -> dict[str, np.ndarray]:
    """A view of each segment of each state vector: `m.0.weight`."""
    return {
        f"{name}.{s.path}": s.of(vector)
        for v in state.vectors.values() for name, vector in v.states.items() for s in v.segments
    }  # fmt: skip


def _counters(state: OptState) -> np.ndarray:
    """What steps count, (members of the rule, names of START): a copy."""
    return state.hyper.reshape(-1, len(HYPER))[:, [HYPER.index(name) for name in START]]


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
    require(isinstance(node, dict) and sorted(node) == KEYS, "training: optimiser", ", ".join(KEYS), node)
    state = setup(RuleBuilder().rule(node["rule"]), model)
    _fill(state, tensors)
    _freeze(state, node["frozen"])
    _count(state, node["counters"])
    state.advance()
    return state


def _fill(state: OptState, tensors: Mapping[str, np.ndarray]) -> None:
    own = _vectors(state)
    missing, extra = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
    require(not missing, f"tensor optimiser.{missing[0] if missing else ''}", "in the file", "nothing")
    require(not extra, "the tensors of the optimiser", f"those of {type(state.rule).__name__}", f"also {extra[:1]}")
    for name, vector in own.items():
        stored = tensors[name]
        expected, got = (f"{a.dtype.name} {list(a.shape)}" for a in (vector, stored))
        require(expected == got, f"tensor optimiser.{name}", expected, got)
        vector[...] = stored


def _freeze(state: OptState, paths: Any) -> None:
    known = {s.path: s for s in state.segments}
    good = isinstance(paths, list) and all(isinstance(p, str) and p in known for p in paths)
    require(good, "training: frozen", "paths of parameters", paths)
    for path in paths:
        known[path].frozen = True


def _count(state: OptState, counters: Any) -> None:
    """Put the counters back where the members of the rule have them."""
    members = state.hyper.reshape(-1, len(HYPER))
    good = isinstance(counters, list) and all(isinstance(x, dict) and sorted(x) == sorted(START) for x in counters)
    good = good and len(counters) == len(members)
    require(good, "training: counters", f"{', '.join(START)} for each of {len(members)}", counters)
    for row, given in zip(members, counters, strict=True):
        for name, value in given.items():
            most = 2**53 if name in ("step", "size") else 1  # the others are powers of numbers below 1, and flags
            lawful = type(value) is float and 0 <= value <= most and (most == 1 or value == int(value))
            require(lawful, f"training: {name}", f"a number in [0, {most}]", value)
            row[HYPER.index(name)] = value
