"""Models as nested data: paths, ties, copies that share what they may."""

from collections import namedtuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux.tree import BUFFER, PARAM, STATIC, arrays, children, layers, leaves, rebuilt, replaced

Pair = namedtuple("Pair", "a b")


@nf.layer
class Norm:
    scale: np.ndarray = nf.param()
    mean: np.ndarray = nf.buffer()
    table: np.ndarray
    blocks: list
    rate: float = 0.5


def norm(blocks=()):
    return Norm(np.ones(2, np.float32), np.zeros(2, np.float32), np.arange(3), list(blocks))


def test_leaves_name_place_and_kind():
    inner = nf.Dense(2, 1, bias=False)
    model = {"head": norm([inner, np.ones(1)]), "free": [np.ones(4)]}
    found = {leaf.path: leaf.kind for leaf in leaves(model)}
    assert found == {
        "head.scale": PARAM, "head.mean": BUFFER, "head.table": STATIC, "head.blocks.0.weight": PARAM,
        "head.blocks.1": STATIC, "free.0": PARAM,
    }  # fmt: skip
    owners = {leaf.path: leaf.owner for leaf in leaves(model)}
    assert owners["head.blocks.0.weight"] is inner and owners["free.0"] is model["free"]


def test_chains_leave_no_name_of_their_own_in_paths():
    plain = nf.Chain(nf.Dense(2, 2), nf.tanh, nf.Chain(nf.Dense(2, 1)))
    named = nf.Chain(body=nf.Chain(nf.Dense(2, 2)), head=nf.Dense(2, 1))
    assert list(arrays(plain)) == ["0.weight", "0.bias", "2.0.weight", "2.0.bias"]
    assert list(arrays(named)) == ["body.0.weight", "body.0.bias", "head.weight", "head.bias"]
    assert [path for path, _ in layers(plain)] == ["", "0", "2", "2.0"]


def test_an_array_of_several_places_goes_by_the_first():
    a = np.ones(2)
    tree = {"x": [a], "y": a, "z": a.copy()}
    assert list(arrays(tree)) == ["x.0", "z"] and arrays(tree)["x.0"] is a
    assert [leaf.path for leaf in leaves(tree)] == ["x.0", "y", "z"]


def test_arrays_of_some_kinds():
    model = norm()
    assert list(arrays(model, PARAM)) == ["scale"] and list(arrays(model, PARAM, BUFFER)) == ["scale", "mean"]


def test_a_copy_shares_what_does_not_change():
    model = nf.Chain(nf.Dense(2, 2), nf.Dense(2, 1))
    copy = replaced(model, lambda path, kind, x: np.zeros_like(x) if path == "1.bias" else x)
    assert copy is not model and copy[0] is model[0] and copy[1].weight is model[1].weight
    assert copy[1].bias is not model[1].bias and replaced(model, lambda path, kind, x: x) is model


def test_tuples_keep_their_types():
    tree = {"p": Pair(1.0, [2.0]), "t": (3.0,)}
    doubled = replaced(tree, lambda path, kind, x: 2 * x)
    assert doubled == {"p": Pair(2.0, [4.0]), "t": (6.0,)} and type(doubled["p"]) is Pair


def test_rebuilt_sets_fields_of_a_copy():
    model = nf.Dense(2, 1)
    copy = rebuilt(model, [("bias", None)])
    assert copy.bias is None and model.bias is not None and copy.weight is model.weight


def test_a_node_of_its_own_children_is_the_same_again():
    inner = nf.Dense(2, 1)
    for node in (nf.Chain(inner, nf.tanh), nf.Chain(body=inner), inner, {"a": inner}, [inner], Pair(inner, 1)):
        parts = children(node, STATIC)
        again = rebuilt(node, [(key, child) for _, key, child, _ in parts])
        assert type(again) is type(node) and again is not node
        assert all(a is b for (_, _, a, _), (_, _, b, _) in zip(children(again, STATIC), parts, strict=True))
    assert [name for name, *_ in children(nf.Chain(body=inner), STATIC)][0] == "body"
    assert [kind for *_, kind in children(inner, STATIC)][:2] == [PARAM, PARAM]
    assert children(nf.tanh, STATIC) is None and children(np.ones(2), PARAM) is None


trees = st.recursive(
    st.integers(0, 9),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=12,
)


@given(trees)
def test_every_leaf_is_seen_once_under_its_path(tree):
    def walk(node, path):
        if isinstance(node, dict):
            return [x for k, v in node.items() for x in walk(v, [*path, k])]
        if isinstance(node, list):
            return [x for k, v in enumerate(node) for x in walk(v, [*path, str(k)])]
        return [(".".join(path), node)]

    seen = []
    assert replaced(tree, lambda path, kind, x: seen.append((path, x)) or x) is tree
    assert seen == walk(tree, [])
