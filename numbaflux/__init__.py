"""numbaflux: deep learning in the style of Flux.jl, with Numba kernels, for clusters."""

from typing import TYPE_CHECKING, Any

from . import callbacks, data, debug, distributed, init, losses, lowering, metrics, operators, session
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
from .attention import dot_product_attention, dot_product_attention_scores, make_causal_mask
from .audio import db_to_power, hamming_window, hann_window, istft, melscale_filterbanks, power_to_db, spectrogram, stft
from .autosize import autosize
from .batched import batched_adjoint, batched_mul, batched_transpose, batched_vec
from .callbacks import Checkpoint, CSVLog, EarlyStopping, JSONLog, Plateau, Schedule, TensorBoard, throttle
from .check_gradients import check_gradients
from .checkpoint import load, load_into, save
from .compiled import compile
from .contents import inspect
from .convert import convert, save_safetensors
from .data import (
    BatchView,
    DataLoader,
    augment,
    batch,
    batch_sequence,
    batched_searchsorted,
    batchseq,
    chunk,
    datasets,
    eachobs,
    filterobs,
    getobs,
    group_counts,
    group_indices,
    groupobs,
    joinobs,
    kfolds,
    leavepout,
    mapobs,
    numobs,
    obsview,
    oversample,
    randobs,
    rpad_constant,
    shuffleobs,
    slidingwindow,
    splitobs,
    timeseries_kfolds,
    topk,
    unbatch,
    undersample,
)
from .devices import cpu, cpu_device, cuda_view, get_device, gpu, gpu_device
from .distributed import DistributedOptimizer
from .folding import fold, unfold
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
from .grad import gradient, jacobian, pullback, withgradient, withjacobian
from .history import History
from .hook import gradient_hook
from .indexing import gather, scatter
from .layers import (
    AUTO,
    GRU,
    LSTM,
    RNN,
    AdaptiveMaxPool,
    AdaptiveMeanPool,
    AlphaDropout,
    BatchNorm,
    Bilinear,
    Chain,
    Checkpointed,
    Conv,
    ConvTranspose,
    CrossCor,
    Dense,
    DepthwiseConv,
    Dropout,
    Embedding,
    EmbeddingBag,
    GlobalMaxPool,
    GlobalMeanPool,
    GroupNorm,
    GRUCell,
    GRUv3,
    GRUv3Cell,
    InstanceNorm,
    LayerNorm,
    LPPool,
    LSTMCell,
    Maxout,
    MaxPool,
    MeanPool,
    MultiHeadAttention,
    Normalise,
    PairwiseFusion,
    Parallel,
    PixelShuffle,
    Recurrence,
    RMSNorm,
    RNNCell,
    Scale,
    SkipConnection,
    Upsample,
    WeightNorm,
    activations,
    buffer,
    flatten,
    hasaffine,
    initialstates,
    layer,
    normalise,
    param,
    remove_weight_norms,
    rescale,
)
from .lbfgs import lbfgs
from .models import destructure, load_state, outputsize, state, summary, testmode, trainables, trainmode
from .native import set_num_threads, threads
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
    RankError,
    RankLostError,
    ShapeError,
    Spec,
)
from .ops import REGISTRY
from .optim import (
    EMA,
    LAMB,
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
    MixedPrecision,
    Momentum,
    Muon,
    NAdam,
    Nesterov,
    OAdam,
    OptimiserChain,
    OptState,
    RAdam,
    RMSProp,
    Rprop,
    Scheduler,
    SignDecay,
    WeightDecay,
    adjust,
    ema,
    freeze,
    schedules,
    setup,
    thaw,
    update,
)
from .padding import pad_circular, pad_constant, pad_reflect, pad_repeat, pad_symmetric, pad_zeros
from .precision import f16, f32, f64
from .profile import Profile, profile
from .recompute import checkpointed
from .resize import (
    pixel_shuffle,
    pixel_unshuffle,
    upsample_bilinear,
    upsample_linear,
    upsample_nearest,
    upsample_trilinear,
)
from .resume import load_checkpoint, save_checkpoint
from .rng import Generator, seed
from .sampling import grid_sample, imrotate
from .second_order import diaghessian, hessian, hvp, pushforward
from .trace import Value, apply
from .train import train
from .walk import fleaves, fmap, getkeypath, haskeypath, modules, setkeypath
from .windows import conv, conv_transpose, depthwiseconv, lpnormpool, maxpool, meanpool

if TYPE_CHECKING:
    from . import zoo

__version__ = "0.1.0"

# fmt: off
__all__ = [
    "AMSGrad", "AUTO", "AccumGrad", "AdaBelief", "AdaDelta", "AdaGrad", "AdaMax", "Adam", "AdamW", "AdaptiveMaxPool",
    "AdaptiveMeanPool", "AlphaDropout", "BatchNorm", "BatchView", "Bilinear", "CSVLog", "Chain", "Checkpoint",
    "Checkpointed", "ClipGlobalNorm", "ClipGrad", "ClipNorm", "Conv", "ConvTranspose", "CrossCor", "DTypeError",
    "DataLoader", "Dense", "DepthwiseConv", "Descent", "DeviceError", "DistributedOptimizer", "Dropout", "EMA",
    "EarlyStopping", "Embedding", "EmbeddingBag", "Error", "FileFormatError", "GRU", "GRUCell", "GRUv3", "GRUv3Cell",
    "Generator", "GlobalMaxPool", "GlobalMeanPool", "GradientError", "GroupNorm", "History", "InstanceNorm", "JSONLog",
    "LAMB", "LPPool", "LSTM", "LSTMCell", "LayerNorm", "Lion", "MaxPool", "Maxout", "MeanPool", "MixedPrecision",
    "Momentum", "MultiHeadAttention", "Muon", "NAdam", "Nesterov", "NonFiniteError", "Normalise", "OAdam", "OneHot",
    "Op", "OptState", "OptimiserChain", "PairwiseFusion", "Parallel", "PixelShuffle", "PlanError", "Plateau", "Profile",
    "RAdam", "REGISTRY", "RMSNorm", "RMSProp", "RNN", "RNNCell", "RangeError", "RankError", "RankLostError",
    "Recurrence", "Rprop", "Scalar", "Scale", "Schedule", "Scheduler", "ShapeError", "SignDecay", "SkipConnection",
    "Spec", "TensorBoard", "Upsample", "Value", "WeightDecay", "WeightNorm", "activations", "add", "adjust", "apply",
    "augment", "autosize", "batch", "batch_sequence", "batched_adjoint", "batched_mul", "batched_searchsorted",
    "batched_transpose", "batched_vec", "batchseq", "buffer", "callbacks", "cat", "celu", "check_gradients",
    "checkpointed", "chunk", "compile", "concatenate", "conv", "conv_transpose", "convert", "cpu", "cpu_device",
    "cuda_view", "data", "datasets",
    "db_to_power", "debug", "depthwiseconv", "destructure", "diaghessian", "distributed", "dot_product_attention",
    "dot_product_attention_scores", "dropout", "eachobs", "elu", "ema", "f16", "f32", "f64", "filterobs", "flatten",
    "fleaves", "fmap", "fold", "freeze", "gather", "gelu", "gelu_erf", "gelu_sigmoid", "gelu_tanh", "get_device",
    "getkeypath", "getobs", "glu", "gpu", "gpu_device", "gradient", "gradient_hook", "grid_sample", "group_counts",
    "group_indices", "groupobs",
    "hamming_window", "hann_window", "hardsigmoid", "hardswish", "hardtanh", "hasaffine", "haskeypath", "hessian",
    "hvp", "identity", "imrotate", "init", "initialstates", "inspect", "istft", "jacobian", "joinobs", "kfolds",
    "layer", "lbfgs", "leakyrelu", "leavepout", "lisht", "load", "load_checkpoint", "load_into", "load_state",
    "logcosh", "logsigmoid", "logsoftmax", "logsumexp", "losses", "lowering", "lpnormpool", "make_causal_mask",
    "mapobs", "maxpool", "meanpool", "melscale_filterbanks", "metrics", "mish", "modules", "mul", "normalise", "numobs",
    "obsview", "onecold", "onehot", "onehotbatch", "operators", "outputsize", "oversample", "pad_circular",
    "pad_constant", "pad_reflect", "pad_repeat", "pad_symmetric", "pad_zeros", "param", "pixel_shuffle",
    "pixel_unshuffle", "power_to_db", "profile", "pullback", "pushforward", "randobs", "relu", "relu6",
    "remove_weight_norms", "rescale", "rpad_constant", "rrelu", "save", "save_checkpoint", "save_safetensors",
    "scatter", "schedules",
    "seed", "selu", "session", "set_num_threads", "setkeypath", "setup", "shuffleobs", "sigmoid", "sigmoid_fast",
    "slidingwindow", "softmax", "softplus", "softshrink", "softsign", "spectrogram", "splitobs", "state", "stft",
    "stop_gradient", "summary", "swish", "tanh", "tanh_fast", "tanhshrink", "testmode", "thaw", "threads",
    "thresholdrelu", "throttle", "timeseries_kfolds", "topk", "train", "trainables", "trainmode", "trelu", "unbatch",
    "undersample", "unfold", "update", "upsample_bilinear", "upsample_linear", "upsample_nearest", "upsample_trilinear",
    "where", "withgradient", "withjacobian", "zoo",
]


def __getattr__(name: str) -> Any:
    """nf.zoo is imported when it is first used: few programs need it."""
    if name != "zoo":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module(".zoo", __name__)
