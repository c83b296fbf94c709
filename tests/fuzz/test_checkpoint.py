"""No file makes nf.load or nf.inspect do anything but build known layers or raise FileFormatError."""

import json
import math
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux import hdf5
from tests.toys import Block, Checked, twice


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def node(array="w", **changes):
    return {"array": array, "dtype": "float32", "shape": [2], **changes}


def dense(weight=None, bias=None, activation=None, **more):
    weight, activation = weight or node("weight", shape=[2, 2]), activation or {"function": "relu"}
    fields = {"weight": weight, "bias": bias, "activation": activation}
    return {"layer": "Dense", "fields": fields | more}


W, V = np.ones(2, np.float32), np.ones((2, 2), np.float32)
OTHERS = "numbaflux's own or one of {}s=[...]"
HOSTILE = [
    (dense(), {}, "the tensor of weight must be in the file, got 'weight'"),
    (dense(node(["weight"])), {"weight": V}, "the tensor of weight must be in the file, got ['weight']"),
    (dense(), {"weight": V, "x": W}, "the tensors must be those of the architecture, got \"also ['x']\""),
    (dense(), {"weight": V.astype(np.float64)}, "tensor weight must be float32 [2, 2], got 'float64 [2, 2]'"),
    (dense(), {"weight": np.ones((2, 3), np.float32)}, "tensor weight must be float32 [2, 2], got 'float32 [2, 3]'"),
    (dense(node("weight")), {"weight": W}, "the model: Dense: weight must be of shape (in, out), got (2,)"),
    (dense(node("weight", dtype="int64", shape=[2, 2])), {"weight": np.ones((2, 2), np.int64)},
     "the model: Dense: weight must be an array of float32 or float64, got int64"),
    (dense(bias=node("bias", shape=[3])), {"weight": V, "bias": np.ones(3, np.float32)},
     "the model: Dense: bias must be None or float32 of shape (2,), got float32 of shape (3,)"),
    (dense(bias=3), {"weight": V},
     "the model: Dense: bias must be None or float32 of shape (2,), got int of shape None"),
    (dense(activation=5), {"weight": V}, "the model: Dense: activation must be a function, got int"),
    (dense(activation={"function": "system"}), {"weight": V},
     f"the function activation must be {OTHERS.format('function')}, got 'system'"),
    (dense(activation={"function": ["relu"]}), {"weight": V},
     f"the function activation must be {OTHERS.format('function')}, got ['relu']"),
    (dense(activation={"function": "Dense"}), {"weight": V},
     f"the function activation must be {OTHERS.format('function')}, got 'Dense'"),
    (dense(activation={"function": "relu", "x": 1}), {"weight": V},
     "activation must be an array, layer, function, tuple, dict or number, got ['function', 'x']"),
    (dense(extra=1), {"weight": V}, "the fields of the model (Dense) must be activation, bias, weight, got {"),
    (dense(__class__=1), {"weight": V}, "the fields of the model (Dense) must be activation, bias, weight, got {"),
    ({"layer": "Dense", "fields": []}, {}, "the fields of the model (Dense) must be activation, bias, weight, got []"),
    ({"layer": "system", "fields": {}}, {}, f"the layer the model must be {OTHERS.format('layer')}, got 'system'"),
    ({"layer": "relu", "fields": {}}, {}, f"the layer the model must be {OTHERS.format('layer')}, got 'relu'"),
    ({"layer": None, "fields": {}}, {}, f"the layer the model must be {OTHERS.format('layer')}, got None"),
    ({"layer": "Chain", "fields": {"layers": [], "names": None}}, {},
     "the model: Chain: layers must be a tuple, got list"),
    ({"layer": "Chain", "fields": {"layers": {"tuple": [1]}, "names": None}}, {},
     "the model: Chain: layers must be layers or functions, got int"),
    ({"layer": "Chain", "fields": {"layers": {"tuple": []}, "names": {"tuple": ["a"]}}}, {},
     "the model: Chain: names must be 0 different ones, got ('a',)"),
    ({"layer": "Chain", "fields": {"layers": {"tuple": []}, "names": {"tuple": [[]]}}}, {},
     "the model: Chain: names must be a tuple of texts, got tuple"),
    ({"tuple": 1}, {}, "the model must be a tuple, got 1"),
    ({"dict": [1]}, {}, "the model must be a dict, got [1]"),
    ([{"float": "1e999"}], {}, "0 must be inf, -inf or nan, got '1e999'"),
    ([{"float": {}}], {}, "0 must be inf, -inf or nan, got {}"),
    ([{"generator": "a", "seed": -1, "counter": 0}], {}, "Generator: seed must be an integer in [0, 2**64), got -1"),
    ([{"generator": "a", "seed": 1, "counter": 0.5}], {},
     "Generator: counter must be an integer in [0, 2**64), got 0.5"),
    ([{"generator": "a", "seed": 1, "counter": n} for n in (2, 3)], {},
     "the generator 1 must be (1, 2) as elsewhere, got (1, 3)"),
    ([{"generator": "a"}], {}, "the generator 0 must be named, got 'a'"),
    ([{"generator": None, "seed": 1, "counter": 0}], {}, "the generator 0 must be named, got None"),
    ([{"generator": [], "seed": 1, "counter": 0}], {}, "the generator 0 must be named, got []"),
    ({}, {}, "the model must be an array, layer, function, tuple, dict or number, got []"),
    ([node("0"), node("0", dtype="int8")], {"0": W}, "tensor 0 must be int8 [2], got 'float32 [2]'"),
    ([node("1")], {"1": W}, "the tensors must be those of the architecture, got \"also ['1']\""),
    ([node("1"), node("0")], {"0": W, "1": W}, "the tensor of 0 must be the one of that name, got 'another'"),
    ([node("0"), {"dict": {"x": node("0")}}, node("1")], {"0": W, "1": W},
     "the tensors must be those of the architecture, got \"also ['1']\""),
]  # fmt: skip


def forged(path, tree, tensors, **documents):
    hdf5.write(path, tensors, {"architecture": json.dumps(tree), **documents})
    return path


@pytest.mark.parametrize(("tree", "tensors", "text"), HOSTILE, ids=[text[:50] for _, _, text in HOSTILE])
def test_hostile_architectures(tmp_path, tree, tensors, text):
    path = forged(tmp_path / "m.h5", tree, tensors)
    with pytest.raises(nf.FileFormatError) as caught:
        nf.load(path)
    assert str(caught.value).startswith("m.h5: " + text) and len(str(caught.value)) <= 300


def test_the_message_names_the_place(tmp_path):
    tree = {"layer": "Chain", "fields": {"layers": {"tuple": [dense(activation={"function": "f"})]}, "names": None}}
    path = forged(tmp_path / "m.h5", tree, {"weight": V})
    other = OTHERS.format("function")
    with raises(nf.FileFormatError, f"m.h5: the function layers.0.activation must be {other}, got 'f'"):
        nf.load(path)


def test_unknown_layers_and_functions_name_the_cure(tmp_path):
    nf.save(tmp_path / "m.h5", Block())
    with raises(nf.FileFormatError, f"m.h5: the layer the model must be {OTHERS.format('layer')}, got 'Block'"):
        nf.load(tmp_path / "m.h5", functions=[twice])
    other = OTHERS.format("function")
    with raises(nf.FileFormatError, f"m.h5: the function inner.activation must be {other}, got 'twice'"):
        nf.load(tmp_path / "m.h5", layers=[Block])


def test_users_layers_may_check_what_they_get(tmp_path):
    nf.save(tmp_path / "m.h5", [Checked(3, W)])
    with raises(nf.FileFormatError, "m.h5: 0: Checked: weight must be of 3 elements, got 2"):
        nf.load(tmp_path / "m.h5", layers=[Checked])


@pytest.mark.parametrize(
    ("tree", "documents", "text"),
    [
        (
            1,
            {"other": "x"},
            "the documents must be architecture, perhaps metadata and training, got ['architecture', 'other']",
        ),
        (math.nan, {}, "architecture: a number must be finite, got 'NaN'"),
    ],
)
def test_hostile_documents(tmp_path, tree, documents, text):
    with raises(nf.FileFormatError, f"m.h5: {text}"):
        nf.load(forged(tmp_path / "m.h5", tree, {}, **documents))


def test_files_that_hold_no_model(tmp_path):
    hdf5.write(tmp_path / "m.h5", {"w": W}, {"note": "x"})
    with raises(
        nf.FileFormatError, "m.h5: the documents must be architecture, perhaps metadata and training, got ['note']"
    ):
        nf.load(tmp_path / "m.h5")
    (tmp_path / "t.h5").write_text("no file of ours" * 10)
    for read in (nf.load, nf.inspect, lambda path: nf.load_into(nf.Dense(1, 1), path)):
        with pytest.raises(nf.FileFormatError, match="^t.h5: "):
            read(tmp_path / "t.h5")
        with pytest.raises(nf.FileFormatError, match="^none.h5: cannot be read"):
            read(tmp_path / "none.h5")


json_nodes = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["0", "w", "relu", "Dense", "Chain", "float32"])
    | st.sampled_from([node("w"), node("0"), {"function": "relu"}, {"function": "x"}, {"float": "nan"}]),
    lambda inner: st.lists(inner, max_size=3)
    | st.builds(lambda x: {"tuple": x}, st.lists(inner, max_size=3) | inner)
    | st.builds(lambda x: {"dict": x}, st.dictionaries(st.sampled_from(["w", "0", "a.b", ""]), inner) | inner)
    | st.builds(lambda w, b, a: dense(w, b, a), inner, inner, inner)
    | st.builds(lambda x, n: {"layer": "Chain", "fields": {"layers": {"tuple": x}, "names": n}},
                st.lists(inner, max_size=3), inner | st.just({"tuple": ["w", "b"]}) | st.none())
    | st.builds(lambda n, x: {"layer": n, "fields": x}, st.sampled_from(["Block", "X", ""]),
                st.dictionaries(st.sampled_from(["size", "", "a.b", "__class__", ".x"]), inner, max_size=2)),
    max_leaves=10,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(json_nodes, st.sampled_from([{}, {"w": W}, {"0": W}]))
def test_any_architecture_loads_or_raises_the_one_error(tmp_path, tree, tensors):
    path = forged(tmp_path / "m.h5", tree, tensors)
    for read in (nf.load, nf.inspect):
        try:
            found = read(path)
        except nf.FileFormatError as error:
            assert str(error).startswith("m.h5: ") and str(error).isprintable() and len(str(error)) <= 300
        else:
            assert sorted(nf.state(found) if read is nf.load else found.tensors) == sorted(tensors)
            assert repr(found)


def test_inspect_refuses_what_load_refuses(tmp_path):
    for tree, tensors, text in HOSTILE:
        unknown = text.endswith("got 'system'")  # a name that might be a user's
        path = forged(tmp_path / "m.h5", tree, tensors)
        if unknown:
            assert nf.inspect(path).layers
        else:
            with pytest.raises(nf.FileFormatError, match="^m.h5: " + re.escape(text)):
                nf.inspect(path)


def test_metadata_that_is_no_dict(tmp_path):
    with raises(nf.FileFormatError, "m.h5: metadata must be a dict, got [1]"):
        nf.inspect(forged(tmp_path / "m.h5", [], {}, metadata="[1]"))
