"""Chain, Dense and flatten: values against NumPy, names and slices, every message."""

import re

import numpy as np
import pytest

import numbaflux as nf

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


# ------------------------------------------------------------------------------------------------------------- Chain


def test_a_chain_is_its_layers_one_after_another():
    a, b = nf.Dense(3, 5, nf.tanh, rng=0), nf.Dense(5, 2, rng=1)
    np.testing.assert_array_equal(nf.Chain(a, nf.relu, b)(X), b(nf.relu(a(X))))
    np.testing.assert_array_equal(nf.Chain()(X), X)


def test_index_slice_length_iteration():
    a, b, c = nf.Dense(3, 4), nf.relu, nf.Dense(4, 2)
    model = nf.Chain(a, b, c)
    assert model[0] is a and model[-1] is c and len(model) == 3 and list(model) == [a, b, c]
    part = model[1:]
    assert isinstance(part, nf.Chain) and list(part) == [b, c] and part.names is None
    with pytest.raises(IndexError):
        model[3]


def test_names_index_and_stay_through_slices():
    body, head = nf.Dense(3, 4), nf.Dense(4, 2)
    model = nf.Chain(body=body, act=nf.tanh, head=head)
    assert model["head"] is head and model[0] is body and model.names == ("body", "act", "head")
    part = model[::2]
    assert part.names == ("body", "head") and part["head"] is head
    with raises(nf.RangeError, "Chain: name must be one of ['body', 'act', 'head'], got tail"):
        model["tail"]
    with raises(nf.RangeError, "Chain: name must be one of [], got head"):
        nf.Chain(body)["head"]


def test_a_chain_of_several_inputs():
    model = nf.Chain(lambda a, b: a * b, nf.relu)
    np.testing.assert_array_equal(model(X, -X), np.maximum(X * -X, 0))


def test_an_error_says_where_in_the_model_it_is():
    inner = nf.Chain(body=nf.Chain(nf.Dense(3, 4), nf.Dense(5, 4)), head=nf.Dense(4, 2))
    with raises(nf.ShapeError, "1.dense: x must be of shape (..., 5), got (4, 3)"):
        nf.Chain(nf.relu, nf.Dense(5, 2))(X)
    with raises(nf.ShapeError, "body.1.dense: x must be of shape (..., 5), got (4, 4)"):
        inner(X)
    with raises(nf.ShapeError, "body.1.dense: x must be of shape (..., 5), got (4, 4)"):
        nf.compile(inner)(X)
    with raises(nf.ShapeError, "body.1.dense: x must be of shape (..., 5), got (4, 4)"):
        nf.gradient(lambda m: m(X).sum(), inner)


@pytest.mark.parametrize(
    ("args", "named", "kind", "text"),
    [
        ((3,), {}, nf.DTypeError, "Chain: layers must be layers or functions, got int"),
        ((), {"a": "x"}, nf.DTypeError, "Chain: layers must be layers or functions, got str"),
        ((nf.relu,), {"a": nf.relu}, nf.RangeError, "Chain: arguments must be all named or none, got 1 without a name"),
        ((), {"a.b": nf.relu}, nf.RangeError, "Chain: names must be without dots, and not layers or names, got a.b"),
        (
            (),
            {"names": nf.relu},
            nf.RangeError,
            "Chain: names must be without dots, and not layers or names, got names",
        ),
    ],
)
def test_wrong_arguments_of_chain(args, named, kind, text):
    with raises(kind, text):
        nf.Chain(*args, **named)


def test_repr_golden():
    model = nf.Chain(
        body=nf.Chain(nf.flatten, nf.Dense(784, 32, nf.relu, rng=0), nf.Dense(32, 8, bias=False, rng=0)),
        head=nf.Dense(8, 10, rng=0),
    )
    assert repr(model) == (
        "Chain(\n"
        "  body: Chain(\n"
        "    0: flatten,\n"
        "    1: Dense(784, 32, relu),                     # 25_120 parameters\n"
        "    2: Dense(32, 8, bias=False),                 # 256 parameters\n"
        "  )\n"
        "  head: Dense(8, 10),                            # 90 parameters\n"
        ")\n"
        "# 5 arrays, 25_466 parameters, 101_864 bytes"
    )


def test_repr_of_nothing():
    assert repr(nf.Chain()) == "Chain(),\n# 0 arrays, 0 parameters, 0 bytes"


def test_repr_counts_a_tied_array_once():
    one = nf.Dense(3, 3, bias=False, rng=0)
    assert repr(nf.Chain(one, one)).endswith("# 1 arrays, 9 parameters, 36 bytes")


# ------------------------------------------------------------------------------------------------------------- Dense


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lead", [(), (1,), (7,), (2, 3), (2, 1, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_dense_against_numpy(dtype, lead, bias):
    g = nf.Generator(0)
    model = nf.Dense(5, 3, nf.tanh, bias=bias, rng=1)
    model = nf.f64(model) if dtype == np.float64 else model
    if bias:
        model.bias = g.normal((3,), dtype=dtype)
    x = g.normal((*lead, 5), dtype=dtype)
    expected = np.tanh(x.astype(np.float64) @ model.weight + (model.bias if bias else 0))
    y = model(x)
    assert y.dtype == dtype and y.shape == (*lead, 3)
    np.testing.assert_allclose(y, expected, rtol=0, atol=8 * np.finfo(dtype).eps)


def test_dense_takes_any_strides():
    model = nf.Dense(3, 2, rng=0)
    wide = np.zeros((8, 6), np.float32)
    wide[::2, ::2] = X
    np.testing.assert_array_equal(model(wide[::2, ::2]), model(X))
    np.testing.assert_array_equal(model(np.asfortranarray(X)), model(X))


def test_dense_weights_by_init_and_rng():
    a, b, c = nf.Dense(3, 4, rng=7), nf.Dense(3, 4, rng=7), nf.Dense(3, 4, rng=8)
    assert (a.weight == b.weight).all() and (a.weight != c.weight).any() and not a.bias.any()
    np.testing.assert_array_equal(a.weight, nf.init.glorot_uniform((3, 4), rng=7))
    model = nf.Dense(3, 4, init=lambda shape, rng: np.full(shape, 0.5))
    assert model.weight.dtype == np.float64 == model.bias.dtype and (model.weight == 0.5).all()


def test_nf_seed_sets_the_default_generator():
    nf.seed(3)
    a = nf.Dense(2, 2).weight
    nf.seed(3)
    assert (nf.Dense(2, 2).weight == a).all() and (nf.Dense(2, 2).weight != a).any()


def test_dense_without_bias_has_none():
    assert nf.Dense(2, 2, bias=False).bias is None and nf.Dense(2, 2).bias.shape == (2,)
    assert repr(nf.Dense(2, 3, bias=False, rng=0)).startswith("Dense(2, 3, bias=False),")


@pytest.mark.parametrize(
    ("args", "options", "kind", "text"),
    [
        ((0, 1), {}, nf.RangeError, "Dense: n_in must be an integer in [1, inf), got 0"),
        ((1, -2), {}, nf.RangeError, "Dense: n_out must be an integer in [1, inf), got -2"),
        ((2.0, 1), {}, nf.DTypeError, "Dense: n_in must be an integer in [1, inf), got 2.0"),
        ((True, 1), {}, nf.DTypeError, "Dense: n_in must be an integer in [1, inf), got True"),
        ((2, 1, "relu"), {}, nf.DTypeError, "Dense: activation must be a function, got str; nf.relu"),
        ((2, 1), {"init": lambda shape, rng: np.zeros(2)}, nf.ShapeError,
         "Dense: init(shape) must be of shape (2, 1), got (2,)"),
        ((2, 1), {"init": lambda shape, rng: np.zeros(shape, int)}, nf.DTypeError,
         "Dense: weight must be an array of float32 or float64, got int64"),
    ],
)  # fmt: skip
def test_wrong_arguments_of_dense(args, options, kind, text):
    with raises(kind, text):
        nf.Dense(*args, **options)


def test_a_misspelt_activation_is_answered_with_those_there_are():
    with pytest.raises(nf.DTypeError, match=r"got str; one of nf\.celu, .*nf\.relu, .*nf\.tanh"):
        nf.Dense(2, 1, "reul")


def test_wrong_inputs_of_dense():
    model = nf.Dense(3, 2)
    with raises(nf.ShapeError, "dense: x must be of shape (..., 3), got (4, 2)"):
        model(np.zeros((4, 2), np.float32))
    with raises(nf.ShapeError, "dense: x must be of shape (..., 3), got ()"):
        model(np.float32(1))
    with pytest.raises(nf.DTypeError, match="float64.*float32|float32.*float64"):
        model(np.zeros((4, 3)))


# ----------------------------------------------------------------------------------------------------------- flatten


@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 3, 4), (1, 1, 1, 1)])
def test_flatten_keeps_samples_apart(shape):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(nf.flatten(x), x.reshape(shape[0], -1))


def test_any_function_of_arrays_may_stand_in_a_chain():
    model = nf.Chain(nf.flatten, nf.Dense(12, 3, rng=0), lambda x: nf.softmax(x) * 2)
    x = np.ones((5, 3, 2, 2), np.float32)
    np.testing.assert_allclose(model(x).sum(-1), 2, rtol=1e-6)
    assert nf.gradient(lambda m: m(x)[:, 0].sum(), model)[1].weight.shape == (12, 3)


def test_nothing_at_all_is_refused_by_name():
    with pytest.raises(nf.DTypeError, match="^1.dense: x must be an array, got None$"):
        nf.Chain(lambda x: None, nf.Dense(3, 2))(np.ones((1, 3), np.float32))
