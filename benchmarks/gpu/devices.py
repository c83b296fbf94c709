"""What users do with a GPU, on this one beside the CPU: arrays there and back, eager calls, gradients, compiled
functions, training, errors, other libraries' arrays."""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import numbaflux as nf
from benchmarks.gpu import cublas, own
from benchmarks.gpu.plans import Record, reason, record
from benchmarks.gpu.values import TOLERANCE, off
from numbaflux.bound import TENSOR_CORES
from numbaflux.kernels.cuda.launch import CUBLAS, FLOAT32, ROUNDED
from numbaflux.ops.dense import MATMUL

SPREAD = {FLOAT32: 2e-3, CUBLAS: 2e-3, "tf32": 2e-2, "bf16": 1e-1}  # of results of training, by their products
LEAK = 64 << 20  # bytes that may be gone after plans and arrays have died: what is kept for the next
DTYPES = "float16 float32 float64 int8 int32 int64 uint8 uint64 bool"
TENSORS = {
    "torch": lambda torch, x: torch.as_tensor(nf.cuda_view(x), device="cuda"),
    "cupy": lambda cupy, x: cupy.asarray(nf.cuda_view(x)),
}


class Task(NamedTuple):
    """What to train: makes the model, the same each time; a batch."""

    make: Callable[[], Any]
    x: np.ndarray
    y: np.ndarray


def last(y: Any) -> Any:
    return y[:, -1]


def loss(m: Any, x: Any, y: Any) -> Any:
    return nf.losses.logitcrossentropy(m(x), y)


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def tasks(quick: bool) -> dict[str, Task]:
    """Small ones, with random draws and statistics; convolutions; steps."""
    n, w = (4, 4) if quick else (96, 48)

    def rows() -> Any:
        return nf.Chain(nf.Dense(w, w, nf.tanh, rng=0), nf.Dropout(0.3, rng=7), nf.BatchNorm(w), nf.Dense(w, 3, rng=1))

    def images() -> Any:
        conv = nf.Conv((3, 3), 2, w, nf.relu, pad="same", rng=0)
        return nf.Chain(conv, nf.MaxPool((2, 2)), nf.flatten, nf.Dense(4 * w, 3, rng=1))

    def series() -> Any:
        return nf.Chain(nf.LSTM(3, w, rng=0), last, nf.Dense(w, 3, rng=1))

    y = np.arange(n) % 3
    first = {"rows": Task(rows, drawn(n, w), y)}
    more = {"images": Task(images, drawn(n, 4, 4, 2), y), "series": Task(series, drawn(n, 5, 3), y)}
    return first if quick else first | more


# ---------------------------------------------------------------- what is asserted


def there(*things: Any) -> None:
    """They are on the GPU."""
    found = [nf.get_device(x) for x in things]
    assert all(d == nf.gpu_device() for d in found), f"on {found}"


def near(found: Any, wanted: Any, most: float) -> None:
    """Results of the GPU beside the CPU's."""
    error = off(np.asarray(found), np.asarray(wanted).astype(np.float64))
    assert error <= most, f"off by {error:.2g} of the largest number, {most:.2g} is allowed"


def alike(one: Any, two: Any, most: float) -> None:
    """Models, or gradients of them; what is trained as one vector."""
    states = [nf.state(m) for m in (one, two)]
    vectors = [np.concatenate([np.ravel(a).astype(np.float64) for a in state.values()]) for state in states]
    error = np.linalg.norm(vectors[0] - vectors[1]) / max(np.linalg.norm(vectors[1]), 1e-3)
    assert error <= most, f"apart by {error:.2g} of their length, {most:.2g} is allowed"


def refused(kind: type[Exception], words: str, call: Callable[[], object]) -> None:
    """A call raises an error of that kind which says so."""
    try:
        call()
    except kind as error:
        assert words in str(error), f"said: {error}"
        return
    raise AssertionError(f"no {kind.__name__}")


# ---------------------------------------------------------------- checks, each with a line to say or none


def arrays(quick: bool) -> None:
    """There and back: types, shapes, views, models, arrays that stand twice."""
    for dtype in DTYPES.split():
        for shape in ((), (0, 3), (5,), (3, 4, 2)) if quick else ((), (0, 3), (5,), (3, 4, 2), (1025, 1023)):
            x = np.asarray(100 * abs(drawn(*shape))).astype(dtype)
            moved = nf.gpu(x)
            there(moved)
            assert nf.cpu(moved).dtype == moved.dtype == x.dtype and np.array_equal(nf.cpu(moved), x), (dtype, shape)
    x = drawn(6, 4)
    moved = nf.gpu(x)
    for view in (lambda a: a[1:], lambda a: a.T, lambda a: a.reshape(4, 6), lambda a: a[::2, 1]):
        there(view(moved))
        assert np.array_equal(view(moved), view(x))
    assert nf.get_device(moved + 1) == nf.cpu_device() and np.array_equal(moved + 1, x + 1)
    moved[2] = 7
    assert nf.cpu(moved)[2].tolist() == [7] * 4 and nf.gpu(moved) is moved
    two = nf.gpu([x, x])
    assert two[0] is two[1] and nf.cpu_device()(two)[0] is not x


def eager(quick: bool) -> None:
    """Calls of models, gradients and updates, launch by launch."""
    for task in tasks(quick).values():
        found = []
        for put in (nf.cpu, nf.gpu):
            m, x = put((task.make(), task.x))
            out = m(x)
            value, grads = nf.withgradient(lambda m, x=x, y=task.y: loss(m, x, y), m)
            state = nf.setup(nf.Momentum(0.1), m)
            nf.update(state, m, grads)
            found.append((m, out, value, grads))
        (here, wanted, right, slopes), (m, out, value, grads) = found
        there(m, out, nf.trainables(grads))
        near(out, wanted, TOLERANCE["float32"])
        near(value, right, TOLERANCE["float32"])
        alike(grads, slopes, SPREAD[FLOAT32])
        alike(m, here, SPREAD[FLOAT32])


def predictions(quick: bool) -> None:
    """Compiled models: batches of several sizes, from both devices, in turn and from threads."""
    for task in tasks(quick).values():
        here, moved = task.make(), nf.gpu(task.make())
        sizes = [len(task.x), 1, len(task.x) - 1, len(task.x)]
        wanted = [here(task.x[:n]) for n in sizes]
        for predict in (nf.compile(moved), nf.compile(moved, fixed=True)):
            for n, right in zip(sizes, wanted, strict=True):
                for x in (task.x[:n], nf.gpu(task.x[:n])):
                    out = predict(x)
                    there(out)
                    near(out, right, TOLERANCE["float32"])
        at_once(predict, [task.x[:n] for n in sizes], wanted)


def at_once(f: Callable[[Any], Any], given: list[Any], wanted: list[Any]) -> None:
    """Calls from several threads."""
    with ThreadPoolExecutor(len(given)) as workers:
        for found, right in zip(workers.map(f, given), wanted, strict=True):
            near(found, right, TOLERANCE["float32"])


def steps(quick: bool, products: str = FLOAT32) -> str:
    """Compiled training steps; losses and models."""
    if products in ROUNDED and _gpu().capability < TENSOR_CORES:
        return "not on this GPU"
    if products == CUBLAS and cublas.why_not(_gpu()):
        return cublas.why_not(_gpu())
    for task in tasks(quick).values():
        found = []
        for put, how in ((nf.cpu, FLOAT32), (nf.gpu, products)):
            m = put(task.make())
            step = nf.compile(loss, m, nf.setup(nf.Momentum(0.05), m), products=how)
            found.append((m, [float(step(task.x, task.y)) for _ in range(2 if quick else 5)]))
        (here, right), (m, losses) = found
        there(m)
        near(losses, right, SPREAD[products])
        alike(m, here, SPREAD[products])
    return ""


def by_cublas(quick: bool) -> str:
    """Products by cuBLAS, either side transposed, and the same bits again."""
    if cublas.why_not(_gpu()):
        return cublas.why_not(_gpu())
    for m, n, k in ((3, 5, 2), (1, 7, 9), (9, 1, 7)) if quick else ((300, 200, 1000), (1, 513, 257), (4097, 1, 33)):
        for ta, tb in ((False, False), (True, False), (False, True)):
            for dtype in ("float32", "float64"):
                a, b = (drawn(*shape).astype(dtype) for shape in ((k, m) if ta else (m, k), (n, k) if tb else (k, n)))
                f = nf.compile(lambda a, b, ta=ta, tb=tb: nf.apply(MATMUL, a, b, ta=ta, tb=tb), products=CUBLAS)
                out = f(*nf.gpu((a, b)))
                near(out, np.matmul(*(x.astype(np.float64) for x in (a.T if ta else a, b.T if tb else b))),
                     TOLERANCE[dtype])  # fmt: skip
                assert np.array_equal(f(*nf.gpu((a, b))), out), "other bits the second time"
    return ""


def training(quick: bool) -> str:
    """nf.train with a validation, then files."""
    task, found = tasks(quick)["rows"], []
    for put in (nf.cpu, nf.gpu):
        m = put(task.make())
        data = nf.DataLoader((task.x, task.y), 2 if quick else 32, shuffle=True, rng=3)
        history = nf.train(loss, m, data, nf.setup(nf.Adam(1e-2), m), 2, (task.x, task.y), progress=False)
        found.append((m, [row[name] for row in history for name in ("loss", "validation_loss")]))
    (_, right), (m, losses) = found
    there(m)
    near(losses, right, 1e-2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.h5"
        nf.save(path, m)
        alike(nf.load(path), m, 0.0)
    return f"loss {losses[0]:.4f} to {losses[2]:.4f}"


def queued(quick: bool) -> str:
    """nf.train with steps that are queued: the bits of steps each waited for, also where one of them fails."""
    task, found = tasks(quick)["rows"], []
    size = len(task.y) // 2
    x, y = (np.concatenate([a] * (2 if quick else 20)) for a in (task.x, task.y))
    wrong = y.copy()
    wrong[-1] = 7
    for every in (1, 50):
        m = nf.gpu(task.make())
        state = nf.setup(nf.Adam(1e-2), m)
        data = nf.DataLoader((x, y), size, shuffle=True, rng=3)
        history = nf.train(loss, m, data, state, 2, progress=False, log_every=every)
        last = nf.DataLoader((x, wrong), size)
        refused(nf.RangeError, f"position {size - 1}", lambda m=m, last=last, state=state, every=every: nf.train(
            loss, m, last, state, 1, progress=False, log_every=every))  # fmt: skip
        found.append((m, state, history))
    (one, state, right), (many, other, history) = found
    assert history.column("loss") == right.column("loss"), "other losses"
    assert state.step == other.step == 3 * len(data) - 1, f"{state.step} and {other.step} steps"
    alike(many, one, 0.0)
    waited, rest = (h[-1]["seconds"] / len(data) for h in (right, history))
    return "" if quick else f"a step {1e6 * rest:.0f} us queued, {1e6 * waited:.0f} us waited for"


def errors(quick: bool) -> None:
    """Arrays of two devices, and a step that fails, which changes nothing."""
    x, moved, w = drawn(2, 3), nf.gpu(drawn(2, 3)), nf.gpu(nf.Dense(3, 2))
    refused(nf.DeviceError, "nf.gpu(", lambda: nf.functions.add(moved, x))
    refused(nf.DeviceError, "nf.gpu(", lambda: w(x))
    refused(nf.DeviceError, "must be on", lambda: nf.compile(nf.Dense(3, 2))(moved))
    refused(nf.DeviceError, "got one on cpu", lambda: nf.cuda_view(x))
    task = tasks(quick)["rows"]
    m = nf.gpu(task.make())
    state = nf.setup(nf.Adam(), m)
    step, before = nf.compile(loss, m, state), nf.state(m)
    refused(nf.RangeError, "position 1", lambda: step(task.x, np.where(np.arange(len(task.y)) == 1, 7, task.y)))
    refused(nf.NonFiniteError, "finite", lambda: step(task.x * np.nan, task.y))
    assert state.step == 0
    alike(m, before, 0.0)
    step(task.x, task.y)
    assert state.step == 1


def memory(quick: bool) -> str:
    """What dead arrays and plans give back."""
    task = tasks(quick)["rows"]
    free = []
    for _ in range(2 if quick else 10):
        m = nf.gpu(task.make())
        nf.compile(loss, m, nf.setup(nf.Adam(), m))(task.x, task.y)
        held = [nf.gpu(drawn(16, 16 if quick else 1 << 16)) for _ in range(4)]
        held.clear()
        free.append(_gpu().memory()[0])
    lost = free[0] - free[-1]
    assert lost <= LEAK, f"{lost >> 20} MiB are gone"
    return f"{free[-1] / 1e9:.1f} GB are free"


def others(name: str) -> str:
    """Arrays of a library there and back: the same memory one way, a copy the other."""
    with contextlib.suppress(ImportError):
        library = importlib.import_module(name)
        if not library.cuda.is_available():
            return "finds no GPU"
        for dtype in ("float32", "int64", "uint8"):
            x = nf.gpu((100 * abs(drawn(5, 3))).astype(dtype))
            views = [TENSORS[name](library, x), library.from_dlpack(nf.cuda_view(x))]
            for theirs in views:
                again = nf.gpu(theirs)
                there(again)
                assert np.array_equal(again, x) and again is not x
            views[0][1] = 9
            np.asarray((views[1] + 0).tolist())  # when it has come there
            assert np.asarray(x)[1].tolist() == [9] * 3, "it is not the same memory"
        return str(library.__version__)
    return "not installed"


def _gpu() -> Any:
    """The GPU that arrays come to."""
    from numbaflux import device

    return device.gpu()


CHECKS: dict[str, Callable[[bool], str | None]] = {
    "arrays there and back": arrays,
    "eager calls, gradients, updates": eager,
    "compiled models": predictions,
    **{f"training steps, products {name}": lambda quick, name=name: steps(quick, name) for name in SPREAD},
    "products by cuBLAS": by_cublas,
    "nf.train, files": training,
    "operations of one's own": own.operations,
    "nf.profile": own.profile,
    "nf.train, steps in a queue": queued,
    "errors": errors,
    "memory": memory,
    **{f"arrays of {name}": lambda quick, name=name: others(name) for name in TENSORS},
}


def checks(gpu: Any, family: str, quick: bool) -> Iterator[Record]:
    for name, check in CHECKS.items():
        try:
            yield record(family, name, True, check(quick) or "")
        except Exception as error:
            yield record(family, name, False, reason(error))
