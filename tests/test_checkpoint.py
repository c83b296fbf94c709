"""Models in files: what is saved comes back bit for bit; what cannot be saved is refused before the file is touched; no
file makes load do anything but build known layers or raise FileFormatError."""

import json
import re
import subprocess
import sys
import tracemalloc

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
from tests.toys import Block, Holder, ran, twice

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


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


def test_generators_go_on_where_they_stood(tmp_path):
    one = nf.Generator(2**64 - 1, 5)
    model = [Holder(one), Holder(one), Holder(nf.Generator(3)), Holder(nf.rng.default())]
    nf.save(tmp_path / "m.h5", model)
    again = [holder.value for holder in nf.load(tmp_path / "m.h5", layers=[Holder])]
    assert [g.state for g in again[:3]] == [(2**64 - 1, 5), (2**64 - 1, 5), (3, 0)]
    assert again[0] is again[1] is not one and again[3] is nf.rng.default()


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
    nf.save(tmp_path / "m.h5", {"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)})
    model = {"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float32)}
    model["b"].flags.writeable = False
    with raises(nf.DeviceError, "load_into: b must be writeable in the model, got a read-only array"):
        nf.load_into(model, tmp_path / "m.h5")
    assert not model["a"].any()


def test_a_model_takes_the_memory_of_its_file(tmp_path):
    """Nothing is held twice; what was loaded can be written to, each array alone, and trains."""
    nf.save(tmp_path / "m.h5", nf.Chain(nf.Dense(1024, 1024), nf.Dense(1024, 8)))
    size = (tmp_path / "m.h5").stat().st_size
    tracemalloc.start()
    model, other = nf.load(tmp_path / "m.h5"), nf.load(tmp_path / "m.h5")
    assert tracemalloc.get_traced_memory()[1] < 2 * size + (2 << 20)
    tracemalloc.stop()
    kept = model[1].weight.copy()
    model[0].weight[...], model[0].bias[...] = 3, 4
    assert np.array_equal(model[1].weight, kept) and not (other[0].weight == 3).any()
    step = nf.compile(lambda m, x: (m(x) ** 2).mean(), other, nf.setup(nf.Adam(), other))
    before = other[1].weight.copy()
    step(np.ones((2, 1024), np.float32))
    assert not np.array_equal(other[1].weight, before)


def test_the_model_of_a_training_does_not_hold_the_rest(tmp_path):
    model = nf.Dense(3, 2)
    nf.save_checkpoint(tmp_path / "run.h5", model, nf.setup(nf.Adam(), model))
    found = nf.load(tmp_path / "run.h5")
    assert found.weight.base is None and found.weight.flags.writeable
