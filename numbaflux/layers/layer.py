"""@nf.layer: a dataclass whose fields say what is trained; and how a model shows itself."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import numpy as np

from ..activations import ACTIVATIONS
from ..functions import relu, sigmoid, tanh
from ..op import DTypeError, ShapeError, expect
from ..tree import BUFFER, PARAM, STATIC, Moves, children, fields, layers, leaves
from .pending import layer_or_pending

C = TypeVar("C", bound=type)


def param(**options: Any) -> Any:
    """A field that is trained: an array, or None. Options are those of dataclasses.field.

    >>> @layer
    ... class Bias:
    ...     b: np.ndarray = param()
    >>> Bias(np.zeros(3, np.float32)).b.size
    3
    """
    return dataclasses.field(metadata={"kind": PARAM}, **options)


def buffer(**options: Any) -> Any:
    """A field that belongs to the model and is not trained (running statistics).

    >>> @layer
    ... class Count:
    ...     seen: np.ndarray = buffer()
    >>> [leaf.kind for leaf in leaves(Count(np.zeros(1)))]
    ['buffer']
    """
    return dataclasses.field(metadata={"kind": BUFFER}, **options)


def spread(**options: Any) -> Any:
    """A tuple of children whose numbers (or `names`) stand in paths without the field's own name."""
    return dataclasses.field(metadata={"kind": "spread"}, **options)


@dataclass_transform(field_specifiers=(param, buffer, spread))
def layer(cls: C) -> C:
    """Make a class a layer: a dataclass with fields param() and buffer(); others are children or plain settings.

    >>> @layer
    ... class Shift:
    ...     by: np.ndarray = param()
    ...     def __call__(self, x):
    ...         return x + self.by
    >>> Shift(np.ones(2, np.float32))(np.zeros((1, 2), np.float32)).tolist()
    [[1.0, 1.0]]
    """
    made: Any = dataclasses.dataclass(eq=False, repr=False)(cls)
    kinds = {f.name: f.metadata.get("kind", STATIC) for f in dataclasses.fields(made)}
    made.__layer_fields__ = {("." + n if k == "spread" else n): k for n, k in kinds.items()}
    made.__setattr__ = _assign
    made.__getstate__ = _free
    made.__repr__ = show
    if made.__new__ is object.__new__:
        made.__new__ = layer_or_pending
    return made


def _assign(self: Any, name: str, value: Any) -> None:
    """Setting an array that an optimiser state holds copies into its place; other changes end the plans made before."""
    old = self.__dict__.get(name)
    if name in self.__dict__.get("_held", ()) and isinstance(old, np.ndarray):
        new = np.asarray(value)
        expect(new.shape == old.shape, type(self).__name__, name, f"of shape {old.shape}", str(new.shape),
               "build a new layer for other sizes", ShapeError)  # fmt: skip
        old[...] = new
    else:
        Moves.count += name in self.__dict__
        object.__setattr__(self, name, value)


def _free(self: Any) -> dict[str, Any]:
    """A copy is held by no optimiser state."""
    return {k: v for k, v in self.__dict__.items() if k not in ("_held", "_holder")}


def check_activation(where: str, activation: Any) -> None:
    """Raise unless it is a function; a text is answered with those that there are."""
    names = sorted({name_of(a) for a in (relu, sigmoid, tanh, *ACTIVATIONS)}) if isinstance(activation, str) else []
    cure = f"nf.{activation}" if activation in names else "one of nf." + ", nf.".join(names) if names else ""
    expect(callable(activation), where, "activation", "a function", type(activation).__name__, cure, DTypeError)


def name_of(x: Any) -> str:
    """A function's or object's short name; of a functools.partial with what it fixes."""
    if isinstance(x, functools.partial):
        fixed = [*map(repr, x.args), *(f"{name}={value!r}" for name, value in x.keywords.items())]
        return f"{name_of(x.func)}({', '.join(fixed)})"
    return getattr(x, "__qualname__", None) or getattr(x, "__name__", None) or repr(x)


def show(model: Any) -> str:
    """The model as a tree with the number of parameters of each layer; flags NaN, Inf and weights that are all zero."""
    return "\n".join([*_lines(model, "", 0), _total(model)])


def _lines(node: Any, label: str, depth: int) -> list[str]:
    indent = "  " * depth + (f"{label}: " if label else "")
    below = inside(node)
    if below:
        own = {name: getattr(node, name) for name, kind in fields(node).items() if kind == PARAM}  # type: ignore[union-attr]
        lines = [_counted(f"{indent}{type(node).__name__}(", own)]
        for name, child in below:
            lines += _lines(child, name, depth + 1)
        return [*lines, "  " * depth + ")"]
    return [_counted(f"{indent}{one_line(node)},", node)]


def _counted(text: str, node: Any) -> str:
    count = sum(leaf.array.size for leaf in leaves(node) if leaf.kind == PARAM)
    return f"{text:<48} # {count:_} parameters{_flags(node)}" if count else text


def inside(node: Any) -> list[tuple[str, Any]]:
    """The named children of a layer that holds others: layers, functions that stand among them, and the fields that
    its class names in `shown`."""
    known, shown = fields(node), getattr(type(node), "shown", ())
    out: list[tuple[str, Any]] = []
    for name, _, child, _ in children(node, STATIC) if known is not None else ():  # type: ignore[union-attr]
        if name not in known or name in shown or fields(child) is not None:  # type: ignore[operator]
            out.append((name, child))
        elif any(True for _ in layers(child)):
            out += [(f"{name}.{key}", one) for key, _, one, _ in children(child, STATIC) or ()]
    return out


def one_line(node: Any) -> str:
    """A layer or function in a few words: Dense(2, 3, tanh); one without `describe` by its fields and what is in it."""
    describe = getattr(node, "describe", None)
    if describe is not None:
        return str(describe())
    known = fields(node)
    if known is None:
        return name_of(node)
    spreads, named = any(name.startswith(".") for name in known), getattr(node, "names", None)
    parts = []
    for name, key, value, _ in children(node, STATIC) or ():
        if isinstance(key, tuple) and not named:
            parts.append(_word(value))
        elif not (spreads and key == "names"):
            parts.append(f"{name}={_word(value)}")
    return f"{type(node).__name__}({', '.join(parts)})"


def _word(value: Any) -> str:
    """A field's value on one line."""
    if isinstance(value, np.ndarray):
        return "×".join(map(str, value.shape)) or "scalar"
    if isinstance(value, list | tuple) and any(True for _ in layers(value)):
        return f"[{', '.join(map(_word, value))}]"
    named = inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, functools.partial)
    return one_line(value) if named or fields(value) is not None else repr(value)


def _flags(node: Any) -> str:
    found = []
    for leaf in leaves(node):
        if leaf.kind == STATIC or not isinstance(leaf.array, np.ndarray) or leaf.array.dtype.kind != "f":
            continue
        if np.isnan(leaf.array).any():
            found.append(f"NaN in {leaf.path}")
        elif np.isinf(leaf.array).any():
            found.append(f"Inf in {leaf.path}")
        elif leaf.array.ndim > 1 and leaf.key != "bias" and leaf.array.size and not leaf.array.any():
            found.append(f"all zero: {leaf.path}")
    return f" (!) {', '.join(found)}" if found else ""


def _total(model: Any) -> str:
    arrays = {id(leaf.array): leaf for leaf in leaves(model) if leaf.kind != STATIC}
    trained = [leaf.array for leaf in arrays.values() if leaf.kind == PARAM]
    other = [leaf.array for leaf in arrays.values() if leaf.kind == BUFFER]
    text = f"# {len(trained)} arrays, {sum(a.size for a in trained):_} parameters"
    if other:
        text += f", plus {sum(a.size for a in other):_} not trained in {len(other)} arrays"
    return f"{text}, {sum(leaf.array.nbytes for leaf in arrays.values()):_} bytes"


Function = Callable[[Any], Any]
