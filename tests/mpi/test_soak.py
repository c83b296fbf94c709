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


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", KINDS)
def test_killed(mpi, kind, times):
    seed = random.Random().getrandbits(32)
    found = soak.soak(mpi, kind, times * KILLS[kind], seed)
    assert found.kills() == times * KILLS[kind] and found.trainings > 0, f"seed {seed}"
    assert found.row().count("|") == soak.HEAD.count("|")


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


def lived(mpi, folder, ranks, stop, **options):
    """The steps of a life on so many ranks, which USR1 ends after one of them, or none."""
    done = mpi.run(PROGRAM, ranks, json.dumps({"folder": str(folder), "epochs": 6, "stop": stop, **options}))
    assert done.rc == (75 if stop else 0), done.err
    return lives.steps(done.out)


@pytest.mark.parametrize("options", [{"kind": "fixed"}, {"kind": "plain", "sharded": True}], ids=str)
def test_it_goes_on_on_another_number_of_ranks(mpi, tmp_path, options):
    """2 ranks, 1, 4: with deterministic=True to the same bits, else up to rounding."""
    once, moved = tmp_path / "once", tmp_path / "moved"
    once.mkdir()
    moved.mkdir()
    steps = lived(mpi, once, 2, 0, **options)
    parts = [lived(mpi, moved, ranks, stop, **options) for ranks, stop in ((2, 5), (1, 9), (4, 0))]
    assert sum(parts, []) == steps == lives.whole(6, options["kind"])
    if options["kind"] == "fixed":
        assert lives.bits(once, history=False) == lives.bits(moved, history=False)
    one, other = (hdf5.read(folder / "run.h5").tensors for folder in (once, moved))
    for name in one.keys() - {"history"}:
        np.testing.assert_allclose(other[name], one[name], rtol=1e-3, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(other["history"][:, :2], one["history"][:, :2], rtol=1e-4)  # epochs and losses


def test_it_stops_and_saves_where_no_gradients_wait(mpi, tmp_path):
    """Three steps an update: what USR1 asks for in the middle of them is done behind the third."""
    once, again = tmp_path / "once", tmp_path / "again"
    once.mkdir()
    again.mkdir()
    steps = lived(mpi, once, 2, 0, accumulate=3)
    first = lived(mpi, again, 2, 4, accumulate=3)
    assert first[-1] == 6 and first + lived(mpi, again, 2, 0, accumulate=3) == steps
    assert lives.bits(once) == lives.bits(again)
