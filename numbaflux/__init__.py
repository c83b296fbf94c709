"""numbaflux: deep learning in the style of Flux.jl, with Numba kernels, for clusters."""

from . import init, losses, metrics
from .check_gradients import check_gradients
from .checkpoint import load, load_into, save
from .compiled import compile
from .contents import inspect
from .data import DataLoader, numobs, shuffleobs, splitobs
from .functions import Scalar, logsoftmax, relu, sigmoid, softmax, stop_gradient, tanh, where
from .functions import identity as identity
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
from .optim import Adam, AdamW, Descent, Momentum, adjust, freeze, setup, thaw, update
from .rng import Generator, seed
from .trace import apply
from .train import train

__version__ = "0.1.0"
