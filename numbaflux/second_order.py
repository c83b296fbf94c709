"""Derivatives along a direction, and second ones: from gradients of gradients, exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from . import functions as F
from . import managed
from .grad import differentiable, gradient, pullback, tie
from .op import DTypeError, ShapeError, expect
from .ops.elementwise import FILL
from .trace import Value, apply
from .tree import PARAM, replaced


def pushforward(f: Callable[..., Any], *args: Any) -> tuple[Any, Callable[..., Any]]:
    """f(*args), and the function that takes changes of the arguments to that of f: its Jacobian times them.

    f returns one array. The function takes a tangent for each argument, in its shape: arrays, or models for models;
    what stands there for integers is not looked at. It costs about two gradients, and may be called again. Raises
    ShapeError where a tangent does not fit, DTypeError unless f gives floats, PlanError as nf.pullback does.

    Source: the gradient of what pullback gives, which is linear in what it is given.

    >>> y, push = pushforward(lambda x: x * x, np.array([1.0, 3.0], np.float32))
    >>> push(np.array([1.0, 0.5], np.float32)).tolist()
    [2.0, 3.0]
    """
    y, back = pullback(f, *args)
    expect(y.dtype.kind == "f", "pushforward", "f", "a function that returns floats", str(y.dtype), error=DTypeError)
    names = [f"tangent {i}" for i in range(len(args))]

    def push(*tangents: Any) -> Any:
        expect(len(tangents) == len(args), "pushforward", "tangents", f"{len(args)}, one an argument",
               str(len(tangents)), error=ShapeError)  # fmt: skip
        directions = _directions("pushforward", names, args, tangents)

        def along(dy: Any) -> Any:
            grads = back(dy)
            return _product(grads if len(args) > 1 else (grads,), directions, dy)

        return gradient(along, apply(FILL, y, value=0.0))

    return y, push


def hvp(f: Callable[[Any], Any], x: Any, v: Any) -> Any:
    """The Hessian of a scalar function times v: the change of nf.gradient(f, x) along v, in the shape of x.

    x, v: arrays, or a model and another of the same shapes, such as its gradient; f as for nf.gradient. An array that
    stands twice in x is one variable, and v is taken where it stands first. Costs about two gradients, whatever the
    size. Raises ShapeError where v does not fit, DTypeError where x holds no floats.

    Source: Pearlmutter 1994, here as the gradient of the product of gradient and v.

    >>> hvp(lambda x: (x * x * x).sum(), np.array([1.0, 2.0]), np.array([1.0, 0.5])).tolist()
    [6.0, 6.0]
    """
    directions = _directions("hvp", ["v"], (x,), (v,))
    expect(bool(directions), "hvp", "x", "an array of floats, or what holds some", _kind(x), error=DTypeError)
    return gradient(lambda x: _product((gradient(f, x),), directions, x), x)


def hessian(f: Callable[[Any], Any], x: Any) -> Any:
    """All second derivatives of a scalar function of one array, of shape x.shape + x.shape; a gradient an element.

    f as for nf.gradient. Raises DTypeError unless x is an array of floats (models go by nf.destructure, or nf.hvp),
    ShapeError where it is empty.

    >>> hessian(lambda x: x[0] * x[0] * x[1], np.array([1.0, 3.0])).tolist()
    [[6.0, 2.0], [2.0, 0.0]]
    """
    return np.stack(list(_rows("hessian", f, x))).reshape((*np.shape(x), *np.shape(x)))


def diaghessian(f: Callable[[Any], Any], x: Any) -> Any:
    """The second derivatives of a scalar function by each element twice, in the shape of x; a gradient an element.

    f, x and errors as for nf.hessian, whose diagonal it is.

    >>> diaghessian(lambda x: (x * x * x).sum(), np.array([1.0, 2.0])).tolist()
    [6.0, 12.0]
    """
    diagonal = [F.reshape(row, -1)[i] for i, row in enumerate(_rows("diaghessian", f, x))]
    return np.stack(diagonal).reshape(np.shape(x))


def _rows(where: str, f: Callable[[Any], Any], x: Any) -> Iterator[Any]:
    """The rows of the Hessian, each in the shape of x."""
    expect(differentiable(x), where, "x", "an array of floats", _kind(x), "of a model take nf.destructure, or nf.hvp",
           DTypeError)  # fmt: skip
    expect(0 not in np.shape(x), where, "x", "of at least one element", f"shape {np.shape(x)}", error=ShapeError)

    def slope(x: Any) -> Any:
        found = gradient(f, x)
        return found if isinstance(found, Value) else apply(FILL, x, value=0.0)  # a linear function's does not vary

    y, back = pullback(slope, x)
    for row in managed.beside(y, np.eye(y.size, dtype=y.dtype)):
        yield back(row.reshape(y.shape))


def _kind(x: Any) -> str:
    return str(x.dtype) if isinstance(x, np.ndarray | np.generic | Value) else type(x).__name__


def _leaves(node: Any) -> dict[str, Any]:
    """Path -> whatever stands in a tree where arrays are parameters."""
    found: dict[str, Any] = {}

    def see(path: str, kind: str, x: Any) -> Any:
        if kind == PARAM:
            found[path] = x
        return x

    replaced(node, see)
    return found


def _directions(where: str, names: Sequence[str], args: tuple[Any, ...], given: tuple[Any, ...]) -> dict[str, Any]:
    """Path -> what is given for each array of floats of some arguments; one that stands twice goes by the first."""
    held, found = _leaves(given), {}
    once = {tie(path, x): (path, x) for path, x in reversed(_leaves(args).items()) if differentiable(x)}
    for path, x in reversed(once.values()):
        v = held.get(path)
        array = v if isinstance(v, Value) else np.asarray(v)
        number, _, inside = path.partition(".")
        real = array.dtype.kind in "fiu"
        good, got = real and array.shape == np.shape(x), f"shape {array.shape}" if real else type(v).__name__
        expect(good, where, names[int(number)] + (f" at {inside}" if inside else ""),
               f"of shape {tuple(np.shape(x))} as the argument", got, error=ShapeError)  # fmt: skip
        if not isinstance(array, Value):
            array = managed.beside(array, array.astype(getattr(x, "dtype", np.float32), copy=False))
        found[path] = array
    return found


def _product(grads: tuple[Any, ...], directions: dict[str, Any], x: Any) -> Any:
    """The sum of products of gradients and directions; where no gradient varies with x, 0 as a Value."""
    found = _leaves(grads)
    terms = [F.sum(F.mul(found[path], v)) for path, v in directions.items() if isinstance(found[path], Value)]
    if not terms:
        some = next(leaf for leaf in _leaves(x).values() if isinstance(leaf, Value))
        return F.sum(apply(FILL, some, value=0.0))
    total = terms[0]
    for term in terms[1:]:
        total = F.add(total, F.astype(term, total.dtype))
    return total
