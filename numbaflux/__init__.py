"""numbaflux: deep learning in the style of Flux.jl, with Numba kernels, for clusters."""

from . import callbacks, init, losses, lowering, metrics, operators, session
from .activations import (
    celu,
    elu,
    gelu,
    gelu_erf,
    gelu_sigmoid,
    gelu_tanh,
    glu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leakyrelu,
    lisht,
    logcosh,
    logsigmoid,
    logsumexp,
    mish,
    relu6,
    rrelu,
    selu,
    sigmoid_fast,
    softplus,
    softshrink,
    softsign,
    swish,
    tanh_fast,
    tanhshrink,
    thresholdrelu,
    trelu,
)
from .callbacks import Checkpoint, CSVLog, EarlyStopping, JSONLog, Plateau, Schedule, TensorBoard, throttle
from .check_gradients import check_gradients
from .checkpoint import load, load_into, save
from .compiled import compile
from .contents import inspect
from .data import (
    DataLoader,
    augment,
    batch,
    batch_sequence,
    batchseq,
    chunk,
    filterobs,
    groupobs,
    joinobs,
    kfolds,
    leavepout,
    mapobs,
    numobs,
    oversample,
    randobs,
    shuffleobs,
    slidingwindow,
    splitobs,
    timeseries_kfolds,
    unbatch,
    undersample,
)
from .functions import (
    Scalar,
    add,
    cat,
    concatenate,
    identity,
    logsoftmax,
    mul,
    relu,
    sigmoid,
    softmax,
    stop_gradient,
    tanh,
    where,
)
from .grad import gradient, jacobian, pullback, withgradient
from .history import History
from .layers import (
    AdaptiveMaxPool,
    AdaptiveMeanPool,
    AlphaDropout,
    BatchNorm,
    Bilinear,
    Chain,
    Conv,
    ConvTranspose,
    Dense,
    DepthwiseConv,
    Dropout,
    Embedding,
    GlobalMaxPool,
    GlobalMeanPool,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LPPool,
    Maxout,
    MaxPool,
    MeanPool,
    Normalise,
    PairwiseFusion,
    Parallel,
    PixelShuffle,
    RMSNorm,
    Scale,
    SkipConnection,
    Upsample,
    WeightNorm,
    activations,
    buffer,
    flatten,
    hasaffine,
    layer,
    normalise,
    param,
    remove_weight_norms,
)
from .models import destructure, f32, f64, load_state, outputsize, state, summary, testmode, trainables, trainmode
from .native import set_num_threads
from .noise import dropout
from .onehot import OneHot, onecold, onehot, onehotbatch
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
from .optim import (
    AccumGrad,
    AdaBelief,
    AdaDelta,
    AdaGrad,
    Adam,
    AdaMax,
    AdamW,
    AMSGrad,
    ClipGlobalNorm,
    ClipGrad,
    ClipNorm,
    Descent,
    Lion,
    Momentum,
    NAdam,
    Nesterov,
    OAdam,
    OptimiserChain,
    OptState,
    RAdam,
    RMSProp,
    Rprop,
    SignDecay,
    WeightDecay,
    adjust,
    freeze,
    schedules,
    setup,
    thaw,
    update,
)
from .padding import pad_circular, pad_constant, pad_reflect, pad_repeat, pad_symmetric, pad_zeros
from .resize import pixel_shuffle, upsample_bilinear, upsample_linear, upsample_nearest, upsample_trilinear
from .resume import load_checkpoint, save_checkpoint
from .rng import Generator, seed
from .second_order import diaghessian, hessian, hvp, pushforward
from .trace import Value, apply
from .train import train
from .windows import conv, conv_transpose, lpnormpool, maxpool, meanpool

__version__ = "0.1.0"

# fmt: off
__all__ = [
    "AMSGrad", "AccumGrad", "AdaBelief", "AdaDelta", "AdaGrad", "AdaMax", "Adam", "AdamW", "AdaptiveMaxPool",
    "AdaptiveMeanPool", "AlphaDropout", "BatchNorm", "Bilinear", "CSVLog", "Chain", "Checkpoint", "ClipGlobalNorm",
    "ClipGrad", "ClipNorm", "Conv", "ConvTranspose", "DTypeError", "DataLoader", "Dense", "DepthwiseConv", "Descent",
    "DeviceError", "Dropout", "EarlyStopping", "Embedding", "Error", "FileFormatError", "Generator", "GlobalMaxPool",
    "GlobalMeanPool", "GradientError", "GroupNorm", "History", "InstanceNorm", "JSONLog", "LPPool", "LayerNorm", "Lion",
    "MaxPool", "Maxout", "MeanPool", "Momentum", "NAdam", "Nesterov", "NonFiniteError", "Normalise", "OAdam", "OneHot",
    "Op", "OptState", "OptimiserChain", "PairwiseFusion", "Parallel", "PixelShuffle", "PlanError", "Plateau", "RAdam",
    "REGISTRY", "RMSNorm", "RMSProp", "RangeError", "Rprop", "Scalar", "Scale", "Schedule", "ShapeError", "SignDecay",
    "SkipConnection", "Spec", "TensorBoard", "Upsample", "Value", "WeightDecay", "WeightNorm", "activations", "add",
    "adjust", "apply", "augment", "batch", "batch_sequence", "batchseq", "buffer", "callbacks", "cat", "celu",
    "check_gradients", "chunk", "compile", "concatenate", "conv", "conv_transpose", "destructure", "diaghessian",
    "dropout", "elu", "f32", "f64", "filterobs", "flatten", "freeze", "gelu", "gelu_erf", "gelu_sigmoid", "gelu_tanh",
    "glu", "gradient", "groupobs", "hardsigmoid", "hardswish", "hardtanh", "hasaffine", "hessian", "hvp", "identity",
    "init", "inspect", "jacobian", "joinobs", "kfolds", "layer", "leakyrelu", "leavepout", "lisht", "load",
    "load_checkpoint", "load_into", "load_state", "logcosh", "logsigmoid", "logsoftmax", "logsumexp", "losses",
    "lowering", "lpnormpool", "mapobs", "maxpool", "meanpool", "metrics", "mish", "mul", "normalise", "numobs",
    "onecold", "onehot", "onehotbatch", "operators", "outputsize", "oversample", "pad_circular", "pad_constant",
    "pad_reflect", "pad_repeat", "pad_symmetric", "pad_zeros", "param", "pixel_shuffle", "pullback", "pushforward",
    "randobs", "relu", "relu6", "remove_weight_norms", "rrelu", "save", "save_checkpoint", "schedules", "seed", "selu",
    "session", "set_num_threads", "setup", "shuffleobs", "sigmoid", "sigmoid_fast", "slidingwindow", "softmax",
    "softplus", "softshrink", "softsign", "splitobs", "state", "stop_gradient", "summary", "swish", "tanh", "tanh_fast",
    "tanhshrink", "testmode", "thaw", "thresholdrelu", "throttle", "timeseries_kfolds", "train", "trainables",
    "trainmode", "trelu", "unbatch", "undersample", "update", "upsample_bilinear", "upsample_linear",
    "upsample_nearest", "upsample_trilinear", "where", "withgradient",
]
