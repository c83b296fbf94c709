"""Losses of three arrays, quantiles and logarithms: formulas, PyTorch, scikit-learn; equal vectors, zeros, errors."""

import functools

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from tests.test_losses import raises


def drawn(*shape, seed=0):
    return nf.Generator(seed).normal(shape, dtype=np.float64)


def signs(*shape):
    return np.where(drawn(*shape, seed=9) > 0, 1.0, -1.0)


def gaussian(p, y, var, full=False, eps=1e-6):
    var = np.maximum(var, eps)
    return (np.log(var) + (p - y) ** 2 / var + full * np.log(2 * np.pi)) / 2


def ranking(a, b, y, margin=0.0):
    return np.maximum(0, margin - y * (a - b))


def cosine(a, b, y, margin=0.0):
    cos = (a * b).sum(-1) / np.sqrt(((a * a).sum(-1) + 1e-12) * ((b * b).sum(-1) + 1e-12))
    return np.where(y == 1, 1 - cos, np.maximum(0, cos - margin))


def triplet(a, near, far, margin=1.0, p=2.0, eps=1e-6, swap=False):
    def distance(x, y):
        return (abs(x - y + eps) ** p).sum(-1) ** (1 / p)

    away = np.minimum(distance(a, far), distance(near, far)) if swap else distance(a, far)
    return np.maximum(0, distance(a, near) - away + margin)


# name -> (its arrays in a shape, losses of elements or samples, PyTorch's name, keywords in turn)
SEVERAL = {
    "gaussian_nll_loss": (
        lambda *s: (drawn(*s), drawn(*s, seed=1), np.exp(drawn(*s, seed=2))), gaussian, "gaussian_nll_loss",
        [{}, {"full": True}, {"eps": 0.7, "full": True}]),
    "margin_ranking_loss": (
        lambda *s: (drawn(*s), drawn(*s, seed=1), signs(*s)), ranking, "margin_ranking_loss",
        [{}, {"margin": 0.6}, {"margin": -0.2}]),
    "cosine_embedding_loss": (
        lambda *s: (drawn(*s), drawn(*s, seed=1), signs(*s[:-1])), cosine, "cosine_embedding_loss",
        [{}, {"margin": 0.3}, {"margin": -0.5}]),
    "triplet_margin_loss": (
        lambda *s: (drawn(*s), drawn(*s, seed=1), drawn(*s, seed=2)), triplet, "triplet_margin_loss",
        [{}, {"margin": 0.3, "swap": True}, {"p": 1.0}, {"p": 3.0, "eps": 0.01}, {"p": 1.5, "margin": 2.0}]),
}  # fmt: skip
CASES = [(name, i) for name, row in SEVERAL.items() for i in range(len(row[3]))]


def loss_of(name, keywords=None):
    return functools.partial(getattr(nf.losses, name), **(keywords or {}))


@pytest.mark.parametrize(("name", "case"), CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 2), (7, 5), (2, 3, 4)])
def test_values_against_formulas(name, case, shape, dtype):
    make, each, _, keywords = SEVERAL[name]
    given, f = [x.astype(dtype) for x in make(*shape)], loss_of(name, keywords[case])
    right = each(*(x.astype(float) for x in given), **keywords[case])
    got, eps = f(*given), np.finfo(dtype).eps
    assert got.dtype == dtype and np.shape(got) == ()
    np.testing.assert_allclose(got, right.mean(), rtol=40 * eps, atol=10 * eps)
    np.testing.assert_allclose(f(*given, agg=F.identity), right, rtol=60 * eps, atol=20 * eps)
    np.testing.assert_allclose(f(*given, agg=F.sum), right.sum(), rtol=40 * eps, atol=40 * eps)
    assert nf.compile(f)(*given) == got


@pytest.mark.parametrize(("name", "case"), CASES)
def test_values_and_gradients_are_pytorchs(name, case):
    torch = pytest.importorskip("torch")
    make, _, peer, keywords = SEVERAL[name]
    given = make(33, 5)
    floats = 2 if given[2].ndim == 1 or set(np.unique(given[2])) == {-1, 1} else 3
    theirs = [torch.tensor(x, requires_grad=i < floats) for i, x in enumerate(given)]
    right = getattr(torch.nn.functional, peer)(*theirs, **keywords[case])
    right.backward()
    f = loss_of(name, keywords[case])
    got, grads = nf.withgradient(lambda *some: f(*some, *given[floats:]), *given[:floats])
    np.testing.assert_allclose(got, right.item(), rtol=1e-11)
    for grad, t in zip(grads, theirs, strict=False):
        np.testing.assert_allclose(grad, t.grad.numpy(), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", SEVERAL)
def test_gradients_against_differences(name):
    """Of all but signs, and gradients of gradients."""
    *given, last = SEVERAL[name][0](3, 4)
    f = loss_of(name)
    nf.check_gradients(lambda *some: f(*some, last), *given)
    nf.check_gradients(lambda a: F.sum(F.mul(nf.gradient(lambda a: f(a, given[1], last), a), a)), given[0])
    if name in ("gaussian_nll_loss", "triplet_margin_loss"):
        nf.check_gradients(lambda last: f(*given, last), last)


@pytest.mark.parametrize("name", SEVERAL)
def test_a_compiled_step_has_the_gradients_of_an_eager_one(name):
    given = [x.astype(np.float32) for x in SEVERAL[name][0](9, 4)[1:]]
    model, x = nf.Dense(6, 4, rng=0), nf.Generator(0).normal((9, 6))
    loss, grads = nf.withgradient(lambda m: loss_of(name)(m(x), *given), model)
    step = nf.compile(lambda m, x, a, b: loss_of(name)(m(x), a, b), model, nf.setup(nf.Descent(0.0), model))
    assert step(x, *given) == loss
    np.testing.assert_array_equal(step.gradients()["weight"], grads.weight)


def test_losses_are_saved_by_name(tmp_path):
    held = {name: loss_of(name, SEVERAL[name][3][1]) for name in SEVERAL} | {"nll": nf.losses.nll_loss}
    nf.save(tmp_path / "losses.h5", held | {"w": np.ones(1)})
    again = nf.load(tmp_path / "losses.h5")
    for name in SEVERAL:
        assert again[name].func is held[name].func and again[name].keywords == held[name].keywords
    assert again["nll"] is nf.losses.nll_loss


# ------------------------------------------------------------------------------------------- equal vectors, zeros, -inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "keywords", [{}, {"eps": 0}, {"eps": 0, "p": 1}, {"eps": 0, "p": 1.5}, {"eps": 0, "swap": True}]
)
def test_equal_vectors_have_finite_gradients(dtype, keywords):
    x = drawn(4, 3).astype(dtype)
    f = loss_of("triplet_margin_loss", keywords)
    for run in (lambda g: g, nf.compile):
        value, grads = run(lambda a, b, c: nf.withgradient(f, a, b, c))(x, x.copy(), x.copy())
        np.testing.assert_allclose(value, 1)
        assert all(np.isfinite(g).all() for g in grads)
    if keywords.get("eps") == 0:
        assert not any(g.any() for g in grads)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_of_zeros_have_an_angle(dtype):
    torch = pytest.importorskip("torch")
    a, b, y = np.zeros((3, 4), dtype), drawn(3, 4).astype(dtype), np.array([1, -1, 1])
    b[2] = 0
    value, (da, db) = nf.withgradient(lambda a, b: nf.losses.cosine_embedding_loss(a, b, y), a, b)
    ta, tb = (torch.tensor(x, requires_grad=True) for x in (a, b))
    right = torch.nn.functional.cosine_embedding_loss(ta, tb, torch.tensor(y))
    right.backward()
    np.testing.assert_allclose(value, right.item(), rtol=1e-6)
    np.testing.assert_allclose(da[[0, 2]], ta.grad.numpy()[[0, 2]], rtol=1e-4)  # at cos = margin either is right
    np.testing.assert_allclose(db[[0, 2]], tb.grad.numpy()[[0, 2]], rtol=1e-4)
    assert np.isfinite(da).all() and np.isfinite(db).all()


def test_variances_below_eps_count_as_eps_and_may_grow():
    torch = pytest.importorskip("torch")
    p, y, var = drawn(5, 2), drawn(5, 2, seed=1), np.full((5, 1), 1e-9)
    var[0] = 0.5
    value, slope = nf.withgradient(lambda var: nf.losses.gaussian_nll_loss(p, y, var), var)
    t = torch.tensor(var, requires_grad=True)
    right = torch.nn.functional.gaussian_nll_loss(torch.tensor(p), torch.tensor(y), t)
    right.backward()
    np.testing.assert_allclose(value, right.item(), rtol=1e-12)
    np.testing.assert_allclose(slope, t.grad.numpy(), rtol=1e-12)
    assert (slope[1:] < 0).all()


@pytest.mark.parametrize("hot", [False, True])
def test_logarithms_of_zero_count_where_the_target_is(hot):
    logs, labels = np.array([[-0.5, -np.inf], [-np.inf, 0.0]]), np.array([0, 1])
    target = np.eye(2)[labels] if hot else labels
    value, slope = nf.withgradient(lambda p: nf.losses.nll_loss(p, target), logs)
    assert value == 0.25
    np.testing.assert_array_equal(slope, -np.eye(2) / 2)
    assert nf.losses.nll_loss(logs, np.array([1, 1])) == np.inf


# ------------------------------------------------------------------------------------------------- quantiles, arguments


@pytest.mark.parametrize("q", [0, 0.1, 0.5, 0.9, 1])
def test_quantiles_are_those_of_scikit_learn(q):
    metrics = pytest.importorskip("sklearn.metrics")
    p, y = drawn(50), drawn(50, seed=1)
    right = metrics.mean_pinball_loss(y, p, alpha=q)
    np.testing.assert_allclose(nf.losses.quantile_loss(p, y, q=q), right, rtol=1e-12)
    nf.check_gradients(lambda p: nf.losses.quantile_loss(p, y, q=q), p)


def test_the_least_loss_is_at_the_quantile():
    y = drawn(101)
    losses = [nf.losses.quantile_loss(np.full(101, c), y, q=0.3) for c in np.sort(y)]
    assert np.argmin(losses) == 30 and np.sort(y)[30] == np.quantile(y, 0.3)


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.float64])
def test_targets_may_be_integers(kind):
    a, b, y = drawn(6, 3), drawn(6, 3, seed=1), signs(6)
    for name, given in {"cosine_embedding_loss": (a, b), "margin_ranking_loss": (a[:, 0], b[:, 0])}.items():
        f = loss_of(name)
        assert f(*given, y.astype(kind)) == nf.compile(f)(*given, y.astype(kind)) == f(*given, y)


X = np.ones((3, 2), np.float32)
ERRORS = [
    ("gaussian_nll_loss", (X, X[:2], X), "target must be of shape (3, 2) as the prediction, got (2, 2)"),
    ("gaussian_nll_loss", (X, X, X[:, 0]), "var must be of shape (3, 2) or (3, 1), got (3,)"),
    ("margin_ranking_loss", (X, X[:2], X), "other must be of shape (3, 2) as the prediction, got (2, 2)"),
    ("margin_ranking_loss", (X, X, X[0]), "target must be of shape (3, 2), got (2,)"),
    ("cosine_embedding_loss", (X, X[:2], X), "other must be of shape (3, 2) as the prediction, got (2, 2)"),
    ("cosine_embedding_loss", (X, X, X[:, :1]), "target must be of shape (3,), got (3, 1); target.reshape(3,)"),
    ("triplet_margin_loss", (X, X[:2], X), "positive must be of shape (3, 2) as the prediction, got (2, 2)"),
    ("triplet_margin_loss", (X, X, X.T), "negative must be of shape (3, 2) as the prediction, got (2, 3); "
                                         "negative.reshape(3, 2)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "text"), ERRORS)
def test_shapes_are_not_broadcast(name, given, text):
    with raises(nf.ShapeError, f"{name}: {text}"):
        loss_of(name)(*given)


def test_numbers_out_of_range():
    for name, keywords, text in (
        ("triplet_margin_loss", {"p": 0.5}, "p must be a number in [1, inf), got 0.5"),
        ("cosine_embedding_loss", {"margin": 2}, "margin must be a number in [-1, 1], got 2"),
        ("gaussian_nll_loss", {"eps": 0}, "eps must be a number in (0, inf), got 0"),
    ):
        with raises(nf.RangeError, f"{name}: {text}"):
            loss_of(name, keywords)(X, X, X)
