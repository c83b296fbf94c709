"""One-hot labels that stay compact: the number of each sample's class, and how many classes there are."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import shapes as H
from .op import DTypeError, NonFiniteError, ShapeError, expect
from .ops.elementwise import EQUAL
from .ranges import check
from .trace import Value, apply
from .tree import STATIC


class OneHot(NDArrayOperatorsMixin):
    """One-hot rows, kept as the numbers of their classes: of shape (..., classes), with 8 bytes a row.

    indices: integers (...) in 0..classes - 1, kept as int64. `y @ w` gathers rows of w, and so do the layers that start
    with a product. Indexing samples, np.concatenate, np.stack and reshape keep it compact; other functions of NumPy see
    the array of booleans that np.asarray(y) gives. A compiled step takes it as an argument.
    Raises DTypeError for indices that are no integers, RangeError for one that is no class.

    >>> y = OneHot([2, 0], classes=3)
    >>> y.shape, y[0]
    ((2, 3), OneHot(2, classes=3))
    >>> (y @ np.arange(6, dtype=np.float32).reshape(3, 2)).tolist()
    [[4.0, 5.0], [0.0, 1.0]]
    >>> np.asarray(y, np.int64).tolist()
    [[0, 0, 1], [1, 0, 0]]
    """

    # Trees walk into it: indices are the array, classes what a plan depends on.
    __layer_fields__ = {"indices": STATIC, "classes": STATIC}
    dtype = np.dtype(bool)

    def __init__(self, indices: Any, classes: int) -> None:
        self.classes = int(check("OneHot.classes", classes))
        array: Any = indices if isinstance(indices, Value) else np.asarray(indices)
        good = array.dtype.kind in "iu"
        expect(good, "OneHot", "indices", "integers", str(array.dtype), "nf.onehotbatch for names", DTypeError)
        self.indices = array.astype(np.int64)
        if isinstance(array, np.ndarray):  # of a traced one, what gathers by it checks the numbers
            outside = array[(array < 0) | (array >= self.classes)]
            got = "" if outside.size == 0 else str(outside[0])
            expect(outside.size == 0, "OneHot", "indices", f"in 0..{self.classes - 1}", got)

    def like(self, indices: Any) -> OneHot:
        """Other samples of the same classes, already known to be right.

        >>> OneHot([0, 1], 2).like(np.array([1]))
        OneHot([1], classes=2)
        """
        made = object.__new__(OneHot)
        made.indices, made.classes = indices if isinstance(indices, Value) else np.asarray(indices), self.classes
        return made

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.indices.shape, self.classes)

    @property
    def ndim(self) -> int:
        return self.indices.ndim + 1

    @property
    def size(self) -> int:
        return int(self.indices.size) * self.classes

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        known = isinstance(self.indices, np.ndarray)
        shown = np.array2string(self.indices, separator=", ", threshold=8) if known else repr(self.indices)
        return f"OneHot({shown}, classes={self.classes})"

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        used = sum(k.ndim if isinstance(k, np.ndarray) and k.dtype == bool else 1 for k in keys)
        if used > self.indices.ndim or any(k is None or k is Ellipsis for k in keys):
            return np.asarray(self)[key]
        return self.like(self.indices[key])

    def reshape(self, *shape: Any) -> Any:
        """The same rows in another shape; compact where the last axis stays.

        >>> OneHot([0, 1, 2, 0], 3).reshape(2, 2, 3)
        OneHot([[0, 1],
                [2, 0]], classes=3)
        """
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        if len(sizes) < 2 or sizes[-1] != self.classes:
            return np.asarray(self).reshape(*sizes)
        return self.like(self.indices.reshape(*sizes[:-1]))

    def astype(self, dtype: DTypeLike) -> Any:
        """The array with every 0 and 1 in its place.

        >>> OneHot([1], 2).astype(np.float32).tolist()
        [[0.0, 1.0]]
        """
        if isinstance(self.indices, np.ndarray):
            return (self.indices[..., None] == np.arange(self.classes)).astype(dtype, copy=False)
        rows = H.broadcast_to(H.expand_dims(self.indices, self.indices.ndim), self.shape)
        columns = np.ascontiguousarray(np.broadcast_to(np.arange(self.classes), self.shape))
        return H.astype(apply(EQUAL, rows, columns), dtype)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.astype(self.dtype if dtype is None else dtype))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        first, *others = inputs
        if ufunc is np.matmul and method == "__call__" and isinstance(first, OneHot) and not kwargs:
            w = others[0] if isinstance(others[0], Value | OneHot) else np.asarray(others[0])
            if w.ndim <= 2 and not isinstance(w, OneHot):
                return first._rows(w)
        return getattr(ufunc, method)(*_spread(inputs), **kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        known = FUNCTIONS.get(function)
        found = NotImplemented if known is None else known(*args, **kwargs)
        return function(*_spread(args), **_spread(kwargs)) if found is NotImplemented else found

    def _rows(self, w: Any) -> Any:
        fits = w.ndim > 0 and w.shape[0] == self.classes
        expect(fits, "matmul", "w", f"of {self.classes} rows, one a class", f"shape {tuple(w.shape)}", error=ShapeError)
        return H.take(w, self.indices)


def _spread(inputs: Any) -> Any:
    """The same arguments with dense arrays, of the type of a traced Value among them."""
    if isinstance(inputs, dict):
        return {name: _spread((x,))[0] for name, x in inputs.items()}
    dtype = next((x.dtype for x in inputs if isinstance(x, Value)), bool)

    def dense(x: Any) -> Any:
        return type(x)(map(dense, x)) if type(x) in (list, tuple) else x.astype(dtype) if isinstance(x, OneHot) else x

    return tuple(map(dense, inputs))


def _joined(join: Callable[..., Any]) -> Callable[..., Any]:
    """np.concatenate or np.stack, compact along the axes of samples."""

    def function(arrays: Sequence[Any], axis: int = 0, **options: Any) -> Any:
        arrays = list(arrays)
        first = arrays[0]
        alike = all(isinstance(a, OneHot) and a.classes == first.classes for a in arrays)
        inside = alike and 0 <= axis < first.indices.ndim + (join is np.stack)
        return first.like(join([a.indices for a in arrays], axis)) if inside and not options else NotImplemented

    return function


# What NumPy's functions do without making the dense array.
FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.concatenate: _joined(np.concatenate), np.stack: _joined(np.stack), np.reshape: lambda y, shape: y.reshape(shape),
    np.shape: lambda y: y.shape, np.ndim: lambda y: y.ndim,
}  # fmt: skip


def _plain(x: Any) -> Any:
    return x.item() if isinstance(x, np.generic) or isinstance(x, np.ndarray) and x.ndim == 0 else x


def _numbered(where: str, labels: Any) -> dict[Hashable, int]:
    """Label -> number of its class."""
    cure = f"range({labels})" if isinstance(labels, Integral) else ""
    expect(isinstance(labels, Iterable), where, "labels", "the classes, in order", repr(labels), cure, DTypeError)
    names = [_plain(label) for label in labels]
    expect(all(isinstance(name, Hashable) for name in names), where, "labels", "texts, numbers or such",
           reprlib.repr(names), error=DTypeError)  # fmt: skip
    table = {name: i for i, name in enumerate(names)}
    good = bool(names) and len(table) == len(names)
    expect(good, where, "labels", "one class or more, each once", reprlib.repr(names))
    return table


def _encoded(where: str, values: list[Any], labels: Any, default: Any) -> tuple[NDArray[np.int64], int]:
    """The class of each value, and how many classes there are."""
    table = _numbered(where, labels)
    shown = f"one of the {len(table)} labels {reprlib.repr(list(table))}"

    def number(argument: str, value: Any, other: int | None, cure: str = "") -> int:
        found = table.get(value, other) if isinstance(value, Hashable) else other
        expect(found is not None, where, argument, shown, repr(value), cure)
        return found  # type: ignore[return-value]

    other = None if default is None else number("default", _plain(default), None)
    return np.array([number("x", v, other, "pass default= for others") for v in values], np.int64), len(table)


def onehot(x: Any, labels: Iterable[Any], default: Any = None) -> OneHot:
    """One label as a OneHot of shape (c,), c being how many labels there are.

    labels: all classes in order, texts or numbers. default: the label that stands for any x that is none of them.
    Raises RangeError for another x, or labels that stand twice.

    >>> onehot("b", ["a", "b", "c"])
    OneHot(1, classes=3)
    """
    index, classes = _encoded("onehot", [_plain(x)], labels, default)
    return OneHot(index[0], classes)


def onehotbatch(xs: ArrayLike, labels: Iterable[Any], default: Any = None) -> OneHot:
    """Labels (n, ...) as a OneHot of shape (n, ..., c), c being how many labels there are.

    labels: all classes in order, texts or numbers. default: the label that stands for any x that is none of them.
    Raises RangeError for another x, or labels that stand twice.

    >>> onehotbatch(["b", "a", "?"], ["a", "b", "c"], default="c")
    OneHot([1, 0, 2], classes=3)
    >>> onehotbatch(np.array([3, 9]), range(10)).shape
    (2, 10)
    """
    array = xs if isinstance(xs, np.ndarray) else np.array(xs, object)  # objects: [1, "a"] must not become two texts
    if array.dtype == object:
        values, place = list(map(_plain, array.ravel())), np.arange(array.size)
    else:
        unique, place = np.unique(array, return_inverse=True)
        values = unique.tolist()
    indices, classes = _encoded("onehotbatch", values, labels, default)
    return OneHot(indices[place].reshape(array.shape), classes)


def onecold(y: Any, labels: Iterable[Any] | None = None) -> Any:
    """The label of each row of y (..., c): of its highest score, the first of equals; the inverse of onehotbatch.

    labels: all classes in order; None: their numbers from 0. One row (c,) gives one label, others an array (...).
    Raises ShapeError unless there are c labels, NonFiniteError for NaN.

    >>> onecold(np.array([[0.1, 0.9], [0.8, 0.2]]), ["cat", "dog"]).tolist()
    ['dog', 'cat']
    >>> onecold(onehot(3, range(5)))
    3
    """
    scores = y if isinstance(y, OneHot) else np.asarray(y)
    wide, got = scores.ndim > 0 and scores.shape[-1] > 0, f"shape {scores.shape}"
    expect(wide, "onecold", "y", "of shape (..., c), a score for each class", got, error=ShapeError)
    expect(scores.dtype.kind in "fiub", "onecold", "y", "of real numbers", str(scores.dtype), error=DTypeError)
    if isinstance(scores, OneHot):
        index = scores.indices
    else:
        expect(not np.isnan(scores).any(), "onecold", "y", "free of NaN", "NaN", error=NonFiniteError)
        index = scores.argmax(-1)
    names = list(range(scores.shape[-1])) if labels is None else [_plain(label) for label in labels]
    expect(len(names) == scores.shape[-1], "onecold", "labels", f"of {scores.shape[-1]} classes", f"{len(names)}",
           error=ShapeError)  # fmt: skip
    if index.ndim == 0:
        return names[int(index)]
    alike = len({type(name) for name in names}) == 1 and isinstance(names[0], str | int | float)
    return (np.array(names) if alike else np.fromiter(names, object, len(names)))[index]
