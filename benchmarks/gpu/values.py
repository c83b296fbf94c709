"""Every operation of the registry, forward and through its gradient, on a GPU beside float64 on the CPU.

Inputs are those that the registry's examples describe, once as they are and once larger, drawn anew. A result is right
where no element is off by more than TOLERANCE of the largest (0.01 at least) and NaN stand where they should; integers
and booleans are equal. Operations that draw random numbers, or say which type they give, are compared with the CPU in
their own type.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

import numbaflux as nf
from benchmarks.gpu.plans import Record, launches_of, reason, record, run, wanted
from numbaflux import functions as F
from numbaflux.op import Example, Op

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
LEAST = 0.01  # of the largest number of a result, for its tolerance
MODULES = "dense elementwise activation reduce move scatter softmax norm conv pool attention recurrent ctc random"
FAMILIES: dict[str, tuple[Op, ...]] = {name: import_module(f"numbaflux.ops.{name}").OPS for name in MODULES.split()}
FACTORS = (37, 11, 3)  # by which sizes of examples are multiplied, the largest that fits
ELEMENTS = 2_000_000  # of all inputs of a larger case at most
AS_SHOWN = ("place",)  # operations whose numbers say how large a result is, for inputs as large as the example's
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class Case(NamedTuple):
    """A function of arrays, and the arrays."""

    name: str
    f: Callable[..., Any]
    arrays: list[np.ndarray]
    own: bool  # whether it is compared in its own type


def drawn(example: Example, shapes: Sequence[tuple[int, ...] | None], dtype: np.dtype[Any]) -> list[Any]:
    """Arrays as an example describes them, of some shapes."""
    rng = np.random.default_rng(zlib.crc32(repr(shapes).encode()))
    found: list[Any] = []
    for shape, spec in zip(shapes, example.specs(dtype), strict=True):
        if shape is None or spec is None:
            found.append(None)
        elif spec.dtype.kind == "f":
            found.append(np.asarray(rng.uniform(0.1, 0.9, shape)).astype(dtype))
        else:
            found.append(np.asarray(rng.integers(0, 2, shape)).astype(spec.dtype))
    return found


def larger(op: Op, example: Example) -> Sequence[tuple[int, ...] | None] | None:
    """Other shapes that the operation takes: all sizes but 1 multiplied, or only the first; None where none fits."""
    if op.name in AS_SHOWN:
        return None
    attrs = dict(example.attrs)
    first = next((s[0] for s in example.shapes if s), 1)
    for factor in FACTORS:
        for chosen in (lambda d: d > 1, lambda d: d == first):
            shapes = [
                None if s is None else tuple(d * factor + 1 if chosen(d) else d for d in s) for s in example.shapes
            ]
            if shapes == list(example.shapes) or sum(int(np.prod(s)) for s in shapes if s is not None) > ELEMENTS:
                continue
            kinds = zip(shapes, example.specs(FLOATS[0]), strict=True)
            specs = [None if s is None or k is None else nf.Spec(s, k.dtype) for s, k in kinds]
            try:
                outs = outputs(op, attrs, specs)
            except (nf.Error, ArithmeticError, IndexError, TypeError, ValueError):
                continue
            if sum(int(np.prod(s.shape)) for s in outs) <= ELEMENTS:
                return shapes
    return None


def outputs(op: Op, attrs: dict[str, Any], inputs: Sequence[Any]) -> Sequence[nf.Spec]:
    """What an operation gives for arrays, or for specs of them."""
    found = op.shape(*(None if x is None else nf.Spec(x.shape, x.dtype) for x in inputs), **attrs)
    return (found,) if isinstance(found, nf.Spec) else tuple(found)


def joined(y: Any) -> Any:
    """All floats that an operation gives, as one."""
    parts = [v for v in (y if isinstance(y, tuple) else (y,)) if v.dtype.kind == "f"]
    return F.concatenate([F.reshape(v, -1) for v in parts])


def functions(op: Op, attrs: dict[str, Any], arrays: list[Any]) -> Iterator[Case]:
    """The operation, and its gradient where it has one."""
    given = [i for i, a in enumerate(arrays) if a is not None]
    own = "dtype" in attrs or any(a is not None and a.dtype == np.uint64 for a in arrays)

    def call(values: Sequence[Any]) -> Any:
        inputs = dict(zip(given, values, strict=True))
        return nf.apply(op, *(inputs.get(i) for i in range(len(arrays))), **attrs)

    present = [arrays[i] for i in given]
    yield Case("", lambda *values: call(values), present, own)
    places = [n for n, a in enumerate(present) if a.dtype.kind == "f"]
    if op.grad is None or not places:
        return

    def gradients(*values: Any) -> Any:
        def loss(*some: Any) -> Any:
            inputs = list(values[:-1])
            for place, x in zip(places, some, strict=True):
                inputs[place] = x
            return F.sum(F.mul(joined(call(inputs)), values[-1]))

        return nf.gradient(loss, *(values[i] for i in places))

    floats = [s for s in outputs(op, attrs, arrays) if s.dtype.kind == "f"]
    if not floats:
        return
    size = sum(int(np.prod(s.shape)) for s in floats)
    weights = np.random.default_rng(1).uniform(0.5, 1.5, size).astype(floats[0].dtype)
    yield Case(" gradient", gradients, [*present, weights], own)


def cases(family: str, quick: bool) -> Iterator[tuple[Case, str]]:
    """All cases of a family, and the type of their numbers."""
    for op in FAMILIES[family][: 2 if quick else None]:
        for number, example in enumerate(op.examples[: 1 if quick else None]):
            sizes = [("", example.shapes), (" larger", None if quick else larger(op, example))]
            for size, shapes in sizes:
                for dtype in FLOATS:
                    if shapes is not None:
                        arrays, name = drawn(example, shapes, dtype), f"{op.name} {number + 1}{size}"
                        for case in functions(op, dict(example.attrs), arrays):
                            yield case._replace(name=f"{name}{case.name} {dtype}"), str(dtype)


def asked(family: str) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """What must be compiled for a family."""
    for case, _ in cases(family, False):
        with contextlib.suppress(Exception):  # the family's check says what is wrong
            yield from wanted(launches_of(case.f, case.arrays)[0])


def right(case: Case) -> list[np.ndarray]:
    """What float64 gives on the CPU."""
    wide = [a.astype(np.float64) if a.dtype.kind == "f" and not case.own else a for a in case.arrays]
    found = case.f(*wide)
    return [np.asarray(y) for y in (found if isinstance(found, tuple) else (found,)) if y is not None]


def off(y: np.ndarray, exact: np.ndarray) -> float:
    """The largest error, of the largest number; infinite where NaN, infinities or integers differ."""
    if y.shape != exact.shape:
        return np.inf
    if y.dtype.kind != "f":
        return 0.0 if np.array_equal(y, exact) else np.inf
    finite = np.isfinite(exact) & np.isfinite(y)
    same = np.array_equal(y[~finite], exact[~finite].astype(y.dtype), equal_nan=True)
    if not same:
        return np.inf
    if not finite.any():
        return 0.0
    unit = max(float(abs(exact[finite]).max()), LEAST)
    return float(abs(y[finite].astype(np.float64) - exact[finite]).max()) / unit


def checks(gpu: Any, family: str, quick: bool) -> Iterator[Record]:
    """Each case of a family."""
    planned, failed = [], []
    for case, dtype in cases(family, quick):
        try:
            planned.append((case, dtype, *launches_of(case.f, case.arrays)))
        except Exception as error:
            failed.append(record(family, case.name, False, reason(error)))
    yield from failed
    try:
        gpu.load(what for _, _, launches, _ in planned for what in wanted(launches))  # by several processes at once
    except nf.Error:
        pass  # those that need the kernel say so
    for case, dtype, launches, specs in planned:
        try:
            found = run(gpu, launches, specs, case.arrays)
            errors = [off(y, exact) for y, exact in zip(found, right(case), strict=True)]
        except Exception as error:
            yield record(family, case.name, False, reason(error))
            continue
        worst, most = max(errors, default=0.0), TOLERANCE[dtype]
        said = "" if worst <= most else f"off by {worst:.2g} of the largest number, {most:.0g} is allowed"
        yield record(family, case.name, worst <= most, said, off=worst if np.isfinite(worst) else None)
