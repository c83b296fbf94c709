"""What users do with GPUs, on GPUs that are not there: arrays, eager calls, compiled functions, files."""

import gc
import threading

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import managed
from tests.cuda.nets import MODELS, batch, close, loss, net, rows

# ---------------------------------------------------------------- where arrays are


def test_what_is_moved(gpus):
    w = rows(2, 3)
    tree = {"tied": [w, w], "labels": nf.OneHot([0, 1], 3), "text": "a", "none": None, "half": w.astype(np.float16)}
    there = nf.gpu(tree)
    assert isinstance(there["tied"][0], np.ndarray) and there["tied"][0] is there["tied"][1] is not w
    assert repr(nf.get_device(there)) == "gpu:0" == repr(nf.gpu_device())
    assert managed.gpu_of(there["labels"].indices) is gpus[0] and (there["text"], there["none"]) == ("a", None)
    np.testing.assert_array_equal(there["tied"][0], w)
    assert nf.gpu(there["half"]) is there["half"]
    assert all(nf.get_device(v) == nf.gpu_device() for v in (there["tied"][0][1:], there["tied"][0].T))
    assert nf.get_device(there["tied"][0] + 1) == nf.get_device(nf.cpu(there)) == nf.cpu_device()
    assert repr(nf.get_device(nf.gpu(there["half"], 1))) == "gpu:1" and nf.get_device("text") == nf.cpu_device()
    empty = nf.gpu((np.zeros((0, 3)), np.array(2.0)))
    assert [a.shape for a in empty] == [(0, 3), ()] and repr(nf.get_device(empty)) == "gpu:0"
    with pytest.raises(nf.DeviceError, match=r"^get_device: x must be on one device, got 0 on gpu:0 and 1 on cpu; nf"):
        nf.get_device([there["half"], w])
    with pytest.raises(nf.DTypeError, match=r"^gpu: 1 must be of numbers, got object; x.astype"):
        nf.gpu([w, np.array(["a", None])])
    with pytest.raises(nf.DTypeError, match=r"^gpu: x must be a model or arrays, got an optimiser state; nf.setup"):
        nf.gpu(nf.setup(nf.Adam(), nf.Dense(2, 1)))
    with pytest.raises(nf.DTypeError, match=r"^gpu: number must be an integer, got '1'"):
        nf.gpu(w, "1")


def test_a_model_that_is_moved_shares_nothing_but_generators(gpus):
    m = net()
    there = nf.gpu(m)
    assert isinstance(m[1].rng, nf.Generator) and there[1].rng is m[1].rng and there[0].weight is not m[0].weight
    there[0].weight[...] = 1
    assert not (m[0].weight == 1).any()
    assert repr(there) == repr(nf.cpu(there)) and "parameters" in repr(there)


def test_memory_is_taken_again_and_given_back(gpus, monkeypatch):
    pool = gpus[0].pool
    one = nf.gpu(np.ones(1000))
    address, part = one.ctypes.data, one[10:].reshape(-1, 10)
    del one
    assert not pool.spare  # a view of it lives
    del part
    gc.collect()
    assert pool.free[8192] == [address]
    assert nf.gpu(np.ones(1001)).ctypes.data == address  # multiples of 512 bytes are asked for
    monkeypatch.setattr(managed, "KEEP", 4096)

    big = [nf.gpu(np.ones(1000)), nf.gpu(np.ones(200))]
    del big
    nf.gpu(np.ones(1))
    assert pool.spare <= 4096 + 512
    gpus[1].room = 20000
    held = nf.gpu(np.ones(1000), 1)
    nf.gpu(np.ones(1200), 1)
    more = nf.gpu(np.ones(1300), 1)  # only when what is free is given back
    with pytest.raises(nf.DeviceError, match="OUT_OF_MEMORY"):
        nf.gpu(np.ones(1300), 1)
    assert nf.get_device([held, more]) == nf.gpu_device(1)


# ---------------------------------------------------------------- eager


@pytest.mark.parametrize("make", MODELS)
def test_eager_calls_and_gradients(gpus, make):
    m, (x, y) = make(), batch(make)
    there, gx = nf.gpu((m, x))
    out = there(gx)
    assert nf.get_device(out) == nf.gpu_device()
    np.testing.assert_allclose(out, m(x), rtol=1e-5, atol=1e-6)
    value, grads = nf.withgradient(lambda m: loss(m, gx, y), there)
    m = make()
    right, wanted = nf.withgradient(lambda m: loss(m, x, y), m)
    np.testing.assert_allclose(value, right, rtol=1e-5)
    assert nf.get_device(nf.trainables(grads)) == nf.gpu_device()
    close(wanted, grads)
    close(m, there)  # running statistics


def test_an_update_runs_there(gpus):
    m, there = nf.Dense(3, 2, rng=0), nf.gpu(nf.Dense(3, 2, rng=0))
    x = rows(4, 3)
    for model, given in ((m, x), (there, nf.gpu(x))):
        state = nf.setup(nf.Momentum(0.1), model)
        for _ in range(2):
            nf.update(state, model, nf.gradient(lambda m, given=given: (m(given) ** 2).sum(), model))
        found = [a for v in state.vectors.values() for a in (v.params, v.grads, *v.states.values())]
        assert nf.get_device(found) == nf.get_device(model) == nf.get_device(given)
    close(m, there)
    assert state.step == 2


def test_numbers_indices_and_masks_are_taken_along(gpus):
    x = rows(3, 4)
    gx = nf.gpu(x)
    mask, above = x > 0, nf.functions.greater
    for f in (
        lambda x: nf.functions.maximum(x, 0.25), lambda x: nf.where(mask, x, 0.0),
        lambda x: nf.where(above(x, 0.0), 1.0, 0.0),
        lambda x: nf.functions.take(x, np.array([2, 0])), lambda x: nf.mul(x, nf.Scalar(3.0)),
        lambda x: nf.dropout(x, 0.5, dims=1, rng=3), lambda x: nf.scatter("mean", x, np.array([0, 1, 0])),
        lambda x: nf.jacobian(lambda v: v * v, x[0]), lambda x: nf.losses.mse(x, nf.OneHot([0, 1, 1], 4)),
        lambda x: nf.upsample_bilinear(x.reshape(1, 2, 3, 2), 2), lambda x: nf.add(x.T, 1.0),
    ):  # fmt: skip
        out = f(gx)
        np.testing.assert_allclose(out, f(x), rtol=1e-5, atol=1e-6)
        assert out.ndim == 0 or nf.get_device(out) == nf.gpu_device()


def test_arrays_of_different_devices(gpus):
    x, there, m = rows(2, 3), nf.gpu(rows(2, 3)), nf.gpu(nf.Dense(3, 2))
    second = nf.gpu(x, 1)
    w, labels = rows(2, 2), nf.gpu(np.array([0, 1]))
    step = nf.compile(loss, m, nf.setup(nf.Descent(), m))
    here = nf.Dense(3, 2)
    cases = (
        (lambda: nf.add(there, x), "^add: argument 1 must be on gpu:0, as argument 0 is, got one on cpu; nf.gpu"),
        (lambda: nf.add(x, second), "^add: argument 0 must be on gpu:1, as argument 1 is, got .*; nf.gpu.x, 1.,"),
        (lambda: nf.add(there, second), "^add: argument 1 must be on gpu:0, .* got one on gpu:1"),
        (lambda: m(x), "^dense: argument 0 must be on gpu:0, as argument 1 is, got one on cpu"),
        (lambda: here(there), "^dense: argument 1 must be on gpu:0"),
        (lambda: nf.compile(here)(there), "^compile: weight must be on gpu:0, as argument 0 is, got one on cpu"),
        (lambda: nf.compile(lambda a, b: a + b)(x, there), "^compile: argument 0 must be on gpu:0"),
        (lambda: nf.compile(lambda a: m(a) * w)(x), r"^compile: an array of shape \(2, 2\) that the function"),
        (lambda: nf.setup(nf.Adam(), [m, here]), "^setup: 1.weight must be on gpu:0, as 0.weight is, got one on cpu"),
        (lambda: nf.destructure([m, here]), "^destructure: 1.weight must be on gpu:0"),
        (lambda: step(second, labels), "^compile: argument 0 must be on gpu:0, as weight is, got one on gpu:1"),
    )  # fmt: skip
    for call, words in cases:
        with pytest.raises(nf.DeviceError, match=words):
            call()


# ---------------------------------------------------------------- compiled


@pytest.mark.parametrize("make", MODELS)
def test_training_steps(gpus, make):
    pairs = []
    for put in (nf.cpu, nf.gpu):
        m, data = put(make()), batch(make)
        state = nf.setup(nf.Adam(0.05), m)
        step = nf.compile(lambda m, x, y: (loss(m, x, y), m(x)), m, state)
        found = [step(*data) for _ in range(2)]
        assert nf.get_device(m) == nf.get_device(found[0][1]) == nf.get_device(list(step.gradients().values()))
        pairs.append((m, state, found))
    (m, state, right), (there, other, found) = pairs
    for (value, out), (wanted, expected) in zip(found, right, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-5)
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    close(m, there, 1e-4)
    np.testing.assert_array_equal(other.hyper, state.hyper)
    assert nf.get_device(there) == nf.gpu_device()


def test_what_a_step_asks_of_the_gpu(gpus):
    m = nf.gpu(net())
    step, data = nf.compile(loss, m, nf.setup(nf.Adam(), m)), batch(net)
    step(*data)
    gpus[0].calls.clear()
    step(*data)
    # The batch; counts of draws and numbers of the rule, there and back; status and loss.
    asked = "upload record after upload replay download download download wait"
    assert gpus[0].calls == asked.split()
    assert nf.setup(nf.Adam(), m).step == 0 and step.memory > 0


def test_a_step_that_fails_changes_nothing(gpus):
    m = nf.gpu(net())
    state = nf.setup(nf.Adam(), m)
    step, (x, y) = nf.compile(loss, m, state), batch(net)
    before, draws = nf.state(m), m[1].rng.state
    with pytest.raises(nf.RangeError, match="position 1"):
        step(x, np.array([0, 7, 0, 0, 0]))
    with pytest.raises(nf.NonFiniteError, match="loss must be finite"):
        step(x * np.nan, y)
    assert state.step == 0 and m[1].rng.state == draws
    for a, b in zip(before.values(), nf.state(m).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    step(x, y)
    assert state.step == 1 and not np.array_equal(before["0.weight"], m[0].weight)


def test_predictions(gpus):
    m, (x, _) = net(), batch(net)
    there, wanted = nf.gpu(m), m(x)
    for predict in (nf.compile(there), nf.compile(there, fixed=True)):
        for given in (x, nf.gpu(x), x.T.copy().T):
            out = predict(given)
            np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=1e-6)
            assert nf.get_device(out) == nf.gpu_device()
    here = nf.compile(lambda a: a * 2.0)
    assert [repr(nf.get_device(here(a))) for a in (x, nf.gpu(x), x, nf.gpu(x, 1))] == ["cpu", "gpu:0", "cpu", "gpu:1"]
    found = {}

    def call(i):
        found[i] = predict(x[: i + 1])

    workers = [threading.Thread(target=call, args=(i % 2,)) for i in range(4)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    for i, out in found.items():
        np.testing.assert_allclose(out, wanted[: i + 1], rtol=1e-5, atol=1e-6)


def test_copies_stay_where_the_model_is(gpus, tmp_path):
    m = nf.gpu(nf.Dense(3, 2, rng=0))
    flat, rebuild = nf.destructure(m)
    state = nf.setup(nf.EMA(nf.Descent(0.1)), m)
    step = nf.compile(lambda m, x: (m(x) ** 2).mean(), m, state)
    step(rows(4, 3))
    copies = (rebuild(flat), nf.f64(m), nf.f32(m), nf.ema(state, m), nf.testmode(m))
    assert all(nf.get_device(c) == nf.gpu_device() for c in copies)
    assert all(nf.get_device(a) == nf.cpu_device() for a in nf.state(m).values())
    nf.save(tmp_path / "m.h5", m)
    again = nf.load(tmp_path / "m.h5")
    assert nf.get_device(again) == nf.cpu_device()
    close(again, m, 0, 0)
    nf.load_into(m, tmp_path / "m.h5")
    nf.load_state(m, nf.state(again))
    assert nf.get_device(m) == nf.gpu_device()
