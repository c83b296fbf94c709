"""`numbaflux predict`: a saved model applied to the rows of a .npy or .csv file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .checkpoint import load
from .compiled import compile
from .files import check_folder, replacing
from .op import DTypeError, Error, FileFormatError, PlanError, ShapeError, expect
from .precision import computing
from .tree import arrays

ROWS = 4096  # samples predicted at once
FORMATS = (".npy", ".csv")


def predict(file: str | os.PathLike[str], source: Path, target: Path) -> str:
    """Write what the model in file makes of source into target; returns dtype and shape of that, in words.

    >>> import tempfile, numbaflux as nf
    >>> folder = Path(tempfile.mkdtemp())
    >>> nf.save(folder / "model.h5", nf.Dense(3, 2))
    >>> np.save(folder / "x.npy", np.ones((5, 3), np.float32))
    >>> predict(folder / "model.h5", folder / "x.npy", folder / "y.npy")
    'float32 (5, 2)'
    """
    for name, path in (("INPUT", source), ("OUTPUT", target)):
        expect(path.suffix in FORMATS, "predict", name, "a .npy or .csv file", str(path), error=FileFormatError)
    check_folder("predict", "OUTPUT", target)
    model = computing(load(file))
    x = _read(source)
    expect(x.ndim > 0 and len(x) > 0, "predict", "INPUT", "of one row or more", f"shape {x.shape}", error=ShapeError)
    expect(x.dtype.kind in "fiub", "predict", "INPUT", "of numbers", str(x.dtype), error=DTypeError)
    f, dtype = compile(model), dtype_of(model)
    parts = [f(x[i : i + ROWS].astype(dtype)) for i in range(0, len(x), ROWS)]
    good = all(isinstance(part, np.ndarray) and part.ndim for part in parts)
    expect(good, "predict", "MODEL", "one that gives an array", type(parts[0]).__name__, error=PlanError)
    y = np.concatenate(parts)
    _write(target, y)
    return f"{y.dtype} {y.shape}"


def dtype_of(model: Any) -> np.dtype[Any]:
    """The type that a model computes in."""
    return next((a.dtype for a in arrays(model).values() if a.dtype.kind == "f"), np.dtype(np.float32))


def _read(path: Path) -> np.ndarray:
    """The array of a .npy file, or of a .csv file as (rows, columns) in float64."""
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        with path.open() as file:
            header = not all(map(_number, file.readline().split(",")))
            file.seek(0)
            rows = [line for line in file if line.strip()][header:]
        expect(bool(rows), str(path), "file", "of one row or more", "none", error=FileFormatError)
        return np.loadtxt(rows, delimiter=",", ndmin=2)
    except (ValueError, EOFError) as error:
        if isinstance(error, Error):
            raise
        raise FileFormatError(f"{path}: {error}") from error


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _write(path: Path, y: np.ndarray) -> None:
    """Write an array beside its place, then move it there: the file is the old one or the whole new one."""
    digits = "%.9g" if y.dtype == np.float32 else "%.17g"  # as many as it takes to read the same bits back
    flat = y.reshape(len(y), -1)
    fits = path.suffix == ".npy" or y.ndim <= 2
    expect(fits, "predict", "OUTPUT", "of rows for .csv", f"shape {y.shape}", "write a .npy file", ShapeError)
    with replacing(path) as file:
        np.save(file, y) if path.suffix == ".npy" else np.savetxt(file, flat, fmt=digits, delimiter=",")
