"""numbaflux: deep learning in the style of Flux.jl, with Numba kernels, for clusters."""

from . import init, losses, metrics
from .compiled import compile
from .data import DataLoader, numobs, shuffleobs, splitobs
from .functions import Scalar, logsoftmax, relu, sigmoid, softmax, stop_gradient, tanh, where
from .functions import identity as identity
from .grad import gradient, jacobian, pullback, withgradient
from .layers import Chain, Dense, buffer, flatten, layer, param
from .native import set_num_threads
from .op import (
    DeviceError,
    DTypeError,
    Error,
    FileFormatError,
    NonFiniteError,
    Op,
    PlanError,
    RangeError,
    ShapeError,
    Spec,
)
from .ops import REGISTRY
from .optim import Adam, AdamW, Descent, Momentum, adjust, freeze, setup, thaw, update
from .rng import Generator, seed
from .trace import apply

__version__ = "0.1.0"
