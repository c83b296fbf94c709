"""A training that is killed ten times at random moments ends with the bits of one that nobody disturbed (`make soak`
kills 200 times)."""

import random

import pytest

from tests.soak import Life, Soak, live, soak


def test_killed_ten_times(tmp_path):
    found = soak(10, tmp_path, random.Random().getrandbits(32))
    assert found.kills == 10 and found.trainings > 0 and max(found.steps) > 0


def test_it_would_be_seen(tmp_path, monkeypatch):
    """A checkpoint that is lost, or other bits, fail."""
    lives = iter([Life(at=0, saved=9), Life(at=6, saved=12)])
    monkeypatch.setattr("tests.soak.live", lambda *_: next(lives))
    with pytest.raises(AssertionError, match="a checkpoint was lost: batch 9 was saved, 6 was gone on from"):
        Soak().train(tmp_path, "", 9, random.Random(0))
    monkeypatch.setattr("tests.soak.live", lambda *_: Life(at=0, saved=9, bits="a"))
    with pytest.raises(AssertionError, match="other bits"):
        Soak().train(tmp_path, "b", 9, random.Random(0))


def test_a_life_tells_where_it_began(tmp_path):
    first = live(tmp_path, late=0.3)
    assert (first.at, first.bits) == (0, "") and live(tmp_path, early=0.01).at == -1
    assert live(tmp_path, late=0.0).at >= first.saved
