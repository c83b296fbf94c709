"""What files tell: all of it is listed, and what numbaflux writes of itself is on a list of allowed things."""

import getpass
import json
import os
import socket
import stat

import numpy as np

import numbaflux as nf
from numbaflux import hdf5
from numbaflux.cli import main
from numbaflux.privacy import NEVER, RECORDED, STATE, WEIGHTS, told
from tests.lives import fresh, train
from tests.toys import Holder, twice


def test_a_plain_model_tells_little(tmp_path, capsys):
    nf.save(tmp_path / "m.h5", nf.Chain(nf.Dense(2, 3, nf.tanh), nf.Dense(3, 1)))
    found = nf.inspect(tmp_path / "m.h5").privacy
    assert found == {"weights": WEIGHTS, "layers": "Chain, Dense", "never": NEVER}
    assert main(["inspect", "--privacy", str(tmp_path / "m.h5")]) == 0
    assert capsys.readouterr().out == f"weights  {WEIGHTS}\nlayers   Chain, Dense\nnever    {NEVER}\n"


def test_names_seeds_and_metadata(tmp_path):
    model = nf.Chain(clinic=nf.Dense(2, 3, twice), b=Holder(nf.Dropout(0.5, rng=nf.Generator(17))))
    nf.save(tmp_path / "m.h5", model, {"author": "A. B.", "note": "\x1b[31m", "list": [1, 2]})
    found = nf.inspect(tmp_path / "m.h5").privacy
    assert found["names of yours"] == "Holder (value), clinic, twice"
    assert found["generators"].endswith(": [17, 0]")
    assert found["metadata"] == 'author: "A. B."; note: "\\u001b[31m"; list: [1, 2]'


def test_a_training_tells_more(tmp_path):
    train(fresh(), [nf.Checkpoint(tmp_path / "run.h5", metadata={"why": "a test"})], epochs=1)
    found = nf.inspect(tmp_path / "run.h5").privacy
    assert found["optimiser"] == STATE and found["training"].startswith("epoch: 1; batches: ")
    assert found["metadata"] == 'why: "a test"' and found["record"].startswith('numbaflux: "')
    assert "default: [7, " in found["generators"]


def test_what_is_written_is_on_the_list(tmp_path):
    """Documents, keys and tensors of a checkpoint: these and no others, and nothing of this user or machine."""
    train(fresh(), [nf.Checkpoint(tmp_path / "run.h5")], epochs=1)
    file = hdf5.read(tmp_path / "run.h5")
    assert set(file.documents) == {"architecture", "training", "metadata"}
    assert {name.split(".")[0] for name in file.tensors} == {"model", "optimiser", "history"}
    metadata, training = (json.loads(file.documents[name]) for name in ("metadata", "training"))
    assert list(metadata) == ["record"] and tuple(metadata["record"]) == RECORDED
    assert set(metadata["record"]["data"]) == {"is", "sha256"}
    keys = "epoch batches batch sample total seconds begun rng columns optimiser".split()
    assert set(training) == set(keys) and set(training["optimiser"]) == {"rule", "counters", "frozen"}
    data = (tmp_path / "run.h5").read_bytes()
    private = {getpass.getuser(), socket.gethostname(), os.getcwd(), str(tmp_path), os.path.expanduser("~")}
    assert not [word for word in private if len(word) > 4 and word.encode() in data]


def test_checkpoints_are_for_the_user_alone(tmp_path):
    before = os.umask(0)
    try:
        train(fresh(), [nf.Checkpoint(tmp_path / "run.h5")], epochs=1)
        model = nf.Dense(2, 1)
        nf.save_checkpoint(tmp_path / "own.h5", model, nf.setup(nf.Adam(), model))
    finally:
        os.umask(before)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("run.h5", "own.h5")} == {0o600}


def test_any_json_is_told_in_lines():
    tree = {"layer": "a\x1b", "fields": {"x\n": [{"function": 3}, {"generator": None, "seed": 1, "counter": 2}]}}
    found = told(tree, ["a\u202e.b"], {"rng": 3, "epoch": "\x07"}, {"record": [1], "k" * 900: "x"})
    assert all(text.isprintable() and len(text) <= 200 for text in found.values())
    assert told(np.pi, [], {}, {}) == {"weights": WEIGHTS, "never": NEVER}
