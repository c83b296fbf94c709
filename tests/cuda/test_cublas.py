"""nf.compile(..., products="cublas"): plans whose products a library makes that is not there, beside the CPU's."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import cublas, device
from numbaflux.ops.dense import MATMUL
from tests.cuda import fake_cublas
from tests.cuda.fake_driver import FakeGPU, Stream
from tests.cuda.nets import batch, close, loss, net, rows, series
from tests.cuda.test_driver_calls import driver as driver  # a fixture


def pointwise():
    return nf.Chain(nf.Conv((1, 1), 3, 4, nf.tanh, rng=0), nf.flatten, nf.Dense(16, 2, rng=1))


MODELS = {net: batch(net), series: batch(series), pointwise: (rows(2, 2, 2, 3), np.array([0, 1]))}


def gemms(gpu):
    """What cuBLAS was asked to multiply: the type; operations; m, n, k; leading dimensions; of stacks, strides and how
    many."""
    found = []
    for name, _, *given in gpu.library.state.calls:
        if "gemm" in name:
            addresses = (5, 6, 9, 12, 13) if "Strided" in name else (5, 6, 8, 10, 11)
            found.append((name[6], *(v for i, v in enumerate(given) if i not in addresses)))
    return found


# ---------------------------------------------------------------- one product


@pytest.mark.parametrize(
    ("m", "n", "k", "ta", "tb", "asked"),
    [
        (5, 4, 3, False, False, (0, 0, 4, 5, 3, 4, 3, 4)),
        (5, 4, 3, False, True, (1, 0, 4, 5, 3, 3, 3, 4)),
        (5, 4, 3, True, False, (0, 1, 4, 5, 3, 4, 5, 4)),
        (1, 4, 3, True, False, (0, 0, 4, 1, 3, 4, 3, 4)),
        (5, 4, 1, False, True, (0, 0, 4, 5, 1, 4, 1, 4)),
        (5, 1, 3, False, True, (1, 0, 1, 5, 3, 3, 3, 1)),
        (5, 1, 3, True, False, (0, 1, 1, 5, 3, 1, 5, 1)),
        (1, 1, 1, False, False, (0, 0, 1, 1, 1, 1, 1, 1)),
        (2, 3, 400, True, False, (0, 1, 3, 2, 400, 3, 2, 3)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_columns_there(gpus, m, n, k, ta, tb, asked, dtype):
    """Operations of B and A; n, m, k; elements from one of their columns to the next, and of C's."""
    a, b = rows(*((k, m) if ta else (m, k))).astype(dtype), rows(*((n, k) if tb else (k, n)), seed=1).astype(dtype)
    f = nf.compile(lambda a, b: nf.apply(MATMUL, a, b, ta=ta, tb=tb), products="cublas")
    found = f(nf.gpu(a), nf.gpu(b))
    np.testing.assert_allclose(found, (a.T if ta else a) @ (b.T if tb else b), rtol=1e-5, atol=1e-5)
    assert gemms(gpus[0]) == [("S" if dtype == np.float32 else "D", *asked)]


def test_stacks_and_their_gradients(gpus):
    a, b = rows(6, 5, 4), rows(6, 4, 7, seed=1)

    def value(a, b):
        return (nf.batched_mul(a, b) ** 2).sum()

    f = nf.compile(lambda a, b: nf.gradient(value, a, b), products="cublas")
    for found, wanted in zip(f(nf.gpu(a), nf.gpu(b)), nf.gradient(value, a, b), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    assert gemms(gpus[0]) == [
        ("S", 0, 0, 7, 5, 4, 7, 28, 4, 20, 7, 35, 6),  # a b
        ("S", 1, 0, 4, 5, 7, 7, 28, 7, 35, 4, 20, 6),  # d b'
        ("S", 0, 1, 7, 4, 5, 7, 35, 4, 20, 7, 28, 6),  # a' d
    ]


def test_nothing_to_multiply_is_not_asked_for(gpus):
    """cuBLAS refuses matrices without columns."""
    w = nf.gpu(rows(0, 3))
    f = nf.compile(lambda x: nf.functions.matmul(x, w), products="cublas")
    assert f(nf.gpu(rows(2, 0))).tolist() == [[0.0] * 3] * 2
    assert "blas" not in gpus[0].calls


# ---------------------------------------------------------------- whole plans


@pytest.mark.parametrize("make", MODELS)
def test_predictions_and_gradients(gpus, make):
    m, there, (x, y) = make(), nf.gpu(make()), MODELS[make]
    predict = nf.compile(there, products="cublas")
    for given in (x, x[::-1].copy(), x):  # the graph is made once
        np.testing.assert_allclose(predict(given), m(given), rtol=1e-5, atol=1e-6)
    asked = len(gemms(gpus[0]))
    assert asked == 2
    gradients = nf.compile(lambda x: nf.gradient(lambda x: loss(there, x, y), x), products="cublas")
    wanted = nf.gradient(lambda x: loss(m, x, y), x)
    np.testing.assert_allclose(gradients(x), wanted, rtol=1e-4, atol=1e-6)
    assert len(gemms(gpus[0])) > asked


@pytest.mark.parametrize(
    ("make", "rule"),
    [*((make, nf.Adam(0.05)) for make in MODELS), (net, nf.Muon(0.05))],
    ids=["rows", "series", "pixels", "Muon"],
)
def test_training_steps(gpus, make, rule):
    pairs = []
    for put, products in ((nf.cpu, "float32"), (nf.gpu, "cublas")):
        m = put(make())
        step = nf.compile(loss, m, nf.setup(rule, m), products=products)
        pairs.append((m, [float(step(*MODELS[make])) for _ in range(3)]))
    (m, right), (there, found) = pairs
    np.testing.assert_allclose(found, right, rtol=1e-4)
    close(m, there, 1e-3, 1e-5)
    assert len(gemms(gpus[0])) >= 3


def test_a_step_that_fails_changes_nothing(gpus):
    m = nf.gpu(net())
    step, (x, y) = nf.compile(loss, m, nf.setup(nf.Muon(), m), products="cublas"), batch(net)
    before = nf.state(m)
    with pytest.raises(nf.NonFiniteError, match="loss must be finite"):
        step(x * np.nan, y)
    close(before, nf.state(m), 0, 0)


def test_each_plan_has_a_workspace_and_says_so_before_each_product(gpus):
    m, (x, _) = nf.gpu(net()), batch(net)
    plans = [nf.compile(m, products="cublas") for _ in range(2)]
    for predict in plans:
        predict(x)
        assert predict.memory > cublas.WORKSPACE
    calls = gpus[0].library.state.calls
    names = [name for name, *_ in calls[1 + len(fake_cublas.MODES) :]]
    assert names == ["cublasSetStream_v2", "cublasSetWorkspace_v2", "cublasSgemm_v2_64"] * 4
    assert len({args[1] for name, *args in calls if name == "cublasSetWorkspace_v2"}) == 2


def test_older_gpus_have_it_too(gpus):
    gpus[0].capability = (7, 5)
    m, (x, _) = net(), batch(net)
    np.testing.assert_allclose(nf.compile(nf.gpu(m), products="cublas")(x), m(x), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- the library


def test_calls_are_those_of_the_header():
    assert dict(cublas.TAKES) == fake_cublas.HEADER
    assert dict(cublas.MODES) == fake_cublas.MODES


def test_a_gpu_finds_it_when_a_plan_asks(driver, monkeypatch):
    fake, stream = FakeGPU(), Stream()
    library = fake_cublas.library(fake, {7: stream})
    monkeypatch.setattr(device, "cublas", lambda: driver.calls.append(("cublas",)) or library)
    gpu, what = device.GPU(0), (cublas.KERNEL, ("f4:1",) * 3 + ("u1:1",) + ("i",) * 9, 256)
    assert ("cublas",) not in driver.calls
    first, second = gpu.load([what, what])
    assert first is second is gpu.load([what])[0] and driver.calls.count(("cublas",)) == 1
    assert driver.calls[driver.calls.index(("cublas",)) - 1] == ("cuCtxSetCurrent", "context")
    a, b, c, memory = (fake.allocate(n) for n in (24, 48, 32, cublas.WORKSPACE))
    x, y = rows(2, 3), rows(3, 4, seed=1)
    fake.part(a, 24)[:], fake.part(b, 48)[:] = x.view(np.uint8).ravel(), y.view(np.uint8).ravel()
    arrays = [word for address in (c, b, a, memory) for word in (address, 0, 0, 0)]
    numbers = [word for number in (4, 2, 3, 4, 0, 3, 0, 1, 0) for word in (number, 0)]
    gpu.launch(first, (1, 1), 256, np.array([0, *arrays, *numbers], np.int64), 7)
    fake._run(stream)
    np.testing.assert_allclose(fake.part(c, 32).view(np.float32).reshape(2, 4), x @ y, rtol=1e-5)
    library.state.modes.clear()
    with pytest.raises(nf.DeviceError, match=r"^gpu: cuBLAS's cublasSgemm_v2_64 failed: CUBLAS_STATUS_INTERNAL_ERROR$"):
        gpu.launch(first, (1, 1), 256, np.array([0, *arrays, *numbers], np.int64), 7)


def test_where_it_is_looked_for(monkeypatch, tmp_path):
    finder = ModuleType("cuda.pathfinder")
    finder.load_nvidia_dynamic_lib = lambda name: SimpleNamespace(abs_path=f"lib{name}.so.12")
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", finder)
    monkeypatch.setattr(device.ctypes, "CDLL", lambda path: path)
    assert device.cublas() == "libcublas.so.12"

    def absent(name):
        raise RuntimeError("No such file:\n libcublas.so")

    finder.load_nvidia_dynamic_lib = absent
    words = (
        r"^gpu: cuBLAS must be installed, got nothing \(No such file: libcublas.so\); pip install nvidia-cublas-cu12$"
    )
    with pytest.raises(nf.DeviceError, match=words):
        device.cublas()
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", None)
    with pytest.raises(nf.DeviceError, match=r"^gpu: cuBLAS must be installed"):
        device.cublas()
    with pytest.raises(nf.DeviceError, match=r"^gpu: cuBLAS must be of version 12 or later, got another \(.*Create"):
        cublas.Cublas(SimpleNamespace())


def test_without_it_only_plans_that_ask_for_it_raise(gpus, monkeypatch):
    def absent(gpu, streams):
        raise nf.DeviceError("gpu: cuBLAS must be installed")

    monkeypatch.setattr(fake_cublas, "library", absent)
    m, (x, _) = nf.gpu(net()), batch(net)
    nf.compile(m)(x)
    before = gpus[0].memory()
    with pytest.raises(nf.DeviceError, match="cuBLAS must be installed"):
        nf.compile(m, products="cublas")(x)
    assert gpus[0].memory() == before
