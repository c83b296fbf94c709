"""Models as nested data: layers, lists, tuples and dicts of arrays. Walking, copying with other arrays, paths like
body.0.weight."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

PARAM, BUFFER, STATIC = "param", "buffer", "static"


class Leaf(NamedTuple):
    """An array of a tree: where it is, what it is for, who holds it under which key."""

    path: str
    kind: str
    array: Any
    owner: Any
    key: Any


def fields(node: Any) -> dict[str, str] | None:
    """Of a layer: name -> kind of each field; of anything else None. A name with a leading dot adds nothing to
    paths."""
    return getattr(type(node), "__layer_fields__", None)


def children(node: Any, kind: str) -> list[tuple[str, Any, Any, str]] | None:
    """(name in the path, key, child, kind of an array there) of a node; None for a leaf."""
    known = fields(node)
    if known is not None:
        out: list[tuple[str, Any, Any, str]] = []
        for name, what in known.items():
            value = getattr(node, name.lstrip("."))
            if name.startswith("."):
                names = getattr(node, "names", None) or range(len(value))
                out += [(str(n), (name[1:], i), v, STATIC) for i, (n, v) in enumerate(zip(names, value, strict=True))]
            else:
                out.append((name, name, value, what))
        return out
    if isinstance(node, dict):
        return [(str(k), k, v, kind) for k, v in node.items()]
    if isinstance(node, list | tuple):
        return [(str(i), i, v, kind) for i, v in enumerate(node)]
    return None


def leaves(node: Any, path: str = "", kind: str = PARAM, owner: Any = None, key: Any = None) -> Iterator[Leaf]:
    """Every array of a tree, as often as it stands there. Arrays outside of layers count as parameters.

    >>> [leaf.path for leaf in leaves({"a": [np.ones(2)], "b": np.ones(1)})]
    ['a.0', 'b']
    """
    below = children(node, kind)
    if below is None:
        if isinstance(node, np.ndarray):
            yield Leaf(path, kind, node, owner, key)
        return
    for name, k, child, what in below:
        yield from leaves(child, f"{path}.{name}" if path else name, what, node, k)


def layers(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every layer of a tree with its path, outermost first."""
    if fields(node) is not None:
        yield path, node
    for name, _, child, _ in children(node, STATIC) or ():
        yield from layers(child, f"{path}.{name}" if path else name)


def arrays(node: Any, *kinds: str) -> dict[str, np.ndarray]:
    """Path -> array of each distinct array of a tree (of some kinds); one that stands in several places goes by the
    first.

    >>> a = np.ones(2)
    >>> list(arrays({"a": a, "b": [a, np.zeros(1)]}))
    ['a', 'b.1']
    """
    first: dict[int, Leaf] = {}
    for leaf in leaves(node):
        if not kinds or leaf.kind in kinds:
            first.setdefault(id(leaf.array), leaf)
    return {leaf.path: leaf.array for leaf in first.values()}


def replaced(node: Any, new: Callable[[str, str, Any], Any], path: str = "", kind: str = PARAM) -> Any:
    """A copy of a tree with new(path, kind, leaf) in place of each leaf; what does not change is shared."""
    below = children(node, kind)
    if below is None:
        return new(path, kind, node)
    parts = [
        (k, child, replaced(child, new, f"{path}.{name}" if path else name, what)) for name, k, child, what in below
    ]
    if all(old is fresh for _, old, fresh in parts):
        return node
    return rebuilt(node, [(k, fresh) for k, _, fresh in parts])


def rebuilt(node: Any, parts: list[tuple[Any, Any]]) -> Any:
    """A copy of a node with other children: (key, child) for each, keys as `children` gives them."""
    if isinstance(node, dict):
        return dict(parts)
    if isinstance(node, list | tuple):
        values = [child for _, child in parts]
        return type(node)(*values) if hasattr(node, "_fields") else type(node)(values)
    fresh = copy.copy(node)
    spread: dict[str, list[Any]] = {}
    for key, value in parts:
        if isinstance(key, tuple):
            spread.setdefault(key[0], []).append(value)
        else:
            object.__setattr__(fresh, key, value)
    for name, values in spread.items():
        object.__setattr__(fresh, name, tuple(values))
    return fresh


class Moves:
    """Counts how often arrays of models gave way to others, or were frozen or thawed: plans that captured them are then
    made anew."""

    count = 0


def put(owner: Any, key: Any, array: Any) -> None:
    """Let a layer's field, or a list's or dict's place, be an array."""
    Moves.count += 1
    if fields(owner) is not None:
        object.__setattr__(owner, key, array)
    else:
        owner[key] = array
