"""WAV: sound as plain samples (PCM), taken apart by Python's own library."""

from __future__ import annotations

import wave
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...hdf5_objects import require
from ...ranges import check
from .opened import MAX_BYTES, Path, library, opened

PCM, EXTENSIBLE = 1, 0xFFFE  # forms of a WAV; of others wave would hand out bytes as if they were these
_WHAT = "a WAV of plain samples (PCM)"


class Sound(NamedTuple):
    """Samples a second, and the samples: (length, channels) float32, from -1 to 1."""

    rate: int
    samples: NDArray[np.float32]


def wav(path: Path, root: Path | None = None, max_bytes: int = MAX_BYTES) -> Sound:
    """The sound of a WAV file: rate in Hz, samples (length, channels) float32, full scale from -1 to 1.

    PCM of 8, 16, 24 or 32 bits. root: as in nf.data.idx. max_bytes: of the samples as float32. The sizes in its header
    are held against the file before memory is taken. FileFormatError for anything else, RangeError, DTypeError for
    other arguments.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "a.wav")
    >>> with wave.open(path, "wb") as file:
    ...     file.setparams((1, 2, 8000, 0, "NONE", ""))
    ...     file.writeframes(np.array([0, 16384, -32768], "<i2").tobytes())
    >>> rate, samples = wav(path)
    >>> rate, samples.T
    (8000, array([[ 0. ,  0.5, -1. ]], dtype=float32))
    """
    max_bytes = int(check("wav.max_bytes", max_bytes))
    with opened("wav", path, root) as (file, size):
        head = file.read(12)
        riff = head[:4] == b"RIFF" and head[8:] == b"WAVE"
        require(riff, "its start", "RIFF, a size, WAVE", head)
        said = 8 + int.from_bytes(head[4:8], "little")
        require(said <= size <= said + said % 2, "its size", f"{said} bytes, as its header says", size)
        file.seek(0)
        with library(_WHAT):
            sound = wave.open(file)
            channels, width, rate, frames = sound.getparams()[:4]
            form = getattr(sound, "getformat", lambda: PCM)()  # before Python 3.15 there is no other
        require(form in (PCM, EXTENSIBLE) and 1 <= width <= 4, "its samples", "PCM of 8, 16, 24 or 32 bits",
                f"{8 * width} bits of form {form}")  # fmt: skip
        require(rate > 0, "its rate", "above 0", rate)
        stored, at = frames * channels * width, file.tell()
        require(at + stored <= size, "its samples", f"inside its {size} bytes", f"{stored} bytes from {at}")
        count = frames * channels
        require(0 < 4 * count <= max_bytes, "the samples", f"1 to {max_bytes} bytes as float32 (max_bytes=)", 4 * count)
        with library(_WHAT):
            data = sound.readframes(frames)
        require(len(data) == stored, "its samples", f"{stored} bytes", len(data))
        return Sound(int(rate), _floats(np.frombuffer(data, np.uint8), width).reshape(frames, channels))


def _floats(data: NDArray[np.uint8], width: int) -> NDArray[np.float32]:
    """Samples of width bytes from -1 to 1."""
    if width == 1:  # the one that has no sign
        data = data ^ np.uint8(128)
    if width == 3:
        whole = np.zeros((len(data) // 3, 4), np.uint8)
        whole[:, 1:] = data.reshape(-1, 3)  # the upper three bytes of 32 bits
        data, width = whole.reshape(-1), 4
    samples: NDArray[np.float32] = data.view(f"<i{width}").astype(np.float32)
    samples /= np.float32(2 ** (8 * width - 1))
    return samples
