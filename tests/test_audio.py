"""Fourier transforms of sound, windows, mel filters, decibels: PyTorch, NumPy's FFT, formulas, gradients, messages."""

import re

import numpy as np
import pytest

import numbaflux as nf

RNG = np.random.default_rng(0)
HANN = nf.hann_window(16, dtype=np.float64)
FRAMES = [  # length, n_fft, options
    (50, 16, {"window": HANN}),
    (50, 16, {"window": HANN, "hop_length": 5, "normalized": True}),
    (64, 16, {"hop_length": 8, "center": False}),
    (41, 15, {"window": nf.hamming_window(9, dtype=np.float64)}),
    (40, 7, {"hop_length": 3}),
    (9, 1, {"hop_length": 1}),
    (33, 2, {"window": np.array([0.5, 2.0])}),
]
each = pytest.mark.parametrize(("length", "n", "options"), FRAMES, ids=[f"{a} {b} {[*c]}" for a, b, c in FRAMES])


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def by_numpy(x, n, hop_length=None, window=None, center=True, normalized=False):
    """Frame by frame."""
    hop = hop_length or max(n // 4, 1)
    shape, before = np.zeros(n), (n - (n if window is None else len(window))) // 2
    shape[before : before + (n if window is None else len(window))] = 1 if window is None else window
    x = np.pad(x, [(0, 0), (n // 2, n // 2)], "reflect") if center else x
    frames = [np.fft.rfft(x[:, i : i + n] * shape) for i in range(0, x.shape[1] - n + 1, hop)]
    y = np.stack(frames, 1) / (np.sqrt(n) if normalized else 1)
    return np.stack([y.real, y.imag], -1)


def for_torch(torch, n, options):
    """Its arguments; a shorter window is what its win_length says."""
    window = torch.ones(n, dtype=torch.float64) if options.get("window") is None else torch.tensor(options["window"])
    more = {k: v for k, v in options.items() if k != "window"}
    return {"n_fft": n, "hop_length": max(n // 4, 1), "window": window, "win_length": len(window)} | more


# ------------------------------------------------------------------------------------------------ Fourier transforms


@each
def test_stft(length, n, options):
    x = RNG.normal(size=(3, length))
    y, right = nf.stft(x, n, **options), by_numpy(x, n, **options)
    np.testing.assert_allclose(y, right, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(nf.stft(x[0], n, **options), right[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(nf.compile(lambda x: nf.stft(x, n, **options))(x), y)
    y = nf.stft(x.astype(np.float32), n, **options)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, right, rtol=1e-4, atol=1e-4)


@each
def test_what_torch_does(length, n, options):
    torch = pytest.importorskip("torch")
    x, theirs = RNG.normal(size=(3, length)), for_torch(torch, n, options)
    right = torch.stft(torch.tensor(x), return_complex=True, **theirs)
    y = nf.stft(x, n, **options)
    np.testing.assert_allclose(y, torch.view_as_real(right).permute(0, 2, 1, 3).numpy(), rtol=1e-10, atol=1e-10)
    y = RNG.normal(size=y.shape)  # the transform of no signal: the nearest one
    other = torch.view_as_complex(torch.tensor(y).permute(0, 2, 1, 3).contiguous())
    back = nf.istft(y, n, **options)
    np.testing.assert_allclose(back, torch.istft(other, length=back.shape[1], **theirs).numpy(), rtol=1e-10, atol=1e-10)


@each
def test_there_and_back(length, n, options):
    x = RNG.normal(size=(2, length))
    y = nf.stft(x, n, **options)
    count = (
        n + (y.shape[1] - 1) * options.get("hop_length", max(n // 4, 1)) - (n // 2 if "center" not in options else 0)
    )
    count = min(count, length)
    back = nf.istft(y, n, original_length=count, **options)
    np.testing.assert_allclose(back, x[:, :count], rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(nf.istft(y[0], n, original_length=count, **options), back[0])
    np.testing.assert_array_equal(nf.compile(lambda y: nf.istft(y, n, original_length=count, **options))(y), back)


@pytest.mark.parametrize(("length", "n", "options"), FRAMES[:3])
def test_gradients(length, n, options):
    x = RNG.normal(size=(2, length))
    weight = RNG.normal(size=nf.stft(x, n, **options).shape)
    nf.check_gradients(lambda x: (nf.stft(x, n, **options) ** 2 * weight).sum(), x)
    nf.check_gradients(lambda y: (nf.istft(y, n, **options) ** 2).sum(), weight)
    nf.check_gradients(lambda x: (nf.gradient(lambda x: (nf.stft(x, n, **options) ** 3).mean(), x) ** 2).mean(), x)
    nf.check_gradients(lambda y: (nf.gradient(lambda y: (nf.istft(y, n, **options) ** 3).sum(), y) ** 2).sum(), weight)


# ------------------------------------------------------------------------------------------------------------ windows


@pytest.mark.parametrize("name", ["hann_window", "hamming_window"])
@pytest.mark.parametrize("length", [1, 2, 7, 400])
@pytest.mark.parametrize("periodic", [True, False])
def test_windows(name, length, periodic):
    torch = pytest.importorskip("torch")
    right = getattr(torch, name)(length, periodic=periodic, dtype=torch.float64).numpy()
    window = getattr(nf, name)(length, periodic=periodic, dtype=np.float64)
    np.testing.assert_allclose(window, right, rtol=1e-12, atol=1e-15)
    assert getattr(nf, name)(length).dtype == np.float32


# ------------------------------------------------------------------------------------------------- spectra, decibels


@pytest.mark.parametrize("power", [0.5, 1, 2, 3.5])
def test_spectrogram(power):
    x = RNG.normal(size=(2, 40))
    right = np.hypot(*np.moveaxis(by_numpy(np.pad(x, [(0, 0), (3, 3)]), 16, 4, HANN), -1, 0)) / np.linalg.norm(HANN)
    y = nf.spectrogram(x, 16, window=HANN, pad=3, power=power, window_normalized=True)
    np.testing.assert_allclose(y, right**power, rtol=1e-10)
    nf.check_gradients(lambda x: nf.spectrogram(x, 16, window=HANN, power=power).mean(), x)
    np.testing.assert_array_equal(nf.compile(lambda x: nf.spectrogram(x, 16, power=power))(x),
                                  nf.spectrogram(x, 16, power=power))  # fmt: skip


def test_spectrogram_of_complex_numbers_and_of_silence():
    x = RNG.normal(size=40)
    np.testing.assert_array_equal(nf.spectrogram(x, 16, power=0), nf.stft(x, 16))
    for power in (0.5, 1, 2):
        value, grad = nf.withgradient(lambda x, p=power: nf.spectrogram(x, 16, power=p).sum(), np.zeros(40))
        assert value == 0 and not grad.any()


def test_mel_filters():
    """Torchaudio's formula, written as slopes."""
    for n_freqs, n_mels, rate, low, high in ((201, 40, 16000, 0.0, None), (65, 8, 8001, 100.0, 3000.0)):
        mels = np.linspace(*(2595 * np.log10(1 + f / 700) for f in (low, high or rate // 2)), n_mels + 2)
        ends = 700 * (10 ** (mels / 2595) - 1)
        away = ends - np.linspace(0, rate // 2, n_freqs)[:, None]
        down, up = -away[:, :-2] / np.diff(ends)[:-1], away[:, 2:] / np.diff(ends)[1:]
        bank = nf.melscale_filterbanks(n_freqs, n_mels, rate, low, high, dtype=np.float64)
        np.testing.assert_allclose(bank, np.maximum(0, np.minimum(down, up)), rtol=1e-9, atol=1e-9)
    assert nf.melscale_filterbanks(9, 3, 8000).dtype == np.float32


def test_decibels():
    s = RNG.uniform(size=(3, 50)) ** 20
    right = 10 * np.log10(np.maximum(s, 1e-7) / 0.3)
    y = nf.power_to_db(s, ref=0.3, amin=1e-7, top_db=60)
    np.testing.assert_allclose(y, np.maximum(right, right.max() - 60), rtol=1e-12)
    assert (y == y.min()).sum() > 5
    np.testing.assert_allclose(nf.db_to_power(right, ref=0.3), np.maximum(s, 1e-7), rtol=1e-12)
    np.testing.assert_array_equal(nf.compile(nf.power_to_db)(s), nf.power_to_db(s))
    nf.check_gradients(lambda s: (nf.power_to_db(s) ** 2).mean(), RNG.uniform(0.5, 2, 20))
    nf.check_gradients(lambda d: nf.db_to_power(d).mean(), RNG.uniform(-5, 5, 20))


def test_features_in_a_compiled_step():
    """Sound to decibels by mels, in one plan."""
    bank = nf.melscale_filterbanks(9, 4, 8000)

    def features(x):
        return nf.power_to_db(nf.spectrogram(x, 16, window=nf.hann_window(16)) @ bank)

    x = RNG.normal(size=(2, 64)).astype(np.float32)
    assert features(x).shape == (2, 17, 4)
    np.testing.assert_allclose(nf.compile(features)(x), features(x), rtol=1e-5, atol=1e-4)


X, Y = np.ones((2, 40)), np.ones((2, 9, 9, 2))
WRONG = [
    (lambda: nf.stft([1.0], 4), nf.DTypeError,
     "stft: x must be an array of float32 or float64, got list; x.astype(np.float32)"),
    (lambda: nf.stft(Y, 4), nf.ShapeError, "stft: x must be of shape (n, length) or (length,), got (2, 9, 9, 2)"),
    (lambda: nf.stft(X, 90), nf.ShapeError,
     "stft: x must be of 46 or more along axis 1 for reflect padding by (45, 45), got (2, 40, 1); a smaller pad"),
    (lambda: nf.stft(X, 90, center=False), nf.ShapeError, "stft: x must be of 90 samples or more, as n_fft, got 40"),
    (lambda: nf.stft(X, 8, window=[1.0]), nf.DTypeError, "stft: window must be an array of floats, got list"),
    (lambda: nf.stft(X, 8, window=HANN), nf.ShapeError, "stft: window must be of 1 to 8 numbers, got shape (16,)"),
    (lambda: nf.stft(X, 8, window=HANN[:0]), nf.ShapeError, "stft: window must be of 1 to 8 numbers, got shape (0,)"),
    (lambda: nf.istft(X, 16), nf.ShapeError,
     "istft: y must be of shape (n, frames, 9, 2) or (frames, 9, 2), got (2, 40)"),
    (lambda: nf.istft(Y, 8), nf.ShapeError,
     "istft: y must be of shape (n, frames, 5, 2) or (frames, 5, 2), got (2, 9, 9, 2)"),
    (lambda: nf.istft(Y, 16, original_length=41), nf.RangeError,
     "istft: original_length must be in 1..40 for 9 frames, got 41"),
    (lambda: nf.istft(Y, 16, window=HANN, center=False), nf.RangeError,
     "istft: window must be one whose squares cover every sample at hop_length 4, got 0.0e+00 at sample 0; "
     "a smaller hop_length or center=True"),
    (lambda: nf.istft(Y, 16, 20), nf.RangeError,
     "istft: window must be one whose squares cover every sample at hop_length 20, got 0.0e+00 at sample 8; "
     "a smaller hop_length or center=True"),
    (lambda: nf.spectrogram(None, 16), nf.DTypeError,
     "spectrogram: x must be an array of float32 or float64, got NoneType; x.astype(np.float32)"),
    (lambda: nf.melscale_filterbanks(9, 3, 8000, 4000), nf.RangeError,
     "melscale_filterbanks: fmin must be below fmax, 4000, got 4000.0"),
    (lambda: nf.power_to_db(1.0), nf.DTypeError,
     "power_to_db: s must be an array of float32 or float64, got float; x.astype(np.float32)"),
    (lambda: nf.db_to_power(X.astype(int)), nf.DTypeError,
     "db_to_power: s_db must be an array of float32 or float64, got int64; x.astype(np.float32)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG, ids=[text[:60] for *_, text in WRONG])
def test_messages(call, kind, text):
    with raises(kind, text):
        call()
