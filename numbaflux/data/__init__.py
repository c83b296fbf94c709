"""Data: mini-batches, splits and folds, views, sequences, augmentation, readers of files, small sets to try out."""

from . import augment, datasets
from .batches import batch, batch_sequence, batchseq, chunk, oversample, rpad_constant, unbatch, undersample
from .folds import kfolds, leavepout, timeseries_kfolds
from .loader import DataLoader
from .order import batched_searchsorted, topk
from .quality import Report, report
from .readers import READERS, Arrays, Images, Sound, Table, csv, hdf5, idx, image, images, npy, npz, wav
from .samples import ObsView, getobs, numobs, obsview
from .split import group_counts, group_indices, shuffleobs, splitobs
from .views import BatchView, eachobs, filterobs, groupobs, joinobs, mapobs, randobs, slidingwindow

__all__ = [
    "Arrays", "BatchView", "DataLoader", "Images", "ObsView", "READERS", "Report", "Sound", "Table", "augment",
    "batch", "batch_sequence", "batched_searchsorted", "batchseq", "chunk", "csv", "datasets", "eachobs",
    "filterobs", "getobs", "group_counts", "group_indices", "groupobs", "hdf5", "idx", "image", "images", "joinobs",
    "kfolds", "leavepout", "mapobs", "npy", "npz", "numobs", "obsview", "oversample", "randobs", "report",
    "rpad_constant", "shuffleobs", "slidingwindow", "splitobs", "timeseries_kfolds", "topk", "unbatch",
    "undersample", "wav",
]  # fmt: skip
