"""The simulator of GPUs: what goes well, and planted faults of each kind."""

import numpy as np
import pytest

import numbaflux as nf
from tests.cuda import plans
from tests.cuda import simulator as S

N = 64


@pytest.mark.parametrize("order", S.ORDERS)
def test_threads_share_memory_of_the_block(order):
    room = S.shared(N)

    def turned(y, x):
        memory, t = room(x), S.thread()
        memory[t] = x[t]
        S.barrier()
        y[t] = memory[N - 1 - t]

    x, y = np.arange(N, dtype=np.float32), np.zeros(N, np.float32)
    S.simulate(turned, (y, x), N, 1, order)
    np.testing.assert_array_equal(y, x[::-1])


@pytest.mark.parametrize("order", S.ORDERS)
def test_lanes_exchange_numbers(order):
    def total(y, x):
        value = x[S.thread()]
        for step in (16, 8, 4, 2, 1):
            value = value + S.from_partner(value, step)
        y[S.thread()] = value
        y[N + S.thread()] = S.from_lane(x[S.thread()], 3)

    x, y = np.arange(N, dtype=np.float64), np.zeros(2 * N)
    S.simulate(total, (y, x), N, 1, order)
    assert set(y[:32]) == {x[:32].sum()} and set(y[32:N]) == {x[32:].sum()}
    assert set(y[N : N + 32]) == {3.0} and set(y[N + 32 :]) == {35.0}


def test_blocks_share_a_tile():
    def numbered(y):
        y[S.rank()] = S.part() * 1000 + S.ranks()

    y = np.zeros(96)
    S.simulate(numbered, (y,), 32, 3)
    np.testing.assert_array_equal(y.reshape(3, 32), np.array([96.0, 1096, 2096])[:, None] * np.ones(32))


def test_a_missing_barrier_shows_in_some_order():
    room = S.shared(N)

    def turned(y, x):
        memory, t = room(x), S.thread()
        memory[t] = x[t]
        y[t] = memory[N - 1 - t]

    results = []
    for order in S.ORDERS:
        y = np.zeros(N, np.float32)
        S.simulate(turned, (y, np.arange(N, dtype=np.float32)), N, 1, order)
        results.append(y.tobytes())
    assert len(set(results)) > 1


def faulty(y, x, what):
    """One fault of each kind."""
    t = S.thread()
    if what == "some leave":
        if t < 5:
            return
        S.barrier()
    elif what == "other lines":
        if t < 5:
            S.barrier()
        else:
            S.barrier()
    elif what == "some lanes":
        if t % 2:
            S.from_lane(y[0], 0)
    elif what == "block and warp":
        if t < 5:
            S.barrier()
        else:
            S.from_lane(y[0], 0)
    elif what == "negative":
        y[t - 1] = 0
    elif what == "unaligned":
        S.load4(x, 1)
    elif what == "outside":
        S.load4(x, N - 2)
    elif what == "too large":
        S.index(2**32)
    else:
        S.fma(np.float32(1), np.float64(1), np.float32(1))


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("some leave", "59 of 64 threads wait"),
        ("other lines", "64 of 64 threads wait at"),
        ("some lanes", "16 of 32 threads wait"),
        ("block and warp", "at different places"),
        ("negative", "index -1 is negative"),
        ("unaligned", "the vector at 1 of 64 is not on 16 bytes"),
        ("outside", "the vector at 62 of 64"),
        ("too large", "4294967296 does not fit in 32 bits"),
        ("types", "fma of float32, float64, float32"),
    ],
)
def test_faults_are_found(what, says):
    with pytest.raises(S.SimulatorError, match=says):
        S.simulate(faulty, (np.zeros(N), np.zeros(N), what), N, 1)


def test_memory_that_nobody_wrote_is_nan():
    room, y = S.shared(4), np.zeros(4, np.float32)
    S.simulate(lambda y: y.__setitem__(0, room(y)[0]), (y,), 1, 1)
    assert np.isnan(y[0])


def test_a_plan_runs_here_not_in_native_code(monkeypatch):
    monkeypatch.setattr(S, "RAN", set())
    op = next(op for op in nf.REGISTRY if op.name == "matmul")
    [y] = plans.run(op, [np.eye(3), np.full((3, 2), 7.0)], {"ta": False, "tb": False}, "backward")
    [(name, *ran)] = S.RAN
    assert np.all(y == 7) and name.startswith("dense.product") and ran == ["float64", "backward"]


def test_no_name_is_missing_or_only_here():
    """What kernels may import from the door is the same with and without a GPU."""
    import ast

    from tests.sources import ROOT

    body = ast.parse((ROOT / "kernels/cuda/jit.py").read_text()).body
    names = {n.name for n in body if isinstance(n, ast.FunctionDef) if not n.name.startswith("_")}
    aliases = {a.asname for n in body if isinstance(n, ast.ImportFrom) for a in n.names if a.asname}
    assigned = {t.id for n in body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    missing = {name for name in names | aliases | assigned - {"EVERY", "i32"} if not hasattr(S, name)}
    assert missing == set()
