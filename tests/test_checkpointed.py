"""checkpointed: the bits of a call without it, eager and compiled, of second order; and less memory."""

import gc
import re
import tracemalloc

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import native
from numbaflux.rng import default
from tests.steps import bits, everything

G = nf.Generator(0)
X, Y = G.normal((64, 3)), G.normal((64, 2))
IMAGES, CLASSES = G.normal((40, 8, 8, 3)), G.integers((40,), 0, 5)
SERIES = G.normal((20, 7, 3))
WORDS = G.integers((64, 3), 0, 7)


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def plain(f, *args):
    return f(*args)


WAYS = (nf.checkpointed, plain)


def perceptron():
    return nf.Chain(nf.Dense(3, 33, nf.tanh, rng=0), nf.Dense(33, 17, nf.gelu, rng=1), nf.Dense(17, 2, rng=2))


def pictures():
    body = nf.Chain(nf.Conv((3, 3), 3, 6, nf.relu, rng=0), nf.MaxPool((2, 2)), nf.Conv((2, 2), 6, 20, nf.tanh, rng=1))
    return nf.Chain(body, nf.flatten, nf.Dense(80, 5, rng=2))


def noisy():
    return nf.Chain(
        nf.Dense(3, 20, rng=0), nf.Chain(nf.BatchNorm(20, nf.tanh), nf.Dropout(0.5)), nf.Dense(20, 2, rng=1)
    )


# ---------------------------------------------------------------- losses: way is how a part of them is called


def whole(way):
    return lambda m, x, y: nf.losses.mse(way(m, x), y)


def parts(way):
    """Two parts, of which one is called as a function that captures the model."""

    def loss(m, x, y):
        h = way(lambda x: m[1](m[0](x)), x)
        return nf.losses.mse(way(m[2], h), y)

    return loss


def nested(way):
    def inside(m, x):
        return m[2](way(lambda h: m[1](way(m[0], h)), x))

    return lambda m, x, y: nf.losses.mse(way(inside, m, x), y)


def several(way):
    """A tree of results, one of them not of the gradient; and what f does not change."""

    def loss(m, x, y):
        def f(x):
            h = m[0](x)
            return {"out": m[2](m[1](h)), "sizes": (nf.stop_gradient(h).mean(axis=0), x.shape, "h"), "x": x}

        found = way(f, x)
        assert found["sizes"][1:] == ((64, 3), "h")
        return nf.losses.mse(found["out"], y) + (found["x"] ** 2).sum(), (found["sizes"][0], found["out"])

    return loss


def whole_loss(way):
    return lambda m, x, y: way(lambda m, x, y: nf.losses.mse(m(x), y), m, x, y)


def stopped(way):
    """Hooks, constants and a gradient inside."""

    def f(m, x):
        slope = nf.gradient(lambda x: (nf.tanh(x) ** 2).sum(), nf.stop_gradient(m[0](x)))
        return m[2](nf.gradient_hook(lambda g: 2 * g, m[1](m[0](x) * slope)))

    return lambda m, x, y: nf.losses.mse(way(f, m, x), y)


def slopes(way):
    """Inside of a gradient that a gradient is taken of."""

    def loss(m, x, y):
        dx = nf.gradient(lambda x: (way(m, x) ** 2).sum(), x)
        return (dx**2).mean() + nf.losses.mse(m(x), y)

    return loss


LOSSES = [whole, parts, nested, several, whole_loss, stopped]


def eager(loss, model, *batch):
    value, grads = nf.withgradient(lambda m: loss(m, *batch), model)
    value, aux = value if isinstance(value, tuple) else (value, ())
    return value.tobytes(), [a.tobytes() for a in aux], bits(grads), bits(model)


def trained(loss, model, *batch, steps=3):
    """Losses, parameters and the rest after some compiled steps, and the bytes that these take."""
    nf.seed(5)
    state = nf.setup(nf.Adam(0.01), model)
    step = nf.compile(loss, model, state)
    results = [step(*batch) for _ in range(steps)]
    values = [np.asarray(v).tobytes() for r in results for v in ([r[0], *r[1]] if isinstance(r, tuple) else [r])]
    return (values, everything(model, state), default().words.tolist()), step.memory


@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("double", [False, True])
def test_eager_bits(loss, double):
    made = [nf.f64(perceptron()) if double else perceptron() for _ in WAYS]
    batch = [a.astype(np.float64) if double else a for a in (X, Y)]
    one, two = (eager(loss(way), m, *batch) for way, m in zip(WAYS, made, strict=True))
    assert one == two


@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
def test_compiled_bits(loss):
    one, two = (trained(loss(way), perceptron(), X, Y)[0] for way in WAYS)
    assert one == two


# ---------------------------------------------------------------- what a layer does beside its result


def classes(way):
    return lambda m, x, y: nf.losses.logitcrossentropy(m[1:](way(m[0], x)), y)


def series():
    return nf.Chain(nf.Dense(3, 5, rng=0), nf.GRU(5, 6, rng=1), nf.LSTM(6, 4, rng=2), nf.Dense(4, 2, rng=3))


def words():
    return nf.Chain(nf.Embedding(7, 4, rng=0), nf.flatten, nf.Dense(12, 2, rng=1))


@pytest.mark.parametrize(
    ("loss", "make", "batch"),
    [
        (whole, noisy, (X, Y)),
        (nested, noisy, (X, Y)),
        (classes, pictures, (IMAGES, CLASSES)),
        (whole, words, (WORDS, Y)),
        (whole, series, (SERIES, SERIES[..., :2])),
    ],
    ids=["draws and statistics", "nested", "images", "words", "series"],
)
def test_layers_with_more_than_a_result(loss, make, batch):
    found = []
    for way in WAYS:
        nf.seed(3)
        model = make()
        one = eager(loss(way), model, *batch)
        found.append((one, default().words.tolist(), trained(loss(way), make(), *batch)[0]))
    assert found[0] == found[1]


def test_statistics_change_once_and_inside_they_are_seen():
    model, momentum = nf.BatchNorm(3), 0.1
    nf.gradient(lambda m: (nf.checkpointed(m, X) ** 3).mean(), model)
    np.testing.assert_allclose(model.mean, momentum * X.mean(0), rtol=1e-4, atol=1e-7)

    def twice(way):
        model = nf.BatchNorm(3)
        nf.gradient(lambda m: (way(lambda x: m(m(x) + 1), way(m, X)) ** 3).mean(), model)
        return bits(model)

    assert twice(nf.checkpointed) == twice(plain)


def test_it_runs_once():
    seen = []

    def f(x):
        seen.append(x)
        return nf.tanh(x) * x

    nf.gradient(lambda x: nf.checkpointed(f, x).sum(), X)
    assert len(seen) == 1


def test_outside_of_a_gradient_it_is_the_function():
    assert nf.checkpointed(lambda x: x, X) is X
    assert nf.checkpointed(lambda: 3) == 3
    model = perceptron()
    np.testing.assert_array_equal(nf.checkpointed(model, X), model(X))
    predict = nf.compile(lambda x: nf.checkpointed(model, x))
    np.testing.assert_array_equal(predict(X), model(X))
    right = nf.compile(model)
    right(X)
    assert predict.memory == right.memory


def test_of_an_array_used_outside_too_sums_may_round_in_another_order():
    def loss(way):
        return lambda x: (way(lambda x: nf.tanh(x) * x * np.exp(x), x) * x).sum() + (x**3).sum()

    one, two = (nf.gradient(loss(way), X) for way in WAYS)
    np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)


def test_what_is_frozen_stays_and_the_rest_is_trained():
    found = []
    for way in WAYS:
        model = perceptron()
        state = nf.setup(nf.Adam(0.01), model)
        nf.freeze(state, "1")
        step = nf.compile(parts(way), model, state)
        found.append((step(X, Y).tobytes(), bits(model)))
    assert found[0] == found[1] and bits(model)["1.weight"] == bits(perceptron())["1.weight"]


# ---------------------------------------------------------------- other gradients


def test_pullback():
    model = perceptron()
    (y, back), (right, other) = (nf.pullback(lambda m, way=way: way(m, X), model) for way in WAYS)
    assert y.tobytes() == right.tobytes()
    for dy in (Y, -Y):
        assert bits(back(dy)) == bits(other(dy))


def test_gradients_against_differences():
    model = nf.f64(perceptron())
    nf.check_gradients(lambda m, x: nested(nf.checkpointed)(m, x, Y[:4].astype(float)), model, X[:4].astype(float))


def test_second_order():
    v = np.linspace(-1, 1, 4)
    f = {way: lambda x, way=way: way(lambda x: (np.exp(x) * x[::-1] * way(nf.tanh, x * x)).sum(), x) for way in WAYS}
    one, two = (nf.hessian(f[way], v) for way in WAYS)
    np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-14)
    one, two = (nf.compile(lambda x, way=way: nf.hvp(f[way], x, x + 1))(v) for way in WAYS)
    np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(one, nf.hessian(f[plain], v) @ (v + 1), rtol=1e-12)
    np.testing.assert_allclose(nf.jacobian(lambda x: nf.checkpointed(nf.tanh, x), v), np.diag(1 - np.tanh(v) ** 2))


def test_a_gradient_inside_of_the_loss():
    found = []
    for way in WAYS:
        value, grads = nf.withgradient(lambda m, way=way: slopes(way)(m, X, Y), perceptron())
        planned = perceptron()
        state = nf.setup(nf.Descent(0.1), planned)
        step = nf.compile(slopes(way), planned, state)
        assert step(X, Y) == value
        found.append([value, *nf.trainables(grads), *nf.trainables(planned)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- memory

DEEP = G.normal((1024, 64))


def deep(n=32, width=64):
    return nf.Chain(*[nf.Dense(width, width, nf.tanh, rng=i) for i in range(n)])


def grouped(way, size=6):
    def loss(m, x, y):
        for i in range(0, len(m), size):
            x = way(m[i : i + size], x)
        return nf.losses.mse(x, y)

    return loss


def test_memory_of_a_step():
    (one, less), (two, more) = (trained(grouped(way), deep(), DEEP, -DEEP) for way in WAYS)
    assert one == two
    assert less < more / 2 and more > 32 * DEEP.nbytes
    assert less < 2.2 * 12 * DEEP.nbytes  # about: what 6 groups begin with; results and gradients of 6 layers


def test_what_is_computed_again_waits_for_all_before_it():
    model = deep(8)
    step = nf.compile(grouped(nf.checkpointed, 2), model, nf.setup(nf.Descent(0.1), model))
    step(DEEP, DEEP)
    [program] = step.programs.values()
    waves = {e.number: g.wave for g in program.plan.groups for e in g.entries}
    late = [e for e in program.plan.entries if e.after]
    assert len({e.after for e in late}) == 4 and len(late) >= 2 * 7  # the last layer's result is not needed again
    for e in late:
        assert max(wave for number, wave in waves.items() if number < e.after) < waves[e.number]


def test_memory_of_groups_in_groups():
    def loss(m, x, y):
        def group(x, first, size):
            for i in range(first, first + size, 4):
                x = nf.checkpointed(m[i : i + 4], x)
            return x

        for i in range(0, 64, 16):
            x = nf.checkpointed(group, x, i, 16)
        return nf.losses.mse(x, y)

    (one, less), (two, more) = (trained(f, deep(64), DEEP, -DEEP, steps=1) for f in (loss, grouped(plain)))
    assert one == two
    assert less < more / 5


def test_memory_of_parts_side_by_side():
    """Their gradients come at once, but one is done before the next begins."""

    def loss(way):
        return lambda m, x, y: nf.losses.mse(nf.add(*[way(part, x) for part in m]), y)

    def make():
        return [deep(8) for _ in range(4)]

    (one, less), (two, more) = (trained(loss(way), make(), DEEP, -DEEP, steps=1) for way in WAYS)
    assert one == two
    assert less < more / 2.5


def test_memory_of_images():
    x = G.normal((16, 16, 16, 24))

    def make():
        return nf.Chain(*[nf.Conv((3, 3), 24, 24, nf.tanh, pad=1, rng=i) for i in range(9)])

    (one, less), (two, more) = (trained(grouped(way, 3), make(), x, x, steps=1) for way in WAYS)
    assert one == two
    assert less < more / 1.7


def test_memory_of_a_gradient():
    def peak(way):
        model, loss = deep(), grouped(way)
        nf.gradient(lambda m: loss(m, DEEP, DEEP), model)  # makes the plans of single operations
        gc.collect()
        tracemalloc.start()
        nf.gradient(lambda m: loss(m, DEEP, DEEP), model)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    less, more = map(peak, WAYS)
    assert less < more / 2


@pytest.mark.skipif(native.pool().limit < 2, reason="machine: one CPU")
def test_number_of_threads_changes_no_bit():
    found = []
    for n in (1, 2):
        with nf.threads(n):
            found.append(trained(grouped(nf.checkpointed), deep(8), DEEP, -DEEP)[0])
    assert found[0] == found[1]


# ---------------------------------------------------------------- messages


def test_a_value_that_leaves_by_another_way():
    def loss(x):
        seen = []
        y = nf.checkpointed(lambda x: seen.append(nf.tanh(x)) or seen[0] * x, x)
        return (y * seen[0]).sum()

    text = "checkpointed: f must be a function whose values go out by its result alone, got one of tanh"
    with raises(nf.PlanError, text):
        nf.gradient(loss, X)
    x = np.ones(3, np.float32)
    found = nf.compile(lambda x: nf.gradient(loss, x))(x)  # a plan knows all values
    np.testing.assert_allclose(found, np.tanh(x) ** 2 + 2 * x * np.tanh(x) * (1 - np.tanh(x) ** 2), rtol=1e-6)


def test_messages():
    with raises(nf.DTypeError, "checkpointed: f must be a layer or function, got int"):
        nf.checkpointed(3, X)
