"""What a run leaves behind: buffers and counters change once, after the whole call went well, eager or planned."""

import copy
import threading

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.session import Session, assign, current, draw, training

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(12, 2)).astype(np.float32)


@nf.layer
class Counter:
    """Counts the samples that it is trained on, and lets x pass."""

    seen: np.ndarray = nf.buffer()

    def __init__(self):
        self.seen = np.zeros(1, np.float32)

    def __call__(self, x):
        if training():
            assign(self.seen, current(self.seen) + float(x.shape[0]))
        return x


def model(seed=0):
    return nf.Chain(
        nf.Dense(3, 4, rng=seed), nf.BatchNorm(4, nf.tanh), Counter(), nf.Dropout(0.3, rng=5), nf.Dense(4, 2, rng=1)
    )


def mse(m, x, y):
    return nf.losses.mse(m(x), y)


def state(m):
    """Buffers, and the count of draws."""
    return [m[1].mean.copy(), m[1].var.copy(), m[2].seen.copy(), m[3].rng.state]


def same(one, two):
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


# ---------------------------------------------------------------- mode


def test_mode_follows_the_call():
    seen = []

    def f(x):
        seen.append(training())
        return (x * x).sum()

    f(X)
    nf.gradient(f, X)
    nf.pullback(f, X)
    nf.jacobian(lambda x: f(x) * x[:1], X[0])
    nf.compile(f)(X)
    assert seen == [False, True, True, True, False, False]  # a plan looks twice
    assert not training() and training(True)
    nf.gradient(lambda x: x.sum() if not training(False) else None, X)


def test_a_plain_call_changes_and_draws_nothing():
    m = model()
    before = state(m)
    np.testing.assert_array_equal(m(X), m(X))
    np.testing.assert_array_equal(nf.compile(m)(X), m(X))
    nf.summary(m, (12, 3))
    assert same(state(m), before)


def test_outside_of_a_run_changes_are_at_once():
    buffer, g = np.zeros(2, np.float32), nf.Generator(3)
    assign(buffer, np.ones(2, np.float32))
    assert buffer.tolist() == [1, 1] and current(buffer) is buffer
    words, offset = draw(g)
    assert words.tolist() == [3, 0] and offset == 0 and g.state == (3, 1)


@pytest.mark.parametrize("value", [np.ones(3, np.float32), np.ones(2), 1.0])
def test_a_buffer_keeps_its_shape_and_type(value):
    buffer = np.zeros(2, np.float32)
    with pytest.raises(nf.ShapeError, match=r"^assign: value must be float32 of shape \(2,\), got float"):
        nf.gradient(lambda x: assign(buffer, value), X)
    assert not buffer.any()


# ---------------------------------------------------------------- what a run changes


def test_a_layer_used_twice_goes_on_from_its_first_use():
    counter, norm = Counter(), nf.BatchNorm(3)

    def twice(m, x):
        return m[1](m[0](m[0](m[1](x)) * 3.0)).sum()

    nf.gradient(lambda m: twice(m, X), nf.Chain(counter, norm, nf.Dense(3, 1)))
    assert counter.seen.tolist() == [24]
    first, second = X.mean(0), (norm_of(X) * 3).mean(0)
    np.testing.assert_allclose(norm.mean, 0.9 * (0.1 * first) + 0.1 * second, atol=1e-6)


def norm_of(x):
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)


def test_draws_of_one_run_differ_and_are_counted():
    drop = nf.Dropout(0.5, rng=7)
    masks = []

    def f(x):
        masks.extend(np.asarray(drop(x).array) for _ in range(3))
        return x.sum()

    ones = np.ones((5, 7), np.float32)
    nf.gradient(f, ones)
    assert drop.rng.state == (7, 3)
    assert all((one != two).any() for i, one in enumerate(masks) for two in masks[:i])
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(mask, nf.dropout(ones, 0.5, rng=nf.Generator(7, i)))


def test_a_gradient_inside_another_is_part_of_its_run():
    counter, drop, states = Counter(), nf.Dropout(0.5, rng=1), []

    def outer(x):
        y = counter(drop(x))
        g = nf.gradient(lambda x: (counter(drop(x)) ** 2).sum(), x)
        states.append((counter.seen.copy(), drop.rng.state))
        return (y * g).sum()

    nf.gradient(outer, X)
    assert states == [(np.zeros(1), (1, 0))]  # not yet
    assert counter.seen.tolist() == [24] and drop.rng.state == (1, 2)


@pytest.mark.parametrize("call", [nf.withgradient, nf.pullback])
def test_after_an_exception_all_is_as_before(call):
    m = model()
    before = state(m)

    def f(m):
        m(X)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        call(f, m)
    assert same(state(m), before) and not training()
    assert current(m[1].mean) is m[1].mean


def test_an_exception_that_is_caught_takes_its_part_along():
    counter = Counter()

    def bad(x):
        counter(x)
        raise ValueError

    def f(x):
        counter(x)
        with pytest.raises(ValueError):
            nf.gradient(bad, x)
        return counter(x).sum()

    nf.gradient(f, X)
    assert counter.seen.tolist() == [24]


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_after_a_loss_that_is_not_finite_all_is_as_before(compile, bad):
    m = model()
    opt_state = nf.setup(nf.Adam(), m)

    def loss(m, x, y):
        value = mse(m, x, y)
        return value / y.sum() if bad == "loss" else value + (m[4].bias * 0.0).sum() ** 0.5

    before = [*state(m), *nf.state(m).values()]
    y = Y * 0 if bad == "loss" else Y
    with pytest.raises(nf.NonFiniteError, match=bad):
        nf.train(loss, m, [(X, y)], opt_state, epochs=1, compile=compile, progress=False)
    assert same([*state(m), *nf.state(m).values()], before) and opt_state.step == 0


# ---------------------------------------------------------------- plans


def test_compiled_training_is_eager_training():
    results = []
    for compile in (True, False):
        m = model()
        opt_state = nf.setup(nf.Adam(0.01), m)
        data = [(X, Y), (X[:7], Y[:7])]
        history = nf.train(mse, m, data, opt_state, epochs=3, compile=compile, progress=False)
        results.append([history.column("loss"), *state(m), *nf.state(m).values()])
    assert same(*results)
    assert results[0][3].tolist() == [3 * 19] and results[0][4] == (5, 6)


def test_a_step_sees_buffers_that_changed_between_calls():
    m = model()
    step = nf.compile(mse, m, nf.setup(nf.Descent(0.0), m))
    step(X, Y)
    m[1].mean[...] = 1
    m[3].rng.state = (5, 0)
    step(X, Y)
    assert m[3].rng.state == (5, 1)
    np.testing.assert_allclose(m[1].mean, 0.9 + 0.1 * m[0](X).mean(0), rtol=1e-5)


def test_a_compiled_model_in_trainmode_draws_anew_at_each_call():
    m = model()
    predict = nf.compile(nf.trainmode(m))
    masks = [predict(X) for _ in range(3)]
    assert (masks[0] != masks[1]).any() and (masks[1] != masks[2]).any()
    assert m[3].rng.state == (5, 3)
    other = model()
    for mask in masks:
        np.testing.assert_array_equal(nf.trainmode(other)(X), mask)
    assert same(state(m)[:2], state(other)[:2]) and not same(state(m)[:2], state(model())[:2])


def test_a_planned_gradient_changes_buffers_too():
    m, other = model(), model()
    grad = nf.compile(lambda x, y: nf.gradient(lambda m: mse(m, x, y), m)[0].weight)
    for _ in range(2):
        np.testing.assert_array_equal(grad(X, Y), nf.gradient(lambda o: mse(o, X, Y), other)[0].weight)
    assert same(state(m), state(other))


def test_a_model_as_an_argument():
    """Its settings are what the plan depends on; its buffers cannot be changed."""
    predict = nf.compile(lambda m, x: m(x))
    np.testing.assert_array_equal(predict(model(), X), model()(X))
    scale = nf.Chain(nf.AlphaDropout(0.25, active=True, rng=1))
    np.testing.assert_array_equal(predict(scale, X), nf.Chain(nf.AlphaDropout(0.25, active=True, rng=1))(X))
    text = "assign: buffer must be of a model that the compiled function holds, got one of its arguments"
    with pytest.raises(nf.PlanError, match=text):
        predict(nf.trainmode(model()), X)


def test_a_session_inside_a_planned_one_is_planned():
    with Session(training=False, planned=True), Session(training=True) as inner:
        words, offset = draw(nf.Generator(1))
        assert inner.planned and words.abstract and offset == 0


# ---------------------------------------------------------------- threads


def test_each_thread_has_its_own_run():
    inside, outside = threading.Event(), threading.Event()
    seen = []

    def f(x):
        inside.set()
        assert outside.wait(10)
        return x.sum()

    thread = threading.Thread(target=lambda: nf.gradient(f, X))
    thread.start()
    assert inside.wait(10)
    seen.append(training())
    outside.set()
    thread.join()
    assert seen == [False]


def test_threads_share_a_compiled_model_in_trainmode():
    """Each call takes a draw of its own, and none is lost."""
    drop = nf.Dropout(0.5, rng=3)
    predict, ones, found = nf.compile(nf.trainmode(drop)), np.ones(200, np.float32), []
    predict(ones)
    threads = [threading.Thread(target=lambda: found.extend(predict(ones) for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drop.rng.state == (3, 81)
    assert len({mask.tobytes() for mask in found}) == 80


def test_copies_have_runs_of_their_own():
    m = model()
    other = copy.deepcopy(m)
    nf.gradient(lambda m: mse(m, X, Y), m)
    assert other[2].seen.tolist() == [0] and other[3].rng.state == (5, 0) and m[3].rng.state == (5, 1)
