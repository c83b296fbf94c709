"""What threads find together; and kernels that do so give the same bits in every order of threads: no barrier is
missing."""

import numpy as np
import pytest

from tests.cuda import simulator
from tests.entries import words_of

simulator.install()


@pytest.mark.parametrize("order", simulator.ORDERS)
@pytest.mark.parametrize("lanes", [1, 8, 32, 64])
def test_teams(lanes, order):
    from numbaflux.kernels.cuda import team

    def found(y, x):
        t = simulator.thread()
        y[0, t], y[1, t] = team.team_sum(x[t], lanes), team.team_max(x[t], lanes)
        y[2, t], y[3, t] = team.team_min(x[t], lanes), team.block_sum(x[t])
        y[4, t], y[5, t] = team.warp_sum(x[t]), team.block_max(-x[t])

    x, y = np.random.default_rng(0).permutation(64) + 1.0, np.zeros((6, 64))
    simulator.simulate(found, (y, x), 64, 1, order)
    teams = x.reshape(-1, lanes)
    for row, right in zip(y, (teams.sum(1), teams.max(1), teams.min(1)), strict=False):
        np.testing.assert_array_equal(row, np.repeat(right, lanes))
    assert set(y[3]) == {x.sum()} and set(y[5]) == {-x.min()}
    np.testing.assert_array_equal(y[4], np.repeat(x.reshape(2, 32).sum(1), 32))


def f(*shape):
    return abs(np.random.default_rng(0).normal(size=shape)).astype(np.float32)


def d(*shape):
    return f(*shape).astype(np.float64)


TENTH, CODE = np.float32(0.1), np.int64(3)
CALLS = [
    ("check.finite", np.zeros(1, np.int64), f(3000)),
    ("check.indices", np.zeros(2, np.int64), np.arange(1500), np.int64(700), CODE),
    ("norm.grad_factors", f(6, 4, 40), d(2, 2, 40), d(40, 2, 40), f(2, 2, 4), f(40), TENTH, np.int64(70)),
    ("norm.grad_factors", f(6, 4, 40), d(2, 2, 40), d(40, 2, 40), f(2, 2, 40), f(40), TENTH, np.int64(70)),
    ("norm.join_slots", f(2, 2, 4), d(2, 2, 40), d(40, 2, 40), np.int64(5), np.int64(98)),
    ("norm.join_slots", f(2, 2, 40), d(2, 2, 40), d(40, 2, 40), np.int64(5), np.int64(98)),
    ("norm.moments", d(2, 2, 40), f(140, 40)),
    ("norm.row_grad", f(3, 1200), f(3, 1200), f(3, 1200), f(3, 2, 2), f(1200), TENTH),
    ("norm.row_moments", f(3, 2, 2), f(3, 1200)),
    ("norm.sums", d(2, 2, 40), f(140, 40), f(140, 40), f(2, 3, 40)),
    ("reduce.max_grad", f(3, 90, 40), np.round(f(3, 90, 40)), f(3, 40) * 0 + 1, f(3, 40)),
    ("reduce.sum", f(3, 1), f(3, 2000, 1), TENTH),
    ("reduce.sum", f(3, 40), f(3, 90, 40), TENTH),
    ("softmax.crossentropy_labels", f(2), f(2, 600), np.array([3, 400])),
    ("softmax.softmax", f(1, 5000), f(1, 5000)),
    ("softmax.softmax_grad", f(2, 600), f(2, 600), f(2, 600)),
]


@pytest.mark.parametrize("given", CALLS, ids=lambda given: given[0])
def test_every_order_gives_the_same_bits(given):
    kernel, *args = given
    found = set()
    for order in simulator.ORDERS:
        copies = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
        simulator.run_entry(kernel, [words_of(a)[0] for a in copies], copies, order)
        found.add(b"".join(a.tobytes() for a in copies if isinstance(a, np.ndarray)))
    assert len(found) == 1
