"""What a file tells of its author, machine and data, for who looks before it leaves the house (nf.inspect)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .checkpoint import OWN
from .layers import LAYERS

RECORD = "record"  # what Checkpoint writes into metadata (numbaflux/record.py): these keys, and nothing else
RECORDED = ("numbaflux", "numba", "numpy", "python", "cpu", "threads", "layer", "seed", "rule", "data", "ranks")
PROGRESS = ("epoch", "batches", "seconds", "columns")
WEIGHTS = "made of the training data, which can show in them"
STATE = "means of the last gradients: the last samples can show in them"
NEVER = "time of writing, user, machine's name, folders, environment"
WIDTH = 200  # characters of a text

_FIELDS = {name.lstrip(".") for layer in LAYERS for name in getattr(layer, "__layer_fields__", ())}


def told(tree: Any, tensors: Iterable[str], training: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, str]:
    """What a file holds beside numbers, by kind: of its architecture, its names, its training and metadata as JSON.

    >>> told({"layer": "Mine", "fields": {"size": 3}}, ["body.weight"], {}, {"author": "A."})["metadata"]
    'author: "A."'
    """
    nodes = list(_objects(tree))
    layers = [str(node["layer"]) for node in nodes if node.keys() == {"layer", "fields"}]
    functions = [str(node["function"]) for node in nodes if "function" in node]
    states = {str(n["generator"]): [n["seed"], n["counter"]] for n in nodes if n.keys() >= {"generator", "seed"}}
    drawn = training.get("rng", {})
    given = metadata.get(RECORD, {})
    record = given if isinstance(given, dict) else {RECORD: given}
    yours = [f"{one['layer']} ({', '.join(one['fields'])})" for one in nodes
             if one.keys() == {"layer", "fields"} and one["layer"] not in OWN]  # fmt: skip
    yours += [name for name in functions if name not in OWN]
    yours += [part for name in tensors for part in name.split(".") if not part.isdigit() and part not in _FIELDS]
    found = {
        "weights": WEIGHTS,
        "layers": _listed(layers),
        "names of yours": _listed(yours),
        "generators": _pairs(states | (drawn if isinstance(drawn, dict) else {})),
        "training": _pairs({key: training[key] for key in PROGRESS if key in training}),
        "optimiser": STATE if training else "",
        "record": _pairs(record),
        "metadata": _pairs({key: value for key, value in metadata.items() if key != RECORD}),
        "never": NEVER,
    }
    return {kind: text for kind, text in found.items() if text}


def _objects(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON, in no order of depth."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            yield node
            todo += node.values()
        elif isinstance(node, list):
            todo += node


def _listed(names: list[str]) -> str:
    """Names, each once."""
    return _line(", ".join(sorted(set(names))))


def _pairs(given: Mapping[str, Any]) -> str:
    return _line("; ".join(f"{key}: {json.dumps(value)}" for key, value in given.items()))


def _line(text: str) -> str:
    """What a terminal shows as one line, cut."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    return plain if len(plain) <= WIDTH else plain[: WIDTH - 3] + "..."
