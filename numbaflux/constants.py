"""What a plan would make anew at each call from arrays that do not change: made once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .lowering import Build, Entry, Storage
from .managed import empty
from .memory import aligned
from .plan import Plan


def without_constants(build: Build, gpu: Any = None) -> Build:
    """The entries of a build that depend on its arguments; the others have run, and what they made is arrays of the
    plan's own."""
    early = _early(build.entries)
    if not early:
        return build
    made = {id(a.buf.storage): a.buf.storage for e in early for a in e.arrays if a.write}
    for storage in made.values():
        storage.kind, storage.array = "array", aligned(storage.nbytes)
        if gpu is not None:
            storage.array = empty((storage.nbytes,), np.uint8, gpu)
    _run(Build(entries=early), gpu)
    done = set(map(id, early))
    build.entries = [e for e in build.entries if id(e) not in done]
    return build


def _run(build: Build, gpu: Any) -> None:
    """Once."""
    if gpu is None:
        Plan(build).run()
        return
    from .bound import Bound
    from .launches import Launches

    bound = Bound(gpu, Launches(build))
    bound.direct()
    bound.close()


def _early(entries: Sequence[Entry]) -> list[Entry]:
    """The entries that need arrays alone, and that alone write what they write: memory of the plan's own."""
    changing = {id(a.buf.storage) for e in entries for a in e.arrays if a.write}
    chosen = [e for e in entries if e.check is None and e.host is None and not e.commits]
    while True:
        inside = set(map(id, chosen))
        known = {id(a.buf.storage) for e in chosen for a in e.arrays if a.write}
        others = {id(a.buf.storage) for e in entries if id(e) not in inside for a in e.arrays if a.write}
        fits = [e for e in chosen if all(_constant(a.buf.storage, a.write, known - others, changing) for a in e.arrays)]
        if len(fits) == len(chosen):
            return fits
        chosen = fits


def _constant(storage: Storage, write: bool, known: set[int], changing: set[int]) -> bool:
    if write:
        return storage.kind == "temp" and id(storage) in known
    return id(storage) in known or (storage.kind == "array" and id(storage) not in changing)
