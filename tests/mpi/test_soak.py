"""Trainings of several ranks, of which one or all are killed at random moments, end with the bits of one that nobody
disturbed (`make soak` kills more often); and go on on other numbers of ranks."""

import json
import random

import numpy as np
import pytest

from numbaflux import hdf5
from tests.mpi import lives, soak
from tests.mpi.soak import KINDS, PROGRAM, Life, Soak

KILLS = dict(zip(KINDS, (4, 3, 3), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_killed(mpi, kind):
    found = soak.soak(mpi, kind, KILLS[kind], random.Random().getrandbits(32))
    assert found.kills() == KILLS[kind] and found.trainings > 0 and "| 0 |" in found.row()


def test_it_would_be_seen(mpi, tmp_path, monkeypatch):
    """A checkpoint that is lost, or other bits, fail; what was cut off when it was printed counts for nothing."""
    told = iter([Life(at=0, saved=9, one=1), Life(at=6, saved=12, one=1), Life(at=0, done=True)])
    monkeypatch.setattr(soak, "live", lambda *_: next(told))
    monkeypatch.setattr(soak, "bits", lambda *_: {"0.weight": b"a"})
    kind = next(iter(KINDS))
    with pytest.raises(AssertionError, match="a checkpoint was lost: batch 9 was saved, 6 was gone on from"):
        Soak(mpi, kind, random.Random(0)).train(tmp_path, {}, 9)
    with pytest.raises(AssertionError, match="other bits"):
        Soak(mpi, kind, random.Random(0)).train(tmp_path, {"0.weight": b"b"}, 9)
    life = Life()
    life.take("at 3\nstep 4\nsaved 6\nsaved 12")
    assert (life.at, life.saved, life.done) == (3, 6, False)


def stopped(mpi, folder, ranks, stop, **options):
    """A life of so many ranks that USR1 ends after a step; none: which comes to its end. The history's losses."""
    words = json.dumps({"folder": str(folder), "epochs": 6, "stop": stop, **options})
    done = mpi.run(PROGRAM, ranks, words)
    assert done.rc == (75 if stop else 0), done.err
    return lives.steps(done.out)


@pytest.mark.parametrize("fixed", [True, False])
def test_it_goes_on_on_another_number_of_ranks(mpi, tmp_path, fixed):
    """With deterministic=True to the same bits: 2 ranks, 1, 4; else each rank draws for itself, and losses are near."""
    once, moved = tmp_path / "once", tmp_path / "moved"
    once.mkdir()
    moved.mkdir()
    whole = stopped(mpi, once, 2, 0, fixed=fixed)
    parts = [stopped(mpi, moved, ranks, stop, fixed=fixed) for ranks, stop in ((2, 7), (1, 17), (4, 0))]
    assert sum(parts, []) == whole == list(range(1, lives.batches(6, fixed) + 1))
    if fixed:
        assert lives.bits(once, history=False) == lives.bits(moved, history=False)
    rows = [hdf5.read(folder / "run.h5").tensors["history"] for folder in (once, moved)]
    losses = [table[:, 1] for table in rows]
    np.testing.assert_allclose(*losses, rtol=1e-6 if fixed else 0.2)
    assert losses[1][-1] < losses[1][0]
