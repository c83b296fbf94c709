"""Walking models: a function of every array, the arrays and layers by path, one part read or replaced by its path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .op import DTypeError, Error, RangeError, expect
from .trace import Value
from .tree import STATIC, Moves, arrays, children, fields, layers, rebuilt


def fmap(f: Callable[..., Any], model: Any, path: bool = False, exclude: Callable[[Any], Any] | None = None) -> Any:
    """A new model with f(array) in place of each array; with path=True f(path, array).

    exclude: which parts f takes, whole, in place of arrays: exclude(part) -> bool of a layer, list, function or number.
    What stands in several places is given to f once, so that ties are kept; the rest is shared with the model. Whether
    layers work with what f returns is not checked.

    >>> import numbaflux as nf
    >>> model = nf.Chain(nf.Dense(2, 1), nf.Dropout(0.5))
    >>> nf.fmap(np.zeros_like, model)[0].weight.tolist()
    [[0.0], [0.0]]
    >>> nf.fmap(lambda layer: nf.identity, model, exclude=lambda part: isinstance(part, nf.Dropout))[1] is nf.identity
    True
    """
    for name, g in (("f", f), ("exclude", exclude)):
        good = callable(g) or g is None and name == "exclude"
        expect(good, "fmap", name, "a function", repr(g), error=DTypeError)
    wanted = exclude or (lambda part: isinstance(part, np.ndarray | Value))
    made: dict[int, Any] = {}

    def walk(node: Any, at: str) -> Any:
        if wanted(node):
            if id(node) not in made:
                made[id(node)] = f(at, node) if path else f(node)
            return made[id(node)]
        below = children(node, STATIC)
        parts = [(key, x, walk(x, f"{at}.{name}" if at else name)) for name, key, x, _ in below or ()]
        return node if all(x is new for _, x, new in parts) else rebuilt(node, [(key, new) for key, _, new in parts])

    return walk(model, "")


def fleaves(model: Any, path: bool = False) -> list[Any]:
    """Every array of a model, themselves, a tied one once: weights, buffers, constants; with path=True pairs
    (path, array). nf.trainables leaves out what is not trained, nf.state copies.

    >>> import numbaflux as nf
    >>> [name for name, _ in nf.fleaves(nf.BatchNorm(3), path=True)]
    ['weight', 'bias', 'mean', 'var']
    """
    found = arrays(model)
    return list(found.items()) if path else list(found.values())


def modules(model: Any, path: bool = False) -> list[Any]:
    """Every layer of a model, outermost first, one that stands in several places once; with path=True pairs
    (path, layer).

    >>> import numbaflux as nf
    >>> model = nf.Chain(nf.Dense(2, 3), nf.Chain(nf.Dense(3, 1)))
    >>> [name for name, layer in nf.modules(model, path=True) if isinstance(layer, nf.Dense)]
    ['0', '1.0']
    """
    first = {id(layer): (at, layer) for at, layer in reversed(list(layers(model)))}
    pairs = [pair for pair in layers(model) if first[id(pair[1])][0] == pair[0]]
    return pairs if path else [layer for _, layer in pairs]


def getkeypath(model: Any, path: str) -> Any:
    """The part of a model at a path: a layer, array or setting. Raises RangeError for a path that is not there.

    >>> import numbaflux as nf
    >>> nf.getkeypath(nf.Chain(body=nf.Chain(nf.Dense(2, 3))), "body.0.weight").shape
    (2, 3)
    """
    return _steps("getkeypath", model, path)[-1][2]


def haskeypath(model: Any, path: str) -> bool:
    """Whether a model has a part at a path.

    >>> import numbaflux as nf
    >>> nf.haskeypath(nf.Dense(2, 3), "weight"), nf.haskeypath(nf.Dense(2, 3), "0.weight")
    (True, False)
    """
    try:
        _steps("haskeypath", model, path)
    except RangeError:
        return False
    return True


def setkeypath(model: Any, path: str, value: Any) -> None:
    """Put a layer, array or setting in the place of the part of a model at a path, in place.

    As assignment to a layer's field: an array that an optimiser state holds is copied into; with others call nf.setup
    again. Raises RangeError for a path that is not there, DTypeError for a place in a tuple, and what a layer raises
    whose fields would not fit; nothing is changed then.

    >>> import numbaflux as nf
    >>> model = nf.Chain(nf.Dense(2, 3), nf.Dense(3, 1))
    >>> nf.setkeypath(model, "1", nf.Dense(3, 5))
    >>> nf.setkeypath(model, "0.activation", nf.tanh)
    >>> model
    Chain(
      0: Dense(2, 3, tanh),                          # 9 parameters
      1: Dense(3, 5),                                # 20 parameters
    )
    # 4 arrays, 29 parameters, 116 bytes
    """
    owner, key, _ = _steps("setkeypath", model, path)[-1]
    expect(owner is not None, "setkeypath", "path", "that of a part of the model", repr(path))
    known = fields(owner)
    if known is None:
        expect(isinstance(owner, list | dict), "setkeypath", "path", "of a place in a layer, list or dict",
               f"{path!r} in a {type(owner).__name__}", error=DTypeError)  # fmt: skip
        Moves.count += 1
        owner[key] = value
        return
    parts = [(k, value if k == key else x) for _, k, x, _ in children(owner, STATIC) or ()]
    fresh = rebuilt(owner, parts)
    check = getattr(fresh, "check_fields", None)
    if check is not None:
        try:
            check()
        except Error as error:
            raise type(error)(f"setkeypath: {path}: {error}") from None
    name = key[0] if isinstance(key, tuple) else key
    setattr(owner, name, getattr(fresh, name))


def _steps(where: str, model: Any, path: str) -> list[tuple[Any, Any, Any]]:
    """(owner, key, part) of each part on the way along a path."""
    expect(isinstance(path, str), where, "path", "a text such as '0.weight'", repr(path), error=DTypeError)
    steps: list[tuple[Any, Any, Any]] = [(None, None, model)]
    for i, part in enumerate(path.split(".") if path else []):
        node = steps[-1][2]
        below = {name: (node, key, child) for name, key, child, _ in children(node, STATIC) or ()}
        here = ".".join(path.split(".")[:i]) or "the model"
        names = ", ".join(list(below)[:8]) or "nothing"
        expect(part in below, where, "path", "one of the model's", repr(path), f"in {here} there is {names}")
        steps.append(below[part])
    return steps
