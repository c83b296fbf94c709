"""Activations: values and gradients against PyTorch and NumPy, far out, at kinks, in layers and in files."""

import functools
import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.activations import ACTIVATIONS

X, W = (3 * nf.Generator(i).normal((7, 12), dtype=np.float64) for i in (0, 1))


def softplus(x):
    return np.log(1 + np.exp(x))


def bent(x, alpha=1.0, rate=1.0, scale=1.0):
    return np.where(x > 0, scale * x, alpha * (np.exp(rate * x) - 1))


# name -> formula, as it is written in papers
FORMULAS = {
    "hardsigmoid": lambda x: np.clip((x + 3) / 6, 0, 1),
    "hardtanh": lambda x: np.clip(x, -1, 1),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leakyrelu": lambda x: np.maximum(0.01 * x, x),
    "trelu": lambda x: x * (x > 1),
    "elu": bent,
    "celu": bent,
    "selu": lambda x: 1.0507009873554805 * bent(x, 1.6732632423543772),
    "gelu": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "hardswish": lambda x: x * np.clip((x + 3) / 6, 0, 1),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "softplus": softplus,
    "logsigmoid": lambda x: np.log(1 / (1 + np.exp(-x))),
    "logcosh": lambda x: np.log(np.cosh(x)),
    "lisht": lambda x: x * np.tanh(x),
    "softsign": lambda x: x / (1 + abs(x)),
    "softshrink": lambda x: np.sign(x) * np.maximum(abs(x) - 0.5, 0),
    "tanhshrink": lambda x: x - np.tanh(x),
}
OTHERS = {"gelu_erf", "glu", "logsumexp", "rrelu"}  # below, and against PyTorch
# name, keywords -> the same of PyTorch
PEERS = [
    ("hardsigmoid", {}, "hardsigmoid", {}),
    ("hardtanh", {}, "hardtanh", {}),
    ("relu6", {}, "relu6", {}),
    ("leakyrelu", {}, "leaky_relu", {}),
    ("leakyrelu", {"a": 1.5}, "leaky_relu", {"negative_slope": 1.5}),
    ("trelu", {}, "threshold", {"threshold": 1.0, "value": 0.0}),
    ("trelu", {"theta": -0.5}, "threshold", {"threshold": -0.5, "value": 0.0}),
    ("elu", {"alpha": 0.7}, "elu", {"alpha": 0.7}),
    ("celu", {"alpha": 0.7}, "celu", {"alpha": 0.7}),
    ("selu", {}, "selu", {}),
    ("gelu", {}, "gelu", {"approximate": "tanh"}),
    ("gelu_erf", {}, "gelu", {}),
    ("swish", {}, "silu", {}),
    ("hardswish", {}, "hardswish", {}),
    ("mish", {}, "mish", {}),
    ("softplus", {}, "softplus", {}),
    ("logsigmoid", {}, "logsigmoid", {}),
    ("softsign", {}, "softsign", {}),
    ("softshrink", {}, "softshrink", {}),
    ("softshrink", {"lambd": 1.25}, "softshrink", {"lambd": 1.25}),
    ("tanhshrink", {}, "tanhshrink", {}),
    ("glu", {}, "glu", {}),
    ("glu", {"axis": 1}, "glu", {"dim": 1}),
]
names = pytest.mark.parametrize("name", [f.__name__ for f in ACTIVATIONS if f is not nf.rrelu])


def total(f):
    """The sum of what a function gives, so that its gradient is asked for everywhere."""
    return lambda x: F.sum(f(x))


def test_each_has_a_formula_here():
    assert {f.__name__ for f in ACTIVATIONS} == FORMULAS.keys() | OTHERS
    assert all(getattr(nf, f.__name__) is f for f in ACTIVATIONS)
    assert {name for name, *_ in PEERS} | {"logcosh", "lisht", "logsumexp", "rrelu"} == FORMULAS.keys() | OTHERS


def test_names_that_mean_the_same():
    assert nf.tanh_fast is nf.tanh and nf.sigmoid_fast is nf.sigmoid and nf.thresholdrelu is nf.trelu
    assert nf.gelu_tanh is nf.gelu_sigmoid is nf.gelu


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_against_formulas(name, dtype):
    x = X.astype(dtype)
    y = getattr(nf, name)(x)
    assert y.dtype == dtype and type(y) is np.ndarray
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y, FORMULAS[name](x.astype(np.float64)), rtol=50 * eps, atol=3 * eps)


@pytest.mark.parametrize(("name", "ours", "peer", "theirs"), PEERS, ids=[f"{n}{k or ''}" for n, k, *_ in PEERS])
def test_values_and_gradients_are_pytorchs(name, ours, peer, theirs):
    torch = pytest.importorskip("torch")
    f = functools.partial(getattr(nf, name), **ours)
    t = torch.tensor(X, requires_grad=True)
    right = getattr(torch.nn.functional, peer)(t, **theirs)
    value, back = nf.pullback(f, X)
    exact = name not in ("hardsigmoid", "gelu", "celu")  # of which PyTorch has numbers in float32
    np.testing.assert_allclose(value, right.detach().numpy(), rtol=1e-12 if exact else 2e-7, atol=1e-15)
    w = W[: right.shape[0], : right.shape[1]]
    (right * torch.tensor(w.copy())).sum().backward()
    np.testing.assert_allclose(back(w), t.grad.numpy(), rtol=1e-12 if exact else 2e-7, atol=1e-14 if exact else 2e-7)


@names
def test_gradients_of_gradients(name):
    """In float64, away from kinks, against differences; of the gradient, too."""
    f, x = getattr(nf, name), X + 0.05 * np.sign(X)
    x = x[(abs(abs(x) - 3) > 0.01) & (abs(abs(x) - 1) > 0.01) & (abs(abs(x) - 0.5) > 0.01)][:40]
    nf.check_gradients(total(f), x)
    nf.check_gradients(lambda x: F.sum(F.mul(nf.gradient(total(f), x), x)), x)


@names
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_compiled_step_has_the_bits_of_an_eager_one(name, dtype):
    f = getattr(nf, name)
    model = nf.f64(nf.Dense(12, 8, f, rng=0)) if dtype is np.float64 else nf.Dense(12, 8, f, rng=0)
    x = X.astype(dtype)
    loss, grads = nf.withgradient(lambda m: F.mean(F.square(m(x))), model)
    step = nf.compile(lambda m, x: F.mean(F.square(m(x))), model, nf.setup(nf.Descent(0.0), model))
    assert step(x) == loss and np.isfinite(loss)
    np.testing.assert_array_equal(step.gradients()["weight"], grads.weight)
    assert grads.weight.any()


# --------------------------------------------------------------------------------------------------------- far out, NaN

LIMITS = {  # at -inf, -1e30, 1e30, inf
    "hardsigmoid": (0, 0, 1, 1), "hardtanh": (-1, -1, 1, 1), "relu6": (0, 0, 6, 6), "trelu": (0, 0, 1e30, np.inf),
    "leakyrelu": (-np.inf, -1e28, 1e30, np.inf), "elu": (-1, -1, 1e30, np.inf), "celu": (-1, -1, 1e30, np.inf),
    "selu": (-1.7580993408473766, -1.7580993408473766, 1.0507009873554805e30, np.inf), "gelu": (0, 0, 1e30, np.inf),
    "gelu_erf": (0, 0, 1e30, np.inf), "swish": (0, 0, 1e30, np.inf), "hardswish": (0, 0, 1e30, np.inf),
    "mish": (0, 0, 1e30, np.inf), "softplus": (0, 0, 1e30, np.inf), "logsigmoid": (-np.inf, -1e30, 0, 0),
    "logcosh": (np.inf, 1e30, 1e30, np.inf), "lisht": (np.inf, 1e30, 1e30, np.inf), "softsign": (-1, -1, 1, 1),
    "softshrink": (-np.inf, -1e30, 1e30, np.inf), "tanhshrink": (-np.inf, -1e30, 1e30, np.inf),
}  # fmt: skip
SLOPES = {  # at -1e30, 1e30
    "hardsigmoid": (0, 0), "hardtanh": (0, 0), "relu6": (0, 0), "trelu": (0, 1), "leakyrelu": (0.01, 1), "elu": (0, 1),
    "celu": (0, 1), "selu": (0, 1.0507009873554805), "gelu": (0, 1), "gelu_erf": (0, 1), "swish": (0, 1),
    "hardswish": (0, 1), "mish": (0, 1), "softplus": (0, 1), "logsigmoid": (1, 0), "logcosh": (-1, 1), "lisht": (-1, 1),
    "softsign": (1e-60, 1e-60), "softshrink": (1, 1), "tanhshrink": (1, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_out(name, dtype):
    f = getattr(nf, name)
    y = f(np.resize(np.array([-np.inf, -1e30, 1e30, np.inf], dtype), 37))
    np.testing.assert_allclose(y, np.resize(np.array(LIMITS[name], dtype), 37), rtol=2e-7)
    slope = nf.gradient(total(f), np.array([-1e30, 1e30], dtype))
    np.testing.assert_allclose(slope, SLOPES[name], rtol=2e-7, atol=1e-38)
    twice = lambda x: F.add(F.sum(nf.gradient(total(f), x)), F.mul(F.sum(x), 0.0))  # noqa: E731
    np.testing.assert_allclose(nf.gradient(twice, np.array([-1e30, 1e30], dtype)), [0, 0], atol=1e-38)


@names
def test_nan_passes(name):
    """Also backwards: a NaN that becomes 0 hides where it came from."""
    f, x = getattr(nf, name), np.full((3, 4), np.nan, np.float32)
    assert np.isnan(f(x)).all()
    assert np.isnan(nf.gradient(total(lambda x: F.mul(f(x), F.sum(x))), x)).all()


@pytest.mark.parametrize(("name", "x", "y"), [
    ("mish", -40, -40 * np.exp(-40)), ("swish", -40, -40 * np.exp(-40)), ("softplus", -40, np.exp(-40)),
    ("logsigmoid", 40, -np.exp(-40)), ("gelu_erf", -10, -7.619853024160527e-23), ("logcosh", 1e-5, 5e-11),
    ("elu", -1e-9, np.expm1(-1e-9)), ("hardsigmoid", -3 + 2**-20, 2**-20 / 6), ("logsigmoid", -40, -40),
])  # fmt: skip
def test_small_results_are_as_exact_as_large_ones(name, x, y):
    np.testing.assert_allclose(getattr(nf, name)(np.array(x, np.float32)), y, rtol=5e-7)
    np.testing.assert_allclose(getattr(nf, name)(np.array(x, np.float64)), y, rtol=1e-10)


def test_gradients_at_kinks():
    """As Flux and PyTorch have them: at an end that is reached, 0."""
    slope = lambda f, *xs: nf.gradient(total(f), np.array(xs, np.float32)).tolist()  # noqa: E731
    assert slope(nf.relu6, 0, 6) == slope(nf.hardtanh, -1, 1) == slope(nf.hardsigmoid, -3, 3) == [0, 0]
    assert slope(nf.softshrink, -0.5, 0, 0.5) == [0, 0, 0]
    assert slope(nf.trelu, 1, 1.001) == [0, 1]
    assert slope(functools.partial(nf.leakyrelu, a=0.25), -0.0, 0, 1) == [0.25, 0.25, 1]
    assert slope(functools.partial(nf.elu, alpha=0.5), 0, 1) == [0.5, 1]
    assert slope(nf.celu, 0) == slope(functools.partial(nf.celu, alpha=3.0), 0) == [1]
    assert slope(nf.hardswish, -3) == [0]


# ------------------------------------------------------------------------------------------------------ glu, logsumexp


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_glu_halves_an_axis(axis):
    x = nf.Generator(0).normal((4, 6), dtype=np.float64)
    a, b = np.split(x, 2, axis)
    np.testing.assert_allclose(nf.glu(x, axis), a / (1 + np.exp(-b)), rtol=1e-14)
    np.testing.assert_array_equal(nf.compile(functools.partial(nf.glu, axis=axis))(x), nf.glu(x, axis))


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (1,)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp_against_numpy(axis, keepdims):
    x = 5 * nf.Generator(2).normal((3, 4, 5), dtype=np.float64)
    right = np.log(np.exp(x).sum(axis, keepdims=keepdims))
    y = nf.logsumexp(x, axis, keepdims)
    np.testing.assert_allclose(y, right, rtol=1e-13)
    assert np.shape(y) == right.shape
    share = nf.gradient(total(functools.partial(nf.logsumexp, axis=axis)), x)
    np.testing.assert_allclose(share, np.exp(x) / np.exp(x).sum(axis, keepdims=True), rtol=1e-12)


def test_logsumexp_does_not_overflow():
    x = np.array(
        [[1000, 1000], [-1000, -1000], [3e38, 3e38], [-np.inf, 0], [-np.inf, -np.inf], [np.inf, 1]], np.float32
    )
    right = [1000 + np.log(2), -1000 + np.log(2), 3e38, 0, -np.inf, np.inf]
    np.testing.assert_allclose(nf.logsumexp(x, axis=1), right, rtol=1e-6)
    assert nf.logsumexp([0.0, 0.0]) == np.float32(np.log(2))


# ---------------------------------------------------------------------------------------------------------------- rrelu


def test_rrelu_draws_slopes_at_each_call():
    x = np.full(20_000, -1.0)
    nf.seed(1)
    first, second = -nf.rrelu(x), -nf.rrelu(x)
    assert first.min() >= 1 / 8 and first.max() < 1 / 3 and (first != second).mean() > 0.99
    np.testing.assert_allclose([first.mean(), first.std()], [11 / 48, 5 / 24 / np.sqrt(12)], rtol=0.01)
    nf.seed(1)
    np.testing.assert_array_equal(-nf.rrelu(x), first)
    np.testing.assert_allclose(-nf.rrelu(x.astype(np.float32), rng=5), -nf.rrelu(x, rng=5), rtol=1e-6)
    np.testing.assert_array_equal(nf.rrelu(-x, l=0.1, u=0.2), -x)
    assert (nf.rrelu(x, l=0.5, u=0.5) == -0.5).all()


def test_rrelu_in_compiled_functions_draws_as_an_eager_one():
    x = X.astype(np.float32)
    for f in (nf.rrelu, functools.partial(nf.rrelu, l=0.5, u=0.75)):
        nf.seed(3)
        eager = [f(x) for _ in range(3)]
        nf.seed(3)
        compiled = nf.compile(f)
        np.testing.assert_array_equal([compiled(x) for _ in range(3)], eager)


def test_rrelu_in_training():
    x, model = X.astype(np.float32), nf.Dense(12, 8, nf.rrelu, rng=0)
    step = nf.compile(lambda m, x: F.mean(F.square(m(x))), model, nf.setup(nf.Descent(0.0), model))
    nf.seed(7)
    eager = [nf.withgradient(lambda m: F.mean(F.square(m(x))), model) for _ in range(2)]
    nf.seed(7)
    for loss, grads in eager:
        assert step(x) == loss
        np.testing.assert_array_equal(step.gradients()["weight"], grads.weight)
    assert eager[0][0] != eager[1][0]
    nf.check_gradients(lambda x: F.sum(F.square(nf.rrelu(x, rng=4))), X + 0.1 * np.sign(X))


def test_rrelu_in_files_and_what_it_refuses(tmp_path):
    nf.save(tmp_path / "m.h5", nf.Chain(nf.rrelu, functools.partial(nf.rrelu, l=0.2)))
    again = nf.load(tmp_path / "m.h5")
    assert again[0] is nf.rrelu and again[1].keywords == {"l": 0.2}
    with pytest.raises(nf.RangeError, match=r"^rrelu: u must be at least l = 0.5, got 0.25$"):
        nf.rrelu(X, 0.5, 0.25)


# ------------------------------------------------------------------------------------------------------ what is refused


@names
def test_integers_are_refused(name):
    with pytest.raises(nf.DTypeError, match="float32"):
        getattr(nf, name)(np.ones((2, 4), np.int64))


@pytest.mark.parametrize(("call", "kind", "text"), [
    (lambda: nf.glu(X[:, :5]), nf.ShapeError,
     "glu: x must be of an even number of elements along the axis, got shape (7, 5)"),
    (lambda: nf.glu(X, 2), nf.ShapeError, "glu: axis must be in -2..1, got 2"),
    (lambda: nf.logsumexp(X, 2), nf.ShapeError, "max: axis must be in -2..1, got 2"),
    (lambda: nf.mish(X > 0), nf.DTypeError, "mish: x must be an array of float32 or float64, got bool; "),
    (lambda: nf.leakyrelu(X, a=np.nan), nf.RangeError, "leakyrelu: a must be a number in (-inf, inf), got nan"),
    (lambda: nf.celu(X, alpha=0), nf.RangeError, "celu: alpha must be a number in (0, inf), got 0"),
    (lambda: nf.softshrink(X, lambd=-1), nf.RangeError, "softshrink: lambd must be a number in [0, inf), got -1"),
    (lambda: nf.trelu(X, theta="1"), nf.DTypeError, "trelu: theta must be a number in (-inf, inf), got '1'"),
])  # fmt: skip
def test_wrong_arguments_are_named(call, kind, text):
    with pytest.raises(kind, match="^" + re.escape(text)):
        call()


# ------------------------------------------------------------------------------ with another parameter than the default


def model():
    return nf.Chain(
        nf.Dense(12, 8, functools.partial(nf.leakyrelu, a=0.2), rng=0), nf.Dense(8, 4, nf.mish, rng=1),
        functools.partial(nf.softmax, axis=0), functools.partial(nf.elu, alpha=2),
    )  # fmt: skip


def test_a_partial_is_shown_with_its_numbers():
    shown = repr(model())
    assert "Dense(12, 8, leakyrelu(a=0.2))" in shown and "softmax(axis=0)" in shown and "elu(alpha=2)" in shown

    @nf.layer
    class Gate:
        by: object

        def __call__(self, x):
            return self.by(x)

    assert (
        repr(nf.Chain(Gate(functools.partial(nf.celu, alpha=0.5)))).splitlines()[1] == "  0: Gate(by=celu(alpha=0.5)),"
    )


def test_a_partial_is_saved_by_name_and_numbers(tmp_path):
    one = model()
    nf.save(tmp_path / "m.h5", one)
    again = nf.load(tmp_path / "m.h5")
    partial = again[0].activation
    assert partial.func is nf.leakyrelu and partial.keywords == {"a": 0.2} and type(again[3].keywords["alpha"]) is int
    np.testing.assert_array_equal(again(X.astype(np.float32)), one(X.astype(np.float32)))
    assert repr(again) == repr(one) and "leakyrelu(a=0.2)" in nf.inspect(tmp_path / "m.h5").layers
    nf.save(tmp_path / "again.h5", again)
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "m.h5").read_bytes()


def slope(x, by=1.0):
    return x * by


def test_a_partial_of_a_users_function_is_given_again(tmp_path):
    nf.save(tmp_path / "m.h5", nf.Chain(functools.partial(slope, by=np.inf)))
    again = nf.load(tmp_path / "m.h5", functions=[slope])
    assert again[0].func is slope and again[0].keywords == {"by": np.inf}
    assert "slope(by=inf)" in nf.inspect(tmp_path / "m.h5").layers
    with pytest.raises(nf.FileFormatError, match=r"the function layers.0 must be numbaflux's own or one of functions="):
        nf.load(tmp_path / "m.h5")


PARTIAL = "a function with numbers fixed by name"
CURE = "functools.partial(nf.leakyrelu, a=0.2)"


@pytest.mark.parametrize(("partial", "text"), [
    (functools.partial(nf.leakyrelu, 0.2), f"save: 0 must be {PARTIAL}, got leakyrelu(0.2); {CURE}"),
    (functools.partial(nf.leakyrelu, a="x"), f"save: 0 must be {PARTIAL}, got leakyrelu(a='x'); {CURE}"),
    (functools.partial(nf.leakyrelu, b=1.0), f"save: 0 must be {PARTIAL}, got leakyrelu(b=1.0); {CURE}"),
    (functools.partial(nf.relu), f"save: 0 must be {PARTIAL}, got relu(); {CURE}"),
    (functools.partial(lambda x, a: x, a=1), "save: 0 must be a function that its module has under its name, "
     "got '<lambda>'; define it with class or def at the top of a module"),
])  # fmt: skip
def test_partials_that_no_file_can_hold(tmp_path, partial, text):
    with pytest.raises(nf.DTypeError, match="^" + re.escape(text) + "$"):
        nf.save(tmp_path / "m.h5", nf.Chain(partial))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keywords", [
    {}, [], 1, None, {"b": 1}, {"x y": 1}, {"a": "1"}, {"a": None}, {"a": [1]}, {"a": {"tuple": []}},
    {"a": {"dict": {}}}, {"a": {"function": "relu"}}, {"function": 1}, {"self": 1}, {"a": 1, "b": 2},
])  # fmt: skip
def test_a_file_cannot_fix_anything_else(keywords):
    """Whatever stands there, nothing is called and nothing but a FileFormatError comes out."""
    builder = nf.checkpoint.Builder({}, nf.checkpoint.OWN)
    with pytest.raises(nf.FileFormatError, match="one that takes the numbers it is given by name"):
        builder.build({"function": "leakyrelu", "keywords": keywords}, "")
