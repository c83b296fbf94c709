"""nf.profile on a GPU that is not there, whose clock goes on by what it does: a microsecond for each thing, and one for
each block of a launch."""

import gc
import json

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.profile import WARM
from tests.cuda import own_kernels
from tests.cuda.nets import batch, loss, net

CUBE = nf.Op("cube", lambda x: x, nf.lowering.elements(own_kernels.running), None, "an example")


def training(products="float32"):
    m = nf.gpu(net())
    state = nf.setup(nf.Adam(), m)
    return nf.compile(loss, m, state, products=products), m, state


def launches_of(compiled, *args):
    compiled(*args)
    return next(iter(compiled.programs.values())).plan.found


def test_rows_are_the_launches_of_the_plan(gpus):
    step, *_ = training()
    found = nf.profile(step, *batch(net), repeats=2)
    launches = launches_of(step, *batch(net))
    assert [row["kernel"] for row in found.rows] == [one.kernel for one in launches]
    assert [wave["wave"] for wave in found.waves] == [0] and {row["wave"] for row in found.rows} == {0}
    assert (found.workers, found.repeats, found.device, found.lines) == (1, 2, "gpu:0", ["gpu:0"])
    told = {(row["kernel"], row["operation"], row["of"], row["shape"]) for row in found.rows}
    rows = [(k, o, of) for k, o, of, _ in told]
    assert ("dense.product_small", "dense", "0") in rows
    assert any(k.startswith("dense.product") and o == "matmul" and of == "d 0.weight" for k, o, of in rows)
    assert any(k == "optim.adam" for k, *_ in rows)


def test_times_are_those_of_the_gpus_clock(gpus):
    step, *_ = training()
    found = nf.profile(step, *batch(net), repeats=3)
    launches = launches_of(step, *batch(net))
    # A launch, its blocks, and the mark before it.
    wanted = [2 + one.grid[0] * one.grid[1] for one in launches]
    assert [row["us"] for row in found.rows] == pytest.approx(wanted, abs=0.01)
    assert sum(row["share"] for row in found.rows) == pytest.approx(1)
    [wave] = found.waves
    assert wave["us"] == found.native_us == pytest.approx(sum(wanted), abs=0.1) and wave["idle_us"] == pytest.approx(0)
    (start, end), (first, last) = found.calls
    assert start == 0 < first and (end - start) / 1e3 > 0
    assert (found.events[0, 3], found.events[-1, 4]) == (first, last)
    assert (found.events[1:, 3] == found.events[:-1, 4]).all()


def test_what_is_asked_of_the_gpu(gpus):
    """One graph, as a step has it, with marks; the calls to warm up and those that are measured."""
    step, *_ = training()
    nf.profile(step, *batch(net), repeats=4)
    assert gpus[0].calls.count("graph") == 1 and gpus[0].calls.count("replay") == WARM + 4
    assert gpus[0].calls.count("launch") == len(launches_of(step, *batch(net)))  # into the graph


def test_rates_are_numbers_over_times(gpus):
    a, b = nf.gpu((np.ones((20, 30), np.float32), np.ones((30, 16), np.float32)))
    [product, tanh] = nf.profile(nf.compile(lambda a, b: nf.tanh(a @ b)), a, b, repeats=3).rows
    assert product["gflop_s"] == pytest.approx(2 * 20 * 30 * 16 / product["us"] / 1e3)
    assert product["gb_s"] == pytest.approx(4 * (20 * 30 + 30 * 16 + 20 * 16) / product["us"] / 1e3)
    assert tanh["gflop_s"] is None and tanh["gb_s"] == pytest.approx(2 * 4 * 20 * 16 / tanh["us"] / 1e3)


@pytest.mark.parametrize("products", ["float32", "cublas"])
@pytest.mark.parametrize(("layer", "gates"), [(nf.Dense, 1), (nf.LSTM, 4), (nf.GRU, 3)])
def test_multiplications_of_layers(gpus, layer, gates, products):
    """As the definitions count them: no gradient of the input; of a recurrent layer those of inputs and of states."""
    n, steps, c, h = 3, 4, 5, 6
    m = nf.gpu(layer(c, h))
    x = np.ones((n, steps, c), np.float32)
    step = nf.compile(lambda m, x: m(x).sum(), m, nf.setup(nf.Descent(), m), products=products)
    rows = nf.profile(step, x, repeats=1).rows
    total = sum((row["gflop_s"] or 0) * row["us"] * 1e3 for row in rows)
    inputs, states = (2 * n * steps * gates * h * k for k in (c, h))
    assert total == pytest.approx(2 * inputs + (3 * states if layer is not nf.Dense else 0), rel=1e-6)
    by_cublas = [row["kernel"] for row in rows if row["kernel"] == "cublas.product"]
    assert bool(by_cublas) == (products == "cublas")


@pytest.mark.parametrize("rule", [nf.Adam(), nf.OptimiserChain(nf.AccumGrad(2), nf.Descent(0.1)), nf.EMA(nf.Adam())])
def test_a_step_leaves_all_as_it_was(gpus, rule):
    def everything(m, state):
        found = [a.tobytes() for a in nf.state(m).values()]
        for v in state.vectors.values():
            found += [a.tobytes() for a in (v.params, v.grads, *v.states.values())]
        return [*found, state.hyper.tobytes(), repr(state.rule), state.step, m[1].rng.state]

    m = nf.gpu(net())
    state = nf.setup(rule, m)
    step, data = nf.compile(loss, m, state), batch(net)
    step(*data)
    before = everything(m, state)
    nf.profile(step, *data, repeats=2)
    assert everything(m, state) == before
    assert nf.get_device(m) == nf.gpu_device()
    with pytest.raises(nf.RangeError, match="position 1"):
        nf.profile(step, data[0], np.array([0, 7, 0, 0, 0]))
    assert everything(m, state) == before


def test_turns_of_python_part_the_waves(gpus):
    m = nf.gpu(nf.Dense(4, 3))
    rule = nf.DistributedOptimizer(nf.Adam(), nf.distributed.init())
    step = nf.compile(lambda m, x: (m(x) ** 2).mean(), m, nf.setup(rule, m))
    found = nf.profile(step, np.ones((8, 4), np.float32), repeats=2)
    assert len(found.waves) > 1 and len(found.calls) == 1 + len(found.waves)
    assert {row["wave"] for row in found.rows} == {wave["wave"] for wave in found.waves}
    starts = found.events[:, 3].tolist()
    assert starts == sorted(starts)


def test_models_functions_and_operations_of_ones_own(gpus):
    m, (x, _) = nf.gpu(net()), batch(net)
    for f in (m, nf.compile(m), nf.compile(m, fixed=True)):
        found = nf.profile(f, x, repeats=1)
        assert found.device == "gpu:0" and any(row["operation"] == "dense" for row in found.rows)
    [row] = nf.profile(lambda x: nf.apply(CUBE, x), nf.gpu(x), repeats=1).rows
    assert (row["kernel"], row["operation"], row["shape"]) == ("running", "cube", x.shape)


def test_table_trace_and_picture(gpus, tmp_path):
    step, *_ = training()
    found = nf.profile(step, *batch(net), repeats=2)
    head, columns, wave, *lines = repr(found).splitlines()
    assert head.endswith(" of them on gpu:0") and "(median of 2)" in head
    assert columns.split() == "share us tiles GFLOP/s GB/s kernel operation of shape".split()
    assert wave.startswith("wave 0: ") and wave.endswith(" us")
    assert any("dense.product" in line for line in lines)
    found.trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [e["args"]["name"] for e in events if e["ph"] == "M"] == ["Python", "gpu:0"]
    assert [e["name"] for e in events if e["ph"] == "X" and e["tid"] == 0] == ["call", "gpu:0"]
    assert sum(e["tid"] == 1 for e in events if e["ph"] == "X") == len(found.rows)
    above, below = found.plot().axes
    assert [label.get_text() for label in above.get_yticklabels()] == ["gpu:0"]
    assert sum(len(bars.get_paths()) for bars in above.collections) == len(found.rows)


def test_all_is_given_back(gpus):
    m = nf.gpu(nf.Dense(4, 3))
    nf.profile(nf.compile(m), np.ones((2, 4), np.float32), repeats=1)
    gc.collect()
    assert gpus[0].open == {"stream": 0, "event": 0, "graph": 0}
