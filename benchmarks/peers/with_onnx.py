"""Trained models as graphs of ONNX Runtime: channels first, steps first, as it has them."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, TensorProto, helper, numpy_helper

from benchmarks.peers.cases import GATES, Call, Inference, Layer, Training

PLAIN = {"tanh": "Tanh", "relu": "Relu", "flatten": "Flatten"}
# Their gates of an LSTM are i, o, f, c where ours are i, f, c, o; of a GRU z, r, n where ours are r, z, n.
ORDER = {"rnn": [0], "lstm": [0, 3, 1, 2], "gru": [1, 0, 2]}


def recurrent(kind: str, weights: list[np.ndarray]) -> tuple[str, list[np.ndarray], dict[str, Any]]:
    """Operator, its arrays and attributes; one direction."""
    gates, size = GATES[kind], len(weights[1])
    arrays = [w.T.reshape(gates, size, -1)[ORDER[kind]].reshape(1, gates * size, -1) for w in weights]
    arrays.append(np.zeros((1, 2 * gates * size), np.float32))
    return kind.upper(), arrays, {"hidden_size": size} | ({"linear_before_reset": 1} if kind == "gru" else {})


def operator(layer: Layer, weights: list[np.ndarray]) -> tuple[str, list[np.ndarray], dict[str, Any]]:
    """The same of any layer."""
    kind, *sizes = layer
    if kind == "dense":
        return "Gemm", [*weights, np.zeros(sizes[1], np.float32)], {}
    if kind == "conv":
        return "Conv", [*weights, np.zeros(sizes[2], np.float32)], {"pads": [sizes[3]] * 4}
    if kind == "batchnorm":
        return "BatchNormalization", [np.full(sizes[0], v, np.float32) for v in (1, 0, 0, 1)], {"epsilon": 1e-5}
    if kind == "maxpool":
        return "MaxPool", [], {"kernel_shape": 2 * sizes, "strides": 2 * sizes}
    if kind == "last":
        return "Squeeze", [np.array([0])], {}
    return recurrent(kind, weights) if kind in GATES else (PLAIN[kind], [], {})


def graph(case: Training, shape: tuple[int, ...]) -> ModelProto:
    nodes, arrays, weights, given = [], [], iter(case.weights(channels_first=True)), "x"
    for number, layer in enumerate(case.layers):
        own = next(weights) if layer[0] in ("dense", "conv", *GATES) else []
        name, values, attributes = operator(layer, own)
        places = [f"{number}.{i}" for i in range(len(values))]
        arrays += [numpy_helper.from_array(np.ascontiguousarray(v), p) for v, p in zip(values, places, strict=True)]
        # The second output of a recurrent operator is its last state, which is all that is asked for.
        outputs = ["", f"y{number}"] if layer[0] in GATES else [f"y{number}"]
        nodes.append(helper.make_node(name, [given, *places], outputs, **attributes))
        given = f"y{number}"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info(given, TensorProto.FLOAT, None)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(helper.make_graph(nodes, "model", [x], [y], arrays), opset_imports=opset, ir_version=10)


def make(case: Inference, variant: str) -> Call:
    x, _ = case.model.data(channels_first=True)
    x = np.ascontiguousarray(x.swapaxes(0, 1)) if x.ndim == 3 else x  # steps first

    @cache
    def session() -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = len(os.sched_getaffinity(0)), 1
        model = graph(case.model, x.shape).SerializeToString()
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    return lambda: session().run(None, {"x": x})[0]
