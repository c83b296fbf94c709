"""How fast kernels and whole steps are on a GPU, beside cuBLAS, a copy in its memory, and PyTorch where installed."""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import numbaflux as nf
from benchmarks.gpu import cublas
from benchmarks.gpu.plans import Record, launches_of, reason, record, run
from benchmarks.gpu.training import bound_step
from benchmarks.gpu.values import off
from benchmarks.peers.cases import TRAINING, Training, mlp
from numbaflux import functions as F
from numbaflux.bound import Bound
from numbaflux.kernels.cuda.launch import CUBLAS, FLOAT32
from numbaflux.launches import Launches
from numbaflux.lowering import GPU, Build

PRODUCTS = (512, 1024, 2048, 4096)
ROUNDED = {"tf32": 1e-3, "bf16": 8e-3}  # of a result's largest number, that its error may be
NUMBERS = 1 << 26  # of arrays that do not fit in a GPU's caches
STEPS = {"mlp_small": TRAINING["mlp_small_b256"], "lenet_b128": TRAINING["lenet_b128"]}
ROUNDS = 5
LEAST = 0.02  # seconds that a round takes at least
MOST = 4096  # calls in a round
Work = Callable[[Any], None]


def timed(gpu: Any, work: Work) -> float:
    """Seconds of one work(stream): the median of rounds, by the GPU's clock."""
    stream, marks = gpu.stream(), [gpu.event() for _ in range(2)]
    count, took = 1, []
    try:
        work(stream)
        gpu.wait(stream)
        while len(took) < ROUNDS:
            gpu.record(marks[0], stream)
            for _ in range(count):
                work(stream)
            gpu.record(marks[1], stream)
            gpu.wait(stream)
            seconds = gpu.seconds(*marks)
            if seconds < LEAST and count < MOST:
                count = min(MOST, max(2 * count, round(1.2 * LEAST / max(seconds / count, 1e-9))))
            else:
                took.append(seconds / count)
        return statistics.median(took)
    finally:
        for mark in marks:
            gpu.end_event(mark)
        gpu.end_stream(stream)


@contextlib.contextmanager
def bound_to(gpu: Any, launches: Launches, arrays: Sequence[np.ndarray]) -> Iterator[tuple[Bound, Work]]:
    """Launches with their arguments in place, and what runs them once more."""
    bound = Bound(gpu, launches)
    try:
        yield bound, replaying(bound, arrays)
    finally:
        bound.close()


def replaying(bound: Bound, arrays: Sequence[np.ndarray]) -> Work:
    results = [s.spec for number, s in sorted(bound.given.items()) if number in bound.written]
    bound.upload(*arrays, *(np.empty(spec.shape, spec.dtype) for spec in results))
    bound.gpu.wait(bound.copies)
    [part] = bound.waiting[0].parts  # no turn of Python's cuts it
    return lambda stream: bound.gpu.replay(part.graph, stream)


def seconds_of(gpu: Any, f: Callable[..., Any], *arrays: np.ndarray, products: str = FLOAT32) -> float:
    with bound_to(gpu, launches_of(f, arrays, products)[0], arrays) as (_, work):
        return timed(gpu, work)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


# ---------------------------------------------------------------- kernels


def products(gpu: Any, quick: bool) -> Iterator[Record]:
    """As plans make them, with products="cublas" too, and PyTorch: which is faster, at which size."""
    sizes, one = ((40,), 40) if quick else (PRODUCTS, 2048)
    for n, name in [(n, FLOAT32) for n in sizes] + [(one, name) for name in ("float64", *ROUNDED)]:
        took = rounded_seconds(gpu, n, name) if name in ROUNDED else whole_seconds(gpu, n, name)
        if torch_here():
            took["PyTorch"] = torch_product(n, name)
        rates = {who: 2e-9 * n**3 / seconds for who, seconds in took.items()}
        told = [f"{who} {rates[who]:.4g} GFLOP/s in {1e6 * took[who]:.4g} us".strip() for who in took]
        rate = rates.pop("")
        yield record("speed", f"product {n} {name}", True, ", ".join(told), figure=rate, unit="GFLOP/s", beside=rates)
    for name, most in ROUNDED.items():
        yield rounded(gpu, name, most, 40 if quick else 300)


def whole_seconds(gpu: Any, n: int, name: str) -> dict[str, float]:
    """Of n x n numbers of that type: by who makes the product, "" being numbaflux."""
    a, b = random(n, n).astype(name), random(n, n).astype(name)
    took = {"": seconds_of(gpu, F.matmul, a, b)}
    if not cublas.why_not(gpu):
        took["cuBLAS"] = seconds_of(gpu, F.matmul, a, b, products=CUBLAS)
    return took


def rounded_seconds(gpu: Any, n: int, name: str) -> dict[str, float]:
    """The same of factors that are rounded as named, where they lie."""
    a, b = random(n, n), random(n, n)
    with bound_to(gpu, launches_of(F.matmul, [a, b], name)[0], [a, b]) as (bound, work):
        took, slot = {"": timed(gpu, work)}, bound.waiting[0]
        with contextlib.suppress(nf.DeviceError):
            places = [slot.address + slot.offsets[i] for i in range(3)]
            took["cuBLAS"] = timed(gpu, cublas.product(n, *places, name))
    return took


def rounded(gpu: Any, name: str, most: float, n: int) -> Record:
    """Whether products are rounded as named, and no further."""
    a, b = random(n, n) - np.float32(0.5), random(n, n)
    launches, specs = launches_of(F.matmul, [a, b], name)
    found = off(run(gpu, launches, specs, [a, b])[0], a.astype(np.float64) @ b)
    said = f"off by {found:.2g} of the largest number, {most:.2g} is allowed"
    return record("speed", f"product {n} {name}, its error", 1e-6 < found <= most, said, off=found)


def torch_product(n: int, name: str) -> float:
    """Seconds of PyTorch's; in bf16 of numbers that are rounded already."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    dtype = {"bf16": torch.bfloat16, "float64": torch.float64}.get(name)
    a, b = (torch.rand(n, n, device="cuda", dtype=dtype) for _ in range(2))
    return torch_seconds(lambda: a @ b)


def memory_bound(gpu: Any, quick: bool) -> Iterator[Record]:
    """Numbers in GB/s, beside those of a copy."""
    n = 1024 if quick else NUMBERS
    one, two = gpu.allocate(4 * n), gpu.allocate(4 * n)
    try:
        copied = timed(gpu, lambda stream: gpu.copy(two, one, 4 * n, stream))
    finally:
        gpu.free(one)
        gpu.free(two)
    beside = {"copy": 8e-9 * n / copied}
    x = random(n)
    yield measured("tanh", 8e-9 * n / seconds_of(gpu, nf.tanh, x), "GB/s", beside)
    yield measured("add", 12e-9 * n / seconds_of(gpu, F.add, x, x), "GB/s", beside)
    norm, rows = nf.LayerNorm(64 if quick else 1024), x.reshape(-1, 64 if quick else 1024)
    yield measured("layer norm", 8e-9 * n / seconds_of(gpu, norm, rows), "GB/s", beside)
    build = Build(GPU)
    nf.setup(nf.Adam(), {"p": np.zeros(n // 4, np.float32)}).lower(build)
    with bound_to(gpu, Launches(build), []) as (_, work):  # reads p, g, m, v; writes p, m, v
        yield measured("adam", 28e-9 * (n // 4) / timed(gpu, work), "GB/s", beside)


def convolution(gpu: Any, quick: bool) -> Iterator[Record]:
    n, size, c = (2, 6, 4) if quick else (32, 56, 64)
    x, w = random(n, size, size, c), random(3, 3, c, c)
    work = 2e-9 * n * size**2 * 9 * c**2
    seconds = seconds_of(gpu, lambda x, w: nf.conv(x, w, pad="same"), x, w)
    beside = {}
    if torch_here():
        import torch

        images, weights = (torch.from_numpy(a).cuda() for a in (x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1)))
        images = images.contiguous(memory_format=torch.channels_last)
        beside = {"PyTorch": work / torch_seconds(lambda: torch.conv2d(images, weights, padding=1))}
    yield measured(f"conv 3 x 3, {c} to {c}, {n} x {size} x {size}", work / seconds, "GFLOP/s", beside)


def lstm(gpu: Any, quick: bool) -> Iterator[Record]:
    hidden, steps, n = (4, 3, 2) if quick else (128, 64, 32)
    layer, x = nf.LSTM(32, hidden), random(n, steps, 32)
    beside = {}
    if torch_here():
        import torch

        theirs, given = torch.nn.LSTM(32, hidden, batch_first=True).cuda(), torch.from_numpy(x).cuda()
        with torch.inference_mode():
            beside = {"PyTorch": 1e6 * torch_seconds(lambda: theirs(given))}
    name = f"LSTM forward, {hidden} units, {steps} steps, {n} samples"
    yield measured(name, 1e6 * seconds_of(gpu, layer, x), "us", beside)


# ---------------------------------------------------------------- whole steps


def steps(gpu: Any, quick: bool) -> Iterator[Record]:
    cases = {"mlp_small": mlp((3, 4, 1), "tanh", 5, "mse", 1)} if quick else STEPS
    for name, case in cases.items():
        took, kernels = step_seconds(gpu, case, quick)
        beside = {}
        if not cublas.why_not(gpu):
            beside["with cuBLAS"] = 1e6 * step_seconds(gpu, case, quick, CUBLAS)[0]
        if torch_here():
            beside["PyTorch"] = 1e6 * torch_step(case)
        yield measured(f"step of {name}", 1e6 * took, "us", beside, kernels=1e6 * kernels)


def step_seconds(gpu: Any, case: Training, quick: bool, products: str = FLOAT32) -> tuple[float, float]:
    """Of a whole step, and of what the GPU does of it."""
    bound, _, x, y = bound_step(gpu, case, products)
    try:
        bound.run(x, y)
        took = []
        for _ in range(3 if quick else 200):
            start = time.perf_counter()
            bound.run(x, y)
            took.append(time.perf_counter() - start)
        return statistics.median(took), timed(gpu, replaying(bound, [x, y]))
    finally:
        bound.close()


def torch_here() -> bool:
    """Whether PyTorch can use the GPU; its numbers are whole ones then, as ours, not TF32."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return bool(torch.cuda.is_available())


def torch_seconds(call: Callable[[], object], count: int = 50) -> float:
    """Of one call: the median of rounds of some."""
    import torch

    took = []
    for number in range(ROUNDS + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            call()
        torch.cuda.synchronize()
        took += [(time.perf_counter() - start) / count] if number else []  # the first is for warming up
    return statistics.median(took)


def torch_step(case: Training) -> float:
    """Seconds of PyTorch's eager step, with the batch on the CPU as ours has it."""
    import torch

    from benchmarks.peers.with_torch import model_of

    model = model_of(case).cuda()
    x, y = map(torch.from_numpy, case.data(channels_first=True))
    optimiser = torch.optim.Adam(model.parameters(), case.rate, fused=True)
    measure = torch.nn.functional.mse_loss if case.loss == "mse" else torch.nn.functional.cross_entropy
    x, y = x.pin_memory(), y.pin_memory()

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = measure(model(x.cuda(non_blocking=True)), y.cuda(non_blocking=True))
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return torch_seconds(step)


# ---------------------------------------------------------------- all


PARTS = {"product": products, "memory": memory_bound, "conv": convolution, "lstm": lstm, "step": steps}


def measured(name: str, figure: float, unit: str, beside: dict[str, float], **more: float) -> Record:
    said = ", ".join([f"{figure:.4g} {unit}", *(f"{who} {value:.4g}" for who, value in beside.items())])
    return record("speed", name, True, said, figure=figure, unit=unit, beside=beside, **more)


def checks(gpu: Any, family: str, quick: bool) -> Iterator[Record]:
    for name, part in PARTS.items():
        try:
            yield from part(gpu, quick)
        except Exception as error:
            yield record(family, name, False, reason(error))
