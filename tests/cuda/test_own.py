"""Operations of a user's own on GPUs: on one that is not there, beside NumPy; and as machine code."""

import json
import os
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import cubin
from numbaflux.own import Own
from tests.cuda import own_kernels as own
from tests.cuda import simulator
from tests.cuda.machine_code import machine_code, usage, with_cuda
from tests.cuda.nets import close
from tests.sources import ROOT


def _numbers(f):
    """numba.cuda's x of three numbers."""
    return type("Numbers", (), {"x": property(lambda self: f())})()


SHARED = simulator.shared(256)
CUDA = SimpleNamespace(
    threadIdx=_numbers(simulator.thread), blockDim=_numbers(simulator.threads), syncthreads=simulator.barrier,
    shared=SimpleNamespace(array=lambda count, kind: SHARED(np.zeros(0, np.dtype(kind.name)))),
)  # fmt: skip
elements, rows, one_tile = nf.lowering.elements, nf.lowering.rows, nf.lowering.one_tile
BEND_GRAD = nf.Op("bend_grad", lambda x, dy, **_: x, elements(own.bend_grad), None, "first derivatives are enough")
BEND = nf.Op("bend", lambda x, **_: x, elements(own.bend), (lambda c, dy: c.apply(BEND_GRAD, c.x, dy, **c.attrs),))


def column(x):
    return nf.Spec((x.shape[0], 1), x.dtype)


LENGTHS_GRAD = nf.Op("lengths_grad", lambda x, dy: x, rows(own.lengths_grad), None, "first derivatives are enough")
SLOPES = (lambda c, dy: c.apply(LENGTHS_GRAD, c.x, dy),)
LENGTHS = nf.Op("lengths", column, rows(own.lengths), SLOPES)
LONG = nf.Op("long", column, rows(own.lengths, cuda=own.long_lengths(CUDA)), SLOPES)
RUNNING = nf.Op("running", lambda x: x, one_tile(own.running, own.running_together(CUDA)), None, "an example")
ALONE = nf.Op("alone", lambda x: x, one_tile(own.running), None, "an example")


def bend(x):
    return nf.apply(BEND, x, power=2, scale=0.5)


def drawn(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


# ---------------------------------------------------------------- on a GPU that is not there


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 7, 300])
def test_eager_calls_beside_numpy(gpus, dtype, n):
    x, tight = drawn(n, 3, dtype=dtype), 1e-6 if dtype is np.float32 else 1e-14
    there = nf.gpu(x)
    squares = (x * x).sum(1, keepdims=True)
    for found, right in (
        (bend(there), np.sin(x) / 2), (nf.apply(LENGTHS, there), squares), (nf.apply(LONG, there), squares),
        (nf.apply(RUNNING, nf.gpu(x[:, 0].copy())), np.cumsum(x[:, 0])),
    ):  # fmt: skip
        assert nf.get_device(found) == nf.gpu_device() and found.dtype == dtype
        np.testing.assert_allclose(found, right, rtol=10 * tight, atol=10 * tight)


def test_who_runs_a_tile(gpus):
    """A thread each element and each row; a block each row, and all."""
    x = nf.gpu(drawn(300, 3))
    launched = []
    gpus[0].launch = lambda function, grid, threads, words, stream: launched.append((function[0], grid, threads))
    for op, given in ((BEND, x), (LENGTHS, x), (LONG, x), (RUNNING, x[:, 0].copy())):
        nf.apply(op, nf.gpu(given), **({"power": 1, "scale": 2.0} if op is BEND else {}))
    assert [(kernel.alone, grid, threads) for kernel, grid, threads in launched] == [
        (True, (4, 1), 256), (True, (2, 1), 256), (False, (300, 1), 256), (False, (1, 1), 256),
    ]  # fmt: skip


def test_arrays_without_elements(gpus):
    assert bend(nf.gpu(np.zeros((3, 0), np.float32))).shape == (3, 0)
    assert nf.apply(LENGTHS, nf.gpu(np.zeros((0, 3), np.float32))).shape == (0, 1)
    assert bend(nf.gpu(np.array(0.5))) == np.sin(0.5) / 2


@pytest.mark.parametrize("op", [LENGTHS, LONG])
def test_gradients_and_training(gpus, op):
    x, found = drawn(9, 4), []

    def loss(m, x):
        return nf.apply(op, m(x)).mean()

    for put in (nf.cpu, nf.gpu):
        m = put(nf.Chain(nf.Dense(4, 5, bend, rng=0), nf.Dense(5, 3, rng=1)))
        value, grads = nf.withgradient(lambda m, x=x, put=put: loss(m, put(x)), m)
        step = nf.compile(loss, m, nf.setup(nf.Adam(0.05), m))
        losses = [value, *(step(x) for _ in range(2))]
        history = nf.train(loss, m, nf.DataLoader((x,), 4), nf.setup(nf.Descent(0.01), m), 1, progress=False)
        found.append((m, grads, [*losses, *history.column("loss"), *nf.compile(m, fixed=True)(x).ravel()]))
    (right, slopes, wanted), (m, grads, losses) = found
    np.testing.assert_allclose(losses, wanted, rtol=1e-4, atol=1e-5)
    close(slopes, grads, 1e-4)
    close(right, m, 1e-4)
    assert nf.get_device((m, nf.trainables(grads))) == nf.gpu_device()


def test_entries_of_ones_own_lowering(gpus):
    """Tiles of some rows, each a thread's."""

    def lower(b, out, x):
        cut = nf.lowering.cut
        b.add(own.running, cut(out, out.size, write=True), cut(x, x.size), rows=6, block=4)

    op = nf.Op("parts", lambda x: x, lower, None, "an example")
    x = np.ones(6)
    assert nf.apply(op, x).tolist() == nf.apply(op, nf.gpu(x)).tolist() == [1, 2, 3, 4, 1, 2]


def test_whole_arrays_need_a_kernel_for_blocks(gpus):
    x = drawn(5)
    np.testing.assert_allclose(nf.apply(ALONE, x), np.cumsum(x), rtol=1e-5)
    said = r"^running: cuda must be given for a GPU, got nothing; one_tile\(kernel, cuda=a function that a block"
    with pytest.raises(nf.DeviceError, match=said):
        nf.apply(ALONE, nf.gpu(x))
    with pytest.raises(nf.DeviceError, match=said):
        nf.compile(lambda x: nf.apply(ALONE, x))(nf.gpu(x))
    wrong = nf.Op("wrong", lambda x: x, one_tile(own.running, cuda="running"), None, "an example")
    with pytest.raises(nf.DTypeError, match="^Op: cuda must be a function, got 'running'"):
        nf.apply(wrong, nf.gpu(x))


# ---------------------------------------------------------------- as machine code

KERNELS = "bend bend_grad lengths lengths_grad long_lengths running_together"
RESERVED = {"[8, 0]": 0, "[9, 0]": 1024}  # bytes of shared memory that each generation keeps for itself


@pytest.fixture(scope="module", params=RESERVED)
def made(request):
    """What a Python with numba-cuda makes of them, for one generation."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")} | {"PYTHONPATH": str(ROOT)}
    command = [with_cuda(), "-P", "-m", "tests.cuda.own_kernels", request.param]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return RESERVED[request.param], json.loads(done.stdout)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", KERNELS.split())
def test_machine_code(made, name, dtype, tmp_path):
    reserved, cubins = made
    entry, code = cubins[f"{name} {dtype}"]
    assert "entry" in entry
    path = tmp_path / "own.cubin"
    path.write_bytes(bytes.fromhex(code))
    found = usage(path, reserved)
    assert found.registers <= 128 and found.shared == (2048 if name == "long_lengths" else 0)
    if dtype == "f4" and name in ("lengths", "running_together"):
        assert found.stack == 0 and machine_code(path).doubles == 0
    assert machine_code(path).count("STG.E") > 0


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_what_is_refused(made, dtype):
    cubins = made[1]
    kind, said = cubins[f"raises {dtype}"]
    assert kind == "PlanError" and said.startswith("raises: kernel must be unable to raise, got a statement that can;")
    kind, said = cubins[f"<lambda> {dtype}"]
    assert kind == "PlanError"
    assert said.startswith(f"gpu: could not compile <lambda>({dtype}:1): TypingError: ") and "nothing" in said


def test_numba_is_left_as_it_was(made):
    assert made[1]["as it was"] is True


def test_own_kernels_are_never_kept(monkeypatch):
    monkeypatch.setattr(cubin, "build_own", lambda *what: cubin.Cubin(what[0].__name__, bytes(4)))
    monkeypatch.setattr(cubin, "Store", lambda: pytest.fail("nothing is read or written"))
    what = Own(own.bend, True), ("f4:1",), 256
    assert cubin.cubins([what], (9, 0)) == {what: cubin.Cubin("bend", bytes(4))}
