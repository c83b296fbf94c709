"""Layers, and how to make one's own. All built-in ones stand in LAYERS."""

from .attention import MultiHeadAttention
from .basic import Chain, Dense, activations, flatten
from .containers import Bilinear, Checkpointed, Maxout, PairwiseFusion, Parallel, Scale, SkipConnection
from .conv import Conv, ConvTranspose, CrossCor, DepthwiseConv
from .dropout import AlphaDropout, Dropout
from .embedding import Embedding
from .embedding_bag import EmbeddingBag
from .layer import buffer, layer, param
from .norm import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, hasaffine
from .normalise import Normalise, normalise, rescale
from .pending import AUTO
from .pool import AdaptiveMaxPool, AdaptiveMeanPool, GlobalMaxPool, GlobalMeanPool, LPPool, MaxPool, MeanPool
from .recurrent import GRU, LSTM, RNN, GRUv3, Recurrence
from .recurrent_cell import GRUCell, GRUv3Cell, LSTMCell, RNNCell, initialstates
from .upsample import PixelShuffle, Upsample
from .weight_norm import WeightNorm, remove_weight_norms

LAYERS = (  # what nf.load can build without being told
    Chain, Dense, Conv, ConvTranspose, Normalise, Bilinear, Maxout, Parallel, Scale, SkipConnection,
    AdaptiveMaxPool, AdaptiveMeanPool, GlobalMaxPool, GlobalMeanPool, MaxPool, MeanPool, AlphaDropout, BatchNorm,
    Dropout, Embedding, GroupNorm, InstanceNorm, LayerNorm, WeightNorm, PixelShuffle, Upsample,
    LPPool, PairwiseFusion, RMSNorm, EmbeddingBag, MultiHeadAttention, RNNCell, LSTMCell, GRUCell, GRUv3Cell, RNN, LSTM,
    GRU, GRUv3, Recurrence, Checkpointed,
)  # fmt: skip

__all__ = [
    "AUTO", "AdaptiveMaxPool", "AdaptiveMeanPool", "AlphaDropout", "BatchNorm", "Bilinear", "Chain", "Checkpointed",
    "Conv", "ConvTranspose", "CrossCor", "Dense", "DepthwiseConv", "Dropout", "Embedding", "EmbeddingBag", "GRU",
    "GRUCell", "GRUv3", "GRUv3Cell", "GlobalMaxPool", "GlobalMeanPool", "GroupNorm", "InstanceNorm", "LAYERS", "LPPool",
    "LSTM", "LSTMCell", "LayerNorm", "MaxPool", "Maxout", "MeanPool", "MultiHeadAttention", "Normalise",
    "PairwiseFusion", "Parallel", "PixelShuffle", "RMSNorm", "RNN", "RNNCell", "Recurrence", "Scale", "SkipConnection",
    "Upsample", "WeightNorm", "activations", "buffer", "flatten", "hasaffine", "initialstates", "layer", "normalise",
    "param", "remove_weight_norms", "rescale",
]  # fmt: skip
