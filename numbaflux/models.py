"""Whole models: their arrays by path, copies of them, one flat vector, and what comes out of which layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .layers.layer import inside, name_of, one_line
from .managed import common, copied, copy
from .op import DeviceError, DTypeError, PlanError, ShapeError, Spec, expect
from .program import flat_results
from .session import Session
from .trace import Value
from .tree import BUFFER, PARAM, STATIC, arrays, children, fields, leaves, rebuilt, replaced

# ---------------------------------------------------------------------------------------------------- arrays by path


def trainables(model: Any, path: bool = False) -> list[Any]:
    """The arrays that are trained, themselves, a tied one once; with path=True pairs (path, array).

    >>> import numbaflux as nf
    >>> [name for name, _ in nf.trainables(nf.Chain(nf.Dense(2, 1)), path=True)]
    ['0.weight', '0.bias']
    """
    found = _trained(model)
    return list(found.items()) if path else list(found.values())


def _trained(model: Any) -> dict[str, np.ndarray]:
    return {path: array for path, array in arrays(model, PARAM).items() if array.dtype.kind == "f"}


def state(model: Any) -> dict[str, np.ndarray]:
    """A copy, on the CPU, of every array of a model by path: weights, buffers, constants; a tied one once, under its
    first path.

    >>> import numbaflux as nf
    >>> list(nf.state(nf.Dense(2, 1)))
    ['weight', 'bias']
    """
    return {path: np.array(array) for path, array in arrays(model).items()}


def load_state(model: Any, state: Mapping[str, np.ndarray]) -> None:
    """Copy arrays into a model, in place: exactly those that state(model) names, of their shapes and dtypes.

    An optimiser state or compiled step that holds the model sees the new values. Raises before anything is changed:
    ShapeError, DTypeError, DeviceError for an array that is read-only.

    >>> import numbaflux as nf
    >>> model = nf.Dense(2, 1)
    >>> nf.load_state(model, {"weight": np.ones((2, 1), np.float32), "bias": np.zeros(1, np.float32)})
    >>> model.weight.tolist()
    [[1.0], [1.0]]
    """
    fill(model, state, "load_state")


def fill(model: Any, state: Mapping[str, np.ndarray], where: str) -> None:
    """load_state, for errors that name another function."""
    own = arrays(model)
    missing, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    expect(not missing, where, missing[0] if missing else "", "given", "nothing", error=ShapeError)
    expect(not extra, where, extra[0] if extra else "", "an array of the model", "an unknown name", error=ShapeError)
    for path, array in own.items():
        new = state[path]
        expect(isinstance(new, np.ndarray | np.generic), where, path, "an array", type(new).__name__, error=DTypeError)
        expect(new.shape == array.shape, where, path, f"of shape {array.shape}", str(new.shape), error=ShapeError)
        same = new.dtype.name == array.dtype.name
        expect(same, where, path, array.dtype.name, new.dtype.name, "nf.f32(model) or nf.f64(model)", DTypeError)
        expect(array.flags.writeable, where, path, "writeable in the model", "a read-only array", error=DeviceError)
    for path, array in own.items():
        array[...] = state[path]


def destructure(model: Any) -> tuple[np.ndarray, Callable[[Any], Any]]:
    """(flat copy of all that is trained, rebuild); rebuild(flat) is the model with those numbers instead.

    A gradient goes through rebuild. Buffers and settings are shared with the model. Raises DTypeError for a model of
    several dtypes.

    >>> import numbaflux as nf
    >>> flat, rebuild = nf.destructure(nf.Dense(2, 1))
    >>> rebuild(np.array([1, 2, 3], np.float32)).bias.tolist()
    [3.0]
    """
    found = _trained(model)
    dtypes = sorted({str(a.dtype) for a in found.values()})
    expect(bool(found), "destructure", "model", "one with parameters to train", type(model).__name__, error=PlanError)
    expect(len(dtypes) == 1, "destructure", "model", "of one dtype", " and ".join(dtypes), "nf.f32(model)", DTypeError)
    gpu = common("destructure", found.items())
    flat = np.concatenate([a.reshape(-1) for a in found.values()])
    flat = flat if gpu is None else copied(flat, gpu)
    starts = np.cumsum([0, *(a.size for a in found.values())]).tolist()
    by_id = dict(zip(map(id, found.values()), starts, strict=False))
    places = {leaf.path: by_id.get(id(leaf.array)) for leaf in leaves(model) if leaf.kind == PARAM}

    def rebuild(numbers: Any) -> Any:
        given: Any = numbers if isinstance(numbers, Value) else np.asarray(numbers)
        shape, dtype = flat.shape, str(flat.dtype)
        cure = f"flat.astype(np.{dtype})"
        expect(given.shape == shape, "rebuild", "flat", f"of shape {shape}", str(given.shape), error=ShapeError)
        expect(given.dtype == flat.dtype, "rebuild", "flat", dtype, str(given.dtype), cure, DTypeError)
        made: dict[int, Any] = {}

        def new(path: str, kind: str, x: Any) -> Any:
            start = places.get(path)
            if start is None:
                return x
            if start not in made:
                part = given[start : start + x.size].reshape(x.shape)
                made[start] = copy(part) if isinstance(part, np.ndarray) else part
            return made[start]

        return replaced(model, new)

    return flat, rebuild


# ---------------------------------------------------------------------------------------------------------------- mode


def testmode(model: Any) -> Any:
    """A model of the same arrays whose layers always compute as in inference: dropout is off, BatchNorm takes its
    running statistics, also inside of a gradient or a training step. The given model stays as it is.

    >>> import numbaflux as nf
    >>> model = nf.Chain(nf.Dense(2, 3), nf.Dropout(0.5))
    >>> frozen = nf.testmode(model)
    >>> frozen[1].active, model[1].active, frozen[0].weight is model[0].weight
    (False, None, True)
    """
    return _with_mode(model, False)


def trainmode(model: Any) -> Any:
    """A model of the same arrays whose layers always compute as in training, also where it is only called: dropout is
    on, BatchNorm takes the batch's statistics and keeps them. The given model stays as it is.

    >>> import numbaflux as nf
    >>> nf.trainmode(nf.Dropout(1.0))(np.ones(3, np.float32)).tolist()
    [0.0, 0.0, 0.0]
    """
    return _with_mode(model, True)


def _with_mode(node: Any, active: bool) -> Any:
    """A copy whose layers have this in their field `active`, if they have one; what has none below it is shared."""
    below = children(node, STATIC)
    if below is None:
        return node
    own = fields(node) or {}
    parts = [(key, x, active if key == "active" and key in own else _with_mode(x, active)) for _, key, x, _ in below]
    return node if all(x is new for _, x, new in parts) else rebuilt(node, [(key, new) for key, _, new in parts])


# ----------------------------------------------------------------------------------------------- what comes out of it


def outputsize(model: Any, *shapes: tuple[int, ...], padbatch: bool = False, dtype: Any = None) -> Any:
    """The shape of model(x), or a tuple of them, for an x (or several) of given shapes, without computing it.

    Shapes include the batch; padbatch=True puts a batch of 1 in front of each. dtype: of x, where that is not the
    model's own (np.int64 for indices).

    >>> import numbaflux as nf
    >>> nf.outputsize(nf.Chain(nf.flatten, nf.Dense(6, 4)), (2, 3), padbatch=True)
    (1, 4)
    """
    full = [(1, *s) if padbatch else tuple(s) for s in shapes]
    return _shapes(traced(model, "outputsize", full, model, dtype))


def traced(call: Any, where: str, shapes: list[tuple[int, ...]], model: Any, dtype: Any) -> Any:
    """The result of a call on abstract arrays, of the model's dtype unless told; nothing is drawn or changed."""
    expect(bool(shapes), where, "shapes", "at least one shape", "none", error=ShapeError)
    for shape in shapes:
        good = all(isinstance(n, int | np.integer) and n > 0 for n in shape)
        expect(good, where, "shape", "integers of 1 or more", str(shape), error=ShapeError)
    own = next((a.dtype for a in arrays(model).values() if a.dtype.kind == "f"), np.dtype(np.float32))
    kind = own if dtype is None else np.dtype(dtype)
    with Session(training=False, planned=True):
        return call(*(Value(Spec(tuple(int(n) for n in shape), kind), memory=i) for i, shape in enumerate(shapes)))


def _shapes(result: Any) -> Any:
    """The shapes of a result: one, or a tuple for several."""
    found = [tuple(v.shape) for v in flat_results(result)]
    return found[0] if len(found) == 1 else tuple(found)


class Summary:
    """A table of layers; prints itself. rows: (path, layer, shape of its output or None if not called, parameters)."""

    def __init__(self, rows: list[tuple[str, str, Any, int]], model: Any) -> None:
        self.rows = rows
        self.trained = sum(a.size for a in trainables(model))
        self.fixed = sum(a.size for a in arrays(model, BUFFER).values())
        self.bytes = sum(a.nbytes for a in arrays(model, PARAM, BUFFER).values())

    def __repr__(self) -> str:
        head = ("path", "layer", "output", "parameters")
        cells = [head, *((p, name, "-" if s is None else str(s), f"{n:_}" if n else "") for p, name, s, n in self.rows)]
        a, b, c, d = (max(map(len, column)) for column in zip(*cells, strict=True))
        lines = [f"{p:<{a}}  {name:<{b}}  {s:<{c}}  {n:>{d}}" for p, name, s, n in cells]
        lines.insert(1, "-" * len(lines[0]))
        fixed = f", {self.fixed:_} not trained" if self.fixed else ""
        total = f"{self.trained:_} parameters{fixed}, {self.bytes:_} bytes"
        return "\n".join([*(text.rstrip() for text in lines), total])


def summary(model: Any, *shapes: tuple[int, ...], dtype: Any = None) -> Summary:
    """A table of a model's layers with the shape each gives for inputs of these shapes (with the batch) and its
    parameters.

    Nothing is computed. A layer that is called twice shows its last shape. dtype: of the inputs, where that is not the
    model's own (np.int64 for indices).

    >>> import numbaflux as nf
    >>> nf.summary(nf.Chain(nf.Dense(2, 3, nf.tanh), nf.Dense(3, 1)), (5, 2))
    path  layer              output  parameters
    -------------------------------------------
          Chain              (5, 1)          13
    0     Dense(2, 3, tanh)  (5, 3)           9
    1     Dense(3, 1)        (5, 1)           4
    13 parameters, 52 bytes
    """
    seen: dict[str, Any] = {}
    traced(_watched(model, "", seen), "summary", [tuple(s) for s in shapes], model, dtype)
    rows = []
    for path, node in _rows(model, ""):
        name = type(node).__name__ if inside(node) else one_line(node)
        count = sum(a.size for a in trainables(node)) if fields(node) else 0
        rows.append((path, name, seen.get(path), count))
    return Summary(rows, model)


def _rows(node: Any, path: str) -> list[tuple[str, Any]]:
    """A layer and all below it, functions that stand among layers included, with paths."""
    rows = [(path, node)]
    for name, child in inside(node):
        rows += _rows(child, f"{path}.{name}" if path else name)
    return rows


def _watched(node: Any, path: str, seen: dict[str, Any]) -> Any:
    """A copy of a model whose layers, and functions among layers, leave the shapes of their results in `seen`."""
    below = children(node, STATIC)
    if below is None:
        return node
    places = {name: f"{path}.{name}" if path else name for name, *_ in below}
    parts = []
    for name, key, child, _ in below:
        fresh = _watched(child, places[name], seen)
        stands = isinstance(key, tuple) or key in getattr(type(node), "shown", ())
        among = stands and fields(child) is None and callable(child)
        parts.append((key, _watcher(fresh, places[name], seen) if among else fresh))
    copied = rebuilt(node, parts)
    if fields(node) is not None and callable(node):
        watch = _watcher(type(node).__call__, path, seen)
        object.__setattr__(copied, "__class__", type(type(node).__name__, (type(node),), {"__call__": watch}))
    return copied


def _watcher(f: Callable[..., Any], path: str, seen: dict[str, Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        result = f(*args, **options)
        seen[path] = _shapes(result)
        return result

    call.__name__ = name_of(f)
    return call
