"""Compiled functions: the bits of eager calls, one native call, nothing allocated, callers at once, Ctrl-C."""

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import compiled, native
from numbaflux.warm import warm
from tests.child import child, start
from tests.nets import batch, held, mlp, mse, plan_of, seconds


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """All that are missing, compiled at once."""
    for _ in warm():
        pass


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    "rule", [nf.Descent(0.1), nf.Momentum(0.1), nf.Adam(0.01), nf.AdamW(0.01, decay=0.1)], ids=repr
)
def test_step_has_the_bits_of_an_eager_update_with_a_ragged_last_batch(rule, dtype):
    one, two = (mlp(7, 33, 17, 3, dtype=dtype) for _ in range(2))
    state, eager = nf.setup(rule, one), nf.setup(rule, two)
    step = nf.compile(mse, one, state)
    for i, n in enumerate([256, 256, 77, 1, 256, 77]):
        x, y = batch(n, dtype=dtype, seed=i)
        loss = step(x, y)
        value, grads = nf.withgradient(lambda m, x=x, y=y: mse(m, x, y), two)
        nf.update(eager, two, grads)
        assert loss.dtype == dtype and loss.tobytes() == value.tobytes()
        assert held(state) == held(eager)
    assert len(step.programs) == 3 and state.step == 6


@pytest.mark.skipif(native.pool().limit < 2, reason="machine: one CPU")
def test_number_of_threads_changes_no_bit():
    found = []
    for n in (1, 2):
        with nf.threads(n):
            model = mlp(7, 300, 300, 3)
            state = nf.setup(nf.Adam(), model)
            step = nf.compile(mse, model, state)
            losses = [step(*batch(1000, seed=i)).tobytes() for i in range(4)]
            assert plan_of(step).workers() == n
            found.append((losses, held(state), nf.compile(model)(batch(1000)[0]).tobytes()))
    assert found[0] == found[1]


def test_fences_change_no_bit(monkeypatch):
    found = []
    for fence in ("0", "1"):
        monkeypatch.setenv("NUMBAFLUX_FENCE", fence)
        model = mlp(7, 33, 3)
        state = nf.setup(nf.Adam(), model)
        step = nf.compile(lambda m, x, y: (mse(m, x, y), m(x)), model, state)
        found.append([(step(*batch(n))[1].tobytes(), held(state)) for n in (40, 40, 9)])
    assert found[0] == found[1]


# ---------------------------------------------------------------- one call, nothing allocated


def bytecodes(f, *args):
    """How many instructions the interpreter runs for a call."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        f(*args)
    finally:
        sys.settrace(before)
    return count


def warmed(layers, n=6000):
    model = mlp(7, *[9] * layers, 3)
    step = nf.compile(mse, model, nf.setup(nf.Adam(), model))
    x, y = batch(n)
    for _ in range(3):
        step(x, y)
    return step, x, y


def test_step_is_one_native_call_however_deep_the_model():
    """Python runs the same instructions for 2 layers and for 20."""
    counts = {layers: bytecodes(*warmed(layers)) for layers in (2, 20)}  # both long enough for threads
    assert counts[2] == counts[20] and 0 < counts[2] < 1000
    step, x, y = warmed(20)
    one = step.last.instance
    [whole] = one.calls
    ran = []
    one.calls = [lambda: (ran.append(1), whole())]
    step(x, y)
    assert ran == [1] and one.cuts == [(0, one.plan.waves)]


STEPS = """
    import ctypes, sys, tracemalloc
    import numpy as np, numbaflux as nf
    from numbaflux import native
    from numba import njit
    from numba.core.runtime import rtsys

    class Mallinfo(ctypes.Structure):
        names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
        _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo

    def in_use():
        info = mallinfo2()
        return info.uordblks + info.hblkhd

    def steps(n):
        for _ in range(n):
            loss[0] = step(x, y)

    m = nf.Chain(nf.Dense(7, 9, nf.tanh), nf.Dense(9, 3))
    step = nf.compile(lambda m, x, y: nf.losses.mse(m(x), y), m, nf.setup(nf.Adam(), m))
    x, y, loss = np.ones((6000, 7), np.float32), np.ones((6000, 3), np.float32), np.zeros(1, np.float32)
    steps(50)
    workers = next(iter(step.programs.values())).plan.workers()
    allocates = njit(lambda: np.zeros(3))
    one, before, two = allocates(), rtsys.get_allocation_stats(), allocates()
    assert rtsys.get_allocation_stats().alloc == before.alloc + 1, "deaf"
    before, stats = in_use(), rtsys.get_allocation_stats()
    steps(1000)
    print(workers, in_use() - before, rtsys.get_allocation_stats() == stats, end=" ")
    tracemalloc.start()
    steps(50)
    first = tracemalloc.get_traced_memory()[0]
    steps(1000)
    last, peak = tracemalloc.get_traced_memory()
    print(last - first, peak - first)
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_thousand_steps_allocate_nothing(threads):
    """Neither with malloc nor by Numba; Python's own objects, a few at a time, go as they come."""
    if threads > native.pool().limit:
        pytest.skip("machine: one CPU")
    out = child(STEPS, NUMBA_NUM_THREADS=str(threads), NUMBA_NRT_STATS="1")
    workers, grown, same, python, peak = out.split()
    assert (workers, same) == (str(threads), "True")
    assert int(grown) < 1000 and int(python) < 1000, "less than a byte a step"
    assert int(peak) < 10_000


# ---------------------------------------------------------------- callers at once


def test_step_that_is_called_while_it_runs_raises_and_goes_on_afterwards():
    step, x, y = warmed(2)
    one = step.last.instance
    inside, go, [whole] = threading.Event(), threading.Event(), one.calls

    def slow():
        inside.set()
        assert go.wait(30)
        whole()

    one.calls = [slow]
    losses = []
    other = threading.Thread(target=lambda: losses.append(step(x, y)))
    other.start()
    assert inside.wait(30)
    before = held(step.opt_state)
    with pytest.raises(nf.PlanError, match="step: a training step must not be called while it runs, got a second call"):
        step(x, y)
    assert held(step.opt_state) == before
    go.set()
    other.join()
    one.calls = [whole]
    assert len(losses) == 1 and step(x, y) < losses[0]


def test_many_threads_may_call_a_predictor_whose_plans_are_not_made_yet():
    model = mlp(7, 40, 3)
    predict = nf.compile(model)
    inputs = [batch(n)[0] for n in (3, 40, 300, 3, 40, 300, 1, 700)]
    right = [model(x).tobytes() for x in inputs]
    gate, wrong = threading.Barrier(8), []

    def call(i):
        gate.wait()
        for _ in range(20):
            if predict(inputs[i]).tobytes() != right[i]:
                wrong.append(i)

    callers = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for t in callers:
        t.start()
    for t in callers:
        t.join()
    assert not wrong and len(predict.programs) == 5


# ---------------------------------------------------------------- plans are kept


def test_sixteen_plans_are_kept_the_ones_used_last():
    f = nf.compile(nf.tanh)
    traces = []
    trace = f.trace
    f.trace = lambda args, arrays: (traces.append(arrays[0].shape[0]), trace(args, arrays))[1]
    for n in range(1, compiled.KEPT + 1):
        f(np.ones(n, np.float32))
    f(np.ones(1, np.float32))
    f(np.ones(99, np.float32))
    assert len(f.programs) == compiled.KEPT and traces == [*range(1, compiled.KEPT + 1), 99]
    f(np.ones(1, np.float32))
    assert traces[-1] == 99, "the oldest was used again, so it is kept"
    f(np.ones(2, np.float32))
    assert traces[-1] == 2, "the one not used for longest is made anew"


def test_plan_is_made_by_shape_dtype_and_place():
    f = nf.compile(lambda x, more=0.0: x + x)
    for x in (np.ones(3, np.float32), np.ones(3), np.ones((3, 1), np.float32), np.ones(3, np.float32)):
        assert f(x).dtype == x.dtype
    assert len(f.programs) == 3
    assert repr(f).startswith("Compiled(<lambda>, 3 plans")
    assert f.memory >= 0


# ---------------------------------------------------------------- Ctrl-C, speed


LONG = """
    import time
    import numpy as np, numbaflux as nf
    w = np.eye(1024, dtype=np.float32)

    def deep(x):
        for _ in range(120):
            x = x @ w
            {between}
        return x

    x = np.ones((2048, 1024), np.float32)
    f = nf.compile(deep)
    plan = f._program((x,), [x], "plan").plan
    plan.idle.append(plan.take())
    print("ready", plan.waves, flush=True)
    try:
        f.programs["plan"]([x])
        print("not seen", time.time())
    except KeyboardInterrupt:
        print("seen", time.time())
"""


@pytest.mark.parametrize("between", ["pass", "x = x - x.mean(axis=0, keepdims=True)"], ids=["one group", "many waves"])
def test_interrupt_is_seen_within_a_second_while_a_compiled_call_runs(between):
    """The call takes many seconds; a machine that does other things at once gets a second try."""
    for _ in range(3):
        process = start(LONG.format(between=between))
        ready, waves = process.stdout.readline().split()
        assert ready == "ready" and (int(waves) > 100) == (between != "pass")
        time.sleep(0.3)
        sent = time.time()
        process.send_signal(signal.SIGINT)
        what, when = process.communicate(timeout=120)[0].rsplit(maxsplit=1)
        assert what == "seen"
        if float(when) - sent < 1:
            return
    assert float(when) - sent < 1


@pytest.mark.long
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="machine: one CPU")
def test_two_threads_are_nearly_twice_as_fast_on_a_dense_layer():
    model = nf.Chain(nf.Dense(1024, 1024))
    predict, x = nf.compile(model), batch(1024, 1024)[0]
    best = 0.0
    for _ in range(10):
        times = []
        for n in (1, 2):
            with nf.threads(n):
                predict(x)
                times.append(seconds(lambda: predict(x)))
        best = max(best, times[0] / times[1])
        if best >= 1.8:
            break
    assert best >= 1.8


@pytest.mark.parametrize("products", ["tf32", "bf16", "cublas"])
def test_products_of_gpus_are_refused_on_a_cpu(products):
    m = nf.Dense(3, 3)
    step = nf.compile(lambda m, x: nf.losses.mse(m(x), x), m, nf.setup(nf.Adam(), m), products=products)
    for f in (nf.compile(m, products=products), step):
        with pytest.raises(nf.PlanError, match=f"compile: products must be 'float32' on a CPU, got '{products}'"):
            f(np.ones((2, 3), np.float32))
    with pytest.raises(nf.RangeError, match="products must be 'float32' or 'tf32' or 'bf16' or 'cublas', got 'tf16'"):
        nf.compile(m, products="tf16")
