"""Data: mini-batches, splits and folds, views, batches of sequences, augmentation."""

from . import augment
from .batches import batch, batch_sequence, batchseq, chunk, oversample, unbatch, undersample
from .folds import kfolds, leavepout, timeseries_kfolds
from .loader import DataLoader
from .samples import ObsView, numobs
from .split import shuffleobs, splitobs
from .views import filterobs, groupobs, joinobs, mapobs, randobs, slidingwindow

__all__ = [
    "DataLoader", "ObsView", "augment", "batch", "batch_sequence", "batchseq", "chunk", "filterobs", "groupobs",
    "joinobs", "kfolds", "leavepout", "mapobs", "numobs", "oversample", "randobs", "shuffleobs", "slidingwindow",
    "splitobs", "timeseries_kfolds", "unbatch", "undersample",
]  # fmt: skip
