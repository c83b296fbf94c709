"""What resume="auto" puts into a model must fit it: what differs is named, and nothing is changed."""

import json
import os
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux import hdf5
from numbaflux.adopt import INSIDE, adopt, difference
from numbaflux.checkpoint import prepare
from tests.lives import X, Y, bits, fresh, train
from tests.test_load_checkpoint import forged as forged_checkpoint
from tests.test_load_checkpoint import json_nodes, places, put


def saved(folder, training=None):
    train(training or fresh(), [nf.Checkpoint(folder / "run.h5")], epochs=1)


def refused(folder, training, error, text, callbacks=()):
    """The training raises this, with model, state, data and generators as they were, the file too."""
    before, file = bits(*training, []), (folder / "run.h5").read_bytes()
    with pytest.raises(error, match="^" + re.escape(text)):
        train(training, [nf.Checkpoint(folder / "run.h5"), *callbacks], resume="auto")
    assert bits(*training, []) == before and (folder / "run.h5").read_bytes() == file


CURE = "to start anew, move it away or write to another path; nf.load_checkpoint takes it as it is"


def test_another_model(tmp_path):
    saved(tmp_path)
    text = "train: model must be that of 'run.h5', got one whose 0.weight is float32 [3, 9] where the file has "
    refused(tmp_path, fresh(width=9), nf.PlanError, f"{text}float32 [3, 8]; {CURE}")
    model, data, _ = fresh()
    model[2].p = 0.4
    text = "train: model must be that of 'run.h5', got one whose layers.2.p is 0.4 where the file has 0.3"
    refused(tmp_path, (model, data, nf.setup(nf.Adam(0.02), model)), nf.PlanError, text)


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        (nf.Dense(2, 3), nf.Dense(2, 3), None),
        (nf.Dense(2, 3), nf.Dense(2, 3, nf.tanh), ("activation", "identity", "tanh")),
        (nf.Dense(2, 3), nf.Dense(2, 3, bias=False), ("bias", "float32 [3]", "null")),
        (nf.Dense(2, 3), nf.Scale(3), ("", "Dense", "Scale")),
        ([nf.Dense(2, 3)], [nf.Dense(2, 3), nf.relu], ("", "a list of 1", "a list of 2")),
        ({"array": nf.Dense(1, 1)}, {"array": nf.Dense(1, 2)}, ("array.weight", "float32 [1, 1]", "float32 [1, 2]")),
        (nf.Dropout(0.5, rng=1), nf.Dropout(0.5, rng=2), None),
        (nf.Dropout(0.5, rng=1), nf.Dropout(0.5), ("rng", "a generator", "null")),
    ],
)  # fmt: skip
def test_where_architectures_differ(own, other, expected):
    assert difference(*(json.loads(prepare(model)[1]["architecture"]) for model in (own, other))) == expected


def test_keys_of_dicts_are_no_kinds_of_nodes():
    one, other = ({"dict": {key: {"layer": 1, "array": 2}}} for key in ("array", "layer"))
    assert difference(one, one) is None and difference(one, other)[0] == ""


def test_another_rule(tmp_path):
    saved(tmp_path)
    text = "train: the rule must be Adam(eta=0.02, beta=(0.9, 0.999), eps=1e-08) as in 'run.h5', got Adam(eta=0.01, "
    refused(tmp_path, fresh(nf.Adam(0.01)), nf.PlanError, text)
    refused(tmp_path, fresh(nf.Descent(0.1)), nf.PlanError, text.partition(", got")[0] + ", got Descent(eta=0.1); ")
    other = fresh()
    nf.adjust(other[2], eta=0.5)  # a number that was changed since is the file's again
    train(other, [nf.Checkpoint(tmp_path / "run.h5")], epochs=1, resume="auto")
    assert other[2].rule == nf.Adam(0.02)


def test_other_data(tmp_path):
    saved(tmp_path)
    model, _, state = fresh()
    kind = "DataLoader((45, 3) float32, (45, 2) float32; batchsize=8, shuffle=True)"
    text = f"train: data must be that of 'run.h5': {kind}, got "
    other = nf.DataLoader((X, Y), batchsize=9, shuffle=True, rng=3)
    refused(tmp_path, (model, other, state), nf.PlanError, text + kind.replace("=8", "=9"))
    other = nf.DataLoader((X, Y * 1.5), batchsize=8, shuffle=True, rng=3)
    refused(tmp_path, (model, other, state), nf.PlanError, text + "such of other numbers")
    other = nf.DataLoader((X[1:], Y[1:]), batchsize=8, shuffle=True, rng=3)
    refused(tmp_path, (model, other, state), nf.PlanError, text + kind.replace("45", "44"))


def test_the_state_of_another_model(tmp_path):
    saved(tmp_path)
    (model, data, _), (_, _, other) = fresh(), fresh()
    text = "train: opt_state must be what nf.setup returned for the model, got that of another"
    refused(tmp_path, (model, data, other), nf.PlanError, text)


def forged(folder, change):
    """Change the training document or the tensors of run.h5."""
    file = hdf5.read(folder / "run.h5")
    documents, tensors = dict(file.documents), dict(file.tensors)
    training = json.loads(documents["training"])
    change(training, tensors)
    hdf5.write(folder / "run.h5", tensors, documents | {"training": json.dumps(training)})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t, _: t["optimiser"].update(rule=[]), "run.h5: OptimiserChain: rules must be"),
        (lambda t, _: t["optimiser"].update(frozen=["x"]), "run.h5: training: frozen must be paths of parameters"),
        (lambda t, _: t["optimiser"].update(counters=[]), "run.h5: training: counters must be"),
        (lambda t, _: t.update(epoch=-1), "run.h5: training: epoch must be an integer"),
        (lambda t, _: t.update(later=1), "run.h5: training must be "),
        (lambda _, n: n.pop("optimiser.m.0.bias"), "run.h5: tensor optimiser.m.0.bias must be in the file"),
        (lambda _, n: n.pop("model.0.bias"), "run.h5: train: 0.bias must be given, got nothing"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_themselves(tmp_path, change, text):
    saved(tmp_path)
    forged(tmp_path, change)
    refused(tmp_path, fresh(), nf.FileFormatError, text)


nodes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(["w", "Dense", "0"]),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.sampled_from([*INSIDE, "layer", "array", "generator", "seed", "0", "w"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(nodes, nodes)
def test_any_architectures_can_be_compared(one, other):
    assert difference(one, one) is None
    found = difference(one, other)
    assert found is None or all(isinstance(text, str) for text in found)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(json_nodes, places)
def test_any_training_is_taken_or_refused_and_then_changes_nothing(tmp_path, node, place):
    path = forged_checkpoint(tmp_path / "run.h5", put(node, *place))
    model = {"w": np.zeros(3, np.float32)}
    state = nf.setup(nf.Adam(0.1), model)
    before = model["w"].tobytes(), state.hyper.tobytes(), repr(state.rule), [s.frozen for s in state.segments]
    try:
        run = adopt(path, hdf5.read(path), model, state, [])
    except (nf.FileFormatError, nf.PlanError) as error:
        assert str(error).isprintable() and len(str(error)) < 700
        after = model["w"].tobytes(), state.hyper.tobytes(), repr(state.rule), [s.frozen for s in state.segments]
        assert after == before
    else:
        assert run.opt_state is state and (model["w"] == 1).all()


def test_a_file_of_the_future(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(hdf5, "VERSION", 2)
        saved(tmp_path)
    refused(tmp_path, fresh(), nf.FileFormatError, "run.h5: the version of the format must be 1, got '2'")


@pytest.mark.parametrize(("call", "number"), [("open", 13), ("preadv", 5)])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path, monkeypatch, call, number):
    """Training anew would overwrite what may be whole."""
    saved(tmp_path)

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(nf.FileFormatError, match=rf"^run.h5: cannot be read \({os.strerror(number)}\)"):
        train(fresh(), [nf.Checkpoint(tmp_path / "run.h5")], resume="auto")


def test_wrong_arguments(tmp_path):
    with pytest.raises(nf.PlanError, match="^train: callbacks must be with a Checkpoint where resume='auto', got none"):
        train(fresh(), [print], resume="auto")
    text = "^train: resume must be 'auto' or what nf.load_checkpoint returned, got 'run.h5'; nf.load_checkpoint"
    with pytest.raises(nf.DTypeError, match=text):
        train(fresh(), [nf.Checkpoint(tmp_path / "run.h5")], resume="run.h5")
    text = "^Checkpoint: path must be with names in the file's own name alone, got '{epoch}/run.h5'"
    with pytest.raises(nf.RangeError, match=text):
        train(fresh(), [nf.Checkpoint("{epoch}/run.h5")], resume="auto")
    with pytest.raises(nf.RangeError, match=r"^Checkpoint: path must be a path with {names}, got '{epoch.h5' \("):
        train(fresh(), [nf.Checkpoint("{epoch.h5")], resume="auto")


def test_another_batchsize_in_the_middle_of_an_epoch(tmp_path):
    """Of what nf.load_checkpoint gave, data are not known; but samples are counted."""
    train(fresh(), [nf.Checkpoint(tmp_path / "run.h5", by="batch", every=4)], epochs=1)
    run = nf.load_checkpoint(tmp_path / "run.h5")
    data = nf.DataLoader((X, Y), batchsize=7, shuffle=True, rng=3)
    text = (
        "^train: data must be of as many samples in its first 4 batches as resume says, got -4 samples; the batchsize"
    )
    with pytest.raises(nf.ShapeError, match=text):
        train((run.model, data, run.opt_state), resume=run)
