"""A kernel whose output is spoiled is noticed: each kernel of the library, one element, the sign, the last row."""

import numba
import numpy as np
import pytest

import numbaflux as nf
from numbaflux import run, warm
from numbaflux.lowering import Array, Build, argument, whole
from tests.cases import CASES, OPS
from tests.reference.optim import Oracle
from tests.test_registry import call, check, specs_of

njit = numba.njit(error_model="numpy")


@njit
def spoil(y, i):
    """Another value of the same type."""
    y[i] = y[i] == 0 if y[i] == 0 or y[i] == 1 else y[i] * y.dtype.type(0.5)


@njit
def element(y):
    spoil(y, y.size // 2 if y.size > 2 else 0)  # of a status word the first says it


@njit
def sign(y):
    for i in range(y.size):
        y[i] = -y[i]


@njit
def invert(y):
    for i in range(y.size):
        y[i] = not y[i]


@njit
def last(y):
    spoil(y, y.size - 1)


MUTATIONS = {"element": element, "sign": sign, "last": last}


def kernels_of(case):
    """The kernels that a case runs in float32, by their names in kernels/cpu."""
    op, specs, build = OPS[case.name], specs_of(case.arrays(np.float32)), Build()
    outs = [argument(s, i) for i, s in enumerate(run.outputs(op, specs, case.attrs))]
    ins = [None if s is None else argument(s, len(outs) + i) for i, s in enumerate(specs)]
    op.lower(build, outs[0] if len(outs) == 1 else outs, *ins, **case.attrs)
    return {e.kernel for e in build.entries}


@pytest.fixture
def spoiled(monkeypatch):
    """spoiled(kernel, mutation): every plan made from now on has an entry that spoils what the kernel wrote."""
    add = Build.add

    def start(kernel, mutation):
        def spoiling(self, name, *args, **kwargs):
            add(self, name, *args, **kwargs)
            if name != kernel or not self.entries:
                return
            commits = self.entries[-1].commits
            for a in args:
                if isinstance(a, Array) and a.write and a.buf.size:
                    chosen = invert if mutation == "sign" and a.buf.dtype == bool else MUTATIONS[mutation]
                    add(self, chosen, whole(a.buf, a.buf.size, write=True), rows=1, block=1, commits=commits)

        monkeypatch.setattr(Build, "add", spoiling)
        run.planned.cache_clear()

    yield start
    monkeypatch.undo()
    run.planned.cache_clear()


def noticed(test, *args):
    """Whether a test turns red."""
    try:
        test(*args)
    except (AssertionError, nf.Error, pytest.fail.Exception, IndexError):
        return True
    return False


def values(case):
    xs = case.arrays(np.float32)
    check(case, xs, call(case, xs))


CHAINS = {name: nf.OptimiserChain(member, nf.Descent(0.1)) for name, member in {
    "decay": nf.WeightDecay(0.1), "clip": nf.ClipGrad(0.5), "norm": nf.ClipNorm(1.0, 3), "join": nf.ClipGlobalNorm(1.0),
    "gate": nf.AccumGrad(3),
}.items()}  # fmt: skip
RULES = {rule.kernel: rule for rule in (*(rule() for rule in nf.optim.RULES), nf.RMSProp(centred=True))}
RULES |= {f"optim.{name}": chain for name, chain in CHAINS.items()}
RULES |= {"optim.blend": nf.LAMB(), "optim.trust": nf.LAMB(), "optim.rounded": nf.MixedPrecision(nf.Adam())}


def three_steps(rule):
    """Of a rule on p with the gradient x, against the rule's formula in float64 NumPy."""
    rng = np.random.default_rng(0)  # 16 numbers: no gap behind them in the flat vector
    p, x = rng.normal(size=16).astype(np.float32), rng.normal(size=16).astype(np.float32)
    model = {"p": p.copy()}
    state = nf.setup(rule, model)
    step, oracle = nf.compile(lambda m, x: (m["p"] * x).sum(), model, state), Oracle(rule, {"p": p})
    for _ in range(3):
        step(x)
        oracle.update({"p": x})
    np.testing.assert_allclose(model["p"], oracle.params["p"], rtol=1e-5)
    assert state.step == oracle.step


KERNELS = {str(case): kernels_of(case) for case in CASES}
USED = sorted({kernel for kernels in KERNELS.values() for kernel in kernels})
CHECKS = ["check.finite", "check.finite_all", "check.flags"]


def test_every_kernel_of_the_library_is_spoiled_below():
    known = {".".join(what[:2]).removeprefix("cpu.") for what in warm.entries().values()}
    elsewhere = {"runner.run", "runner.region", "sha256.leaves"}  # tests/kernels has them, with oracles that are exact
    assert known - elsewhere == {*USED, *RULES, *CHECKS, "optim.tick", "random.advance"}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("kernel", USED)
def test_spoiled_output_of_an_operation_is_noticed(kernel, mutation, spoiled):
    if kernel in ("check.indices", "check.flags") and mutation != "element":
        return  # of the status word only the first element says anything here
    cases = [c for c in CASES if kernel in KERNELS[str(c)]]
    assert not noticed(values, cases[0])
    spoiled(kernel, mutation)
    assert any(noticed(values, case) for case in cases)


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("kernel", [kernel for kernel in RULES if kernel != "optim.gate"])
def test_spoiled_output_of_a_rule_is_noticed(kernel, mutation, spoiled):
    assert not noticed(three_steps, RULES[kernel])
    spoiled(kernel, mutation)
    assert noticed(three_steps, RULES[kernel])


def two_draws():
    layer = nf.Dropout(0.5, rng=7)
    predict = nf.compile(nf.trainmode(layer))
    for _ in range(2):
        predict(np.ones(9, np.float32))
    assert layer.rng.state == (7, 2)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_spoiled_count_of_draws_is_noticed(mutation, spoiled):
    assert not noticed(two_draws)
    spoiled("random.advance", mutation)
    assert noticed(two_draws)


@pytest.mark.parametrize("kernel", [*CHECKS, "optim.tick", "optim.gate"])
def test_spoiled_check_or_count_is_noticed(kernel, spoiled, monkeypatch):
    if kernel in ("check.finite", "check.flags"):
        monkeypatch.setattr("numbaflux.finite.TOGETHER", 0)  # of small gradients too each is looked at by itself
    sign = kernel in ("optim.tick", "optim.gate")
    spoiled(kernel, "sign" if sign else "last" if kernel == "check.finite" else "element")
    assert noticed(three_steps, RULES.get(kernel, nf.Adam()))
