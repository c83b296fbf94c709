"""A checkpoint put into the model and the optimiser state that a program made itself: they must be alike."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from . import hdf5
from .checkpoint import OPTIMISER, Path, architecture, below, metadata_of, naming, of_model
from .checkpoint import prepare as prepare_model
from .contents import printable
from .data.digest import digest
from .hdf5_json import parse_json
from .models import fill
from .op import PlanError, expect
from .optim import OptState
from .record import known
from .resume import Run, saved_training
from .rng import Generator
from .saved_rules import expect_own, restored, saved_rule
from .tree import STATIC, children

CURE = "to start anew, move it away or write to another path; nf.load_checkpoint takes it as it is"
INSIDE = ("fields", "dict", "keywords", "tuple")  # keys of an architecture under which nodes stand


def adopt(path: Path, file: hdf5.File, model: Any, opt_state: OptState, data: Any) -> Run:
    """Put what a checkpoint's file holds in the place of a model's and its optimiser state's own content.

    The architecture, the rule that the training began with, and the data must be those of the file: PlanError with the
    first thing that differs. FileFormatError: a file that does not fit itself. The model is then unchanged.
    """
    with naming(path):
        tree, saved, metadata = architecture(file), saved_training(file), metadata_of(file)
        generators = {name: Generator(*state) for name, state in _generator_states(tree)}
        rule = saved_rule(saved.optimiser)
    _expect_alike(path, tree, rule, known(metadata), model, opt_state, data)
    with naming(path):
        put = restored(opt_state, saved.optimiser, below(file, OPTIMISER))
        fill(model, of_model(file), "train")
    opt_state.change(rule)
    opt_state.given = str(known(metadata).get("rule", opt_state.given))
    put()
    for name, own in _generators(model):
        if name in generators:
            own.state = generators.pop(name).state
    return Run(model, opt_state, opt_state.step, saved.position, saved.rng, saved.history, metadata)


def _expect_alike(
    path: Path, tree: Any, rule: Any, told: dict[str, Any], model: Any, opt_state: OptState, data: Any
) -> None:
    """Raise unless a program's model, rule and data are those of a file."""
    name = ascii(os.path.basename(os.fspath(path)))
    arrays, documents = prepare_model(model)
    expect_own(opt_state, arrays, "train")
    own = parse_json(documents["architecture"], "save: the architecture")
    found = difference(own, tree)
    if found is not None:
        where, here, there = map(printable, found)
        got = f"one whose {where or 'kind'} is {here} where the file has {there}"
        expect(False, "train", "model", f"that of {name}", got, CURE, PlanError)
    kinds = [[type(member).__name__ for member in one.members] for one in (opt_state.rule, rule)]
    begun, now = told.get("rule"), opt_state.given
    fits = kinds[0] == kinds[1] and (begun in (None, now) or repr(opt_state.rule) == repr(rule))
    wanted = f"{printable(str(begun or rule))} as in {name}"
    expect(fits, "train", "the rule", wanted, now, CURE, PlanError)
    its, mine = told.get("data"), digest(data)
    if isinstance(its, dict):
        wanted = f"that of {name}: {printable(str(its.get('is')))}"
        got = mine["is"] if its.get("is") != mine["is"] else "such of other numbers"
        expect(its.get("sha256") == mine["sha256"], "train", "data", wanted, got, CURE, PlanError)


def difference(own: Any, other: Any, path: str = "") -> tuple[str, str, str] | None:
    """Where two architectures differ first: the path, and what each has there. How far generators are is not looked at.

    >>> difference({"tuple": [1, {"dict": {"p": 0.5}}]}, {"tuple": [1, {"dict": {"p": 0.3}}]})
    ('1.p', '0.5', '0.3')
    """
    if _head(own) != _head(other):
        name = str(own["array"]) if isinstance(own, dict) and "array" in own else path
        return name, _shown(own), _shown(other)
    others = dict(_inside(other))
    pairs = ((f"{path}.{name}" if path else name, child, others[name]) for name, child in _inside(own))
    found = (difference(child, its, where) for where, child, its in pairs)
    return next((one for one in found if one is not None), None)


def _inside(node: Any) -> list[tuple[str, Any]]:
    """The nodes below one of an architecture, by name."""
    below = node if isinstance(node, list) else []
    if isinstance(node, dict):
        below = next((node[key] for key in INSIDE if key in node), [])
    if isinstance(below, dict):
        return list(below.items())
    return [(str(i), child) for i, child in enumerate(below)] if isinstance(below, list) else []


def _head(node: Any) -> Any:
    """What a node is, but for what is below it."""
    names = sorted(name for name, _ in _inside(node))
    if isinstance(node, dict):
        return sorted(node), names, {key: x for key, x in node.items() if key not in (*INSIDE, "seed", "counter")}
    return type(node), names, None if isinstance(node, list) else node


def _shown(node: Any) -> str:
    """A node of an architecture in few words."""
    if isinstance(node, list):
        return f"a list of {len(node)}"
    known: dict[str, Any] = node if isinstance(node, dict) else {}
    if "array" in known:
        return f"{known.get('dtype')} {known.get('shape')}"
    if "generator" in known:
        return "a generator"
    told = known.get("layer", known.get("function"))
    return json.dumps(node)[:40] if told is None else str(told)[:40]


def _generator_states(node: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """(name, state) of the generators in an architecture, but for the default one."""
    if isinstance(node, dict) and isinstance(node.get("generator"), str):
        yield node["generator"], (node.get("seed"), node.get("counter"))
    for _, child in _inside(node):
        yield from _generator_states(child)


def _generators(node: Any, path: str = "") -> Iterator[tuple[str, Generator]]:
    """The generators in a model, by the paths under which files have them."""
    if isinstance(node, Generator):
        yield path, node
    for name, _, child, _ in children(node, STATIC) or ():
        yield from _generators(child, f"{path}.{name}" if path else name)
