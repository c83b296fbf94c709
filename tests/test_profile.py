"""nf.profile: entries are the plan's, times fit into each other, nothing is changed; its table, picture and trace."""

import json
import os
import re
import time

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import instance as instances
from numbaflux import pace
from numbaflux.native import pool
from numbaflux.profile import WARM
from tests.child import child

R = np.random.default_rng(0)
X, LABELS = R.normal(size=(96, 8, 8, 3)).astype(np.float32), np.arange(96) % 5
TWO = pytest.mark.skipif(pool().limit < 2, reason="machine: one CPU")


def network():
    nf.seed(3)
    body = nf.Chain(nf.Conv((3, 3), 3, 4, nf.relu), nf.BatchNorm(4), nf.flatten)
    return nf.Chain(body=body, drop=nf.Dropout(0.3, rng=nf.Generator(7)), head=nf.Dense(144, 5))


def loss(m, x, y):
    return nf.losses.logitcrossentropy(m(x), y)


def training(rule=None):
    model = network()
    state = nf.setup(rule or nf.Adam(), model)
    return nf.compile(loss, model, state), model, state


@pytest.fixture(params=[1, pytest.param(2, marks=TWO)])
def workers(request):
    with nf.threads(request.param):
        yield request.param


def plan_of(compiled, *args):
    compiled(*args)
    return next(iter(compiled.programs.values())).plan


# ---------------------------------------------------------------- what is measured


def test_rows_are_the_entries_of_the_plan(workers):
    step, *_ = training()
    found = nf.profile(step, X, LABELS, repeats=2)
    plan = plan_of(step, X, LABELS)
    assert [row["kernel"] for row in found.rows] == [e.kernel for e in plan.entries]
    assert [row["tiles"] for row in found.rows] == [g.tiles for g in plan.groups for _ in g.entries]
    assert [row["wave"] for row in found.rows] == [g.wave for g in plan.groups for _ in g.entries]
    assert [wave["wave"] for wave in found.waves] == list(range(plan.waves))
    assert found.workers == workers and found.repeats == 2
    ran = sorted(map(tuple, found.events[:, :2].tolist()))
    assert ran == [(i, tile) for i, row in enumerate(found.rows) for tile in range(row["tiles"])]


def test_rows_say_where_they_come_from():
    step, *_ = training()
    rows = nf.profile(step, X, LABELS, repeats=1).rows
    told = {(row["kernel"], row["operation"], row["of"], row["shape"]) for row in rows}
    assert {
        ("dense.product", "dense", "head", (96, 5)),
        ("dense.product", "matmul", "d head.weight", (144, 5)),
        ("check.finite_all", "", "", (2,)),
        ("elementwise.relu", "relu", "", (96, 6, 6, 4)),
    } <= told
    assert any(row["operation"] == "conv" and row["of"] == "body.0" for row in rows)
    assert any(row["operation"] == "track" and "body.1" in row["of"] for row in rows)
    assert any(row["kernel"] == "optim.adam" and row["operation"] == "" for row in rows)


def test_times_fit_into_each_other(workers):
    """Of one call, of which medians are the times themselves."""
    step, *_ = training()
    found = nf.profile(step, X, LABELS, repeats=1)
    assert sum(wave["us"] for wave in found.waves) <= found.native_us <= found.us
    assert sum(row["share"] for row in found.rows) == pytest.approx(1)
    for wave in found.waves:
        busy = sum(row["us"] for row in found.rows if row["wave"] == wave["wave"])
        assert wave["idle_us"] == pytest.approx(workers * wave["us"] - busy, abs=1e-6)
        assert wave["idle_us"] > -1e-6
    times = np.bincount(found.events[:, 0], found.events[:, 4] - found.events[:, 3])
    assert times / 1e3 == pytest.approx([row["us"] for row in found.rows])
    (start, end), *stays = found.calls
    assert (start, (end - start) / 1e3) == (0, found.us)
    assert sum(b - a for a, b in stays) / 1e3 == pytest.approx(found.native_us)
    assert stays[0][0] <= found.events[:, 3].min() and found.events[:, 4].max() <= stays[-1][1] <= end


def test_times_are_those_of_the_clock():
    before = time.monotonic_ns()
    found = nf.profile(lambda x: x @ x, R.normal(size=(300, 300)).astype(np.float32), repeats=1)
    after = time.monotonic_ns()
    assert 0 < found.native_us <= found.us <= (after - before) / 1e3


def test_arrays_without_elements_and_plans_without_entries():
    [row] = nf.profile(lambda x: x * 2.0, np.ones((3, 0), np.float32), repeats=2).rows
    assert (row["shape"], row["gb_s"], row["gflop_s"]) == ((3, 0), 0.0, None)
    nothing = nf.Op("nothing", lambda x: x, lambda b, out, x: None, None, "an example")
    found = nf.profile(lambda x: nf.apply(nothing, x), X, repeats=2)
    assert found.rows == found.waves == [] and "us a call (median of 2)" in repr(found)


def test_rates_are_numbers_over_times():
    a, b = R.normal(size=(200, 300)).astype(np.float32), R.normal(size=(300, 16)).astype(np.float32)
    rows = nf.profile(lambda a, b: nf.tanh(a @ b), a, b, repeats=3).rows
    product, tanh = (next(r for r in rows if r["operation"] == op) for op in ("matmul", "tanh"))
    rows_of_products = [r for r in rows if r["gflop_s"]]
    assert rows_of_products == [next(r for r in rows if r["kernel"] == "dense.product")]
    assert rows_of_products[0]["gflop_s"] == pytest.approx(2 * 200 * 300 * 16 / rows_of_products[0]["us"] / 1e3)
    assert product["operation"] == "matmul" and tanh["gflop_s"] is None
    assert tanh["gb_s"] == pytest.approx(2 * 4 * 200 * 16 / tanh["us"] / 1e3)


# ---------------------------------------------------------------- what may be profiled, and how plans run


def test_models_functions_and_compiled_ones():
    model = network()
    for f in (model, nf.compile(model), lambda x: model(x), nf.compile(lambda x: model(x))):
        found = nf.profile(f, X, repeats=1)
        assert {row["operation"] for row in found.rows} >= {"conv", "norm_fixed", "dense"}
    named = {row["of"] for row in nf.profile(model, X, repeats=1).rows}
    assert {"body.0", "body.1", "head"} <= named


def test_user_kernels_have_their_names():
    import numba

    @numba.njit
    def cube(y, x):
        for i in range(y.size):
            y[i] = x[i] ** 3

    op = nf.Op("cube", lambda x: x, nf.lowering.elements(cube), None, "an example")
    [row] = nf.profile(lambda x: nf.apply(op, x), X, repeats=1).rows
    assert (row["kernel"], row["operation"], row["shape"]) == ("cube", "cube", X.shape)


def test_long_plans_in_several_native_calls(workers, monkeypatch):
    monkeypatch.setattr(instances, "SLICE", 2e4)
    step, *_ = training()
    found = nf.profile(step, X, LABELS, repeats=2)
    assert len(found.calls) > 2
    monkeypatch.undo()
    whole = nf.profile(step, X, LABELS, repeats=2)
    assert len(whole.calls) == 2
    for one, other in zip(found.rows, whole.rows, strict=True):
        assert all(one[name] == other[name] for name in ("wave", "kernel", "of", "shape", "tiles"))
    assert sorted(map(tuple, found.events[:, :2].tolist())) == sorted(map(tuple, whole.events[:, :2].tolist()))


@TWO
def test_threads_do_not_rest_while_they_are_measured(monkeypatch):
    monkeypatch.setattr(pace, "LATE", 0.0)
    used, workers = [], pace.Pace.workers
    monkeypatch.setattr(pace.Pace, "workers", lambda self, most: used.append(workers(self, most)) or used[-1])
    step, *_ = training()
    nf.profile(step, X, LABELS, repeats=8)
    assert used == [pool().count] * (WARM + 8)


@TWO
def test_layer_that_takes_one_region_at_a_time():
    assert (
        child("""
        import importlib.machinery
        import numpy as np, numbaflux as nf
        from numbaflux import native
        glob = native.Path.glob
        native.Path.glob = lambda self, name: [] if name.startswith("omppool") else glob(self, name)
        found = nf.profile(nf.tanh, np.ones((600, 300), np.float32), repeats=3)
        print(native.pool().layer, found.workers, sum(row["tiles"] for row in found.rows) == len(found.events))
    """)
        == f"workqueue {pool().limit} True"
    )


def test_interpreted_plans_are_refused():
    said = child("""
        import numpy as np, numbaflux as nf
        try:
            nf.profile(nf.tanh, np.ones(3, np.float32))
        except nf.PlanError as error:
            print(error)
    """, NUMBAFLUX_NATIVE="0")  # fmt: skip
    assert said == "profile: kernels must be native, got interpreted ones; unset NUMBAFLUX_NATIVE"


# ---------------------------------------------------------------- nothing is changed

RULES = {
    "chain": nf.OptimiserChain(nf.ClipGlobalNorm(1.0), nf.WeightDecay(1e-3), nf.Adam(1e-2)),
    "average": nf.EMA(nf.Momentum(0.1)),
    "scheduled": nf.Scheduler(nf.Adam(), eta=nf.schedules.Exp(0.1, 0.5)),
    "collected": nf.OptimiserChain(nf.AccumGrad(2), nf.Descent(0.1)),
}


def everything(model, state):
    """Bytes of all that a step may change."""
    found = [a.tobytes() for a in nf.state(model).values()]
    for v in state.vectors.values():
        found += [a.tobytes() for a in (v.params, v.grads, v.scratch, *v.states.values())]
    return [*found, state.hyper.tobytes(), repr(state.rule), state.step, model["drop"].rng.state]


@pytest.mark.parametrize("name", RULES)
def test_a_step_leaves_all_as_it_was(name):
    step, model, state = training(RULES[name])
    twin, *others = training(RULES[name])
    for one in (step, twin):
        one(X, LABELS)
    before = everything(model, state)
    arrays = [id(a) for a in nf.fleaves(model)]
    nf.profile(step, X[::-1].copy(), LABELS, repeats=2)
    assert everything(model, state) == before == everything(*others)
    assert [id(a) for a in nf.fleaves(model)] == arrays
    for _ in range(2):
        assert step(X, LABELS) == twin(X, LABELS)
    assert everything(model, state) == everything(*others) != before


def test_an_error_leaves_all_as_it_was():
    step, model, state = training(nf.Descent(1e30))  # the second step has no finite loss
    before = everything(model, state)
    with pytest.raises(nf.NonFiniteError, match="^step: "):
        nf.profile(step, X, LABELS)
    assert everything(model, state) == before


def test_functions_that_draw_and_change_buffers_leave_them_as_they_were():
    generator, seen = nf.Generator(5), np.zeros(1, np.float32)

    def f(x):
        nf.session.assign(seen, nf.session.current(seen) + x.sum()[None])
        return nf.dropout(x, 0.5, rng=generator)

    call = nf.compile(f)
    nf.profile(call, X, repeats=2)
    assert (generator.state, seen.tolist()) == ((5, 0), [0.0])
    call(X)
    assert generator.state == (5, 1) and seen[0] != 0


def test_arguments_and_plans_of_the_function_stay():
    step, *_ = training()
    x, y = X.copy(), LABELS.copy()
    nf.profile(step, x, y, repeats=1)
    assert not step.programs and np.array_equal(x, X) and np.array_equal(y, LABELS)
    plan = plan_of(step, X, LABELS)
    nf.profile(step, X, LABELS, repeats=1)
    assert plan_of(step, X, LABELS) is plan


def test_turns_of_python_are_no_waves():
    """A rule for many ranks has some between the waves."""
    model = nf.Dense(4, 3)
    rule = nf.DistributedOptimizer(nf.Adam(), nf.distributed.init())
    step = nf.compile(lambda m, x: (m(x) ** 2).mean(), model, nf.setup(rule, model))
    found = nf.profile(step, np.ones((8, 4), np.float32), repeats=2)
    assert {row["wave"] for row in found.rows} == {wave["wave"] for wave in found.waves}


def test_bad_arguments():
    with pytest.raises(nf.DTypeError, match="^profile: f must be a function, model or step, got ndarray$"):
        nf.profile(X)
    with pytest.raises(nf.ShapeError, match="x must be of shape"):
        nf.profile(nf.Dense(3, 2), np.ones((2, 4), np.float32))
    with pytest.raises(nf.RangeError, match=r"^profile: repeats must be an integer in \[1, inf\), got 0$"):
        nf.profile(nf.tanh, X, repeats=0)


# ---------------------------------------------------------------- table, trace, picture


def test_table_shows_what_takes_time_and_sums_up_the_rest():
    step, *_ = training()
    found = nf.profile(step, X, LABELS, repeats=3)
    head, columns, *lines = repr(found).splitlines()
    told = re.fullmatch(r"step of loss: (\S+) us a call \(median of 3\), (\S+) of them in native code; .*", head)
    assert [float(number) for number in told.groups()] == pytest.approx([found.us, found.native_us], rel=0.01)
    assert columns.split() == "share us tiles GFLOP/s GB/s kernel operation of shape".split()
    large = [row["kernel"] for row in found.rows if row["share"] >= 0.01]
    shown = [line for line in lines if "%  " in line and " others" not in line]
    assert len(shown) == len(large)
    for kernel, line in zip(large, shown, strict=True):
        assert f"  {kernel}" in line
    others = [int(line.split()[2]) for line in lines if line.endswith(" others")]
    waves = {int(line.split()[1][:-1]) for line in lines if line.startswith("wave ")}
    unseen = [row for row in found.rows if row["wave"] not in waves]
    assert len(shown) + sum(others) + len(unseen) == len(found.rows)
    assert all(len(line) <= 150 for line in lines)


def test_trace_is_json_and_no_worker_does_two_things_at_once(tmp_path, workers):
    step, *_ = training()
    found = nf.profile(step, X, LABELS, repeats=2)
    path = tmp_path / "trace.json"
    path.write_text("old")
    found.trace(path)
    events = json.loads(path.read_text())["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    assert names == {0: "Python", **{1 + i: f"worker {i}" for i in range(workers)}}
    spans = [e for e in events if e["ph"] == "X"]
    [call, native] = [e for e in spans if e["tid"] == 0]
    assert call["ts"] == 0 and call["dur"] <= found.us
    assert sum(e["tid"] > 0 for e in spans) == sum(row["tiles"] for row in found.rows)
    assert {(e["args"]["entry"], e["args"]["tile"]) for e in spans if e["tid"]} == set(
        map(tuple, found.events[:, :2].tolist())
    )
    for tid in range(1, 1 + workers):
        own = sorted((e["ts"], e["ts"] + e["dur"]) for e in spans if e["tid"] == tid)
        slack = 1e-3  # a nanosecond: microseconds are no whole numbers
        assert all(end <= start + slack for (_, end), (start, _) in zip(own, own[1:], strict=False))
        assert all(native["ts"] - slack <= a and b <= native["ts"] + native["dur"] + slack for a, b in own)
    dense = next(e for e in spans if e["name"] == "dense.product head")
    assert dense["cat"] == "dense" and dense["args"]["operation"] == "dense" and dense["args"]["shape"] == [96, 5]
    assert os.listdir(tmp_path) == ["trace.json"]


def test_trace_needs_a_folder(tmp_path):
    found = nf.profile(nf.tanh, X, repeats=1)
    with pytest.raises(nf.FileFormatError, match="^trace: path must be in a folder that exists, got "):
        found.trace(tmp_path / "no" / "trace.json")


def test_picture_draws_every_tile_and_the_longest_entries(workers):
    step, *_ = training()
    found = nf.profile(step, X, LABELS, repeats=2)
    above, below = found.plot().axes
    drawn = sum(len(bars.get_paths()) for bars in above.collections)
    assert drawn == len(found.events)
    assert [label.get_text() for label in above.get_yticklabels()] == [f"worker {i}" for i in range(workers)]
    lengths = [bar.get_width() for bar in below.patches]
    assert lengths == sorted(lengths) and len(lengths) == 12
    sums = {}
    for row in found.rows:
        name = f"{row['kernel']} {row['of']}".strip()
        sums[name] = sums.get(name, 0) + row["us"]
    names = [label.get_text() for label in below.get_yticklabels()]
    assert [sums[name] for name in names] == pytest.approx(lengths)
    assert lengths[-1] == pytest.approx(max(sums.values()))
