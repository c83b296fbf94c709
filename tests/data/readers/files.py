"""A small valid file of every form that nf.data reads, made by other libraries, and what they read in it."""

import csv
import gzip
import io
import struct
import tempfile
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import numbaflux as nf

RNG = np.random.default_rng(0)
NUMBERS = RNG.standard_normal((7, 3)).astype(np.float32)
PIXELS = RNG.integers(0, 256, (5, 4, 3), np.uint8)


def idx(array: np.ndarray) -> bytes:
    """An IDX file, as its page words it: zeros, type, rank, sizes, numbers, all big-endian."""
    code = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}[array.dtype.name]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def table(rows: list[list[object]], **options: object) -> bytes:
    out = io.StringIO()
    csv.writer(out, **options).writerows(rows)
    return out.getvalue().encode()


def sound(samples: np.ndarray, width: int, rate: int = 8000) -> bytes:
    """Integers (length, channels) as a WAV."""
    out = io.BytesIO()
    raw = samples.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :width] if width > 1 else samples.astype(np.uint8)
    with wave.open(out, "wb") as file:
        file.setparams((samples.shape[1], width, rate, 0, "NONE", ""))
        file.writeframes(raw.tobytes())
    return out.getvalue()


def picture(pixels: np.ndarray, form: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **options)
    return out.getvalue()


def profile(**arrays: np.ndarray) -> bytes:
    """A file of numbaflux's own form."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "made.h5")
        nf.hdf5.write(path, arrays, {"note": "made"})
        return path.read_bytes()


def valid() -> dict[str, bytes]:
    """The bytes of a valid file, by the name of its reader."""
    return {
        "csv": table([["a", "b", "c"], *NUMBERS.tolist()]),
        "hdf5": profile(x=NUMBERS, y=np.arange(7)),
        "idx": gzip.compress(idx(NUMBERS), mtime=0),
        "image": picture(PIXELS),
        "npy": npy(NUMBERS),
        "npz": npz(x=NUMBERS, y=np.arange(7)),
        "wav": sound(RNG.integers(-32768, 32768, (9, 2)), 2),
    }


def pillow(path: Path) -> np.ndarray:
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB"), np.float32) / 255


def standard_csv(path: Path) -> np.ndarray:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return np.array([[float(field) for field in row] for row in list(csv.reader(file))[1:] if row], np.float32)


def standard_wave(path: Path) -> tuple[int, np.ndarray]:
    with wave.open(str(path)) as file:
        channels, width, rate, frames = file.getparams()[:4]
        data, full = file.readframes(frames), 2 ** (8 * width - 1)
    parts = (data[i : i + width] for i in range(0, len(data), width))
    values = [one[0] - 128 if width == 1 else int.from_bytes(one, "little", signed=True) for one in parts]
    return rate, (np.array(values, np.float64) / full).astype(np.float32).reshape(frames, channels)


def plain_idx(path: Path) -> np.ndarray:
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    dtype = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}[data[2]]
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    return np.frombuffer(data, dtype, offset=4 + 4 * data[3]).reshape(shape)


# Name -> what another library, or plain Python, reads in a file that our reader takes.
ORACLES: dict[str, Callable[[Path], object]] = {
    "csv": standard_csv,
    "hdf5": lambda path: nf.hdf5.read(path).tensors,
    "idx": plain_idx,
    "image": pillow,
    "npy": lambda path: np.load(path, allow_pickle=False),
    "npz": lambda path: dict(np.load(path, allow_pickle=False)),
    "wav": standard_wave,
}


def plain(found: object) -> object:
    """What a reader gave, so that it can be compared."""
    return found.values if isinstance(found, nf.data.Table) else found


def same(found: object, expected: object) -> bool:
    """Whether both hold the same numbers; NaN is the same as NaN."""
    if hasattr(expected, "items"):
        return set(found) == set(expected) and all(same(found[name], expected[name]) for name in expected)
    if isinstance(expected, tuple):
        return all(same(one, two) for one, two in zip(found, expected, strict=True))
    one, two = np.asarray(found), np.asarray(expected)
    return one.shape == two.shape and np.array_equal(one, two, equal_nan=two.dtype.kind in "fc")
