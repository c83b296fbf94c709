"""Layers, and how to make one's own. All built-in ones stand in LAYERS."""

from .basic import Chain, Dense, flatten
from .containers import Bilinear, Maxout, Parallel, Scale, SkipConnection
from .conv import Conv, ConvTranspose, DepthwiseConv
from .dropout import AlphaDropout, Dropout
from .embedding import Embedding
from .layer import buffer, layer, param
from .norm import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, hasaffine
from .normalise import Normalise, normalise
from .pool import AdaptiveMaxPool, AdaptiveMeanPool, GlobalMaxPool, GlobalMeanPool, MaxPool, MeanPool
from .weight_norm import WeightNorm, remove_weight_norms

LAYERS = (  # what nf.load can build without being told
    Chain, Dense, Conv, ConvTranspose, Normalise, Bilinear, Maxout, Parallel, Scale, SkipConnection,
    AdaptiveMaxPool, AdaptiveMeanPool, GlobalMaxPool, GlobalMeanPool, MaxPool, MeanPool, AlphaDropout, BatchNorm,
    Dropout, Embedding, GroupNorm, InstanceNorm, LayerNorm, WeightNorm,
)  # fmt: skip

__all__ = [
    "LAYERS", "AdaptiveMaxPool", "AdaptiveMeanPool", "AlphaDropout", "BatchNorm", "Bilinear", "Chain", "Conv",
    "ConvTranspose", "Dense", "DepthwiseConv", "Dropout", "Embedding", "GlobalMaxPool", "GlobalMeanPool",
    "GroupNorm", "InstanceNorm", "LayerNorm", "MaxPool", "Maxout", "MeanPool", "Normalise", "Parallel", "Scale",
    "SkipConnection", "WeightNorm", "buffer", "flatten", "hasaffine", "layer", "normalise", "param",
    "remove_weight_norms",
]  # fmt: skip
