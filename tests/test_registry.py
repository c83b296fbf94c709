"""Every operation of the registry on every case of tests/cases.py: values, NaN, gradients and theirs, the same bits
eager and compiled, on 1 thread and 2."""

from collections import Counter

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux import plan, run, warm
from numbaflux.lowering import Build, argument
from numbaflux.native import named
from tests.case import own_statistics
from tests.cases import CASES, DTYPES, OPS, ROWS, fix
from tests.reference import oracle

STEP, TOLERANCE = 1e-5, 1e-6  # of central differences: a wrong element of 20 000 shows as 5e-5
every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@pytest.fixture(scope="module", autouse=True)
def compiled_kernels():
    """All that is missing at once, by several processes, not one by one."""
    for _ in warm.warm():
        pass


def call(case, xs):
    """The result; of several, all elements one after another."""
    y = nf.apply(OPS[case.name], *own_statistics(case, xs), **case.attrs)
    return F.concatenate([F.reshape(part, -1) for part in y]) if isinstance(y, tuple) else y


def floats(xs):
    """Where the inputs that may have a gradient stand."""
    return [i for i, x in enumerate(xs) if x is not None and x.dtype.kind == "f"]


def specs_of(xs):
    return [x if x is None else nf.Spec(x.shape, x.dtype) for x in xs]


def with_inputs(xs, places, values):
    xs = list(xs)
    for i, x in zip(places, values, strict=True):
        xs[i] = x
    return xs


def drawn(seed, arrays):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=x.shape)).astype(x.dtype) for x in arrays]


def same_bits(one, two):
    assert one.dtype == two.dtype and one.shape == two.shape
    assert one.tobytes() == two.tobytes()


# ---------------------------------------------------------------- the table


def test_every_operation_has_cases():
    assert ROWS.keys() == OPS.keys()
    few = {name: len(row.cases) for name, row in ROWS.items() if len(row.cases) < 8}
    assert not few
    assert Counter(map(str, CASES)).most_common(1)[0][1] == 1, "a case stands there twice"


def test_names_are_taken_once():
    assert len(OPS) == len(nf.REGISTRY)


def kernels(case, dtype):
    """The names of the compiled kernels that a case runs."""
    op, specs, build = OPS[case.name], specs_of(case.arrays(dtype)), Build()
    outs = [argument(s, i) for i, s in enumerate(run.outputs(op, specs, case.attrs))]
    ins = [None if s is None else argument(s, len(outs) + i) for i, s in enumerate(specs)]
    op.lower(build, outs[0] if len(outs) == 1 else outs, *ins, **case.attrs)
    return {named(e.kernel, e.signature)[0] for e in build.entries}


def test_warm_compiles_what_cases_run():
    """But for casts of integers, which are many."""
    floats_only = [c for c in CASES if c.name != "cast" or c.attrs["dtype"] != "int64" and floats(c.arrays(np.float32))]
    needed = {name for c in floats_only for dtype in DTYPES for name in kernels(c, dtype)}
    assert needed - warm.entries().keys() == set()


@pytest.mark.parametrize("op", nf.REGISTRY, ids=lambda op: op.name)
def test_gradients_are_named_or_the_reason_is(op):
    case = ROWS[op.name].cases[0]
    assert op.reason if op.grad is None else [op.grad[i] for i in range(len(case.inputs))]


def test_an_operation_needs_a_reason_to_have_no_gradient():
    with pytest.raises(nf.RangeError, match="mine: reason must be given where grad is None"):
        nf.Op("mine", lambda x: x, lambda *a: None, None)


# ---------------------------------------------------------------- values


def check(case, xs, y):
    """Each element within the row's bound of the oracle in extended precision; NaN and infinities where it has them."""
    row = ROWS[case.name]
    exact = [x if x is None or x.dtype.kind != "f" else x.astype(np.longdouble) for x in xs]
    with np.errstate(all="ignore"):
        right = np.asarray(oracle(case.name)(*exact, **case.attrs))
        size = np.nan_to_num(row.size(exact, case.attrs) if row.size else right, nan=0, posinf=np.inf, neginf=-np.inf)
        assert y.shape == right.shape
        if y.dtype.kind != "f":
            np.testing.assert_array_equal(y, right)
            return
        rounded = right.astype(y.dtype)
        finite = np.isfinite(rounded)
        unit = np.spacing(abs(size).astype(y.dtype)).astype(np.longdouble)
        flushed = 8 * np.finfo(y.dtype).tiny  # what is subnormal on the way counts as 0
        bound = row.ulp * unit + flushed if row.ulp else 0
        np.testing.assert_array_equal(y[~finite], rounded[~finite])
        off = abs(y.astype(np.longdouble) - right)
        bad = finite & ~(off <= bound)
    if bad.any():
        pytest.fail(f"{bad.sum()} of {bad.size} are off, first {np.argwhere(bad)[0]}: {y[bad][0]}, not {right[bad][0]}")


@every_dtype
@every_case
def test_values(case, dtype):
    xs = case.arrays(dtype)
    before = [x if x is None else x.copy() for x in xs]
    y = call(case, xs)
    if case.name != "cast":
        assert y.dtype == (bool if oracle(case.name)(*xs, **case.attrs).dtype == bool else dtype)
    check(case, xs, y)
    for x, old in zip(xs, before, strict=True):
        assert x is None or x.tobytes() == old.tobytes(), "an input was written to"


def specials(row, dtype):
    limits = np.finfo(dtype)
    found = [np.nan, np.inf, -np.inf, 0.0, -0.0]
    return np.array(found + ([limits.max, -limits.max, limits.tiny, -limits.tiny, 1.0] if row.extremes else []), dtype)


def sprinkled(case, dtype):
    """The inputs with NaN, infinities and zeros here and there; where each element is its own, in every fourth."""
    row, xs = ROWS[case.name], case.arrays(dtype)
    rng, numbers = np.random.default_rng(3), specials(ROWS[case.name], dtype)
    for i in floats(xs):
        if row.specials is None or i in row.specials:
            count = -(-xs[i].size // 4) if row.extremes else min(len(numbers), -(-xs[i].size // 8))
            at = rng.choice(xs[i].size, count, replace=False)
            xs[i].reshape(-1)[at] = rng.permutation(np.resize(numbers, count))
    return fix(case, xs)


@every_dtype
@pytest.mark.parametrize("case", [c for c in CASES if c.attrs.get("dtype") != "int64"], ids=str)
def test_nan_and_infinities(case, dtype):
    xs = sprinkled(case, dtype)
    check(case, xs, call(case, xs))


# ---------------------------------------------------------------- one result, however it is computed


@pytest.fixture(scope="module")
def always_threads():
    """Plans use all threads however little there is to do."""
    if nf.native.pool().allowed < 2:
        pytest.skip("machine: one core")
    before, count = plan.SERIAL, nf.native.pool().count
    plan.SERIAL = 0.0
    run.planned.cache_clear()
    yield
    plan.SERIAL = before
    nf.set_num_threads(count)
    run.planned.cache_clear()


@every_dtype
@every_case
def test_the_same_bits(case, dtype, always_threads):
    """Eager and compiled, on one thread and on two."""
    xs = case.arrays(dtype)
    given = [i for i, x in enumerate(xs) if x is not None]
    compiled = nf.compile(lambda *values: call(case, with_inputs(xs, given, values)))
    nf.set_num_threads(1)
    one = call(case, xs)
    same_bits(np.asarray(compiled(*(xs[i] for i in given))), one)
    nf.set_num_threads(2)
    same_bits(call(case, xs), one)
    same_bits(np.asarray(compiled(*(xs[i] for i in given))), one)


# ---------------------------------------------------------------- gradients


def differentiable(case):
    """Whether floats go in and float64 comes out, and there is a gradient."""
    if OPS[case.name].grad is None:
        return False
    xs = case.arrays(np.float64)
    return bool(floats(xs)) and run.outputs(OPS[case.name], specs_of(xs), case.attrs)[0].dtype == np.float64


DIFFERENTIABLE = [c for c in CASES if differentiable(c)]
each_gradient = pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)


def tupled(x):
    return x if isinstance(x, tuple) else (x,)


def dot(xs, ys):
    """The sum of all products, and the sum of their absolute values."""
    products = [np.asarray(x) * np.asarray(y) for x, y in zip(xs, ys, strict=True)]
    return sum(p.sum() for p in products), sum(abs(p).sum() for p in products)


def agrees(difference, noise, grads, directions):
    slope, size = dot(grads, directions)
    assert abs(slope - difference) <= TOLERANCE * (size + noise), f"central difference {difference}, gradient {slope}"


def seeds(xs):
    """One direction shows a wrong element; small cases take two."""
    return range(10, 11 if sum(x.size for x in xs) > 1000 else 12)


def weighted(case, xs, places):
    """The scalar function that is differentiated: a sum of the result, weighted."""
    return lambda w, *values: F.sum(F.mul(call(case, with_inputs(xs, places, values)), w))


@each_gradient
def test_gradients(case):
    """Of each input that is a float, each on its own."""
    xs = case.arrays(np.float64)
    [w] = drawn(1, [call(case, xs)])
    places = floats(xs)
    f = weighted(case, xs, places)
    grads = tupled(nf.gradient(lambda *values: f(w, *values), *(xs[i] for i in places)))
    for i, g in zip(places, grads, strict=True):
        assert g.shape == xs[i].shape and g.dtype == np.float64
        if i in ROWS[case.name].constants:
            assert not g.any()
            continue
        for seed in seeds(xs[i : i + 1]):
            [d] = drawn(seed, [xs[i]])
            ys = [call(case, with_inputs(xs, [i], [xs[i] + h * d])) for h in (STEP, -STEP)]
            difference, size = dot([w], [(ys[0] - ys[1]) / (2 * STEP)])
            agrees(difference, size, [g], [d])


@pytest.mark.parametrize("case", [c for c in DIFFERENTIABLE if not ROWS[c.name].once], ids=str)
def test_gradients_of_gradients(case):
    """Of the gradient along v, with respect to the inputs and to what comes back; the same central differences."""
    xs = case.arrays(np.float64)
    places = [i for i in floats(xs) if i not in ROWS[case.name].constants]
    f, start = weighted(case, xs, places), [xs[i] for i in places]
    vs, [w] = drawn(2, start), drawn(1, [call(case, xs)])

    def along(w, *values):
        grads = tupled(nf.gradient(lambda *xs: f(w, *xs), *values)) if values else ()
        total = F.mul(F.sum(w), 0.0)
        for g, v in zip(grads, vs, strict=True):
            total = F.add(total, F.sum(F.mul(g, v)))
        return total

    point = [w, *start]
    grads = tupled(nf.gradient(along, *point))
    for seed in seeds(point):
        ds = drawn(seed, point)
        high, low = (along(*(x + h * d for x, d in zip(point, ds, strict=True))) for h in (STEP, -STEP))
        agrees((high - low) / (2 * STEP), 1e-3, grads, ds)


@every_dtype
@each_gradient
def test_the_same_bits_of_gradients(case, dtype, always_threads):
    xs = case.arrays(dtype)
    places = floats(xs)
    f, [w], values = weighted(case, xs, places), drawn(1, [call(case, xs)]), [xs[i] for i in places]

    def both(*values):
        loss, grads = nf.withgradient(lambda *xs: f(w, *xs), *values)
        return loss, *tupled(grads)

    nf.set_num_threads(1)
    compiled, found = nf.compile(both), [both(*values)]
    for threads in (1, 2):
        nf.set_num_threads(threads)
        found.append(compiled(*values))
    for other in [*found[1:], both(*values)]:
        for one, two in zip(found[0], other, strict=True):
            same_bits(np.asarray(one), np.asarray(two))
