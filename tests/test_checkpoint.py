"""Models in files: what is saved comes back bit for bit; what cannot be saved is refused before the file is touched; no
file makes load do anything but build known layers or raise FileFormatError."""

import json
import math
import os
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux import functions as F
from numbaflux import hdf5
from numbaflux.checkpoint import FUNCTIONS, OWN
from numbaflux.layers import LAYERS

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
ran = []


@nf.layer
class Block:
    """A layer of a user."""

    scale: np.ndarray = nf.param()
    seen: np.ndarray = nf.buffer()
    inner: nf.Dense
    parts: list
    options: dict
    name: str = "block"

    def __init__(self):
        ran.append("init")
        self.scale, self.seen = np.full(3, 2, np.float32), np.arange(4)
        self.inner, self.parts = nf.Dense(3, 3, twice, rng=0), [nf.Dense(3, 2, rng=1), nf.relu]
        self.options = {"pad": (1, 2), "eps": 1e-5, "limit": math.inf, "on": True, "none": None}

    def __call__(self, x):
        x = self.inner(x) * self.scale
        for part in self.parts:
            x = part(x)
        return x


@nf.layer
class Holder:
    value: object

    def __call__(self, x):
        return x


@nf.layer
class Checked:
    size: int
    weight: np.ndarray = nf.param()

    def check_fields(self):
        if self.weight.shape != (self.size,):
            raise nf.ShapeError(f"Checked: weight must be of {self.size} elements, got {self.weight.size}")


def twice(x):
    return x * 2


class Outer:
    @nf.layer
    class Inner:
        size: int


def bits(model):
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in nf.state(model).items()}


def mlp():
    return nf.Chain(nf.Dense(3, 8, nf.tanh, rng=0), nf.Dense(8, 2, bias=False, rng=1), nf.softmax)


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


# -------------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("convert", [nf.f32, nf.f64])
def test_a_model_comes_back_bit_for_bit(tmp_path, convert):
    model = convert(mlp())
    nf.save(tmp_path / "m.h5", model)
    again = nf.load(tmp_path / "m.h5")
    assert bits(again) == bits(model) and repr(again) == repr(model)
    np.testing.assert_array_equal(again(X.astype(model[0].weight.dtype)), model(X.astype(model[0].weight.dtype)))
    assert again[0].activation is nf.tanh and again[1].bias is None and again[2] is nf.softmax
    assert all(a.flags.writeable and a.flags.c_contiguous for a in nf.trainables(again))


def test_special_numbers_come_back(tmp_path):
    values = np.array([[np.nan, -np.inf, -0.0], [np.float32(1e-45), np.finfo(np.float32).max, np.inf]], np.float32)
    model = nf.Dense(2, 3)
    model.weight = values
    nf.save(tmp_path / "m.h5", model)
    assert nf.load(tmp_path / "m.h5").weight.tobytes() == values.tobytes()


def test_names_stay(tmp_path):
    model = nf.Chain(body=mlp(), head=nf.Dense(2, 1))
    nf.save(tmp_path / "m.h5", model)
    again = nf.load(tmp_path / "m.h5")
    assert again.names == ("body", "head") and isinstance(again["body"], nf.Chain) and bits(again) == bits(model)


def test_what_was_loaded_trains_on(tmp_path):
    nf.save(tmp_path / "m.h5", mlp())
    one, two = mlp(), nf.load(tmp_path / "m.h5")
    steps = [nf.compile(lambda m, x: nf.losses.mse(m(x), np.zeros((4, 2), np.float32)), m, nf.setup(nf.Adam(), m))
             for m in (one, two)]  # fmt: skip
    for _ in range(3):
        assert steps[0](X) == steps[1](X)
    assert bits(one) == bits(two)


def test_a_model_held_by_an_optimiser_is_saved_as_it_is(tmp_path):
    model = mlp()
    nf.save(tmp_path / "a.h5", model)
    nf.setup(nf.Adam(), model)
    nf.save(tmp_path / "b.h5", model)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_users_layers_and_functions(tmp_path):
    model = nf.Chain(Block(), twice)
    nf.save(tmp_path / "m.h5", model)
    ran.clear()
    again = nf.load(tmp_path / "m.h5", layers=[Block], functions=[twice])
    assert ran == [], "__init__ must not run"
    block = again[0]
    assert bits(again) == bits(model) and block.inner.activation is twice and block.parts[1] is nf.relu
    assert block.options == model[0].options and type(block.options["pad"]) is tuple and type(block.parts) is list
    assert block.seen.dtype == np.int64 and block.name == "block"
    np.testing.assert_array_equal(again(X), model(X))


def test_a_class_inside_a_class_goes_by_its_whole_name(tmp_path):
    nf.save(tmp_path / "m.h5", Outer.Inner(3))
    assert nf.load(tmp_path / "m.h5", layers=[Outer.Inner]).size == 3


def test_ties_stay(tmp_path):
    one = nf.Dense(3, 3, rng=0)
    model = {"a": nf.Chain(one, nf.Dense(3, 3, rng=1)), "b": [one]}
    model["a"][1].weight = one.weight
    nf.save(tmp_path / "m.h5", model)
    again = nf.load(tmp_path / "m.h5")
    assert sorted(hdf5.read(tmp_path / "m.h5").tensors) == ["a.0.bias", "a.0.weight", "a.1.bias"]
    assert again["a"][0].weight is again["a"][1].weight is again["b"][0].weight
    assert again["a"][0].bias is again["b"][0].bias is not again["a"][1].bias
    assert len(nf.trainables(again)) == 3


def test_models_in_lists_tuples_and_dicts(tmp_path):
    model = {"a": [nf.Dense(2, 1), (nf.relu, np.float64([1.5]), 7)], "b": {}, "c": []}
    nf.save(tmp_path / "m.h5", model)
    again = nf.load(tmp_path / "m.h5")
    assert again["a"][1][0] is nf.relu and again["a"][1][1].tolist() == [1.5] and again["a"][1][2] == 7
    assert again["b"] == {} and again["c"] == [] and type(again["a"][1]) is tuple and bits(again) == bits(model)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text("abc:/é ", max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def encodable(value):
    try:
        return bool(repr(value).encode())
    except UnicodeEncodeError:
        return False


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(plain.filter(encodable))
def test_settings_come_back_as_they_were(tmp_path, value):
    nf.save(tmp_path / "m.h5", Holder(value))
    again = nf.load(tmp_path / "m.h5", layers=[Holder]).value
    assert repr(again) == repr(value)  # types, signs of zeros and NaN included


def test_every_own_layer_and_function_has_one_name():
    assert len(OWN) == len(LAYERS) + len(FUNCTIONS)
    assert all(OWN[f.__qualname__] is f for f in FUNCTIONS)
    public = {name for name in dir(nf) if getattr(nf, name) in (*LAYERS, *FUNCTIONS)}
    assert {"Chain", "Dense", "relu", "tanh", "sigmoid", "identity", "softmax", "logsoftmax", "flatten"} <= public


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_every_own_function_is_saved(tmp_path, f):
    nf.save(tmp_path / "m.h5", nf.Chain(f))
    assert nf.load(tmp_path / "m.h5")[0] is f


def test_strides_and_byte_order_do_not_matter(tmp_path):
    values = np.arange(12, dtype=">f4").reshape(3, 4)[:, ::2]
    nf.save(tmp_path / "m.h5", {"w": values})
    again = nf.load(tmp_path / "m.h5")["w"]
    assert again.dtype == np.float32 and again.dtype.isnative and again.tolist() == values.tolist()


def test_any_tool_finds_the_weights_by_path(tmp_path):
    model = nf.Chain(body=mlp())
    nf.save(tmp_path / "m.h5", model, {"note": "hello"})
    with h5py.File(tmp_path / "m.h5") as file:
        np.testing.assert_array_equal(file["tensors/body/0/weight"][()], model["body"][0].weight)
        tree = json.loads(file["documents/architecture"][()].tobytes())
        assert json.loads(file["documents/metadata"][()].tobytes()) == {"note": "hello"}
    assert tree["layer"] == "Chain" and tree["fields"]["names"] == {"tuple": ["body"]}
    assert tree["fields"]["layers"]["tuple"][0]["fields"]["layers"]["tuple"][0]["fields"]["activation"] == {
        "function": "tanh"
    }


def test_loading_imports_no_h5py(tmp_path):
    nf.save(tmp_path / "m.h5", mlp())
    code = (
        f"import sys, numbaflux as nf; path = {str(tmp_path / 'm.h5')!r}; nf.load_into(nf.load(path), path);"
        "nf.inspect(path); print('h5py' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        nf.save(tmp_path / name, mlp(), {"x": [1, 2.5, None, {"y": True}]})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


# ----------------------------------------------------------------------------------------------- what cannot be saved


def local():
    def inner(x):
        return x

    @nf.layer
    class Local:
        size: int = 1

    return inner, Local()


@nf.layer
class Extra:
    size: int

    def __init__(self):
        self.size, self.cache = 1, {}


Dense = type("Dense", (), {"__module__": __name__, "__layer_fields__": {}})


def relu(x):
    return x


def impostor(x):
    return x


impostor.__qualname__ = "twice"
FUNCTION = "define it with class or def at the top of a module"
NODE = "a layer, array, function, number, text, None, or a list, tuple or dict of such"
KEYS = "a dict with texts without dots as keys"
REFUSED = [
    (lambda: nf.Chain(nf.Dense(2, 2), lambda x: x), nf.DTypeError,
     f"save: 1 must be a function that its module has under its name, got '<lambda>.<locals>.<lambda>'; {FUNCTION}"),
    (lambda: nf.Chain(body=nf.Dense(2, 2, local()[0])), nf.DTypeError,
     "save: body.activation must be a function that its module has under its name, "
     f"got 'local.<locals>.inner'; {FUNCTION}"),
    (lambda: nf.Chain(nf.relu, Holder(local()[1])), nf.DTypeError,
     f"save: 1.value must be a class that its module has under its name, got 'local.<locals>.Local'; {FUNCTION}"),
    (lambda: Holder(impostor), nf.DTypeError,
     f"save: value must be a function that its module has under its name, got 'twice'; {FUNCTION}"),
    (lambda: Holder(object()), nf.DTypeError,
     f"save: value must be {NODE}, got object; make it a layer with @nf.layer"),
    (lambda: Holder({"a": [np.float32(1)]}), nf.DTypeError,
     f"save: value.a.0 must be {NODE}, got float32; use x.item()"),
    (lambda: Holder({1: 2}), nf.DTypeError, f"save: value must be {KEYS}, got 1"),
    (lambda: Holder({"a.b": 2}), nf.DTypeError, f"save: value must be {KEYS}, got 'a.b'"),
    (lambda: Holder(nf.Dense), nf.DTypeError, f"save: value must be {NODE}, got type; make it a layer with @nf.layer"),
    (Extra, nf.DTypeError, "save: model must be a layer whose attributes are all fields of its class, got cache; "
     "declare them, or compute them when they are needed"),
    (lambda: nf.relu, nf.DTypeError, "save: model must be a layer, or layers in a list, tuple or dict, got function"),
    (lambda: np.ones(2), nf.DTypeError, "save: model must be a layer, or layers in a list, tuple or dict, got ndarray"),
    (lambda: nf.Chain(**{"a b": nf.Dense(2, 2)}), nf.RangeError,
     "save: 'a b.weight' must be named by up to 16 parts of A-Z a-z 0-9 _ -, got others; rename the layer or key"),
    (lambda: {"w": np.ones((0, 2))}, nf.ShapeError, "save: w must be of at least one element, got shape (0, 2)"),
    (lambda: {"w": np.ones(2, complex)}, nf.FileFormatError, "m.h5: tensor w must be of type "),
]  # fmt: skip


@pytest.mark.parametrize(("make", "kind", "text"), REFUSED, ids=lambda x: x[6:40] if isinstance(x, str) else "")
def test_what_cannot_be_saved_is_refused_before_the_file_is_touched(tmp_path, make, kind, text):
    nf.save(tmp_path / "m.h5", nf.Dense(1, 1))
    before = (tmp_path / "m.h5").read_bytes()
    with pytest.raises(kind, match="^" + re.escape(text)):
        nf.save(tmp_path / "m.h5", make())
    assert (tmp_path / "m.h5").read_bytes() == before and os.listdir(tmp_path) == ["m.h5"]


@pytest.mark.parametrize(("one", "kind"), [(relu, "function"), (Dense(), "class")])
def test_a_name_of_numbaflux_is_taken(tmp_path, one, kind):
    with pytest.raises(nf.RangeError, match=f"^save: value must be a {kind} of another name than .*; rename it$"):
        nf.save(tmp_path / "m.h5", Holder(one))
    assert os.listdir(tmp_path) == []


def test_two_things_of_one_name_are_refused(tmp_path, monkeypatch):
    module = type(sys)("other_module")
    module.twice = lambda x: x
    module.twice.__module__, module.twice.__qualname__ = "other_module", "twice"
    monkeypatch.setitem(sys.modules, "other_module", module)
    text = r"^save: value.1 must be a function of another name than .*twice.*; rename it$"
    with pytest.raises(nf.RangeError, match=text):
        nf.save(tmp_path / "m.h5", Holder([twice, module.twice]))


def test_a_model_too_deep_is_refused(tmp_path):
    model = nf.Dense(1, 1)
    for _ in range(20):
        model = nf.Chain(model)
    with pytest.raises(nf.Error, match="16 parts|its depth"):
        nf.save(tmp_path / "m.h5", model)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ([1], "save: metadata must be a dict, got list"),
        ({"a": (1,)}, "save: metadata.a must be plain JSON: None, bool, int of 64 bits, finite float, str, "
         "list or dict, got tuple"),
        ({"a": {"b": [math.nan]}}, "save: metadata.a.b.0 must be plain JSON: "),
        ({"a": 2**63}, "save: metadata.a must be plain JSON: "),
        ({"loss": np.float32(1)}, "save: metadata.loss must be plain JSON: "),
        ({"a": np.ones(1)}, "save: metadata.a must be plain JSON: "),
        ({1: 2}, "save: metadata must be a dict with texts as keys, got 1"),
        ({"a": "\ud800"}, "m.h5: document metadata must be valid Unicode"),
    ],
)  # fmt: skip
def test_wrong_metadata(tmp_path, metadata, text):
    with pytest.raises(nf.Error, match="^" + re.escape(text)):
        nf.save(tmp_path / "m.h5", nf.Dense(1, 1), metadata)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        nf.save(tmp_path / "none" / "m.h5", nf.Dense(1, 1))


# ------------------------------------------------------------------------------------------------------- hostile files


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
        (1, {"other": "x"}, "the documents must be architecture and perhaps metadata, got ['architecture', 'other']"),
        (math.nan, {}, "architecture: a number must be finite, got 'NaN'"),
    ],
)
def test_hostile_documents(tmp_path, tree, documents, text):
    with raises(nf.FileFormatError, f"m.h5: {text}"):
        nf.load(forged(tmp_path / "m.h5", tree, {}, **documents))


def test_files_that_hold_no_model(tmp_path):
    hdf5.write(tmp_path / "m.h5", {"w": W}, {"note": "x"})
    with raises(nf.FileFormatError, "m.h5: the documents must be architecture and perhaps metadata, got ['note']"):
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


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"layers": [twice]}, nf.DTypeError, "load: layers must be layers by name, got <function twice"),
        ({"layers": [Block()]}, nf.DTypeError, "load: layers must be layers by name, got Block("),
        ({"functions": [Block]}, nf.DTypeError, "load: functions must be functions by name, got <class"),
        ({"functions": [relu]}, nf.RangeError, "load: functions must be of names that are not taken, got relu; "),
        ({"layers": [Dense]}, nf.RangeError, "load: layers must be of names that are not taken, got Dense; rename it"),
    ],
)
def test_wrong_arguments_of_load(tmp_path, options, kind, text):
    with pytest.raises(kind, match="^" + re.escape(text)):
        nf.load(tmp_path / "none.h5", **options)


# ----------------------------------------------------------------------------------------------------------- load_into


def test_load_into_copies_into_a_model_that_trains(tmp_path):
    source, model = mlp(), nf.f32(mlp())
    model[0].weight = model[0].weight + 1
    nf.save(tmp_path / "m.h5", source)
    step = nf.compile(lambda m, x: F.sum(m(x)[:, 0]), model, nf.setup(nf.Adam(), model))
    step(X)
    kept = model[0].weight
    nf.load_into(model, tmp_path / "m.h5")
    assert bits(model) == bits(source) and model[0].weight is kept
    assert step(X) == F.sum(source(X)[:, 0])
    assert bits(model) != bits(source), "the step must train what was loaded"


def test_load_into_needs_no_classes_and_no_architecture_alike(tmp_path):
    nf.save(tmp_path / "m.h5", Block())
    other = Block()
    other.scale, other.name = np.zeros(3, np.float32), "changed"
    nf.load_into(other, tmp_path / "m.h5")
    assert other.scale.tolist() == [2, 2, 2] and other.name == "changed"


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (lambda: nf.Chain(nf.Dense(3, 8), nf.Dense(8, 2)), "1.bias must be given, got nothing"),
        (lambda: nf.Chain(nf.Dense(3, 8, bias=False), nf.Dense(8, 2, bias=False)),
         "0.bias must be an array of the model, got an unknown name"),
        (lambda: nf.Chain(nf.Dense(3, 9), nf.Dense(9, 2, bias=False)), "0.weight must be of shape (3, 9), got (3, 8)"),
        (lambda: nf.f64(mlp()), "0.weight must be float64, got float32; nf.f32(model) or nf.f64(model)"),
    ],
)  # fmt: skip
def test_load_into_changes_nothing_unless_all_fits(tmp_path, other, text):
    nf.save(tmp_path / "m.h5", mlp())
    model = other()
    nf.setup(nf.Adam(), model)
    before = bits(model)
    with raises(nf.FileFormatError, f"m.h5: load_into: {text}"):
        nf.load_into(model, tmp_path / "m.h5")
    assert bits(model) == before


def test_load_into_a_read_only_model(tmp_path):
    nf.save(tmp_path / "m.h5", {"a": W, "b": W + 1})
    model = {"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float32)}
    model["b"].flags.writeable = False
    with raises(nf.DeviceError, "load_into: b must be writeable in the model, got a read-only array"):
        nf.load_into(model, tmp_path / "m.h5")
    assert not model["a"].any()


# ------------------------------------------------------------------------------------------------------------- inspect


def test_inspect_tells_what_is_in_a_file(tmp_path):
    model = nf.Chain(Block(), nf.Dense(2, 1, rng=0))
    nf.save(tmp_path / "m.h5", model, {"epochs": 3, "note": "x"})
    found = nf.inspect(tmp_path / "m.h5")
    file = hdf5.read(tmp_path / "m.h5")
    assert (found.version, found.digest, found.metadata) == (1, file.digest, {"epochs": 3, "note": "x"})
    assert {n: (t.shape, t.dtype) for n, t in found.tensors.items()} == {
        n: (a.shape, str(a.dtype)) for n, a in nf.state(model).items()
    }
    with h5py.File(tmp_path / "m.h5") as raw:
        for name, tensor in found.tensors.items():
            assert raw["tensors/" + name.replace(".", "/")].attrs["sha256"].decode() == tensor.sha256
    text = repr(found)
    for part in ("m.h5: numbaflux format 1", found.digest, "inner: Dense(3, 3, twice),", "# 12 parameters",
                 "1: Dense(2, 1),", "0.inner.weight", "(3, 3)", '"epochs": 3'):  # fmt: skip
        assert part in text


def test_inspect_prints_nothing_that_a_terminal_obeys(tmp_path):
    nf.save(tmp_path / "m.h5", Holder("\x1b[31mred\n\u202eevil"), {"k": "\x1b[2J\x07"})
    text = repr(nf.inspect(tmp_path / "m.h5"))
    assert all(line.isprintable() for line in text.split("\n")) and "Holder(value=" in text


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
