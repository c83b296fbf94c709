"""Sound: short-time Fourier transforms, windows, spectrograms, mel filters, decibels.

Complex numbers stand as a last axis of two, real and imaginary part.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import functions as F
from .folding import fold
from .managed import beside
from .op import DTypeError, ShapeError, expect
from .padding import pad_zeros, padded
from .ranges import check
from .windows import conv


def _cosines(where: str, length: int, periodic: bool, dtype: Any, mean: float) -> np.ndarray:
    """mean - (1 - mean) cos(2 pi t / N): N the length, or of a symmetric window one less."""
    length = int(check(f"{where}.length", length))
    if length == 1:
        return np.ones(1, dtype)
    angle = 2 * np.pi * np.arange(length) / (length if periodic else length - 1)
    return (mean - (1 - mean) * np.cos(angle)).astype(dtype)


def hann_window(length: int, periodic: bool = True, dtype: Any = np.float32) -> np.ndarray:
    """The window (1 - cos(2 pi t / N)) / 2 for t = 0..length - 1, N = length; periodic=False: symmetric, N one less.

    Raises DTypeError, RangeError. Source: Blackman and Tukey 1958.

    >>> hann_window(4).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    return _cosines("hann_window", length, periodic, dtype, 0.5)


def hamming_window(length: int, periodic: bool = True, dtype: Any = np.float32) -> np.ndarray:
    """The window 0.54 - 0.46 cos(2 pi t / N); arguments as for hann_window. Source: Blackman and Tukey 1958.

    >>> hamming_window(4, dtype=np.float64).round(2).tolist()
    [0.08, 0.54, 1.0, 0.54]
    """
    return _cosines("hamming_window", length, periodic, dtype, 0.54)


# ------------------------------------------------------------------------------------------------ Fourier transforms


def _frames(where: str, n_fft: Any, hop_length: Any, window: Any) -> tuple[int, int, np.ndarray]:
    """Sizes as integers, and the window in float64 with zeros on both sides."""
    n = int(check(f"{where}.n_fft", n_fft))
    hop = max(n // 4, 1) if hop_length is None else int(check(f"{where}.hop_length", hop_length))
    if window is None:
        return n, hop, np.ones(n)
    good = isinstance(window, np.ndarray) and window.dtype.kind == "f"
    expect(good, where, "window", "an array of floats", str(getattr(window, "dtype", type(window).__name__)),
           error=DTypeError)  # fmt: skip
    fits = window.ndim == 1 and 1 <= window.size <= n
    expect(fits, where, "window", f"of 1 to {n} numbers", f"shape {window.shape}", error=ShapeError)
    before = (n - window.size) // 2
    return n, hop, np.pad(window.astype(np.float64), (before, n - window.size - before))


def _waves(n: int) -> np.ndarray:
    """e**(-2 pi i t k / n) for times t and the frequencies k = 0..n // 2: (n, n // 2 + 1, 2)."""
    angle = 2 * np.pi / n * (np.outer(np.arange(n), np.arange(n // 2 + 1)) % n)
    return np.stack([np.cos(angle), -np.sin(angle)], -1)


def _floats(where: str, name: str, x: Any) -> Any:
    good = hasattr(x, "shape") and hasattr(x, "dtype") and x.dtype.kind == "f"
    expect(good, where, name, "an array of float32 or float64", str(getattr(x, "dtype", type(x).__name__)),
           "x.astype(np.float32)", DTypeError)  # fmt: skip
    return x


def stft(
    x: Any, n_fft: int, hop_length: int | None = None, window: np.ndarray | None = None, center: bool = True,
    normalized: bool = False,
) -> Any:  # fmt: skip
    """The short-time Fourier transform of x (n, length) or (length,): (n, frames, n_fft // 2 + 1, 2), or without n.

    Frames of n_fft samples, hop_length apart (n_fft // 4 unless told), times the window (n_fft numbers or fewer, with
    zeros on both sides; None: ones), as sums of x e**(-2 pi i t k / n_fft); the last axis is (real, imaginary). center:
    x is mirrored at its ends, so that frame j lies around sample j hop_length. normalized: divided by sqrt(n_fft).
    Raises ShapeError, DTypeError, RangeError. Source: Allen and Rabiner 1977.

    >>> y = stft(np.cos(np.pi / 2 * np.arange(16, dtype=np.float32)), 8, window=hann_window(8))
    >>> y.shape, y[4, 2].round(3).tolist()
    ((9, 5, 2), [2.0, 0.0])
    """
    n, hop, shape = _frames("stft", n_fft, hop_length, window)
    x = _floats("stft", "x", x)
    expect(1 <= x.ndim <= 2, "stft", "x", "of shape (n, length) or (length,)", str(tuple(x.shape)), error=ShapeError)
    lead = tuple(x.shape[:-1])
    x = F.reshape(x, (math.prod(lead), x.shape[-1], 1))
    if center:
        x = padded("stft", x, "reflect", (1,), ((n // 2, n // 2),))
    expect(x.shape[1] >= n, "stft", "x", f"of {n} samples or more, as n_fft", str(x.shape[1]), error=ShapeError)
    waves = _waves(n) * (shape / (math.sqrt(n) if normalized else 1))[:, None, None]
    y = conv(x, beside(x, waves.reshape(n, 1, -1).astype(x.dtype)), stride=hop)
    return F.reshape(y, (*lead, y.shape[1], n // 2 + 1, 2))


def _overlaps(window: np.ndarray, hop: int, frames: int) -> np.ndarray:
    """The sum of squares of all windows that cover a sample."""
    total = np.zeros((frames - 1) * hop + window.size)
    for start in range(0, frames * hop, hop):
        total[start : start + window.size] += window**2
    return total


def istft(
    y: Any, n_fft: int, hop_length: int | None = None, window: np.ndarray | None = None, center: bool = True,
    normalized: bool = False, original_length: int | None = None,
) -> Any:  # fmt: skip
    """The signal whose stft is y, the nearest by least squares: (n, length), or (length,) for one.

    y: (n, frames, n_fft // 2 + 1, 2) or without n; the other arguments are those of nf.stft. original_length: how many
    samples to give back; unless told what the frames reach, with center n_fft // 2 less at either end. Raises
    RangeError where squares of the window leave a sample out, ShapeError, DTypeError. Source: Griffin and Lim 1984.

    >>> x = np.sin(np.arange(50, dtype=np.float32))
    >>> y = stft(x, 16, window=hann_window(16))
    >>> bool(np.allclose(istft(y, 16, window=hann_window(16), original_length=50), x, atol=1e-5))
    True
    """
    n, hop, shape = _frames("istft", n_fft, hop_length, window)
    y, bins = _floats("istft", "y", y), n // 2 + 1
    good = 3 <= y.ndim <= 4 and tuple(y.shape[-2:]) == (bins, 2) and y.shape[-3] > 0
    expect(good, "istft", "y", f"of shape (n, frames, {bins}, 2) or (frames, {bins}, 2)", str(tuple(y.shape)),
           error=ShapeError)  # fmt: skip
    lead, frames = tuple(y.shape[:-3]), y.shape[-3]
    covered = _overlaps(shape, hop, frames)
    start = n // 2 if center else 0
    most = covered.size - start
    count = most - start if original_length is None else int(check("istft.original_length", original_length))
    expect(1 <= count <= most, "istft", "original_length", f"in 1..{most} for {frames} frames", count)
    covered = covered[start : start + count]
    expect(covered.min() > 1e-11, "istft", "window", f"one whose squares cover every sample at hop_length {hop}",
           f"{covered.min():.1e} at sample {covered.argmin()}", "a smaller hop_length or center=True")  # fmt: skip
    twice = np.where((np.arange(bins) == 0) | (2 * np.arange(bins) == n), 1, 2)  # the other half of the frequencies
    back = _waves(n) * twice[:, None] * (shape * (math.sqrt(n) if normalized else 1) / n)[:, None, None]
    waves = beside(y, np.ascontiguousarray(back.reshape(n, -1).T).astype(y.dtype))
    samples = F.matmul(F.reshape(y, (-1, bins * 2)), waves)
    samples = F.reshape(samples, (math.prod(lead), frames, n))
    x = F.reshape(fold(samples, start + most, n, stride=hop), (*lead, start + most))
    return F.mul(F.getitem(x, (..., slice(start, start + count))), beside(y, (1 / covered).astype(y.dtype)))


def spectrogram(
    x: Any, n_fft: int, hop_length: int | None = None, window: np.ndarray | None = None, pad: int = 0,
    center: bool = True, power: float = 2.0, normalized: bool = False, window_normalized: bool = False,
) -> Any:  # fmt: skip
    """How much of each frequency there is in x (n, length) at each time: (n, frames, n_fft // 2 + 1).

    The absolute value of nf.stft to a power, 1 or 2 say; power=0 gives stft's complex numbers. pad: zeros put at both
    ends of x first. window_normalized: divided by the window's norm before. Other arguments and errors as for nf.stft;
    where nothing is the gradient is 0.

    >>> spectrogram(np.ones((1, 64), np.float32), 16, power=1)[0, 3, :3].round(3).tolist()
    [16.0, 0.0, 0.0]
    """
    pad, power = int(check("spectrogram.pad", pad)), check("spectrogram.power", power)
    x = _floats("spectrogram", "x", x)
    y = stft(pad_zeros(x, pad, dims=-1) if pad else x, n_fft, hop_length, window, center, normalized)
    if window_normalized:
        y = F.mul(y, 1 / math.sqrt(np.sum(_frames("stft", n_fft, hop_length, window)[2] ** 2)))
    if power == 0:
        return y
    squares = F.sum(F.square(y), axis=-1)
    if power == 2:
        return squares
    nothing = F.equal(squares, 0.0)
    return F.where(nothing, 0.0, F.power(F.where(nothing, 1.0, squares), power / 2))


# ------------------------------------------------------------------------------------------------------- mel, decibels


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def melscale_filterbanks(
    n_freqs: int, n_mels: int, sample_rate: int, fmin: float = 0.0, fmax: float | None = None, dtype: Any = np.float32
) -> np.ndarray:
    """Triangles at equal distances on the mel scale: (n_freqs, n_mels), so that spectrogram(x, ..) @ it is by mels.

    n_freqs: frequencies from 0 to sample_rate // 2, as nf.stft has n_fft // 2 + 1. fmin, fmax (unless told
    sample_rate // 2): where the first triangle begins and the last ends, in hertz; mel = 2595 log10(1 + hertz / 700).
    Raises DTypeError, RangeError. Source: O'Shaughnessy 1987.

    >>> melscale_filterbanks(9, 3, 16000, dtype=np.float64).round(2)[:5].tolist()
    [[0.0, 0.0, 0.0], [0.67, 0.33, 0.0], [0.0, 0.89, 0.11], [0.0, 0.43, 0.57], [0.0, 0.0, 0.98]]
    """
    where = "melscale_filterbanks"
    many, count, rate = (int(check(f"{where}.{name}", value)) for name, value in
                         (("n_freqs", n_freqs), ("n_mels", n_mels), ("sample_rate", sample_rate)))  # fmt: skip
    low = float(check(f"{where}.fmin", fmin))
    high = float(rate // 2 if fmax is None else check(f"{where}.fmax", fmax))
    expect(low < high, where, "fmin", f"below fmax, {high:g}", low)
    ends = 700 * (10 ** (np.linspace(_mel(low), _mel(high), count + 2) / 2595) - 1)
    hertz = np.linspace(0, rate // 2, many)
    triangles = [np.interp(hertz, ends[i : i + 3], [0, 1, 0]) for i in range(count)]
    return np.stack(triangles, -1).astype(dtype)


def power_to_db(s: Any, ref: float = 1.0, amin: float = 1e-10, top_db: float = 80.0) -> Any:
    """Powers s of any shape in decibels: 10 log10(max(s, amin) / max(ref, amin)), at least the largest less top_db.

    Raises DTypeError, RangeError.

    >>> power_to_db(np.array([1.0, 100.0, 0.0], np.float32)).tolist()
    [0.0, 20.0, -60.0]
    """
    ref, amin, top_db = (float(check(f"power_to_db.{name}", value)) for name, value in
                         (("ref", ref), ("amin", amin), ("top_db", top_db)))  # fmt: skip
    decibels = F.mul(F.log(F.maximum(_floats("power_to_db", "s", s), amin)), 10 / math.log(10))
    decibels = F.sub(decibels, 10 * math.log10(max(ref, amin)))
    return F.maximum(decibels, F.sub(F.max(decibels), top_db))


def db_to_power(s_db: Any, ref: float = 1.0) -> Any:
    """Decibels as powers, ref 10**(s_db / 10): what power_to_db came from. Raises DTypeError, RangeError.

    >>> db_to_power(np.array([0.0, 20.0], np.float32)).round(3).tolist()
    [1.0, 100.0]
    """
    ref = float(check("db_to_power.ref", ref))
    return F.mul(F.exp(F.mul(_floats("db_to_power", "s_db", s_db), math.log(10) / 10)), ref)
