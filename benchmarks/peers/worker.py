"""One peer, one case, in a process of its own: for each line on standard input, run for that many seconds, print
microseconds a call.

Peers: numbaflux, torch, torch-compile, numpy; probe: a product's time at the speed of our tile alone. The first
line printed is the loss of step 20 (0 for products).
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from benchmarks.peers.cases import CASES, Mlp, Product
from benchmarks.peers.probe import probe

Call = Callable[[], object]


def numbaflux_training(case: Mlp) -> Call:
    import numbaflux as nf

    last = len(case.sizes) - 2
    activation = getattr(nf, case.activation)
    layers = [
        nf.Dense(i, o, nf.identity if n == last else activation)
        for n, (i, o) in enumerate(zip(case.sizes, case.sizes[1:], strict=False))
    ]
    for layer, (w, b) in zip(layers, case.weights(), strict=True):
        layer.weight, layer.bias = w, b
    model = nf.Chain(*layers)
    loss = {"mse": nf.losses.mse, "crossentropy": nf.losses.logitcrossentropy}[case.loss]
    step = nf.compile(lambda m, x, y: loss(m(x), y), model, nf.setup(nf.Adam(1e-3), model))
    x, y = case.data()
    return lambda: step(x, y)


def numbaflux_product(case: Product) -> Call:
    import numbaflux as nf
    from numbaflux.functions import matmul

    a, b = case.data()
    product = nf.compile(matmul)
    return lambda: product(a, b)


def torch_training(case: Mlp, compiled: bool = False) -> Call:
    import torch

    torch.set_num_threads(2)
    layers: list[torch.nn.Module] = []
    for i, o in zip(case.sizes, case.sizes[1:], strict=False):
        layers += [torch.nn.Linear(i, o), torch.nn.Tanh() if case.activation == "tanh" else torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    linear = [m for m in model if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        for layer, (w, b) in zip(linear, case.weights(), strict=True):
            layer.weight.copy_(torch.from_numpy(w.T))
            layer.bias.copy_(torch.from_numpy(b))
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    loss = torch.nn.functional.mse_loss if case.loss == "mse" else torch.nn.functional.cross_entropy
    forward = torch.compile(model) if compiled else model
    x, y = map(torch.from_numpy, case.data())

    def step() -> object:
        optimiser.zero_grad(set_to_none=True)
        value = loss(forward(x), y)
        value.backward()
        optimiser.step()
        return value.detach()

    return step


def torch_product(case: Product, compiled: bool = False) -> Call:
    import torch

    torch.set_num_threads(2)
    a, b = map(torch.from_numpy, case.data())
    return lambda: torch.mm(a, b)


def numpy_product(case: Product) -> Call:
    a, b = case.data()
    return lambda: a @ b


def make(peer: str, case: Mlp | Product) -> Call:
    """The call that a peer repeats."""
    training = isinstance(case, Mlp)
    if peer == "probe":
        return probe()[0]
    if peer == "numpy":
        return numpy_product(case)  # type: ignore[arg-type]
    if peer == "numbaflux":
        return numbaflux_training(case) if training else numbaflux_product(case)  # type: ignore[arg-type]
    compiled = peer == "torch-compile"
    return torch_training(case, compiled) if training else torch_product(case, compiled)  # type: ignore[arg-type]


def run(call: Call, seconds: float) -> float:
    """Median microseconds a call over blocks of about 10 ms."""
    start = time.perf_counter()
    call()
    block = max(1, int(0.01 / (time.perf_counter() - start)))
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(block):
            call()
        times.append((time.perf_counter() - start) / block * 1e6)
    return statistics.median(times)


def main() -> None:
    peer, name = sys.argv[1:]
    case = CASES[name]
    call = make(peer, case)
    scale = 2.0 * case.size**3 / probe()[1] if peer == "probe" else 1.0  # type: ignore[union-attr]
    value = [call() for _ in range(20)][-1]
    print(float(value) if isinstance(case, Mlp) else 0.0, flush=True)  # type: ignore[arg-type]
    for line in sys.stdin:
        print(scale * run(call, float(line)), flush=True)


if __name__ == "__main__":
    main()
