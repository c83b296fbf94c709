"""Runs one operation now: a plan of a single call, kept by shapes, over the caller's arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from . import managed
from .lowering import CPU, GPU, Build, Target, argument
from .op import DTypeError, Op, Spec, expect
from .plan import Plan

Specs = tuple[Spec | None, ...]
KINDS = frozenset("f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1".split())


def outputs(op: Op, specs: Specs, attrs: dict[str, Any]) -> tuple[Spec, ...]:
    """What an operation will give; raises where its arguments do not fit."""
    found = op.shape(*specs, **attrs)
    return (found,) if isinstance(found, Spec) else tuple(found)


def array_of(x: Any, where: str) -> np.ndarray:
    """x as the C-contiguous array that kernels take; a type that they do not know is refused."""
    a = np.asarray(x)
    code = f"{a.dtype.kind}{a.dtype.itemsize}"
    good = code in KINDS and a.dtype.isnative  # else its name, which takes longer than all the rest
    expect(good, where, "array", "of a float or integer type of this machine", "" if good else str(a.dtype),
           "x.astype(np.float32)" + ", or nf.f32(model)" * (code == "f2"), DTypeError)  # fmt: skip
    return managed.contiguous(a) if a.ndim else a


def lowered(
    op: Op, specs: Specs, attrs: tuple[tuple[str, Any], ...], target: Target = CPU
) -> tuple[Build, tuple[Spec, ...], int]:
    """The entries of one call, its outputs, and the input that the output is only another view of (-1: none)."""
    out_specs = outputs(op, specs, dict(attrs))
    build = Build(target)
    outs = [argument(spec, i) for i, spec in enumerate(out_specs)]
    ins = [None if s is None else argument(s, len(outs) + i) for i, s in enumerate(specs)]
    op.lower(build, outs[0] if len(outs) == 1 else outs, *ins, **dict(attrs))
    source = build.aliases.get(id(outs[0].storage))
    view = -1 if source is None else next(i for i, b in enumerate(ins) if b is not None and b.storage is source.storage)
    return build, out_specs, view


@functools.lru_cache(maxsize=4096)
def planned(
    op: Op, specs: Specs, attrs: tuple[tuple[str, Any], ...], text: str
) -> tuple[Callable[..., None], tuple[Spec, ...], int]:
    """What runs one call, beside what `lowered` says of it.

    text is attrs in words, by which the cache tells 0.0 from -0.0.
    """
    build, *rest = lowered(op, specs, attrs)
    return Plan(build).run, *rest  # type: ignore[return-value]


@functools.lru_cache(maxsize=1024)
def planned_on(
    gpu: Any, op: Op, specs: Specs, attrs: tuple[tuple[str, Any], ...], text: str
) -> tuple[Callable[..., None], tuple[Spec, ...], int]:
    """The same on a GPU."""
    from .bound import Bound
    from .launches import Launches

    build, *rest = lowered(op, specs, attrs, GPU)
    return Bound(gpu, Launches(build), stream=gpu.default).direct, *rest  # type: ignore[return-value]


def run(op: Op, arrays: list[Any], attrs: dict[str, Any]) -> Any:
    """The outputs of an operation on arrays (None where an optional one is missing), newly allocated."""
    given = [None if a is None else array_of(a, op.name) for a in arrays]
    specs = tuple(None if a is None else Spec(a.shape, a.dtype) for a in given)
    key = tuple(sorted(attrs.items()))
    if managed.used:
        gpu = managed.common(op.name, ((f"argument {i}", a) for i, a in enumerate(given)))
        if gpu is not None:
            return _run_on(gpu, op, given, specs, key)
    plan, out_specs, view = planned(op, specs, key, repr(key))
    if view >= 0:
        return given[view].reshape(out_specs[0].shape)  # type: ignore[union-attr]
    outs = [np.empty(s.shape, s.dtype) for s in out_specs]
    plan(*outs, *given)
    return outs[0] if len(outs) == 1 else tuple(outs)


def _run_on(gpu: Any, op: Op, given: list[Any], specs: Specs, key: tuple[tuple[str, Any], ...]) -> Any:
    """As run, on a GPU; numbers, indices and masks of the CPU are taken there."""
    given = [a if a is None or managed.gpu_of(a) is gpu else managed.copied(a, gpu) for a in given]
    plan, out_specs, view = planned_on(gpu, op, specs, key, repr(key))
    if view >= 0:
        return given[view].reshape(out_specs[0].shape)
    outs = [managed.empty(s.shape, s.dtype, gpu) for s in out_specs]
    plan(*outs, *given)
    return outs[0] if len(outs) == 1 else tuple(outs)
