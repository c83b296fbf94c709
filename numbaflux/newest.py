"""The newest whole file that the Checkpoints of a training have written, to go on from: nf.train(resume="auto")."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from . import hdf5
from .adopt import adopt
from .callbacks.checkpoint import Checkpoint
from .checkpoint import naming
from .op import Error, FileFormatError, PlanError, expect
from .optim import OptState
from .resume import Run, is_checkpoint, saved_training

Found = tuple[str, hdf5.File]
WRONG = "\0"  # before an error, where there would be a path, which cannot begin so


def newest(savers: Sequence[Checkpoint], model: Any, opt_state: OptState, data: Any) -> Run | None:
    """What the newest file holds, put into model and opt_state; None where there is no file.

    In a world rank 0 picks the file, and each rank reads it.
    """
    cure = "nf.Checkpoint(path)"
    expect(bool(savers), "train", "callbacks", "with a Checkpoint where resume='auto'", "none", cure, PlanError)
    world = opt_state.world
    found = _pick(savers) if world is None else _together(savers, world)
    return None if found is None else adopt(*found, model, opt_state, data)


def _together(savers: Sequence[Checkpoint], world: Any) -> Found | None:
    """The file that rank 0 picks, as each rank reads it; an error of any is one of all."""
    found, told = None, ""
    if world.rank == 0:
        try:
            found = _pick(savers)
        except Error as error:
            told = f"{WRONG}{error}"
        else:
            told = "" if found is None else found[0]
    path = world.share(told)
    if path.startswith(WRONG):
        raise FileFormatError(path[len(WRONG) :])
    if path and found is None:
        try:
            found = path, hdf5.read(path)
        except FileFormatError:
            found = None
    blind = [i for i, read in enumerate(world.gather([bool(path) and found is None])[:, 0]) if read]
    cure = "the folder must be shared by all hosts"
    expect(not blind, "train", "the file of rank 0", "one that each rank can read",
           f"{path}, which ranks {blind} cannot", cure, FileFormatError)  # fmt: skip
    return found


def _pick(savers: Sequence[Checkpoint]) -> Found | None:
    """The newest whole file: of those written within a tick of the file system's clock, the one that is furthest."""
    times = {path: time for saver in savers for path in saver.files.found() if (time := _time(path)) is not None}
    paths = sorted(times, key=times.__getitem__, reverse=True)
    for _, together in itertools.groupby(paths, times.__getitem__):
        whole = list(_whole(together))
        if whole:
            return max(whole, key=_far)
    return None


def _time(path: str) -> int | None:
    """When a file was written, in nanoseconds; None for one that has gone."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _whole(paths: Iterator[str]) -> Iterator[Found]:
    """The files that are checkpoints and whole; the others are told and passed over."""
    for path in paths:
        try:
            file = hdf5.read(path)
            with naming(path):
                is_checkpoint(file)
        except FileFormatError as error:
            # What may be good but cannot be read is not passed over: training anew would overwrite it.
            why = error.__context__
            kept = isinstance(why, OSError | MemoryError) and not isinstance(why, FileNotFoundError)
            if kept or hdf5.OF_FORMAT in str(error):
                raise
            print(f"train: skipped {error}", file=sys.stderr, flush=True)
        else:
            yield path, file


def _far(found: Found) -> tuple[int, int]:
    path, file = found
    with naming(path):
        at = saved_training(file).position
    return at.batches, at.epoch
