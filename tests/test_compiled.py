"""Compiled functions: the bits of eager calls, one native call, nothing allocated; what fails changes nothing."""

import itertools
import os
import signal
import sys
import threading
import time
from typing import NamedTuple

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import compiled, native
from numbaflux.warm import warm
from tests.child import child, start


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """All that are missing, compiled at once."""
    for _ in warm():
        pass


def mse(m, x, y):
    return nf.losses.mse(m(x), y)


def mlp(*widths, dtype="f4", activation=nf.tanh):
    nf.seed(0)
    pairs = list(itertools.pairwise(widths))
    model = nf.Chain(*[nf.Dense(a, b, activation if i < len(pairs) - 1 else nf.functions.identity)
                       for i, (a, b) in enumerate(pairs)])  # fmt: skip
    return nf.f64(model) if dtype == "f8" else model


def batch(n, inside=7, outside=3, dtype="f4", seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, inside)).astype(dtype), rng.normal(size=(n, outside)).astype(dtype)


def held(state):
    """Every byte that a step may change."""
    vectors = [(v.params.tobytes(), *(s.tobytes() for s in v.states.values())) for v in state.vectors.values()]
    return vectors, state.hyper.tobytes()


def plan_of(one):
    return list(one.programs.values())[-1].plan


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


@pytest.mark.skipif(native.threads().limit < 2, reason="machine: one CPU")
def test_number_of_threads_changes_no_bit():
    found = []
    try:
        for n in (1, 2):
            nf.set_num_threads(n)
            model = mlp(7, 300, 300, 3)
            state = nf.setup(nf.Adam(), model)
            step = nf.compile(mse, model, state)
            losses = [step(*batch(1000, seed=i)).tobytes() for i in range(4)]
            assert plan_of(step).workers() == n
            found.append((losses, held(state), nf.compile(model)(batch(1000)[0]).tobytes()))
    finally:
        nf.set_num_threads(native.threads().limit)
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


def warmed(layers, n=600):
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
    calls, whole = [], one.call
    one.call = lambda *args: (calls.append(args), whole(*args))
    step(x, y)
    assert calls == [(one.where, 0, one.plan.waves)]


STEPS = """
    import ctypes, sys, tracemalloc
    import numpy as np, numbaflux as nf
    from numbaflux import native
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
    x, y, loss = np.ones((600, 7), np.float32), np.ones((600, 3), np.float32), np.zeros(1, np.float32)
    steps(50)
    workers = next(iter(step.programs.values())).plan.workers()
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
    if threads > native.threads().limit:
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
    inside, go, whole = threading.Event(), threading.Event(), one.call

    def slow(*args):
        inside.set()
        assert go.wait(30)
        whole(*args)

    one.call = slow
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
    one.call = whole
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


# ---------------------------------------------------------------- arrays that a function uses


def test_changes_in_place_are_seen():
    w, index = np.ones((3, 4), np.float32), np.array([1, 0])
    rate = nf.Scalar(2.0)
    f = nf.compile(lambda x: nf.functions.dense(x, w)[index] * rate)
    x = batch(5, 3)[0]
    np.testing.assert_array_equal(f(x), (x @ w)[index] * 2)
    w[...] = 3
    index[:] = 2, 2
    rate.value = 0.5
    np.testing.assert_allclose(f(x), (x @ w)[[2, 2]] * 0.5, rtol=1e-6)


def test_model_is_read_where_it_is_also_what_is_computed_from_it():
    @nf.layer
    class Tied:
        weight: np.ndarray = nf.param()
        scale: np.ndarray = nf.buffer()

        def __call__(self, x):
            return x @ nf.tanh(self.weight).T * (self.scale * 2.0)

    model = Tied(batch(3, 4)[0], np.ones(3, np.float32))
    predict, x = nf.compile(model), batch(5, 4)[0]
    predict(x)
    model.weight[...] *= -3
    model.scale[...] = 7
    np.testing.assert_array_equal(predict(x), model(x))


def test_plans_follow_a_model_whose_arrays_move():
    model = mlp(7, 9, 3)
    x, y = batch(8)
    predict = nf.compile(model)
    closed = nf.compile(lambda x: model(x) * 2.0)
    first = predict(x), closed(x)
    step = nf.compile(mse, model, nf.setup(nf.Descent(0.5), model))  # moves them into its vector
    step(x, y)
    np.testing.assert_array_equal(predict(x), model(x))
    np.testing.assert_array_equal(closed(x), model(x) * 2)
    assert not np.array_equal(predict(x), first[0])
    other = nf.Chain(nf.Dense(7, 3))
    predict = nf.compile(other)
    predict(x)
    other.layers[0].weight = np.zeros((7, 3), np.float32)  # another array
    np.testing.assert_array_equal(predict(x), np.zeros((8, 3)))


@pytest.mark.parametrize("turn", [lambda w: w.T, lambda w: w[:, ::2], np.asfortranarray], ids=["T", "steps", "Fortran"])
def test_array_that_could_only_be_copied_is_refused(turn):
    w = turn(np.ones((4, 4), np.float32))
    x = np.ones((4, 4), np.float32)
    for f in (lambda x: x @ w, lambda x: x[:, : w.shape[1]] * w):
        with pytest.raises(nf.PlanError, match="C-contiguous, got strides"):
            nf.compile(f)(x)


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


# ---------------------------------------------------------------- arguments and results


def layouts(x):
    readonly = x.copy()
    readonly.flags.writeable = False
    wide = np.zeros((x.shape[0] * 2, x.shape[1] * 3), x.dtype)
    wide[::2, ::3] = x
    backwards = x[::-1, ::-1].copy()[::-1, ::-1]
    odd = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    odd[...] = x
    return {"plain": x, "Fortran": np.asfortranarray(x), "read-only": readonly, "strided": wide[::2, ::3],
            "backwards": backwards, "unaligned": odd, "subclass": x.view(Subclass)}  # fmt: skip


class Subclass(np.ndarray):
    pass


@pytest.mark.parametrize("rows", [5, 5000])
def test_arguments_may_lie_as_they_like_and_stay_as_they_are(rows):
    x = batch(rows)[0]
    model = mlp(7, 9, 3)
    predict, right = nf.compile(model), model(x)
    for name, one in layouts(x).items():
        before = one.tobytes()
        y = predict(one)
        np.testing.assert_array_equal(y, right, err_msg=name)
        assert type(y) is np.ndarray and y.flags.c_contiguous and y.flags.writeable
        assert one.tobytes() == before, name
        np.testing.assert_array_equal(predict(x), right, err_msg=f"after {name}")


def test_results_are_new_arrays_each_time():
    f = nf.compile(lambda x: (x, x * 2.0, nf.functions.reshape(x, -1)))
    x = batch(4)[0]
    one, two = f(x), f(x)
    arrays = [x, *one, *two]
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(arrays, 2))
    one[0][...] = 0
    np.testing.assert_array_equal(two[0], x)
    np.testing.assert_array_equal(f(x)[2], x.reshape(-1))


class Pair(NamedTuple):
    first: object
    second: object


def test_results_have_the_functions_own_form():
    f = nf.compile(lambda x: {"a": [x + 1.0, (x * 2.0, "text")], "p": Pair(x.sum(), 3), "none": None})
    x = batch(4)[0]
    found = f(x)
    assert list(found) == ["a", "p", "none"] and found["none"] is None
    assert type(found["a"]) is list and type(found["a"][1]) is tuple and found["a"][1][1] == "text"
    assert type(found["p"]) is Pair and found["p"].second == 3
    assert found["p"].first.shape == () and found["p"].first.dtype == np.float32
    np.testing.assert_array_equal(found["a"][0], x + 1)
    np.testing.assert_array_equal(found["a"][1][0], x * 2)


def test_arguments_may_be_nested_numbers_and_keywords_of_a_plan():
    f = nf.compile(lambda p, scale, flag: p["w"] * p["more"][0] * scale + (1.0 if flag else 2.0))
    w = np.ones((2, 3), np.float32)
    for scale, flag in ((0.5, True), (0.25, True), (0.25, False)):
        right = np.full((2, 3), 3 * scale + (1 if flag else 2), np.float32)
        np.testing.assert_array_equal(f({"w": w, "more": (w * 3,)}, scale, flag), right)
    assert len(f.programs) == 2, "a float is an argument, a bool a part of the plan"


@pytest.mark.parametrize("form", ["array", "tuple", "dict", "nothing"])
def test_step_gives_what_the_loss_gives_beside_its_value(form):
    model = mlp(7, 9, 3)
    step = nf.compile(
        lambda m, x, y: (mse(m, x, y), {"array": p, "tuple": (p, p.sum()), "dict": {"p": p, "n": 1}, "nothing": None}[form])
        if (p := m(x)) is not None else None,
        model, nf.setup(nf.Descent(0.1), model),
    )  # fmt: skip
    x, y = batch(40)
    right = model(x)
    found = step(x, y)
    if form == "nothing":
        assert found.ndim == 0
        return
    loss, aux = found
    assert loss.ndim == 0
    got = {"array": lambda: aux, "tuple": lambda: aux[0], "dict": lambda: aux["p"]}[form]()
    np.testing.assert_array_equal(got, right, "predictions from before the update")
    if form == "tuple":
        assert abs(aux[1] - right.sum(dtype=np.float64)) < 1e-4
    kept = got.copy()
    step(x, y)
    np.testing.assert_array_equal(got, kept)


def test_gradients_of_the_last_step_can_be_looked_at():
    model = mlp(7, 9, 3)
    x, y = batch(40)
    grads = nf.gradient(lambda m: mse(m, x, y), model)
    step = nf.compile(mse, model, nf.setup(nf.Descent(0.1), model))
    step(x, y)
    found = step.gradients()
    assert list(found) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    np.testing.assert_array_equal(found["1.weight"], grads[1].weight)


# ---------------------------------------------------------------- what cannot be compiled

COUNT = itertools.count()
CHANGES = {
    "number": (lambda x: x * float(next(COUNT)), "affine: the number scale, "),
    "array": (lambda x: x + np.full(3, next(COUNT), np.float32), r"add: an array of shape \(3,\)|broadcast: an array"),
    "random": (
        lambda x: x * np.random.default_rng().random(3).astype(np.float32),
        r"broadcast: an array of shape \(3,\)",
    ),
    "operation": (lambda x: nf.tanh(x) if next(COUNT) % 2 else nf.relu(x), "the operations"),
    "order": (lambda x: x - x[0] if next(COUNT) % 2 else x[0] - x, "sub: an array of shape"),
    "shape": (
        lambda x: nf.functions.reshape(x * 2.0, (1, -1) if next(COUNT) % 2 else (-1, 1)),
        "reshape: the number shape",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_function_that_is_another_at_each_call_is_refused_and_what_changed_is_named(name):
    f, said = CHANGES[name]
    with pytest.raises(
        nf.PlanError, match=f"compile: f must be the same at each call, got a change in ({said}).*nf.Scalar"
    ):
        nf.compile(f)(np.ones((2, 3), np.float32))
    model = {"w": np.ones((2, 3), np.float32)}
    step = nf.compile(lambda m, x: f(m["w"]).sum() + x.sum(), model, nf.setup(nf.Descent(), model))
    with pytest.raises(nf.PlanError, match=f"compile: loss must be the same at each call, got a change in ({said})"):
        step(np.ones(3, np.float32))


def trains(loss, *args):
    model = {"w": np.ones((2, 3), np.float32)}
    return lambda: nf.compile(loss, model, nf.setup(nf.Descent(), model))(*args)


X = np.ones((2, 3), np.float32)
REFUSED = {
    "empty batch": (lambda: nf.compile(nf.tanh)(X[:0]), nf.PlanError, r"compile: argument 0 must be of at least one sample, got shape \(0, 3\)"),
    "empty batch of a step": (trains(lambda m, x: (m["w"] * x).sum(), X[:0]), nf.PlanError, "of at least one sample"),
    "branch": (lambda: nf.compile(lambda x: x if x.sum() > 0 else -x)(X), nf.PlanError, "must not be asked for by if, while.*nf.where"),
    "float": (lambda: nf.compile(lambda x: x * float(x.sum()))(X), nf.PlanError, r"must not be asked for by float\(\)"),
    "item": (lambda: nf.compile(lambda x: x * x.sum().item())(X), nf.PlanError, r"must not be asked for by .item\(\)"),
    "constant": (lambda: nf.compile(lambda x: X)(X), nf.PlanError, "compile: f must be a function whose result depends on its arguments"),
    "nothing": (lambda: nf.compile(lambda x: None)(X), nf.PlanError, "got None"),
    "no function": (lambda: nf.compile(3), nf.DTypeError, "compile: f must be a function or model, got int"),
    "no state": (lambda: nf.compile(mse, mlp(2, 2)), nf.DTypeError, "compile: opt_state must be what nf.setup returned for the model, got NoneType"),
    "no model": (lambda: nf.compile(mse, None, nf.setup(nf.Adam(), mlp(2, 2))), nf.DTypeError, "opt_state must be what nf.setup returned"),
    "another's state": (lambda: nf.compile(mse, mlp(7, 3), nf.setup(nf.Adam(), mlp(7, 3)))(*batch(2)), nf.PlanError,
                        r"compile: 0.weight must be a parameter of opt_state.*call nf.setup\(rule, model\)"),
    "no scalar": (trains(lambda m, x: m["w"] * x, X), nf.ShapeError, r"compile: loss must be a scalar, got shape \(2, 3\); take its mean or sum"),
    "no loss": (trains(lambda m, x: 1.0, X), nf.PlanError, "compile: loss must be computed from the arguments, got float"),
    "without the model": (trains(lambda m, x: x.sum(), X), nf.PlanError, "compile: loss must be computed from the model"),
    "text": (lambda: nf.compile(nf.tanh)(np.array(["a"])), nf.DTypeError, "argument 0.* must be of a float or integer type"),
    "half": (lambda: nf.compile(nf.tanh)(X.astype(np.float16)), nf.DTypeError, "got float16"),
    "byte order": (lambda: nf.compile(nf.tanh)(X.astype(">f4")), nf.DTypeError, "got >f4"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compiled_is_said_so(name):
    call, error, said = REFUSED[name]
    with pytest.raises(error, match=said):
        call()


def test_array_of_the_other_byte_order_is_refused_also_where_a_plan_for_its_shape_exists():
    f = nf.compile(nf.tanh)
    x = np.ones((3000, 3), np.float32)
    f(x)
    with pytest.raises(nf.DTypeError, match="got >f4"):
        f(x.astype(">f4"))


def test_step_of_an_older_state_says_so():
    model = mlp(7, 3)
    step = nf.compile(mse, model, nf.setup(nf.Adam(), model))
    step(*batch(4))
    newer = nf.setup(nf.Adam(), model)
    with pytest.raises(
        nf.PlanError, match="step: opt_state must be the last one set up for the model, got an older one"
    ):
        step(*batch(4))
    nf.compile(mse, model, newer)(*batch(4))


def test_step_follows_freeze_thaw_and_adjust():
    model = mlp(7, 9, 3)
    state = nf.setup(nf.Descent(0.5), model)
    step = nf.compile(mse, model, state)
    x, y = batch(8)
    step(x, y)
    nf.freeze(state, "0")
    before = [layer.weight.copy() for layer in model]
    step(x, y)
    assert np.array_equal(model[0].weight, before[0]) and not np.array_equal(model[1].weight, before[1])
    nf.thaw(state)
    nf.adjust(state, eta=0.0)
    before = [layer.weight.copy() for layer in model]
    step(x, y)
    assert all(np.array_equal(layer.weight, old) for layer, old in zip(model, before, strict=True))
    nf.adjust(state, eta=0.5)
    step(x, y)
    assert not any(np.array_equal(layer.weight, old) for layer, old in zip(model, before, strict=True))


# ---------------------------------------------------------------- commit last


def crossentropy(m, x, y):
    return nf.losses.logitcrossentropy(m(x), y)


def rooted(m, x, y):
    """Finite at 0, with a slope that is not."""
    return nf.functions.sqrt(m(x) * m(x)).mean() + 0.0 * y.sum()


def failures(n):
    x, y = batch(n)
    bad = x.copy()
    bad[n // 2, 3] = np.nan
    labels = np.zeros(n, np.int64)
    wrong = labels.copy()
    wrong[n - 1] = 3
    return {
        "loss": (mse, (x, y), (bad, y), nf.NonFiniteError, "step: loss must be finite, got NaN or Inf; nothing was changed"),
        "overflow": (mse, (x, y), (x * 1e30, y), nf.NonFiniteError, "step: loss must be finite"),
        "gradient": (rooted, (x, y), (x * 0, y), nf.NonFiniteError, r"step: gradient of \d.\w+ must be finite, got NaN or Inf; nothing"),
        "label": (crossentropy, (x, labels), (x, wrong), nf.RangeError, rf"labels must be in 0\.\.2, got another at position {n - 1}"),
        "negative label": (crossentropy, (x, labels), (x, labels - 1), nf.RangeError, "got another at position 0"),
    }  # fmt: skip


@pytest.mark.parametrize("rule", [nf.Adam(0.01), nf.Momentum(0.01)], ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("n", [5, 3000])
@pytest.mark.parametrize("name", failures(1))
def test_step_that_fails_changes_no_byte_and_the_next_one_is_as_if_it_had_not_been(name, n, rule):
    loss, good, bad, error, said = failures(n)[name]
    states = []
    for fails in (False, True):
        model = mlp(7, 33, 3, activation=nf.relu)
        for layer in model:
            layer.bias = np.zeros_like(layer.bias)
        states.append(state := nf.setup(rule, model))
        step = nf.compile(loss, model, state)
        step(*good)
        for layer in model:
            layer.bias[...] = 0
        if fails:
            before = held(state)
            for _ in range(2):
                with pytest.raises(error, match=said):
                    step(*bad)
                assert held(state) == before
        step(*good)
    assert held(states[0]) == held(states[1]) and states[1].step == 2


# ---------------------------------------------------------------- subnormal numbers


def subnormal():
    return float((np.full(3, 1e-39, np.float32) * np.float32(0.5))[1])


@pytest.mark.parametrize("rows", [4, 6000])
def test_subnormals_count_as_zero_inside_and_the_callers_mode_comes_back(rows):
    tiny = np.full((rows, 50), 1e-39, np.float32)
    assert subnormal() > 0
    for f in (lambda x: nf.functions.mul(x, 0.5), nf.compile(lambda x: x * 0.5)):
        assert (f(tiny) == 0).all()
        assert subnormal() > 0
    with pytest.raises(nf.RangeError):
        nf.compile(lambda x, i: (x * 0.5)[i])(tiny, np.full(rows, rows))
    assert subnormal() > 0


def seconds(f, n=3, repeats=5):
    """The best of some times of n calls."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(n):
            f()
        best = min(best, time.perf_counter() - start)
    return best


@pytest.mark.parametrize("how", ["eager", "compiled"])
def test_subnormals_in_adams_state_cost_nothing(how):
    """Where they are computed with, a step takes tens of times as long."""
    model = {"w": np.ones(200_000, np.float32)}
    state = nf.setup(nf.Adam(), model)
    step = nf.compile(lambda m, x: (m["w"] * x).sum(), model, state)
    x = np.zeros(200_000, np.float32)
    grads = {"w": x}
    run = {"eager": lambda: nf.update(state, model, grads), "compiled": lambda: step(x)}[how]
    [vectors] = state.vectors.values()

    def timed(number):
        def once():
            for s in vectors.states.values():
                s[...] = number
            run()

        return seconds(once)

    run()
    assert min(timed(1e-39) / timed(1e-3) for _ in range(3)) < 4


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
    try:
        best = 0.0
        for _ in range(10):
            times = []
            for n in (1, 2):
                nf.set_num_threads(n)
                predict(x)
                times.append(seconds(lambda: predict(x)))
            best = max(best, times[0] / times[1])
            if best >= 1.8:
                break
        assert best >= 1.8
    finally:
        nf.set_num_threads(native.threads().limit)
