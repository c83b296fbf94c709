"""Walking models: functions of arrays and of other parts, layers and parts by path, replaced in place; messages."""

import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.tree import leaves

X = nf.Generator(0).normal((4, 3))


def net():
    body = nf.Chain(nf.Dense(3, 4, nf.tanh, rng=0), nf.BatchNorm(4))
    return nf.Chain(body=body, drop=nf.Dropout(0.5), head=nf.Dense(4, 2, nf.tanh, rng=1))


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


# ---------------------------------------------------------------------------------------------------------------- fmap


def test_every_array_is_mapped_once_and_ties_are_kept():
    one = nf.Dense(3, 3, rng=0)
    model, seen = [one, {"again": one.weight, "n": 3}, (one,)], []
    doubled = nf.fmap(lambda x: seen.append(x) or 2 * x, model)
    assert len(seen) == 2 and seen[0] is one.weight and seen[1] is one.bias
    assert np.array_equal(doubled[0].weight, 2 * one.weight) and doubled[1]["n"] == 3
    assert doubled[0].weight is doubled[1]["again"] is doubled[2][0].weight
    assert nf.fmap(lambda x: x, model) is model, "nothing changes: nothing is copied"


def test_paths_are_those_of_the_model():
    model = net()
    found = {}
    nf.fmap(found.setdefault, model, path=True)
    assert found.keys() == {leaf.path for leaf in leaves(model)} and found["head.weight"] is model["head"].weight


def test_parts_of_other_kinds():
    model = net()
    plain = nf.fmap(lambda f: nf.relu, model, exclude=lambda part: part is nf.tanh)
    assert plain["head"].activation is nf.relu is plain["body"][0].activation and model["head"].activation is nf.tanh
    assert plain["head"].weight is model["head"].weight and plain["drop"] is model["drop"]
    where = []
    nf.fmap(lambda path, part: where.append(path), model, path=True, exclude=lambda part: isinstance(part, nf.Dense))
    assert where == ["body.0", "head"]
    assert nf.fmap(type, model, exclude=lambda part: True) is nf.Chain


def test_inside_a_gradient():
    head, x = net()["head"], nf.Generator(1).normal((5, 4))
    grads = nf.gradient(lambda h: (nf.fmap(lambda w: 3 * w, h)(x) ** 2).sum(), head)
    expected = nf.gradient(lambda h: (h(x) ** 2).sum(), nf.fmap(lambda w: 3 * w, head))
    np.testing.assert_allclose(grads.weight, 3 * expected.weight, rtol=1e-5)


def test_arguments_of_fmap():
    with raises(nf.DTypeError, "fmap: f must be a function, got 3"):
        nf.fmap(3, net())
    with raises(nf.DTypeError, "fmap: exclude must be a function, got 3"):
        nf.fmap(abs, net(), exclude=3)


# ------------------------------------------------------------------------------------------------------ leaves, layers


def test_leaves_are_all_arrays_themselves():
    model = net()
    names = [name for name, _ in nf.fleaves(model, path=True)]
    assert names == list(nf.state(model)) and {"body.1.mean", "body.1.var"} <= set(names)
    assert all(a is b for a, b in zip(nf.fleaves(model), dict(nf.fleaves(model, path=True)).values(), strict=True))
    one = nf.Dense(2, 2)
    assert len(nf.fleaves([one, one])) == 2 and nf.fleaves(nf.relu) == []


def test_layers_outermost_first_and_shared_ones_once():
    model = net()
    pairs = nf.modules(model, path=True)
    assert [name for name, _ in pairs] == ["", "body", "body.0", "body.1", "drop", "head"]
    assert [layer for _, layer in pairs] == nf.modules(model) and nf.modules(model)[0] is model
    one = nf.Dense(2, 2)
    shared = nf.Chain(nf.Chain(nf.relu, one), one, nf.Parallel(nf.add, one))
    assert [name for name, _ in nf.modules(shared, path=True)] == ["", "0", "0.1", "2"]
    assert nf.modules({"a": [one]}) == [one] and nf.modules(np.ones(2)) == []


# --------------------------------------------------------------------------------------------------------------- paths


def test_parts_by_path():
    model = net()
    assert nf.getkeypath(model, "") is model and nf.getkeypath(model, "head") is model["head"]
    for name, array in nf.fleaves(model, path=True):
        assert nf.getkeypath(model, name) is array and nf.haskeypath(model, name)
    assert nf.getkeypath({"a": [1, (2, 3)]}, "a.1.0") == 2 and nf.getkeypath(model, "drop.p") == 0.5
    for wrong in ("tail", "head.0", "head.weight.0", "body.2", ".", "head."):
        assert not nf.haskeypath(model, wrong)


def test_a_field_a_layer_and_a_place_of_a_list_are_replaced():
    model = net()
    nf.setkeypath(model, "head.activation", nf.relu)
    new = nf.Dense(3, 4, rng=5)
    nf.setkeypath(model, "body.0", new)
    assert (
        model["head"].activation is nf.relu and model["body"][0] is new and isinstance(model["body"][1], nf.BatchNorm)
    )
    tree = {"a": [1, {"b": np.ones(2)}]}
    nf.setkeypath(tree, "a.0", 7)
    nf.setkeypath(tree, "a.1.b", new)
    assert tree["a"][0] == 7 and tree["a"][1]["b"] is new


def test_plans_see_what_was_replaced():
    model = nf.Chain(nf.Dense(3, 2, rng=0))
    predict = nf.compile(model)
    predict(X)
    nf.setkeypath(model, "0", nf.Dense(3, 2, rng=1))
    assert np.array_equal(predict(X), model(X))
    nf.setkeypath(model, "0.weight", np.ones((3, 2), np.float32))
    assert np.array_equal(predict(X), model(X)) and np.allclose(model(X)[:, 0], X.sum(axis=1), rtol=1e-5)


def test_an_array_that_a_state_holds_is_copied_into():
    model = nf.Chain(nf.Dense(3, 2, rng=0))
    state = nf.setup(nf.Descent(0.0), model)
    held = model[0].weight
    nf.setkeypath(model, "0.weight", np.ones((3, 2), np.float32))
    assert model[0].weight is held and (held == 1).all()
    nf.update(state, model, nf.gradient(lambda m: m(X).sum(), model))


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda m: nf.getkeypath(m, "body.2.weight"), nf.RangeError,
         "getkeypath: path must be one of the model's, got 'body.2.weight'; in body there is 0, 1, names"),
        (lambda m: nf.getkeypath(m, "tail"), nf.RangeError,
         "getkeypath: path must be one of the model's, got 'tail'; in the model there is body, drop, head, names"),
        (lambda m: nf.getkeypath(m, "drop.p.q"), nf.RangeError,
         "getkeypath: path must be one of the model's, got 'drop.p.q'; in drop.p there is nothing"),
        (lambda m: nf.haskeypath(m, 0), nf.DTypeError, "haskeypath: path must be a text such as '0.weight', got 0"),
        (lambda m: nf.setkeypath(m, "", 0), nf.RangeError,
         "setkeypath: path must be that of a part of the model, got ''"),
        (lambda m: nf.setkeypath((1, 2), "0", 0), nf.DTypeError,
         "setkeypath: path must be of a place in a layer, list or dict, got '0' in a tuple"),
        (lambda m: nf.setkeypath(m, "head.bias", np.zeros(3, np.float32)), nf.ShapeError,
         "setkeypath: head.bias: Dense: bias must be None or float32 of shape (2,), got float32 of shape (3,)"),
    ],
)  # fmt: skip
def test_messages(call, kind, text):
    model = net()
    before = {name: a.tobytes() for name, a in nf.fleaves(model, path=True)}
    with raises(kind, text):
        call(model)
    assert {name: a.tobytes() for name, a in nf.fleaves(model, path=True)} == before
