"""numbaflux: deep learning in the style of Flux.jl, with Numba kernels, for clusters."""

from . import init, losses, lowering, metrics, operators
from .check_gradients import check_gradients
from .checkpoint import load, load_into, save
from .compiled import compile
from .contents import inspect
from .data import DataLoader, numobs, shuffleobs, splitobs
from .functions import Scalar, identity, logsoftmax, relu, sigmoid, softmax, stop_gradient, tanh, where
from .grad import gradient, jacobian, pullback, withgradient
from .history import History
from .layers import Chain, Dense, buffer, flatten, layer, param
from .models import destructure, f32, f64, load_state, outputsize, state, summary, trainables
from .native import set_num_threads
from .op import (
    DeviceError,
    DTypeError,
    Error,
    FileFormatError,
    GradientError,
    NonFiniteError,
    Op,
    PlanError,
    RangeError,
    ShapeError,
    Spec,
)
from .ops import REGISTRY
from .optim import Adam, AdamW, Descent, Momentum, OptState, adjust, freeze, setup, thaw, update
from .rng import Generator, seed
from .trace import Value, apply
from .train import train

__version__ = "0.1.0"

# fmt: off
__all__ = [
    "REGISTRY", "Adam", "AdamW", "Chain", "DTypeError", "DataLoader", "Dense", "Descent", "DeviceError", "Error",
    "FileFormatError", "Generator", "GradientError", "History", "Momentum", "NonFiniteError", "Op", "OptState",
    "PlanError", "RangeError", "Scalar", "ShapeError", "Spec", "Value", "adjust", "apply", "buffer",
    "check_gradients", "compile", "destructure", "f32", "f64", "flatten", "freeze", "gradient", "identity", "init",
    "inspect", "jacobian", "layer", "load", "load_into", "load_state", "logsoftmax", "losses", "lowering", "metrics",
    "numobs", "operators", "outputsize", "param", "pullback", "relu", "save", "seed", "set_num_threads", "setup",
    "shuffleobs", "sigmoid", "softmax", "splitobs", "state", "stop_gradient", "summary", "tanh", "thaw", "train",
    "trainables", "update", "where", "withgradient",
]
