"""Entries of a training step that look whether its loss and gradients are finite, before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from .lowering import Array, Buf, Build, cut, samples, whole
from .op import NonFiniteError
from .optim.vectors import Segment, Vectors

TOGETHER = 8192  # elements: gradients that lie side by side are looked at as one, where a look of its own takes longer
Place = tuple[Vectors, Segment]


def check_finite(b: Build, loss: Buf, vectors: Iterable[Vectors]) -> None:
    """The loss, then each gradient where it lies."""
    b.check("check.finite_all", whole(loss.part(0, 1)), error=lambda _: _bad("loss"))
    large: list[Place] = []
    for v in vectors:
        for run in _runs(v):
            start, end = run[0].start, run[-1].start + run[-1].size
            if end - start <= TOGETHER:
                b.check("check.finite_all", whole(v.bufs["grads"].part(start, end - start)), error=_first_of(run))
            else:
                large += [(v, s) for s in run]
    if large:
        _check_rows(b, large)


def _runs(v: Vectors) -> Iterator[list[Segment]]:
    """Neighbours that are not frozen, few elements together; what is large alone."""
    run: list[Segment] = []
    for s in v.segments:
        if run and (s.frozen or s.start + s.size - run[0].start > TOGETHER):
            yield run
            run = []
        run += [] if s.frozen else [s]
    if run:
        yield run


def _first_of(run: list[Segment]) -> Callable[[int], Exception]:
    """From the place of an element to the error that names its array."""
    return lambda at: _bad(next(f"gradient of {s.path}" for s in run[::-1] if s.start <= run[0].start + at))


def _check_rows(b: Build, places: list[Place]) -> None:
    """A flag for each row of large gradients, set tile by tile behind what makes them; then a look at the flags."""
    counts = [max(1, s.shape[0] if s.shape else 1) for _, s in places]
    ends = np.cumsum(counts).tolist()
    flags = b.temp((ends[-1],), np.dtype(np.int64))
    flags.storage.keep = True
    for (v, s), rows, end in zip(places, counts, ends, strict=True):
        flag = Array(flags.part(end - rows, rows), (1,), per_tile=1, write=True)
        b.add("check.finite", flag, cut(v.buf("grads", s), s.size), rows=rows, block=samples(rows),
              work=0.1 * s.size + 5)  # fmt: skip
    paths = [s.path for _, s in places]
    b.check("check.flags", whole(flags, flags.size),
            error=lambda flag: _bad(f"gradient of {paths[np.searchsorted(ends, flag, 'right')]}"))  # fmt: skip


def _bad(what: str) -> Exception:
    return NonFiniteError(f"step: {what} must be finite, got NaN or Inf; nothing was changed")
