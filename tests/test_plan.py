"""Places in the arena, buffers of a worker's own, instances that are handed out and come back."""

import threading
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux import native
from numbaflux.instance import Instance
from numbaflux.lowering import LINE, as_buf
from numbaflux.op import PlanError
from numbaflux.plan import Plan, place


@st.composite
def lives(draw):
    spans = [
        sorted(draw(st.lists(st.integers(0, 20), min_size=2, max_size=2))) for _ in range(draw(st.integers(0, 25)))
    ]
    return [(first, last, draw(st.integers(0, 500))) for first, last in spans]


@given(lives())
def test_what_lives_at_the_same_time_does_not_overlap(spans):
    offsets, size = place(spans)
    for i, (first, last, nbytes) in enumerate(spans):
        assert offsets[i] % LINE == 0 and 0 <= offsets[i] <= offsets[i] + nbytes <= size
        for j, (other_first, other_last, other) in enumerate(spans[:i]):
            if first <= other_last and other_first <= last and nbytes and other:
                assert offsets[i] + nbytes <= offsets[j] or offsets[j] + other <= offsets[i]
    most = max((sum(-(-n // LINE) * LINE for f, t, n in spans if f <= time <= t) for time in range(21)), default=0)
    assert size <= 2 * most + LINE, "memory is used again"


def mlp(batch=256, width=16):
    nf.seed(0)
    model = nf.Chain(*[nf.Dense(width, width, nf.tanh) for _ in range(2)])
    step = nf.compile(lambda m, x, y: nf.losses.mse(m(x), y), model, nf.setup(nf.Descent(0.1), model))
    step(*[np.ones((batch, width), np.float32)] * 2)
    return next(iter(step.programs.values())).plan


def test_what_one_group_makes_and_uses_tile_by_tile_is_each_workers_own():
    plan = mlp()
    group = max(plan.groups, key=lambda g: g.tiles)
    assert group.tiles > 1
    uses = {}
    for g in plan.groups:
        for e in g.entries:
            for a in e.arrays:
                if a.buf.storage.kind == "temp" and 0 not in a.shape:
                    uses.setdefault(id(a.buf.storage), []).append((g, a))
    for key, found in uses.items():
        alone = all(g is group and a.cut for g, a in found) and found[0][1].write
        assert (key in plan.private) == alone
    assert len(plan.private) > 5 and plan.own % LINE == 0
    assert plan.memory == plan.arena + plan.own * plan.workers()


def test_memory_grows_with_sums_a_tile_not_with_the_batch():
    """Activations and their gradients stay in the worker's cache: 64 tiles at most, each with sums of its own."""
    small, large = mlp(3072), mlp(20 * 3072)
    assert 16 * 4 * 3072 > small.arena, "one activation of the batch is more than all"
    assert large.arena <= 1.1 * small.arena
    assert large.own <= 20 * small.own


def test_private_buffers_are_written_before_they_are_read_within_a_tile():
    """Each tile starts with NaN in all of its worker's own buffers; by hand, entry after entry."""
    rng = np.random.default_rng(0)
    model = nf.Chain(nf.Dense(9, 17, nf.tanh), nf.Dense(17, 5, nf.sigmoid), nf.Dense(5, 3))
    f = nf.compile(lambda x: (nf.softmax(model(x)), model(x * 0.5)))
    x = rng.normal(size=(3000, 9)).astype(np.float32)
    right = f(x)
    program = next(iter(f.programs.values()))
    plan = program.plan
    instance = Instance(plan, 1)
    outs = [np.zeros(s.shape, s.dtype) for s in program.specs]
    instance.run(x, *outs)
    assert plan.private
    for out in outs:
        out[...] = 0
    own = instance.memory.bytes[plan.arena :]
    entries = {
        id(e): native.ctypes.CFUNCTYPE(None, native.WORD, native.WORD)(a)
        for e, a in zip(plan.entries, plan.calls, strict=True)
    }
    tiles = 0
    for group in plan.groups:
        for tile in range(group.tiles):
            own[...] = 0xFF
            tiles += 1
            for e in group.entries:
                entries[id(e)](instance.first[id(e)].ctypes.data, tile)
    assert tiles > 5
    for out, one in zip(outs, right, strict=True):
        np.testing.assert_array_equal(out, one)


def test_small_plans_and_plans_of_one_tile_use_no_threads():
    f = nf.compile(nf.tanh)
    for shape, serial in (((4, 4), True), ((33, 4), True), ((6000, 300), False)):
        f(np.ones(shape, np.float32))
        plan = list(f.programs.values())[-1].plan
        assert plan.serial == serial
        assert plan.workers() == (1 if serial else native.pool().count)


def test_a_plan_most_of_which_is_one_tile_uses_no_threads():
    """The steps of one sample follow each other; of the rule alone there are tiles to share, which take no time."""
    model = nf.Chain(nf.LSTM(4, 32, rng=0), lambda y: y[:, -1], nf.Dense(32, 1, rng=1))
    step = nf.compile(lambda m, x, y: nf.losses.mse(m(x), y), model, nf.setup(nf.Adam(), model))
    step(np.ones((1, 128, 4), np.float32), np.ones((1, 1), np.float32))
    plan = step.last.plan
    assert plan.work > 50e3 and plan.most > 1
    assert plan.serial


def test_instances_are_used_again_and_a_new_one_is_made_while_all_run(monkeypatch):
    f = nf.compile(nf.tanh)
    f(np.ones((4, 4), np.float32))
    plan = next(iter(f.programs.values())).plan
    [first] = plan.idle
    taken = plan.take()
    assert taken is first and plan.idle == []
    second = plan.take()
    assert second is not first
    plan.idle += [first, second]
    f(np.ones((4, 4), np.float32))
    assert sorted(map(id, plan.idle)) == sorted(map(id, (first, second)))


@pytest.mark.skipif(native.pool().limit < 2, reason="machine: one CPU")
def test_instances_follow_the_number_of_threads():
    f = nf.compile(nf.tanh)
    x = np.ones((6000, 300), np.float32)
    for n in (2, 1, 2, 1):
        with nf.threads(n):
            f(x)
            [instance] = next(iter(f.programs.values())).plan.idle
            assert instance.workers == n


def test_many_threads_may_run_one_plan():
    model = nf.Chain(nf.Dense(20, 64, nf.tanh), nf.Dense(64, 7))
    predict = nf.compile(model)
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(300, 20)).astype(np.float32) for _ in range(8)]
    right = [model(x) for x in inputs]
    wrong = []

    def call(i):
        for _ in range(50):
            if not np.array_equal(predict(inputs[i]), right[i]):
                wrong.append(i)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert len(next(iter(predict.programs.values())).plan.idle) <= 8


def test_plan_that_fails_a_check_gives_its_instance_back():
    f = nf.compile(lambda x, i: x[i])
    x = np.ones((4, 4), np.float32)
    for _ in range(3):
        with pytest.raises(nf.RangeError, match=r"take: index must be in 0\.\.3, got another at position 1"):
            f(x, np.array([0, 4]))
        assert f(x, np.array([0, 3])).shape == (2, 4)
    assert len(next(iter(f.programs.values())).plan.idle) == 1


def test_array_that_is_not_contiguous_is_refused():
    with pytest.raises(PlanError, match="plan: array must be C-contiguous, got strides"):
        as_buf(np.ones((4, 4))[:, ::2])


def test_plans_hold_no_memory_once_nobody_holds_them():
    f = nf.compile(nf.tanh)
    f(np.ones((5, 5), np.float32))
    plan = weakref.ref(next(iter(f.programs.values())).plan)
    instance = weakref.ref(plan().idle[0])
    assert isinstance(plan(), Plan)
    del f
    import gc

    gc.collect()
    assert plan() is None and instance() is None
