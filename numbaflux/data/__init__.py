"""Data: mini-batches, splits and folds, views, batches of sequences, augmentation, small sets to try things on."""

from . import augment, datasets
from .batches import batch, batch_sequence, batchseq, chunk, oversample, rpad_constant, unbatch, undersample
from .folds import kfolds, leavepout, timeseries_kfolds
from .loader import DataLoader
from .order import batched_searchsorted, topk
from .samples import ObsView, getobs, numobs, obsview
from .split import group_counts, group_indices, shuffleobs, splitobs
from .views import BatchView, eachobs, filterobs, groupobs, joinobs, mapobs, randobs, slidingwindow

__all__ = [
    "BatchView", "DataLoader", "ObsView", "augment", "batch", "batch_sequence", "batched_searchsorted", "batchseq",
    "chunk", "datasets", "eachobs", "filterobs", "getobs", "group_counts", "group_indices", "groupobs", "joinobs",
    "kfolds", "leavepout", "mapobs", "numobs", "obsview", "oversample", "randobs", "rpad_constant", "shuffleobs",
    "slidingwindow", "splitobs", "timeseries_kfolds", "topk", "unbatch", "undersample",
]  # fmt: skip
