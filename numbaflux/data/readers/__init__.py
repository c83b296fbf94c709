"""Files of data nobody vouches for: each form by its reader, sizes checked before memory is taken, nothing run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .csv_file import Table, csv
from .hdf5_file import Arrays, hdf5
from .idx_file import idx
from .image_files import Images, image, images
from .npy_file import npy, npz
from .wav_file import Sound, wav

# Name -> what reads one file: tests and fuzzers go over them.
READERS: dict[str, Callable[..., Any]] = {
    "csv": csv, "hdf5": hdf5, "idx": idx, "image": image, "npy": npy, "npz": npz, "wav": wav,
}  # fmt: skip

__all__ = [
    "Arrays", "Images", "READERS", "Sound", "Table", "csv", "hdf5", "idx", "image", "images", "npy", "npz", "wav",
]  # fmt: skip
