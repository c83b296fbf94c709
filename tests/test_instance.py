"""A plan bound to memory: arguments by copy and by address, checks, long calls in pieces, workers."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import instance as module
from numbaflux.instance import STAGED, Instance, number_words
from numbaflux.lowering import Num
from numbaflux.native import native


def program(f, *args):
    one = nf.compile(f)
    one(*args)
    return next(iter(one.programs.values()))


def run(instance, program, *arrays):
    outs = [np.full(s.shape, 77, s.dtype) for s in program.specs]
    instance.run(*arrays, *outs)
    return outs


@pytest.mark.parametrize("rows", [1, STAGED // 64, STAGED // 64 + 1, 3000])
def test_arguments_are_read_anew_at_each_call_small_and_large(rows):
    x = np.random.default_rng(0).normal(size=(rows, 16)).astype(np.float32)
    p = program(lambda x: x * 2.0, x)
    instance = Instance(p.plan, 1)
    assert (0 in instance.large) == (x.nbytes > STAGED)
    for _ in range(3):
        x += 1
        [out] = run(instance, p, x)
        np.testing.assert_array_equal(out, x * 2)
        other = x[::-1].copy()
        np.testing.assert_array_equal(run(instance, p, other)[0], other * 2)


@pytest.mark.parametrize(("rows", "large"), [(3, []), (3000, [0, 1])])
def test_results_are_written_where_the_caller_wants_them(rows, large):
    x = np.ones((rows, 4), np.float32)
    p = program(nf.tanh, x)
    instance = Instance(p.plan, 1)
    assert sorted(instance.large) == large
    one, two = np.zeros((2, rows, 4), np.float32)
    instance.run(x, one)
    kept = one.copy()
    instance.run(x * 2, two)
    np.testing.assert_array_equal(one, kept)
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_any_number_of_workers_gives_the_same_bits(workers):
    """Also more than there are threads: a wave ends when its tiles are done, whoever ran them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 24)).astype(np.float32)
    model = nf.Chain(nf.Dense(24, 50, nf.tanh), nf.Dense(50, 9))
    p = program(lambda x: nf.softmax(model(x)), x)
    right = run(Instance(p.plan, 1), p, x)
    instance = Instance(p.plan, workers)
    for _ in range(20):
        for a, b in zip(run(instance, p, x), right, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_check_that_fails_stops_what_follows_and_the_next_call_starts_clear(workers):
    x = np.arange(900, dtype=np.float32).reshape(300, 3)
    p = program(lambda x, i: nf.tanh(x)[i] * 2.0, x, np.zeros(300, np.int64))
    instance = Instance(p.plan, workers)
    good, bad = np.arange(300), np.arange(300)
    bad[17] = 300
    for _ in range(3):
        with pytest.raises(nf.RangeError, match=r"take: index must be in 0\.\.299, got another at position 17"):
            run(instance, p, x, bad)
        [out] = run(instance, p, x, good)
        np.testing.assert_array_equal(out, nf.tanh(x) * np.float32(2))


# ---------------------------------------------------------------- long calls


def deep_step(width=5):
    nf.seed(0)
    model = nf.Chain(nf.Dense(5, width, nf.tanh), nf.Dense(width, width, nf.tanh), nf.Dense(width, 5))
    state = nf.setup(nf.Adam(), model)
    return nf.compile(lambda m, x: (m(x) * m(x)).mean(), model, state), state


def test_long_calls_return_to_python_between_tiles_never_between_changes_for_good(monkeypatch):
    step, _ = deep_step(120)
    x = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
    step(x)
    plan = next(iter(step.programs.values())).plan
    tiles = max(g.tiles for g in plan.groups)
    assert plan.waves > 3 and tiles > 8
    assert Instance(plan, 1).cuts == [(0, plan.waves)]
    monkeypatch.setattr(module, "SLICE", 1.0)
    one = Instance(plan, 1)
    waves = one._waves()
    assert [a for a, _ in one.cuts] == [0, *[b for _, b in one.cuts[:-1]]] and one.cuts[-1][1] == len(waves)
    assert len(one.cuts) > tiles
    commits = [i for i, w in enumerate(waves) if w.commits]
    assert len(commits) > 1, "parameters in several tiles, then the count of steps"
    assert commits == list(range(commits[0], len(waves))) and one.cuts[-1][0] <= commits[0]
    ran = [(entry, first + t) for w in waves for begin, end, tiles, _, first, _ in w.rows for entry in range(begin, end)
           for t in range(tiles)]  # fmt: skip
    entries = [
        (i, t) for i, e in enumerate(plan.entries) for g in plan.groups if e in g.entries for t in range(g.tiles)
    ]
    assert sorted(ran) == entries


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_call_in_pieces_gives_the_same_bits(monkeypatch, workers):
    x = np.random.default_rng(0).normal(size=(700, 24)).astype(np.float32)
    model = nf.Chain(nf.Dense(24, 50, nf.tanh), nf.Dense(50, 9))
    p = program(lambda x: (nf.softmax(model(x)), x.mean(axis=0)), x)
    right = run(Instance(p.plan, 1), p, x)
    for piece in (1.0, 1e4):
        monkeypatch.setattr(module, "SLICE", piece)
        instance = Instance(p.plan, workers)
        assert len(instance.cuts) > 1
        for a, b in zip(run(instance, p, x), right, strict=True):
            np.testing.assert_array_equal(a, b)


def test_interrupt_between_pieces_changes_nothing_and_the_step_goes_on(monkeypatch):
    monkeypatch.setattr(module, "SLICE", 1.0)
    step, state = deep_step(120)
    x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    step(x)
    one = next(iter(step.programs.values())).instance
    whole = one.calls
    held = [v.params.tobytes() + v.states["m"].tobytes() for v in state.vectors.values()], state.hyper.tobytes()
    for after in range(1, len(one.cuts)):

        def interrupted():
            raise KeyboardInterrupt

        one.calls = [*whole[:after], interrupted, *whole[after + 1 :]]
        with pytest.raises(KeyboardInterrupt):
            step(x)
        now = [v.params.tobytes() + v.states["m"].tobytes() for v in state.vectors.values()], state.hyper.tobytes()
        assert now == held, after
    one.calls = whole
    step(x)
    assert state.step == 2


def test_nothing_is_cut_off_when_there_is_nothing_to_run():
    f = nf.compile(lambda x: nf.functions.reshape(x, -1))
    x = np.ones((0, 3), np.float32)
    with pytest.raises(nf.PlanError, match="of at least one sample"):
        f(x)
    assert native().works


@pytest.mark.parametrize(
    ("value", "dtype", "bits"),
    [(1.0, "f4", 0x3F800000), (-2.0, "f8", -0x4000000000000000), (-0.0, "f4", -(2**31)), (0.1, "f4", 0x3DCCCCCD)],
)
def test_bits_of_a_number(value, dtype, bits):
    assert number_words(Num(value, np.dtype(dtype)), 1) == [bits]
