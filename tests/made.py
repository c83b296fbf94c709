"""How each number of the table of ranges is given: a call that takes it, and what a test can afford."""

import os
import tempfile
from pathlib import Path

import numpy as np

import numbaflux as nf
from numbaflux import schedules as S
from numbaflux.optim import RULES, TRANSFORMS
from numbaflux.ranges import EPS, RANGES, check
from numbaflux.slurm import Job
from numbaflux.zoo.dates import lifetime
from numbaflux.zoo.fetch import check_size
from numbaflux.zoo.index import Entry
from tests.data.readers import files

X, Y = nf.Generator(0).normal((8, 3)), nf.Generator(1).normal((8, 2))
LABELS = np.arange(8) % 2
SOUND = nf.Generator(2).normal((64,)).astype(np.float64)


def trained():
    """What nf.train takes before epochs."""
    model = nf.Dense(3, 2, rng=0)
    return lambda m, x, y: nf.losses.mse(m(x), y), model, [(X, Y)], nf.setup(nf.Descent(0.0), model)


TRAINED, WORLD = trained(), nf.distributed.init()
SMALL = {
    "csv": b"1,2\n3,4\n", "idx": files.idx(np.arange(3, dtype=np.uint8)),
    "hdf5": files.profile(x=np.zeros(2)), "image": files.picture(files.PIXELS[:2, :2]),
    "npy": files.npy(np.zeros(2)), "npz": files.npz(x=np.zeros(2)), "wav": files.sound(np.zeros((3, 1), int), 2),
}  # fmt: skip
READ = [name for name in RANGES if name.partition(".")[0] in (*SMALL, "images") and name != "csv.max_rows"]
RECURRENT = ("RNN", "LSTM", "GRU", "GRUv3")
CELLS = [f"{name}Cell" for name in RECURRENT]


def saved(epoch):
    """Write a checkpoint of that epoch."""
    with tempfile.TemporaryDirectory() as folder:
        nf.save_checkpoint(os.path.join(folder, "run.h5"), TRAINED[1], TRAINED[3], epoch=epoch)


def lbfgs(**numbers):
    """Of the parabola of one weight: no number makes it long."""
    return nf.lbfgs(lambda m: (m["w"] ** 2).sum(), {"w": np.ones(1)}, **numbers)


def reads(name):
    """A call of a reader on a small file, below a folder of a class; the number is the argument called so."""
    reader, argument = name.split(".")
    form = "image" if reader == "images" else reader

    def call(x):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "class", "x.png")
            path.parent.mkdir()
            path.write_bytes(SMALL[form])
            options = {"header": False} if form == "csv" else {"size": (2, 2)} if form == "image" else {}
            options[argument] = (2, x) if argument == "size" else x
            return getattr(nf.data, reader)(folder if reader == "images" else path, **options)

    return call


def unless_none(name, call):
    """Where None means that a number is left out, the table itself is asked for it."""
    return lambda x: check(name, x) if x is None else call(x)


def numbers_of(rule):
    """Each number of a rule by its name in the table; beside one of a pair stands the other of a rule made plainly."""
    plain = rule(1) if rule is nf.AccumGrad else rule()
    for name, value in vars(plain).items():
        if isinstance(value, tuple):
            yield f"{rule.__name__}.{name}1", lambda x, name=name, value=value: rule(**{name: (x, value[1])})
            yield f"{rule.__name__}.{name}2", lambda x, name=name, value=value: rule(**{name: (value[0], x)})
        elif not isinstance(value, bool):
            yield f"{rule.__name__}.{name}", lambda x, name=name: rule(**{name: x})


def channels(groups):
    """In and out, a multiple of groups where that is a number of groups."""
    n = int(groups) if isinstance(groups, int | np.integer) and groups > 0 else 1
    return n, n


def heads(count):
    """Queries, keys and values of two channels a head, where count is a number of heads."""
    n = 2 * int(count) if isinstance(count, int | np.integer) and count > 0 else 2
    return (np.ones((1, 2, n), np.float32),) * 3


def bins(n):
    """Frequencies of n samples, where that is a number of samples."""
    return int(n) // 2 + 1 if isinstance(n, int | np.integer) and 0 < n < 99 else 1


MAKE = {
    **{name: call for rule in (*RULES, *TRANSFORMS) for name, call in numbers_of(rule)},
    **{
        f"lbfgs.{name}": lambda x, name=name: lbfgs(**{"iterations": 1} | {name: x})
        for name in ("iterations", "memory", "tolerance")
    },
    "EMA.decay": lambda x: nf.EMA(nf.Adam(), x),
    "schedules.t": lambda x: S.Constant(0.1)(x),
    "schedules.value": lambda x: S.Constant(x),
    "schedules.start": lambda x: S.Exp(x, 0.5),
    "schedules.end": lambda x: S.Linear(0.0, x, 3),
    "schedules.l0": lambda x: S.Triangle(x, 1.0, 3),
    "schedules.l1": lambda x: S.Triangle(0.0, x, 3),
    "schedules.maxval": lambda x: S.OneCycle(9, x),
    "schedules.startval": unless_none("schedules.startval", lambda x: S.OneCycle(9, 1.0, startval=x)),
    "schedules.endval": unless_none("schedules.endval", lambda x: S.OneCycle(9, 1.0, endval=x)),
    "schedules.percent_start": lambda x: S.OneCycle(9, 1.0, percent_start=x),
    "schedules.decay": lambda x: S.Exp(1.0, x),
    "schedules.degree": lambda x: S.Poly(1.0, x, 9),
    "schedules.max_iter": lambda x: S.Poly(1.0, 2.0, x),
    "schedules.steps": lambda x: S.Linear(0.0, 1.0, x),
    "schedules.step_sizes": lambda x: S.Step(1.0, 0.5, (x,)),
    "schedules.period": lambda x: S.CosAnneal(0.0, 1.0, x),
    "schedules.nsteps": lambda x: S.OneCycle(x, 1.0),
    "schedules.offset": lambda x: S.Shifted(1.0, x),
    "schedules.rate": lambda x: S.Interpolator(1.0, x),
    "Dense.n_in": lambda x: nf.Dense(x, 1),
    "Dense.n_out": lambda x: nf.Dense(1, x),
    **{
        f"{cell}.{name}": lambda x, cell=cell, name=name: getattr(nf, cell)(**{"n_in": 1, "n_out": 1} | {name: x})
        for cell in CELLS
        for name in ("n_in", "n_out")
    },
    **{f"{layer}.layers": lambda x, layer=layer: getattr(nf, layer)(1, 1, layers=x) for layer in RECURRENT},
    **{
        f"{conv}.{name}": lambda x, conv=conv, name=name: getattr(nf, conv)((1,), **{"n_in": 1, "n_out": 1} | {name: x})
        for conv in ("Conv", "ConvTranspose")
        for name in ("n_in", "n_out")
    },
    "Conv.groups": lambda x: nf.Conv((1,), *channels(x), groups=x),
    "ConvTranspose.groups": lambda x: nf.ConvTranspose((1,), *channels(x), groups=x),
    **{
        f"{norm}.{name}": lambda x, norm=norm, name=name: getattr(nf, norm)(**{"ch": 4} | {name: x})
        for norm in ("BatchNorm", "InstanceNorm")
        for name in ("ch", "eps", "momentum")
    },
    "GroupNorm.ch": lambda x: nf.GroupNorm(x, 1),
    "GroupNorm.groups": lambda x: nf.GroupNorm(12, x),
    "GroupNorm.eps": lambda x: nf.GroupNorm(4, 2, eps=x),
    "RMSNorm.size": lambda x: nf.RMSNorm((2, x)),
    "RMSNorm.eps": lambda x: nf.RMSNorm(4, eps=x),
    "LayerNorm.size": lambda x: nf.LayerNorm((2, x)),
    "LayerNorm.eps": lambda x: nf.LayerNorm(4, eps=x),
    "dropout.p": lambda x: nf.dropout(X, x, rng=0),
    "Dropout.p": lambda x: nf.Dropout(x),
    "AlphaDropout.p": lambda x: nf.AlphaDropout(x),
    "dot_product_attention.nheads": lambda x: nf.dot_product_attention(*heads(x), nheads=x),
    "MultiHeadAttention.dims": lambda x: nf.MultiHeadAttention((1, 1, x), nheads=1),
    "MultiHeadAttention.nheads": lambda x: nf.MultiHeadAttention(heads(x)[0].shape[2], nheads=x),
    "MultiHeadAttention.dropout_prob": lambda x: nf.MultiHeadAttention(8, dropout_prob=x),
    "EmbeddingBag.n_in": lambda x: nf.EmbeddingBag(x, 1),
    "EmbeddingBag.n_out": lambda x: nf.EmbeddingBag(1, x),
    "Embedding.n_in": lambda x: nf.Embedding(x, 1),
    "Embedding.n_out": lambda x: nf.Embedding(1, x),
    "zoo.days": lifetime,
    "zoo.limit": lambda x: check_size(Entry("a", "1.0.0", {}, "", {}, "", ""), x),
    "Embedding.padding_idx": unless_none("Embedding.padding_idx", lambda x: nf.Embedding(9, 1, padding_idx=x)),
    "init.timeout": lambda x: nf.distributed.init(timeout=x),
    **{
        f"DistributedOptimizer.{name}": lambda x, name=name: nf.DistributedOptimizer(nf.Adam(), WORLD, **{name: x})
        for name in ("accumulate", "bucket", "shards", "compare")
    },
    "DataLoader.batchsize": lambda x: nf.DataLoader(X, x),
    "DataLoader.prefetch": lambda x: nf.DataLoader(X, prefetch=x),
    "DataLoader.workers": lambda x: nf.DataLoader(X, workers=x),
    "leakyrelu.a": lambda x: nf.leakyrelu(X, x),
    "rrelu.l": lambda x: nf.rrelu(X.astype(np.float64), x, 1e30),
    "rrelu.u": lambda x: nf.rrelu(X.astype(np.float64), -1e30, x),
    "trelu.theta": lambda x: nf.trelu(X, x),
    "elu.alpha": lambda x: nf.elu(X, x),
    "celu.alpha": lambda x: nf.celu(X, x),
    "softshrink.lambd": lambda x: nf.softshrink(X, x),
    **{
        f"{loss}.eps": unless_none(f"{loss}.eps", lambda x, loss=loss: getattr(nf.losses, loss)(X, X, eps=x))
        for loss in EPS
    },
    "huber_loss.delta": lambda x: nf.losses.huber_loss(X, X, delta=x),
    "siamese_contrastive_loss.margin": lambda x: nf.losses.siamese_contrastive_loss(X, X, margin=x),
    "binary_focal_loss.gamma": lambda x: nf.losses.binary_focal_loss(X, X, gamma=x),
    "focal_loss.gamma": lambda x: nf.losses.focal_loss(X, X, gamma=x),
    "dice_coeff_loss.smooth": lambda x: nf.losses.dice_coeff_loss(X, X, smooth=x),
    "tversky_loss.beta": lambda x: nf.losses.tversky_loss(X, X, beta=x),
    "quantile_loss.q": lambda x: nf.losses.quantile_loss(X, X, q=x),
    "gaussian_nll_loss.eps": lambda x: nf.losses.gaussian_nll_loss(X, X, X, eps=x),
    "margin_ranking_loss.margin": lambda x: nf.losses.margin_ranking_loss(X, X, X, margin=x),
    "cosine_embedding_loss.margin": lambda x: nf.losses.cosine_embedding_loss(X, X, X[:, 0], margin=x),
    **{
        f"triplet_margin_loss.{name}": lambda x, name=name: nf.losses.triplet_margin_loss(X, X, X, **{name: x})
        for name in ("margin", "p", "eps")
    },
    "label_smoothing.alpha": lambda x: nf.losses.label_smoothing(X, x),
    "truncated_normal.mean": lambda x: nf.init.truncated_normal(3, mean=x, dtype=np.float64),
    "truncated_normal.std": lambda x: nf.init.truncated_normal(3, std=x),
    "truncated_normal.lo": lambda x: nf.init.truncated_normal(3, lo=x, hi=1e9),
    "truncated_normal.hi": lambda x: nf.init.truncated_normal(3, lo=-1e9, hi=x),
    "sparse_init.sparsity": lambda x: nf.init.sparse_init((5, 3), sparsity=x),
    "sparse_init.std": lambda x: nf.init.sparse_init((5, 3), sparsity=0.5, std=x, dtype=np.float64),
    "identity_init.gain": lambda x: nf.init.identity_init((5, 3), gain=x, dtype=np.float64),
    "OneHot.classes": lambda x: nf.OneHot([0], x),
    "kfolds.k": lambda x: nf.kfolds(50, x),
    "leavepout.p": lambda x: nf.leavepout(51, x),
    "timeseries_kfolds.k": lambda x: nf.timeseries_kfolds(51, x),
    "timeseries_kfolds.gap": lambda x: nf.timeseries_kfolds(120, 1, x),
    "timeseries_kfolds.max_train_size": unless_none(
        "timeseries_kfolds.max_train_size", lambda x: nf.timeseries_kfolds(50, 2, max_train_size=x)
    ),
    "chunk.n": unless_none("chunk.n", lambda x: nf.chunk(X, x)),
    "chunk.size": unless_none("chunk.size", lambda x: nf.chunk(X, size=x)),
    "BatchView.batchsize": lambda x: nf.BatchView(X, x),
    "topk.k": lambda x: nf.topk(X, x, axis=0),
    **{f"make_{f}.n": lambda x, f=f: getattr(nf.datasets, f"make_{f}")(x) for f in ("moons", "spiral", "sin")},
    **{f"make_{f}.noise": lambda x, f=f: getattr(nf.datasets, f"make_{f}")(1, noise=x) for f in ("moons", "spiral")},
    "make_poly.noise": lambda x: nf.datasets.make_poly([1.0], [0.0], noise=x),
    "make_sin.noise": lambda x: nf.datasets.make_sin(1, noise=x),
    "make_spiral.a": lambda x: nf.datasets.make_spiral(1, a=x),
    "make_spiral.theta": lambda x: nf.datasets.make_spiral(1, theta=x),
    "make_spiral.b": lambda x: nf.datasets.make_spiral(1, b=x),
    "make_sin.start": lambda x: nf.datasets.make_sin(1, start=x),
    "make_sin.stop": lambda x: nf.datasets.make_sin(1, stop=x),
    "rescale.eps": lambda x: nf.rescale(X, eps=x),
    "randobs.n": unless_none("randobs.n", lambda x: nf.randobs(X, x)),
    **{name: reads(name) for name in READ},
    "csv.max_rows": unless_none("csv.max_rows", reads("csv.max_rows")),
    "slidingwindow.size": lambda x: nf.slidingwindow(X, x),
    "slidingwindow.stride": lambda x: nf.slidingwindow(X, 2, x),
    "oversample.fraction": lambda x: nf.oversample(X, LABELS, x),
    "RandomFlip.p": lambda x: nf.augment.RandomFlip(x),
    "RandomCrop.pad": lambda x: nf.augment.RandomCrop(x),
    "Cutout.size": lambda x: nf.augment.Cutout(x),
    "Noise.std": lambda x: nf.augment.Noise(x),
    "Jitter.brightness": lambda x: nf.augment.Jitter(brightness=x),
    "Jitter.contrast": lambda x: nf.augment.Jitter(contrast=x),
    "MixUp.alpha": lambda x: nf.augment.MixUp(x),
    "normalise.eps": lambda x: nf.normalise(X, eps=x),
    "top_k_accuracy.k": lambda x: nf.metrics.top_k_accuracy(Y, LABELS, x),
    "train.epochs": lambda x: nf.train(*TRAINED, epochs=x, progress=False),
    "train.log_every": unless_none(
        "train.log_every", lambda x: nf.train(*TRAINED, epochs=1, progress=False, log_every=x)
    ),
    "profile.repeats": lambda x: nf.profile(nf.tanh, X, repeats=x),
    **{
        f"slurm.{name}": unless_none(f"slurm.{name}", lambda x, name=name: Job(command=("a.py",), **{name: x}))
        for name in ("ranks_per_node", "cpus")
    },
    **{
        f"slurm.{name}": lambda x, name=name: Job(command=("a.py",), time="1-0", **{name: x})
        for name in ("gpus", "signal", "max_restarts")
    },
    "EarlyStopping.patience": lambda x: nf.EarlyStopping(patience=x),
    "EarlyStopping.min_delta": lambda x: nf.EarlyStopping(min_delta=x),
    "Plateau.factor": lambda x: nf.Plateau(factor=x),
    "Plateau.patience": lambda x: nf.Plateau(patience=x),
    "Plateau.cooldown": lambda x: nf.Plateau(cooldown=x),
    "Plateau.min_eta": lambda x: nf.Plateau(min_eta=x),
    "Plateau.min_delta": lambda x: nf.Plateau(min_delta=x),
    "Plateau.threshold": lambda x: nf.Plateau(threshold=x),
    "Checkpoint.every": lambda x: nf.Checkpoint("run.h5", every=x),
    "Checkpoint.keep": unless_none("Checkpoint.keep", lambda x: nf.Checkpoint("{epoch}.h5", keep=x)),
    "save_checkpoint.epoch": lambda x: saved(x),
    "throttle.seconds": lambda x: nf.throttle(print, x),
    "patience.wait": lambda x: nf.callbacks.patience(bool, x),
    "Generator.seed": lambda x: (nf.seed(x), nf.Generator(x)),
    "Generator.counter": lambda x: nf.Generator(0, x),
    "child.index": lambda x: nf.Generator(0).child(x),
    "integers.low": lambda x: nf.Generator(0).integers(2, x, 2**63 - 1),
    "integers.high": lambda x: nf.Generator(0).integers(2, -(2**63), x),
    "normal.std": lambda x: nf.Generator(0).normal((0,), std=x, dtype=np.float64),
    "permutation.n": lambda x: nf.Generator(0).permutation(x),
    "Scale.size": lambda x: nf.Scale(x),
    "Maxout.n": lambda x: nf.Maxout(lambda: nf.Dense(1, 1), x),
    "Bilinear.in1": lambda x: nf.Bilinear(x, 1, 1),
    "Bilinear.in2": lambda x: nf.Bilinear(1, x, 1),
    "Bilinear.out": lambda x: nf.Bilinear(1, 1, x),
    "pixel_shuffle.r": lambda x: nf.pixel_shuffle(np.zeros((1, 1, channels(x)[0]), np.float32), x),
    "pixel_unshuffle.r": lambda x: nf.pixel_unshuffle(np.zeros((1, channels(x)[0], 1), np.float32), x),
    "stft.n_fft": lambda x: nf.stft(SOUND, x),
    "stft.hop_length": unless_none("stft.hop_length", lambda x: nf.stft(SOUND, 8, x)),
    "istft.n_fft": lambda x: nf.istft(np.ones((9, bins(x), 2)), x),
    "istft.hop_length": unless_none("istft.hop_length", lambda x: nf.istft(np.ones((9, 5, 2)), 8, x)),
    "istft.original_length": unless_none(
        "istft.original_length", lambda x: nf.istft(np.ones((9, 5, 2)), 8, original_length=x)
    ),
    "spectrogram.pad": lambda x: nf.spectrogram(SOUND, 8, pad=x),
    "spectrogram.power": lambda x: nf.spectrogram(SOUND, 8, power=x),
    "hann_window.length": lambda x: nf.hann_window(x),
    "hamming_window.length": lambda x: nf.hamming_window(x),
    "melscale_filterbanks.n_freqs": lambda x: nf.melscale_filterbanks(x, 3, 8000),
    "melscale_filterbanks.n_mels": lambda x: nf.melscale_filterbanks(9, x, 8000),
    "melscale_filterbanks.sample_rate": lambda x: nf.melscale_filterbanks(9, 3, x),
    "melscale_filterbanks.fmin": lambda x: nf.melscale_filterbanks(9, 3, 8000, x, 2**53),
    "melscale_filterbanks.fmax": unless_none(
        "melscale_filterbanks.fmax", lambda x: nf.melscale_filterbanks(9, 3, 8000, fmax=x)
    ),
    "power_to_db.ref": lambda x: nf.power_to_db(SOUND, ref=x),
    "power_to_db.amin": lambda x: nf.power_to_db(SOUND, amin=x),
    "power_to_db.top_db": lambda x: nf.power_to_db(SOUND, top_db=x),
    "db_to_power.ref": lambda x: nf.db_to_power(SOUND, ref=x),
    "imrotate.angle": lambda x: nf.imrotate(np.ones((1, 3, 2, 1)), x),
    "imrotate.midpoint": lambda x: nf.imrotate(np.ones((1, 3, 2, 1)), 0.1, midpoint=(x, 1)),
    "PixelShuffle.r": lambda x: nf.PixelShuffle(x),
    "LPPool.p": lambda x: nf.LPPool(x, 2),
    "lpnormpool.p": lambda x: nf.lpnormpool(X[..., None], x, 1),
}
# What a test can afford (sizes of arrays, epochs), and what another argument leaves free.
NARROW = {
    "Dense.n_in": (1, 50), "Dense.n_out": (1, 50), "train.epochs": (0, 2), "profile.repeats": (1, 3),
    "permutation.n": (0, 100), "DistributedOptimizer.shards": (1, 2),
    "integers.low": (-(2**63), 2**63 - 2), "integers.high": (1 - 2**63, 2**63 - 1),
    "rrelu.l": (-1e30, 1e30), "rrelu.u": (-1e30, 1e30),
    "truncated_normal.lo": (-1e9, 1e9 - 1), "truncated_normal.hi": (1 - 1e9, 1e9),
    "kfolds.k": (2, 50), "leavepout.p": (1, 50), "timeseries_kfolds.k": (1, 50), "timeseries_kfolds.gap": (0, 59),
    "Scale.size": (1, 50), "Maxout.n": (1, 9), "Bilinear.in1": (1, 50), "Bilinear.in2": (1, 50),
    "Bilinear.out": (1, 50), "pixel_shuffle.r": (1, 50), "pixel_unshuffle.r": (1, 50), "RMSNorm.size": (1, 50),
    **{f"{conv}.{name}": (1, 50) for conv in ("Conv", "ConvTranspose") for name in ("n_in", "n_out", "groups")},
    **{f"{cell}.{name}": (1, 20) for cell in CELLS for name in ("n_in", "n_out")},
    **{f"{layer}.layers": (1, 5) for layer in RECURRENT},
    "topk.k": (1, 8), **{f"make_{f}.n": (1, 50) for f in ("moons", "spiral", "sin")},
    "chunk.n": (1, 8), "randobs.n": (1, 50), "slidingwindow.size": (1, 8),
    **{name: (1, 30) if name.endswith(".size") else (16, 2**62 - 1) for name in READ if "ratio" not in name},
    "npz.max_ratio": (3, 1e300),
    "top_k_accuracy.k": (1, 2),
    "stft.n_fft": (1, 50), "stft.hop_length": (1, 50), "istft.n_fft": (1, 50),
    "istft.hop_length": (1, 8), "istft.original_length": (1, 16), "spectrogram.pad": (0, 50),
    "hann_window.length": (1, 50), "hamming_window.length": (1, 50), "melscale_filterbanks.n_freqs": (1, 50),
    "melscale_filterbanks.n_mels": (1, 50), "melscale_filterbanks.fmin": (0, 2**52),
    "BatchNorm.ch": (1, 50), "InstanceNorm.ch": (1, 50), "GroupNorm.ch": (1, 50), "GroupNorm.groups": (1, 4),
    "dot_product_attention.nheads": (1, 50), "MultiHeadAttention.dims": (1, 50), "MultiHeadAttention.nheads": (1, 50),
    "EmbeddingBag.n_in": (1, 50), "EmbeddingBag.n_out": (1, 50),
    "LayerNorm.size": (1, 50), "Embedding.n_in": (1, 50), "Embedding.n_out": (1, 50), "Embedding.padding_idx": (0, 8),
}  # fmt: skip
