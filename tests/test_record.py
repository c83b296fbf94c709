"""The record of a run that a checkpoint's file holds, and the digest by which other data are told."""

import json
import platform

import numba
import numpy as np
import pytest

import numbaflux as nf
from numbaflux.native import pool
from numbaflux.record import digest, record
from tests.lives import X, Y, fresh, train

KEYS = ["numbaflux", "numba", "numpy", "python", "cpu", "threads", "layer", "seed", "rule", "data", "ranks"]


def test_what_a_file_says_of_its_run(tmp_path, capsys):
    training = fresh()
    train(training, [nf.Checkpoint(tmp_path / "run.h5", metadata={"why": "a test"})], epochs=1)
    found = nf.load_checkpoint(tmp_path / "run.h5").metadata
    assert list(found) == ["why", "record"] and list(found["record"]) == KEYS
    told = found["record"]
    versions = [nf.__version__, numba.__version__, np.__version__, platform.python_version()]
    assert [told[name] for name in KEYS[:4]] == versions
    assert told["seed"] == 7 and told["ranks"] == 1 and told["threads"] == pool().count
    assert told["rule"] == repr(nf.Adam(0.02)) and told["data"] == digest(training[1])
    from numbaflux.cli import main

    assert main(["inspect", str(tmp_path / "run.h5")]) == 0
    shown = capsys.readouterr().out
    assert f'"numba": "{numba.__version__}"' in shown and '"sha256": "' + told["data"]["sha256"] in shown
    assert all(f'"{name}": ' in shown for name in KEYS)


def test_the_rule_is_the_one_it_began_with(tmp_path):
    for life in range(2):
        save = nf.Checkpoint(tmp_path / "run.h5")
        train(fresh(), [nf.Schedule(lambda t: 0.1 / t), save], epochs=1 + life, resume="auto")
        run = nf.load_checkpoint(tmp_path / "run.h5")
        assert run.metadata["record"]["rule"] == repr(nf.Adam(0.02)) and run.opt_state.rule.eta < 0.11


def test_threads_and_world(monkeypatch):
    _, data, state = fresh()
    monkeypatch.setattr(pool(), "count", 1)
    assert record(state, data)["layer"] == "one thread"

    class World:
        size = 12

    state.world = World()
    assert record(state, data)["ranks"] == 12
    json.dumps(record(state, data))


def test_a_digest_is_that_of_equal_data():
    assert digest(nf.DataLoader((X, Y), batchsize=8)) == digest(nf.DataLoader((X.copy(), Y.copy()), batchsize=8))
    assert digest([(X, Y)]) == digest([(X, Y)])


def changed(array, index):
    array = array.copy()
    array[index] += 1
    return array


IMAGES = np.zeros((3, 40, 40), np.float32)
OTHERS = {
    "batchsize": nf.DataLoader((X, Y), batchsize=9),
    "shuffle": nf.DataLoader((X, Y), batchsize=8, shuffle=True),
    "partial": nf.DataLoader((X, Y), batchsize=8, partial=False),
    "dtype": nf.DataLoader((X, Y), batchsize=8, dtype=np.float64),
    "order": nf.DataLoader((Y, X), batchsize=8),
    "first": nf.DataLoader((changed(X, (0, 0)), Y), batchsize=8),
    "last": nf.DataLoader((X, changed(Y, (-1, -1))), batchsize=8),
    "middle": nf.DataLoader((changed(X, (20, 1)), Y), batchsize=8),
    "names": nf.DataLoader({"x": X, "y": Y[:, :1]}, batchsize=8),
    "labels": nf.DataLoader((X, nf.onehotbatch(np.arange(45) % 3, [0, 1, 2])), batchsize=8),
    "other labels": nf.DataLoader((X, nf.onehotbatch(np.arange(45) % 2, [0, 1, 2])), batchsize=8),
    "objects": nf.DataLoader((X, np.array(["a"] * 45, object)), batchsize=8),
    "samples that are made": nf.DataLoader([1.0] * 45, batchsize=8),
    "list": [(X, Y)],
    "longer list": [(X, Y), (X, Y)],
    "tuple": ((X, Y),),
    "generated": iter([X]),
    "range": range(3),
    "longer range": range(4),
    "images": [IMAGES],
    "others": [changed(IMAGES, (2, 0, 5))],
    "of numbers": [np.float32(1), 2],
}


def test_digests_tell_other_data():
    found = {name: digest(data)["sha256"] for name, data in OTHERS.items()}
    found["plain"] = digest(nf.DataLoader((X, Y), batchsize=8))["sha256"]
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dtype", "DataLoader((45, 3) float32, (45, 2) float32; batchsize=8, dtype=float64)"),
        ("labels", "DataLoader((45, 3) float32, (45, 3) OneHot; batchsize=8)"),
        ("samples that are made", "DataLoader(list of 45; batchsize=8)"),
        ("longer list", "list((45, 3) float32, (45, 2) float32; 2 batches)"),
        ("generated", "list_iterator(batches)"),
        ("longer range", "range(4 batches)"),
    ],
)
def test_data_in_words(name, text):
    assert digest(OTHERS[name])["is"] == text


def test_large_data_are_sampled():
    """Of samples and bytes beyond, nothing is read: what is documented."""
    images = np.zeros((1000, 64, 64), np.float32)
    one = digest([images])
    images[1] = 1  # not among 64 samples evenly spread
    images[0, 63] = 1  # beyond 4 KiB
    assert digest([images]) == one
    images[0, 0] = 1
    assert digest([images]) != one
