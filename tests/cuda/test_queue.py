"""Steps of a training on a GPU that nobody waits for: the same bits, errors and state as if each were waited for,
beside the CPU's; and that no copy overtakes a step."""

import signal

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import bound, looks
from tests.cuda.fake_driver import FakeGPU
from tests.cuda.nets import close, loss, net, rows
from tests.cuda.test_device import batches, on_gpu
from tests.cuda.test_device import loss as device_loss
from tests.cuda.test_device import model as device_model


class Data:
    """Samples by their numbers; change(i, x, y) -> (x, y) may make them worse."""

    def __init__(self, n=8, change=lambda i, x, y: (x, y)):
        self.n, self.change = n, change

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.change(i, rows(3, seed=i), i % 2)


def loader(*args, size=3):
    made = nf.DataLoader(Data(*args), size, prefetch=1)
    made._takes_time = lambda: False  # made when asked for, so that it is known when
    return made


def trained(put, data, every=None, rule=None, f=loss, epochs=1, model=net, **options):
    """The model and the optimiser's state, and the history or what was raised."""
    m = put(model())
    state = nf.setup(rule or nf.Momentum(0.05), m)
    try:
        found = nf.train(f, m, data, state, epochs, progress=False, log_every=every, **options)
    except (nf.NonFiniteError, nf.RangeError, OSError) as error:
        found = error
    return m, state, found


def numbers(m, state):
    """All that a training changes, bit for bit."""
    vectors = [a for v in state.vectors.values() for a in (v.params, *v.states.values())]
    arrays = [*nf.state(m).values(), *vectors, state.hyper]
    return [np.array(a).tobytes() for a in arrays]


def losses(history):
    return history.column("loss")


@pytest.mark.parametrize("every", [3, None])
def test_the_same_bits_and_the_cpus_numbers(gpus, every):
    right, state, wanted = trained(nf.cpu, loader(11), epochs=2)  # a smaller batch at the end of each epoch
    one = trained(nf.gpu, loader(11), 1, epochs=2)
    many = trained(nf.gpu, loader(11), every, epochs=2)
    assert numbers(*one[:2]) == numbers(*many[:2]) and losses(one[2]) == losses(many[2])
    assert many[1].step == state.step == 8 and many[0][1].rng.state == right[1].rng.state
    close(right, many[0], 1e-4)
    np.testing.assert_allclose(losses(many[2]), losses(wanted), rtol=1e-5)


def test_what_comes_back_does_so_at_looks_alone(gpus):
    for every, looked in ((1, 4), (3, 2), (None, 1)):
        gpus[0].calls.clear()
        trained(nf.gpu, loader(12), every)
        assert gpus[0].calls.count("download") == {1: 3}.get(every, 2) * looked  # losses with status, counts of draws


def nan(i, x, y):
    return (x * np.float32("nan") if i == 7 else x), y


def label(i, x, y):
    return x, 7 if i == 7 else y


def zero(i, x, y):
    return x * np.float32(i not in (6, 7, 8)), y


def root(m, x, y):
    return nf.functions.sqrt((m(x) ** 2).sum())


def linear():
    return nf.Chain(nf.Dropout(0.3, rng=7), nf.Dense(3, 2, bias=False, rng=1))


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (nan, {}, "train: epoch 1, batch 3: step: loss must be finite"),
        (label, {}, "labels must be in 0..1, got another at position 1"),
        (zero, {"f": root, "model": linear}, "train: epoch 1, batch 3: step: gradient of 1.weight"),
    ],
)
def test_a_step_that_fails_is_named_and_neither_it_nor_those_behind_it_change_anything(gpus, change, options, said):
    right, state, wanted = trained(nf.cpu, loader(12, change), **options)
    one = trained(nf.gpu, loader(12, change), 1, **options)
    many = trained(nf.gpu, loader(12, change), **options)
    assert said in str(wanted) and str(many[2]) == str(one[2]) and type(many[2]) is type(wanted)
    assert str(many[2]).split("; ")[:2] == str(wanted).split("; ")[:2]
    assert numbers(*one[:2]) == numbers(*many[:2]) and many[1].step == state.step == 2
    close(right, many[0], 1e-4)
    for layer in (0, 1):
        if isinstance(right[layer], nf.Dropout):
            assert many[0][layer].rng.state == right[layer].rng.state


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()])
def test_what_ends_the_data_waits_for_the_queue(gpus, error):
    def change(i, x, y):
        if i == 10:
            raise error
        return x, y

    right, state, wanted = trained(nf.cpu, loader(12, change))
    many = trained(nf.gpu, loader(12, change))
    assert many[1].step == state.step == 3 and many[0][1].rng.state == right[1].rng.state
    assert str(many[2]) == "disk" if isinstance(error, OSError) else many[2].interrupted
    close(right, many[0], 1e-4)


def test_a_step_that_failed_comes_before_what_ends_the_data(gpus):
    def change(i, x, y):
        if i == 9:
            raise OSError("disk")
        return nan(i, x, y)

    assert "batch 3" in str(trained(nf.gpu, loader(12, change))[2])


def test_a_signal_saves_after_the_queue_and_training_goes_on_from_there(gpus, tmp_path):
    asked = []

    def change(i, x, y):
        if i == 7 and not asked:
            asked.append(i)
            signal.raise_signal(signal.SIGTERM)
        return x, y

    wanted = trained(nf.gpu, loader(12), epochs=2)
    options = {"epochs": 2, "callbacks": [nf.Checkpoint(tmp_path / "run.h5")], "resume": "auto"}
    with pytest.raises(SystemExit) as stopped:
        trained(nf.gpu, loader(12, change), **options)
    assert stopped.value.code == 75
    found = trained(nf.gpu, loader(12, change), **options)
    assert numbers(*found[:2]) == numbers(*wanted[:2]) and losses(found[2]) == losses(wanted[2])


def test_numbers_of_the_cpu_that_change_are_seen(gpus):
    found = []
    for put in (nf.cpu, nf.gpu):
        scale = nf.Scalar(1.0)

        def change(i, x, y, scale=scale):
            scale.value = 1.0 + i // 6  # another for every second batch
            return x, y

        found.append(losses(trained(put, loader(12, change), f=lambda m, x, y, s=scale: loss(m, x, y) * s)[2]))
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_what_is_looked_at_after_each_step(gpus, monkeypatch):
    x, y = rows(8, 3), np.arange(8) % 2
    curve = nf.Scheduler(nf.Descent(0.1), eta=lambda t: 0.1 / t)

    class Told:
        def on_batch(self, event):
            assert event.opt_state.step == event.batch

    for data, options in (
        (loader(9), {"rule": curve}),
        (loader(9), {"callbacks": [Told()]}),
        ([(x[:4], y[:4]), (x[4:], y[4:])] * 2, {}),
    ):
        right, _, wanted = trained(nf.cpu, data, **options)
        gpus[0].calls.clear()
        m, _, history = trained(nf.gpu, data, 50, **options)
        assert gpus[0].calls.count("download") >= 2 * 3
        close(right, m, 1e-4)
        np.testing.assert_allclose(losses(history), losses(wanted), rtol=1e-5)
    monkeypatch.setattr(looks, "HELD", 1)  # batches that a queue holds
    gpus[0].calls.clear()
    trained(nf.gpu, loader(9), 50)
    assert gpus[0].calls.count("download") == 2 * 3


# ---------------------------------------------------------------- streams


def queued(gpu, many):
    """Losses of so many queued steps, and the parameters afterwards; a batch is made worse when it was uploaded."""
    m = device_model()
    step = nf.compile(device_loss, m, nf.setup(nf.Descent(0.1), m))
    data = batches(count=many)
    plan, _, _ = on_gpu(step, *data[0], gpu=gpu)
    for x, y in data:
        given = x.copy(), y.copy()
        plan.upload(*given)
        given[0].fill(np.nan)
        plan.queue()
    (found,), error = plan.drain()
    assert error is None
    return found, [p.copy() for p in nf.trainables(m)]


def steps(many):
    m = device_model()
    step = nf.compile(device_loss, m, nf.setup(nf.Descent(0.1), m))
    return [step(*batch) for batch in batches(count=many)], nf.trainables(m)


@pytest.mark.parametrize("early", [False, True])
def test_no_copy_overtakes_a_step(early):
    wanted, right = steps(5)
    found, params = queued(FakeGPU(early=early), 5)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    for p, q in zip(params, right, strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("left_out", ["after", "until"])
def test_each_wait_of_a_queue_is_needed(left_out):
    """Copies that do not wait for the step before, and batches that do not wait for the copy before, are noticed."""

    class Careless(FakeGPU):
        def after(self, stream, event):
            if left_out != "after" or stream.works:
                super().after(stream, event)

        def until(self, event):
            if left_out != "until":
                super().until(event)

    wanted, _ = steps(5)
    found, _ = queued(Careless(early=left_out == "after"), 5)
    assert not np.allclose(found, wanted, rtol=1e-3)


@pytest.mark.parametrize("method", ["until", "after", "replay", "copy", "record", "wait"])
def test_ctrl_c_anywhere_leaves_whole_steps(gpus, monkeypatch, method):
    """Wherever it comes, what the CPU counts and what the GPU has changed are of as many steps, bit for bit those of
    steps that were each waited for."""
    ask, count = getattr(gpus[0], method), 0

    def interrupted(*args):
        nonlocal count
        count += counting
        result = ask(*args)
        if counting and count == 3:
            raise KeyboardInterrupt
        return result

    counting = False
    monkeypatch.setattr(gpus[0], method, interrupted)

    def change(i, x, y):
        nonlocal counting
        counting = counting or i == 2  # from the first epoch's steps on
        return x, y

    m, state, history = trained(nf.gpu, loader(15, change), 3, epochs=3)
    counting = False
    assert history.interrupted and 0 < state.step < 15
    right = nf.gpu(net())
    wanted = nf.setup(nf.Momentum(0.05), right)
    step = nf.compile(loss, right, wanted)
    for batch in ([*loader(15)] * 3)[: state.step]:
        step(*batch)
    assert numbers(m, state) == numbers(right, wanted) and m[1].rng.state == right[1].rng.state


def test_a_queue_used_wrongly(monkeypatch):
    m = device_model()
    batch = batches()[0]
    plan, _, _ = on_gpu(nf.compile(device_loss, m, nf.setup(nf.Descent(0.1), m)), *batch)
    with pytest.raises(nf.PlanError, match=r"queued before drain\(\), got drain\(\) alone"):
        plan.drain()
    monkeypatch.setattr(bound, "RECORDS", 1)
    plan.upload(*batch)
    plan.queue()
    plan.upload(*batch)
    with pytest.raises(nf.PlanError, match="a queue must be of at most 1 runs"):
        plan.queue()
    with pytest.raises(nf.PlanError, match=r"drained before launch\(\), got 1 runs in its queue"):
        plan.launch()
    assert len(plan.drain()[0][0]) == 1
    plan.launch()
    plan.finish()
    plan.close()
    assert not plan.gpu.blocks and not plan.gpu.pins and set(plan.gpu.open.values()) == {0}
