"""Programs drawn at random: whatever is joined into groups and waves, a plan gives the bits of its calls one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux import functions as F
from numbaflux import plan
from numbaflux import shapes as H

SIZES = (1, 2, 7, 8, 9, 16, 31, 33, 64, 101, 300)
ONE = (
    F.tanh,
    F.sigmoid,
    F.relu,
    F.square,
    F.negative,
    lambda v: v * 0.5 + 1.0,
    nf.softmax,
    nf.logsoftmax,
    lambda v: v[::-1],
)
WIDER = (  # from (n, c) to another (n, c)
    lambda v: F.sum(v, 0), lambda v: F.mean(v, 1, keepdims=True), lambda v: F.max(v, 1, keepdims=True),
    lambda v: F.max(v, 0, keepdims=True), lambda v: F.sum(v), lambda v: v[:1], lambda v: v[-1], lambda v: v[:, -1:],
)  # fmt: skip
TWO = (F.add, F.sub, F.mul, F.maximum, lambda a, b: nf.where(a > b, a, b), lambda a, b: H.concatenate([a, b])[: len(a)])
STEPS = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=12)


def program(steps, ws, skip):
    """The function that makes a value of each step from earlier ones, and gives the last and the sum of others."""

    def run(x, *ws):
        values = [x]
        for kind, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            if kind < 30:
                values.append(ONE[kind % len(ONE)](a))
            elif kind < 50:
                values.append(TWO[kind % len(TWO)](a, b))
            elif kind < 70:
                values.append(TWO[j % len(TWO)](a, a * 0.0 + WIDER[kind % len(WIDER)](b)))
            else:
                values.append(F.dense(a, ws[j % len(ws)], b[0] if kind % 2 else None))
        return values[-1], F.mean(F.square(sum(values[:: 1 + skip], 0.0)))

    return run


@pytest.fixture(scope="module", autouse=True)
def always_threads():
    """Plans use all threads however little there is to do."""
    if nf.native.pool().allowed < 2:
        pytest.skip("machine: one core")
    before, count = plan.SERIAL, nf.native.pool().count
    plan.SERIAL = 0.0
    yield
    plan.SERIAL = before
    nf.set_num_threads(count)


def bits(results):
    return [np.asarray(r).tobytes() for r in results]


@settings(max_examples=60)
@given(
    STEPS,
    st.sampled_from(SIZES),
    st.sampled_from(SIZES[:9]),
    st.integers(0, 2),
    st.sampled_from([np.float32, np.float64]),
)
def test_a_plan_is_its_calls(steps, n, c, skip, dtype):
    rng = np.random.default_rng(0)
    xs = [rng.normal(size=s).astype(dtype) / 2 for s in ((n, c), (c, c), (c, c))]
    f = program(steps, xs[1:], skip)

    def both(*xs):
        def loss(*vs):
            y, value = f(*vs)
            return value, y

        (value, y), grads = nf.withgradient(loss, *xs)
        return value, y, *grads

    right = bits(both(*xs))
    compiled = nf.compile(both)
    for threads in (1, 2, 2):
        nf.set_num_threads(threads)
        assert bits(compiled(*xs)) == right
    assert bits(nf.compile(f)(*xs)) == right[1::-1]
