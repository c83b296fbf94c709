"""Plans on a GPU that is not there: beside the CPU's, several batches, errors, what is freed, what waits for what."""

import gc
import threading

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.bound import Bound
from numbaflux.device import GPU, without_collection
from numbaflux.devices import moved
from numbaflux.launches import Launches
from numbaflux.lowering import GPU as TARGET
from tests.cuda import simulator
from tests.cuda.fake_driver import FakeGPU, interface

simulator.install()


def test_the_stand_in_has_the_same_functions():
    ours = interface(FakeGPU)
    assert {name: args for name, args in interface(GPU).items()} == {n: a for n, a in ours.items() if n != "part"}


def model():
    return nf.Chain(nf.Dense(5, 4, nf.tanh, rng=0), nf.Dropout(0.3, rng=7), nf.Dense(4, 3, rng=1))


def loss(m, x, y):
    return nf.losses.logitcrossentropy(m(x), y)


def batches(n=12, count=2):
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(n, 5)).astype(np.float32), rng.integers(0, 3, n)) for _ in range(count)]


def on_gpu(f, *args, gpu=None, **options):
    """A compiled function's plan for such arguments, bound; the program, and the arrays of the arguments."""
    f.target = TARGET
    program, arrays = f.program(args)
    reads = (program.loss,) if hasattr(program, "loss") else ()
    return Bound(gpu or FakeGPU(), Launches(program.keep.build), reads, **options), program, arrays


def predicted(bound, program, arrays):
    outs = [np.empty(s.shape, s.dtype) for s in program.specs]
    bound.run(*arrays, *outs)
    return outs[0]


def net():
    return nf.Chain(nf.Dense(5, 9, nf.tanh, rng=0), nf.Dense(9, 3, rng=1))


def rows(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)


@pytest.mark.parametrize("graph", [True, False])
def test_predictions_equal_the_cpus_for_each_batch(graph):
    f = net()
    bound, program, arrays = on_gpu(nf.compile(f), rows(40), graph=graph)
    for seed in range(3):
        x = rows(40, seed)
        np.testing.assert_allclose(predicted(bound, program, [x]), f(x), rtol=1e-5, atol=1e-6)
    calls = bound.gpu.calls
    assert (calls.count("graph"), calls.count("replay")) == ((1, 3) if graph else (0, 0))
    bound.close()


@pytest.mark.parametrize("order", ["forward", "backward"])
def test_training_equals_the_cpus(order):
    m, right = model(), model()
    step = nf.compile(loss, right, nf.setup(nf.Adam(0.05), right))
    losses = [step(*batch) for batch in batches()]
    step = nf.compile(loss, m, nf.setup(nf.Adam(0.05), m))
    bound, _, _ = on_gpu(step, *batches()[0], gpu=FakeGPU(order=order))
    for batch, value in zip(batches(), losses, strict=True):
        bound.run(*batch)
        np.testing.assert_allclose(bound.values[0], value, rtol=1e-5)
    assert m[1].rng.state == right[1].rng.state  # counts of draws, and here parameters too, have come back
    for p, q in zip(nf.trainables(m), nf.trainables(right), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-4, atol=1e-6)


def test_the_next_batch_is_uploaded_meanwhile_and_waited_for():
    f, gpu = net(), FakeGPU()
    bound, program, _ = on_gpu(nf.compile(moved(f, gpu)), rows(8), gpu=gpu)
    outs = [np.empty(s.shape, s.dtype) for s in program.specs]
    batch = [rows(8, seed) for seed in range(4)]
    bound.upload(batch[0], *outs)
    for i, x in enumerate(batch):
        bound.launch()
        if i + 1 < len(batch):
            following = batch[i + 1].copy()
            bound.upload(following, *outs)
            following.fill(np.nan)  # it is free once upload has returned
        bound.finish()
        np.testing.assert_allclose(outs[0], f(x), rtol=1e-5, atol=1e-6)
    done = bound.gpu.done
    first = done.index("launch")
    assert done[:first][-3:] == ["upload", "record", "after"]  # no kernel before its batch is there
    assert "download" not in done[:first]
    kernels = len(bound.launches.entries)
    assert done[first : first + kernels + 2] == ["launch"] * kernels + ["download"] * 2  # status, then results
    assert bound.gpu.calls.count("graph") == 2  # one for each place


def test_two_plans_share_parameters_on_the_gpu():
    gpu = FakeGPU()
    m = moved(model(), gpu)
    step = nf.compile(loss, m, nf.setup(nf.Descent(0.1), m))
    (x, y), *_ = batches()
    one, _, _ = on_gpu(step, x, y, gpu=gpu)
    last, _, _ = on_gpu(step, x[:7], y[:7], gpu=gpu)  # the rest of an epoch is another plan
    look, program, _ = on_gpu(nf.compile(m), x[:4], gpu=gpu)
    start = predicted(look, program, [x[:4]])
    one.run(x, y)
    last.run(x[:7], y[:7])
    seen = predicted(look, program, [x[:4]])
    assert not np.allclose(seen, start)
    np.testing.assert_allclose(seen, nf.cpu(m)(x[:4]), rtol=1e-5, atol=1e-6)
    nf.trainables(m)[0][...] = 0
    np.testing.assert_allclose(predicted(look, program, [x[:4]]), nf.cpu(m)(x[:4]), rtol=1e-5, atol=1e-6)


def test_arrays_of_the_cpu_go_with_each_run_and_come_back():
    rate, count = nf.Scalar(2.0), np.zeros(1)
    f = nf.compile(lambda x: (nf.session.assign(count, nf.session.current(count) + 1.0), x * rate)[1])
    bound, program, [x] = on_gpu(f, rows(3))
    np.testing.assert_array_equal(predicted(bound, program, [x]), 2 * x)
    rate.value = 3.0
    np.testing.assert_array_equal(predicted(bound, program, [x]), 3 * x)
    assert count[0] == 2.0
    sent = bound.gpu.calls.count("upload")
    predicted(bound, program, [x])
    assert bound.gpu.calls.count("upload") == sent + 2  # the batch, and those that may have changed


def test_arguments_and_results_on_the_gpu_stay_there():
    gpu = FakeGPU()
    bound, program, [x] = on_gpu(nf.compile(lambda a, b: a + b), rows(3), rows(3, 1), gpu=gpu)[:2] + ([rows(3)],)
    a, out = moved((x, np.empty_like(x)), gpu)
    before = list(gpu.calls)
    bound.run(a, x, out)
    np.testing.assert_array_equal(out, 2 * x)
    asked = gpu.calls[len(before) :]
    assert (asked.count("copy"), asked.count("upload"), asked.count("download")) == (2, 1, 1)  # down: the status
    bound.run(x, a.T.copy().T, out)  # not C-contiguous
    np.testing.assert_array_equal(out, 2 * x)
    with pytest.raises(nf.DeviceError, match=r"an array of the plan must be on gpu:0, got gpu:0"):
        f = nf.compile(lambda b: b * a)
        on_gpu(f, rows(3))


def test_a_wrong_label_changes_nothing_and_the_next_batch_runs():
    m = model()
    step = nf.compile(lambda m, x, y: (loss(m, x, y), m(x)), m, nf.setup(nf.Descent(0.1), m))
    x, y = batches()[0]
    bound, program, _ = on_gpu(step, x, y)
    outs = [np.full(s.shape, 7, s.dtype) for s in program.specs]
    before = [p.copy() for p in nf.trainables(m)]
    wrong = y.copy()
    wrong[3] = 9
    with pytest.raises(nf.RangeError, match="position 3"):
        bound.run(x, wrong, *outs)
    assert all((o == 7).all() for o in outs)
    for p, q in zip(nf.trainables(m), before, strict=True):
        np.testing.assert_array_equal(p, q)
    bound.run(x, y, *outs)
    assert not any((o == 7).all() for o in outs)
    assert not np.array_equal(nf.trainables(m)[0], before[0])


def test_a_loss_that_is_not_finite():
    m = model()
    step = nf.compile(loss, m, nf.setup(nf.Descent(0.1), m))
    x, y = batches()[0]
    bound, _, _ = on_gpu(step, x, y)
    with pytest.raises(nf.NonFiniteError, match="loss must be finite"):
        bound.run(np.full_like(x, np.nan), y)


def test_all_is_given_back():
    gpu = FakeGPU()
    bound, program, arrays = on_gpu(nf.compile(net()), rows(8), gpu=gpu)
    predicted(bound, program, arrays)
    assert gpu.blocks and gpu.pins and gpu.open["graph"] == 1
    bound.close()
    assert not gpu.blocks and not gpu.pins and set(gpu.open.values()) == {0}
    with pytest.raises(nf.PlanError, match="used before it is closed"):
        predicted(bound, program, arrays)
    bound, program, arrays = on_gpu(nf.compile(net()), rows(8), gpu=gpu)
    predicted(bound, program, arrays)
    del bound
    gc.collect()
    assert not gpu.blocks and not gpu.pins and set(gpu.open.values()) == {0}


@pytest.mark.parametrize("room", [0, 600, 1500])
def test_too_little_memory_gives_all_back(room):
    gpu = FakeGPU(room)
    with pytest.raises(nf.DeviceError, match="OUT_OF_MEMORY"):
        bound, program, arrays = on_gpu(nf.compile(net()), rows(8), gpu=gpu)
        try:
            predicted(bound, program, arrays)
        finally:
            assert bound.slots == 0
            bound.close()
    assert not gpu.blocks and not gpu.pins and set(gpu.open.values()) == {0}


def test_wrong_order_of_calls():
    bound, program, [x] = on_gpu(nf.compile(net()), rows(8))
    out = np.empty((8, 3), np.float32)
    with pytest.raises(nf.PlanError, match=r"launched once for each batch .* got launch\(\) without"):
        bound.launch()
    with pytest.raises(nf.PlanError, match=r"launched before finish\(\)"):
        bound.finish()
    bound.upload(x, out)
    bound.upload(x, out)
    with pytest.raises(nf.PlanError, match=r"got a third; finish\(\)"):
        bound.upload(x, out)
    bound.launch()
    with pytest.raises(nf.PlanError, match=r"got launch\(\) twice"):
        bound.launch()
    bound.finish()
    with pytest.raises(ValueError, match="broadcast"):
        bound.upload(rows(9), out)
    bound.launch()
    bound.finish()


def test_one_thread_at_a_time_switches_collection_off():
    inside = threading.Event()

    def other():
        with without_collection():
            inside.set()

    with without_collection():
        thread = threading.Thread(target=other)
        thread.start()
        assert not inside.wait(0.1) and not gc.isenabled()
    thread.join()
    assert inside.is_set() and gc.isenabled()
