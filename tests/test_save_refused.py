"""What cannot be saved is refused before the file is touched; what cannot be given to load is refused too."""

import math
import os
import re
import sys

import numpy as np
import pytest

import numbaflux as nf
from tests.toys import Holder, twice


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


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"layers": [twice]}, nf.DTypeError, "load: layers must be layers by name, got <function twice"),
        ({"layers": [Holder(1)]}, nf.DTypeError, "load: layers must be layers by name, got Holder("),
        ({"functions": [Holder]}, nf.DTypeError, "load: functions must be functions by name, got <class"),
        ({"functions": [relu]}, nf.RangeError, "load: functions must be of names that are not taken, got relu; "),
        ({"layers": [Dense]}, nf.RangeError, "load: layers must be of names that are not taken, got Dense; rename it"),
    ],
)
def test_wrong_arguments_of_load(tmp_path, options, kind, text):
    with pytest.raises(kind, match="^" + re.escape(text)):
        nf.load(tmp_path / "none.h5", **options)
