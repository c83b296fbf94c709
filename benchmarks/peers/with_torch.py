"""The cases in PyTorch. Variants: last (images with the channels last in memory), compile, compile-last."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import from_numpy, nn

from benchmarks.peers.cases import GATES, Call, Case, Convolution, Inference, Product, Training

torch.set_num_threads(len(os.sched_getaffinity(0)))


class Last(nn.Module):
    def forward(self, y: Any) -> Any:
        return y[0][:, -1]


def model_of(case: Training) -> nn.Module:
    """The same layers, channels first, with the same weights."""
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
    layers, weights = [makers[kind](*sizes) for kind, *sizes in case.layers], iter(case.weights(channels_first=True))
    with torch.no_grad():
        for layer, (kind, *_) in zip(layers, case.layers, strict=True):
            if kind in GATES:  # two biases there, of which we have one: the other stays zero
                arrays = *(w.T for w in next(weights)), np.float32(0), np.float32(0)
                for p, w in zip(layer.parameters(), arrays, strict=True):
                    p.copy_(torch.as_tensor(w))
                layer.bias_hh_l0.requires_grad_(False)
            elif kind in ("dense", "conv"):
                [w] = next(weights)
                layer.weight.copy_(from_numpy(w.T if kind == "dense" else w))
                layer.bias.zero_()
    return nn.Sequential(*layers)


def placed(case: Training, variant: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Model and data, as they lie in memory."""
    model, (x, y) = model_of(case), map(from_numpy, case.data(channels_first=True))
    if variant.endswith("last"):
        x = x.contiguous(memory_format=torch.channels_last)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, x, y


def training(case: Training, variant: str) -> Call:
    model, x, y = placed(case, variant)
    optimiser = torch.optim.Adam(model.parameters(), case.rate, fused=True)
    measure = torch.nn.functional.mse_loss if case.loss == "mse" else torch.nn.functional.cross_entropy

    def forward() -> torch.Tensor:
        return measure(model(x), y)

    loss = torch.compile(forward) if variant.startswith("compile") else forward

    def step() -> object:
        optimiser.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimiser.step()
        return value.detach()

    return step


def inference(case: Inference, variant: str) -> Call:
    model, x, _ = placed(case.model, variant)
    model.eval()
    # freezing: weights are packed once
    f = torch.compile(model, options={"freezing": True}) if variant.startswith("compile") else model
    return torch.inference_mode()(lambda: f(x))


def convolution(case: Convolution, variant: str) -> Call:
    a, b = map(from_numpy, case.data())
    layout = torch.channels_last if variant.endswith("last") else torch.contiguous_format
    x, w = (one.contiguous(memory_format=layout) for one in (a.permute(0, 3, 1, 2), b.permute(3, 2, 0, 1)))
    f = torch.compile(torch.conv2d) if variant.startswith("compile") else torch.conv2d
    return torch.inference_mode()(lambda: f(x, w, padding=case.window // 2))


def make(case: Case, variant: str) -> Call:
    if isinstance(case, Training):
        return training(case, variant)
    if isinstance(case, Inference):
        return inference(case, variant)
    if isinstance(case, Convolution):
        return convolution(case, variant)
    assert isinstance(case, Product)
    a, b = map(from_numpy, case.data())
    return lambda: torch.mm(a, b)
