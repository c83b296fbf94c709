"""The range of every public number, once: it validates, documents and is fuzzed."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from .op import DTypeError, expect


@dataclass(frozen=True)
class Range:
    """Numbers from low to high; open_low, open_high: without that end; whole: integers."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False
    whole: bool = False

    def __str__(self) -> str:
        left, right = "(" if self.open_low else "[", ")" if self.open_high or math.isinf(self.high) else "]"
        return f"{'an integer' if self.whole else 'a number'} in {left}{_end(self.low)}, {_end(self.high)}{right}"

    def __contains__(self, x: float) -> bool:
        above = x > self.low if self.open_low else x >= self.low
        return above and (x < self.high if self.open_high or math.isinf(self.high) else x <= self.high)


def _end(x: float) -> str:
    power = math.log2(abs(x)) if math.isfinite(x) and abs(x) > 2**31 else 0.5
    return f"{x:g}" if power % 1 else f"{'-' if x < 0 else ''}2**{power:g}"


RATE = Range(0, math.inf)
SHARE = Range(0, 1, open_high=True)
COUNT = Range(1, math.inf, whole=True)
WORD = Range(0, 2**64, open_high=True, whole=True)
SIGNED = Range(-(2**63), 2**63, open_high=True, whole=True)
POSITIVE = Range(0, math.inf, open_low=True)
ANY = Range(-math.inf, math.inf, open_low=True)
EPS = ("msle", "binarycrossentropy", "binary_focal_loss", "crossentropy", "kldivergence", "focal_loss")
ADAM = {"eta": RATE, "beta1": SHARE, "beta2": SHARE, "eps": RATE}
RULES: dict[str, dict[str, Range]] = {
    "Descent": {"eta": RATE},
    "Momentum": {"eta": RATE, "rho": SHARE},
    "Nesterov": {"eta": RATE, "rho": SHARE},
    "RMSProp": {"eta": RATE, "rho": SHARE, "eps": RATE},
    "Rprop": {
        "eta": RATE, "ell1": Range(0, 1, open_low=True, open_high=True), "ell2": Range(1, math.inf), "gamma1": RATE,
        "gamma2": RATE,
    },
    "Adam": ADAM,
    "AdamW": ADAM | {"decay": RATE},
    "RAdam": ADAM,
    "NAdam": ADAM,
    "AdaBelief": ADAM,
    "AdaMax": ADAM,
    "AMSGrad": ADAM,
    "OAdam": ADAM,
    "AdaGrad": {"eta": RATE, "eps": RATE},
    "AdaDelta": {"rho": SHARE, "eps": POSITIVE},
    "Lion": {"eta": RATE, "beta1": SHARE, "beta2": SHARE, "decay": RATE},
    "LAMB": ADAM | {"decay": RATE},
    "Muon": ADAM | {"rho": SHARE, "decay": RATE, "adam_eta": RATE},
    "EMA": {"decay": SHARE},
    "WeightDecay": {"decay": RATE},
    "SignDecay": {"decay": RATE},
    "ClipGrad": {"delta": RATE},
    "ClipNorm": {"omega": RATE, "p": Range(1, math.inf)},
    "ClipGlobalNorm": {"omega": RATE},
    "AccumGrad": {"n": Range(1, 2**53, open_high=True, whole=True)},
}  # fmt: skip
BYTES = Range(1, 2**62, open_high=True, whole=True)
LENGTH = Range(1, 2**63, open_high=True, whole=True)
SCHEDULES: dict[str, Range] = {
    "t": Range(1, math.inf),
    **dict.fromkeys(("value", "start", "end", "l0", "l1", "maxval", "startval", "endval"), ANY),
    **dict.fromkeys(("decay", "degree"), RATE),
    **dict.fromkeys(("max_iter", "steps", "step_sizes", "period", "nsteps", "offset"), LENGTH),
    "percent_start": Range(0, 1),
    "rate": POSITIVE,
}
RANGES: dict[str, Range] = {
    **{f"{rule}.{name}": span for rule, spans in RULES.items() for name, span in spans.items()},
    **{f"schedules.{name}": span for name, span in SCHEDULES.items()},
    "Dense.n_in": COUNT,
    "Dense.n_out": COUNT,
    **{f"{layer}.{size}": COUNT for layer in ("Conv", "ConvTranspose") for size in ("n_in", "n_out", "groups")},
    **{f"{cell}Cell.{size}": COUNT for cell in ("RNN", "LSTM", "GRU", "GRUv3") for size in ("n_in", "n_out")},
    **{f"{layer}.layers": COUNT for layer in ("RNN", "LSTM", "GRU", "GRUv3")},
    "init.timeout": POSITIVE,
    "DistributedOptimizer.accumulate": COUNT,
    "DistributedOptimizer.bucket": POSITIVE,
    "DistributedOptimizer.shards": COUNT,
    "DistributedOptimizer.compare": Range(0, math.inf, whole=True),
    "DataLoader.batchsize": COUNT,
    "DataLoader.prefetch": Range(0, math.inf, whole=True),
    "DataLoader.workers": COUNT,
    "truncated_normal.mean": ANY,
    "truncated_normal.std": POSITIVE,
    "truncated_normal.lo": ANY,
    "truncated_normal.hi": ANY,
    "sparse_init.sparsity": Range(0, 1),
    "sparse_init.std": RATE,
    "identity_init.gain": ANY,
    "OneHot.classes": COUNT,
    "leakyrelu.a": ANY,
    "rrelu.l": ANY,
    "rrelu.u": ANY,
    "trelu.theta": ANY,
    "elu.alpha": RATE,
    "celu.alpha": POSITIVE,
    "softshrink.lambd": RATE,
    **{f"{loss}.eps": RATE for loss in EPS},
    "huber_loss.delta": POSITIVE,
    "siamese_contrastive_loss.margin": RATE,
    "binary_focal_loss.gamma": RATE,
    "focal_loss.gamma": RATE,
    "dice_coeff_loss.smooth": RATE,
    "tversky_loss.beta": Range(0, 1),
    "quantile_loss.q": Range(0, 1),
    "gaussian_nll_loss.eps": POSITIVE,
    "margin_ranking_loss.margin": ANY,
    "cosine_embedding_loss.margin": Range(-1, 1),
    "triplet_margin_loss.margin": RATE,
    "triplet_margin_loss.p": Range(1, math.inf),
    "triplet_margin_loss.eps": RATE,
    "label_smoothing.alpha": Range(0, 1, open_low=True, open_high=True),
    "kfolds.k": Range(2, math.inf, whole=True),
    "leavepout.p": COUNT,
    "timeseries_kfolds.k": COUNT,
    "timeseries_kfolds.gap": Range(0, math.inf, whole=True),
    "timeseries_kfolds.max_train_size": COUNT,
    "chunk.n": COUNT,
    "chunk.size": COUNT,
    "BatchView.batchsize": COUNT,
    "topk.k": COUNT,
    **{f"make_{name}.n": COUNT for name in ("moons", "spiral", "sin")},
    **{f"make_{name}.noise": Range(0, 1e30) for name in ("moons", "spiral", "poly", "sin")},  # finite in float32
    **{f"make_{name}": Range(-1e30, 1e30) for name in ("spiral.a", "sin.start", "sin.stop")},
    "make_spiral.theta": Range(1e-30, math.inf),
    "make_spiral.b": Range(1, math.inf),
    "randobs.n": COUNT,
    "slidingwindow.size": COUNT,
    "slidingwindow.stride": COUNT,
    **{f"{reader}.max_bytes": BYTES for reader in ("csv", "hdf5", "idx", "npy", "npz", "wav")},
    **{f"{reader}.max_ratio": Range(1, math.inf) for reader in ("idx", "npz")},
    **{f"csv.{name}": BYTES for name in ("max_line", "max_columns", "max_rows")},
    **{f"{reader}.max_pixels": BYTES for reader in ("image", "images")},
    **{f"{reader}.size": Range(1, 2**16, open_high=True, whole=True) for reader in ("image", "images")},
    "oversample.fraction": Range(0, 1, open_low=True),
    "RandomFlip.p": Range(0, 1),
    "RandomCrop.pad": COUNT,
    "Cutout.size": COUNT,
    "Noise.std": RATE,
    "Jitter.brightness": RATE,
    "Jitter.contrast": Range(0, 1),
    "MixUp.alpha": Range(0, math.inf, open_low=True),
    "normalise.eps": Range(0, math.inf, open_low=True),
    "rescale.eps": POSITIVE,
    "top_k_accuracy.k": COUNT,
    "lbfgs.iterations": Range(0, math.inf, whole=True),
    "lbfgs.memory": COUNT,
    "lbfgs.tolerance": RATE,
    "train.epochs": Range(0, math.inf, whole=True),
    "train.log_every": COUNT,
    "profile.repeats": COUNT,
    "slurm.ranks_per_node": COUNT,
    "slurm.cpus": COUNT,
    "slurm.gpus": Range(0, math.inf, whole=True),
    "slurm.signal": Range(1, 65536, open_high=True, whole=True),
    "slurm.max_restarts": Range(0, math.inf, whole=True),
    "EarlyStopping.patience": COUNT,
    "EarlyStopping.min_delta": RATE,
    "Plateau.factor": Range(0, 1, open_low=True, open_high=True),
    "Plateau.patience": COUNT,
    "Plateau.cooldown": Range(0, math.inf, whole=True),
    "Plateau.min_eta": RATE,
    "Plateau.min_delta": RATE,
    "Plateau.threshold": RATE,
    "Checkpoint.every": COUNT,
    "Checkpoint.keep": COUNT,
    "save_checkpoint.epoch": Range(0, 2**63, open_high=True, whole=True),
    "throttle.seconds": RATE,
    "patience.wait": COUNT,
    "Generator.seed": WORD,
    "Generator.counter": WORD,
    "child.index": WORD,
    "integers.low": SIGNED,
    "integers.high": SIGNED,
    "normal.std": RATE,
    "permutation.n": Range(0, 2**63, open_high=True, whole=True),
    "Bilinear.in1": COUNT,
    "Bilinear.in2": COUNT,
    "Bilinear.out": COUNT,
    "Maxout.n": COUNT,
    "Scale.size": COUNT,
    "lpnormpool.p": Range(1, math.inf),
    "LPPool.p": Range(1, math.inf),
    "pixel_shuffle.r": COUNT,
    "pixel_unshuffle.r": COUNT,
    **{f"{f}.{name}": COUNT for f in ("stft", "istft") for name in ("n_fft", "hop_length")},
    "istft.original_length": COUNT,
    "spectrogram.pad": Range(0, math.inf, whole=True),
    "spectrogram.power": RATE,
    "hann_window.length": COUNT,
    "hamming_window.length": COUNT,
    "melscale_filterbanks.n_freqs": COUNT,
    "melscale_filterbanks.n_mels": COUNT,
    "melscale_filterbanks.sample_rate": Range(2, 2**53, open_high=True, whole=True),
    "melscale_filterbanks.fmin": Range(0, 2**53),
    "melscale_filterbanks.fmax": Range(0, 2**53, open_low=True),
    "power_to_db.ref": POSITIVE,
    "power_to_db.amin": POSITIVE,
    "power_to_db.top_db": RATE,
    "db_to_power.ref": POSITIVE,
    "imrotate.angle": ANY,
    "imrotate.midpoint": Range(-(2**53), 2**53),
    "PixelShuffle.r": COUNT,
    "BatchNorm.ch": COUNT,
    "BatchNorm.eps": RATE,
    "BatchNorm.momentum": Range(0, 1),
    "InstanceNorm.ch": COUNT,
    "InstanceNorm.eps": RATE,
    "InstanceNorm.momentum": Range(0, 1),
    "GroupNorm.ch": COUNT,
    "GroupNorm.groups": COUNT,
    "GroupNorm.eps": RATE,
    "LayerNorm.size": COUNT,
    "LayerNorm.eps": RATE,
    "RMSNorm.size": COUNT,
    "RMSNorm.eps": RATE,
    "dropout.p": Range(0, 1),
    "Dropout.p": Range(0, 1),
    "AlphaDropout.p": Range(0, 1),
    "dot_product_attention.nheads": COUNT,
    "MultiHeadAttention.dims": COUNT,
    "MultiHeadAttention.nheads": COUNT,
    "MultiHeadAttention.dropout_prob": Range(0, 1),
    "EmbeddingBag.n_in": COUNT,
    "EmbeddingBag.n_out": COUNT,
    "Embedding.n_in": COUNT,
    "Embedding.n_out": COUNT,
    "Embedding.padding_idx": Range(0, math.inf, whole=True),
    "zoo.days": Range(1, 36_501, open_high=True, whole=True),
    "zoo.limit": COUNT,
}


def check(name: str, value: Any) -> Any:
    """The value, if it is in the range of `Owner.argument`.

    >>> check("Adam.beta1", 1.0)
    Traceback (most recent call last):
    numbaflux.op.RangeError: Adam: beta1 must be a number in [0, 1), got 1.0
    """
    where, _, argument = name.partition(".")
    span = RANGES[name]
    good = isinstance(value, Integral if span.whole else Real) and not isinstance(value, bool)
    expect(good, where, argument, str(span), repr(value), error=DTypeError)
    inside = value in span and (span.whole or abs(value) <= sys.float_info.max)
    expect(inside, where, argument, str(span), repr(value))
    return value
