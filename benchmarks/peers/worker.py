"""One peer in a process of its own: for each line on standard input that names a case, make its call and print the
loss of step 20 (0 for products); for each number, run for that many seconds and print microseconds a call.

Peers: numbaflux, torch, torch-last (images with the channels last), torch-compile, numpy; probe: the same work at the
speed of our tile alone.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.cases import CASES, GATES, Case, Convolution, Product, Training
from benchmarks.peers.probe import probe

Call = Callable[[], object]


def numbaflux_training(case: Training) -> Call:
    import numbaflux as nf

    makers: dict[str, Callable[..., Any]] = {
        "dense": nf.Dense,
        "conv": lambda k, c, o, pad: nf.Conv((k, k), c, o, pad=pad),
        "batchnorm": lambda c: nf.BatchNorm(c),
        "maxpool": lambda k: nf.MaxPool((k, k)),
        "flatten": lambda *_: nf.flatten,
        "rnn": nf.RNN,
        "lstm": nf.LSTM,
        "gru": nf.GRU,
        "last": lambda: last_step,
        "tanh": lambda: nf.tanh,
        "relu": lambda: nf.relu,
    }
    model = nf.Chain(*(makers[kind](*sizes) for kind, *sizes in case.layers))
    weighted = (nf.Dense, nf.Conv, nf.RNN, nf.LSTM, nf.GRU)
    for layer, arrays in zip((m for m in model if isinstance(m, weighted)), case.weights(), strict=True):
        if len(arrays) == 1:
            [layer.weight] = arrays
        else:
            layer.cells[0].Wi, layer.cells[0].Wh = arrays
    loss = {"mse": nf.losses.mse, "crossentropy": nf.losses.logitcrossentropy}[case.loss]
    step = nf.compile(lambda m, x, y: loss(m(x), y), model, nf.setup(nf.Adam(1e-3), model))
    x, y = case.data()
    return lambda: step(x, y)


def last_step(y: Any) -> Any:
    return y[:, -1]


def numbaflux_product(case: Product | Convolution) -> Call:
    import numbaflux as nf
    from numbaflux.functions import matmul

    a, b = case.data()
    f = matmul if isinstance(case, Product) else lambda x, w: nf.conv(x, w, pad="same")
    product = nf.compile(f)
    return lambda: product(a, b)


def torch_model(case: Training) -> Any:
    """The same layers, channels first, with the same weights."""
    from torch import from_numpy, nn, no_grad

    class Last(nn.Module):
        def forward(self, y: Any) -> Any:
            return y[0][:, -1]

    makers: dict[str, Callable[..., Any]] = {
        "dense": nn.Linear,
        "conv": lambda k, c, o, pad: nn.Conv2d(c, o, k, padding=pad),
        "batchnorm": nn.BatchNorm2d,
        "maxpool": nn.MaxPool2d,
        "flatten": lambda *_: nn.Flatten(),
        "rnn": lambda c, o: nn.RNN(c, o, batch_first=True),
        "lstm": lambda c, o: nn.LSTM(c, o, batch_first=True),
        "gru": lambda c, o: nn.GRU(c, o, batch_first=True),
        "last": Last,
        "tanh": nn.Tanh,
        "relu": nn.ReLU,
    }
    layers = [makers[kind](*sizes) for kind, *sizes in case.layers]
    weights, flat = iter(case.weights()), None
    with no_grad():
        for layer, (kind, *sizes) in zip(layers, case.layers, strict=True):
            flat = sizes if kind == "flatten" else flat
            if kind in GATES:  # two biases there, of which we have one: the other stays zero
                arrays = *next(weights), np.float32(0), np.float32(0)
                for p, w in zip(layer.parameters(), arrays, strict=True):
                    p.copy_(from_numpy(np.array(w.T)))
                layer.bias_hh_l0.requires_grad_(False)
            elif kind in ("dense", "conv"):
                [w] = next(weights)
                if kind == "dense" and flat:  # after channels first, the rows of the weight stand in another order
                    w, flat = w.reshape(*flat, -1).transpose(2, 0, 1, 3).reshape(w.shape), None
                layer.weight.copy_(from_numpy(w.T if kind == "dense" else w.transpose(3, 2, 0, 1).copy()))
                layer.bias.zero_()
    return nn.Sequential(*layers)


def torch_training(case: Training, compiled: bool = False, last: bool = False) -> Call:
    """last: with the channels last in memory."""
    import torch

    torch.set_num_threads(2)
    model = torch_model(case)
    x, y = map(torch.from_numpy, case.data())
    if x.ndim == 4:
        x = x.permute(0, 3, 1, 2)
        x = x if last else x.contiguous()
        model = model.to(memory_format=torch.channels_last) if last else model
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    loss = torch.nn.functional.mse_loss if case.loss == "mse" else torch.nn.functional.cross_entropy
    forward = torch.compile(model) if compiled else model

    def step() -> object:
        optimiser.zero_grad(set_to_none=True)
        value = loss(forward(x), y)
        value.backward()
        optimiser.step()
        return value.detach()

    return step


def torch_product(case: Product | Convolution, last: bool = False) -> Call:
    import torch

    torch.set_num_threads(2)
    a, b = map(torch.from_numpy, case.data())
    if isinstance(case, Product):
        return lambda: torch.mm(a, b)
    x, w = a.permute(0, 3, 1, 2), b.permute(3, 2, 0, 1)
    x, w = (x, w.contiguous(memory_format=torch.channels_last)) if last else (x.contiguous(), w.contiguous())

    def call() -> object:
        with torch.inference_mode():
            return torch.nn.functional.conv2d(x, w, padding=case.window // 2)

    return call


def numpy_product(case: Product) -> Call:
    a, b = case.data()
    return lambda: a @ b


def peers(case: Case, compiled: bool) -> list[str]:
    """Who is beside us in a case."""
    if isinstance(case, Training):
        images = ["torch-last"] if len(case.shape) == 3 else []
        return ["torch", *images, *(["torch-compile"] if compiled else [])]
    return ["torch", "numpy", "probe"] if isinstance(case, Product) else ["torch", "torch-last", "probe"]


def make(peer: str, case: Case) -> Call:
    """The call that a peer repeats."""
    if peer == "probe":
        return probe()[0]
    if isinstance(case, Training):
        if peer == "numbaflux":
            return numbaflux_training(case)
        return torch_training(case, peer == "torch-compile", peer == "torch-last")
    if peer == "numpy":
        return numpy_product(case)  # type: ignore[arg-type]
    return numbaflux_product(case) if peer == "numbaflux" else torch_product(case, peer == "torch-last")


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
    peer, scale = sys.argv[1], 1.0
    call: Call = object
    for line in sys.stdin:
        case = CASES.get(line.strip())
        if case is None:
            print(scale * run(call, float(line)), flush=True)
            continue
        call = make(peer, case)
        scale = case.flops / probe()[1] if peer == "probe" else 1.0  # type: ignore[union-attr]
        value = [call() for _ in range(20)][-1]
        print(float(value) if isinstance(case, Training) else 0.0, flush=True)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
