"""The cases in numbaflux."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import numbaflux as nf
from benchmarks.peers.cases import Call, Case, Inference, Product, Training
from numbaflux.functions import matmul


def last_step(y: Any) -> Any:
    return y[:, -1]


def model_of(case: Training) -> Any:
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
    model: Any = nf.Chain(*(makers[kind](*sizes) for kind, *sizes in case.layers))
    weighted = (nf.Dense, nf.Conv, nf.RNN, nf.LSTM, nf.GRU)
    layers: list[Any] = [layer for layer in model if isinstance(layer, weighted)]
    for layer, arrays in zip(layers, case.weights(), strict=True):
        if len(arrays) == 1:
            [layer.weight] = arrays
        else:
            layer.cells[0].Wi, layer.cells[0].Wh = arrays
    return model


def step_of(
    case: Training, rule: nf.Rule | None = None, put: Callable[[Any], Any] = nf.cpu, products: str = "float32"
) -> tuple[Any, np.ndarray, np.ndarray]:
    """A compiled step, not called yet; x and y. rule: in place of Adam; put: takes the model where it is trained;
    products: as nf.compile has them."""
    model = put(model_of(case))
    loss = {"mse": nf.losses.mse, "crossentropy": nf.losses.logitcrossentropy}[case.loss]
    state = nf.setup(rule or nf.Adam(case.rate), model)
    return nf.compile(lambda m, x, y: loss(m(x), y), model, state, products=products), *case.data()


def training(case: Training) -> Call:
    step, x, y = step_of(case)
    return lambda: step(x, y)


def inference(case: Inference) -> Call:
    predict = nf.compile(model_of(case.model), fixed=True)
    x, _ = case.model.data()
    return lambda: predict(x)


def make(case: Case, variant: str) -> Call:
    if isinstance(case, Training):
        return training(case)
    if isinstance(case, Inference):
        return inference(case)
    a, b = case.data()  # type: ignore[union-attr]
    product = nf.compile(matmul if isinstance(case, Product) else lambda x, w: nf.conv(x, w, pad="same"))
    return lambda: product(a, b)
