"""WAV: against scipy and Python's own wave; sizes that lie, forms that are no plain samples; every message."""

import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux.op import FileFormatError
from tests.data.readers.files import same, sound, standard_wave

io = pytest.importorskip("scipy.io.wavfile")  # scikit-learn brings it along
WAVE = np.random.default_rng(0).integers(-(2**15), 2**15, (50, 2))
PLAIN = sound(WAVE, 2, 44100)


@pytest.fixture
def read(tmp_path):
    def call(content, **options):
        (tmp_path / "x.wav").write_bytes(content)
        return nf.data.wav(tmp_path / "x.wav", **options)

    return call


@pytest.fixture
def refused(read):
    def call(content, **options):
        with pytest.raises(FileFormatError) as info:
            read(content, **options)
        return str(info.value).removeprefix("x.wav: ")

    return call


@given(
    st.sampled_from([1, 2, 3, 4]), st.integers(1, 3), st.integers(1, 9), st.integers(1, 2**32 - 1), st.integers(0, 99)
)
def test_samples_come_back(tmp_path_factory, width, channels, length, rate, seed):
    low, high = (0, 256) if width == 1 else (-(2 ** (8 * width - 1)), 2 ** (8 * width - 1))
    samples = np.random.default_rng(seed).integers(low, high, (length, channels))
    path = tmp_path_factory.getbasetemp() / "sound.wav"
    path.write_bytes(sound(samples, width, rate % 2**20 + 1))
    found = nf.data.wav(path)
    expected = (samples - 128) / 128 if width == 1 else samples / 2 ** (8 * width - 1)
    assert found.rate == rate % 2**20 + 1 and found.samples.dtype == np.float32
    assert np.array_equal(found.samples, expected.astype(np.float32)) and same(found, standard_wave(path))


def test_the_same_as_scipy(read, tmp_path):
    for kind, full in ((np.uint8, 128), (np.int16, 2**15), (np.int32, 2**31)):
        values = np.random.default_rng(1).integers(np.iinfo(kind).min, np.iinfo(kind).max, (20, 2)).astype(kind)
        io.write(tmp_path / "y.wav", 16000, values)
        rate, back = io.read(tmp_path / "y.wav")
        found = nf.data.wav(tmp_path / "y.wav")
        offset = 128 if kind is np.uint8 else 0
        assert found.rate == rate and np.array_equal(found.samples, ((back - float(offset)) / full).astype(np.float32))


def test_sound_is_data(read):
    rate, samples = read(PLAIN)
    assert rate == 44100 and samples.shape == (50, 2)
    assert nf.stft(samples.T.copy(), 16).shape[0] == 2  # channels as a batch


def with_chunks(before=b"", behind=b"", data=PLAIN):
    """The same with other chunks around its data."""
    body = data[12:36] + before + data[36:] + behind
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def test_other_chunks_are_passed_over(read):
    tagged = with_chunks(b"LIST" + struct.pack("<I", 5) + b"abcde\0", b"id3 " + struct.pack("<I", 2) + b"xy")
    assert np.array_equal(read(tagged).samples, read(PLAIN).samples)
    odd = sound(np.array([[200]]), 1)
    assert read(odd).samples.shape == (1, 1) and read(odd + b"\0").samples.shape == (1, 1)


def test_sizes_that_lie(refused):
    assert refused(PLAIN[:-1]) == "its size must be 244 bytes, as its header says, got 243"
    assert refused(PLAIN + b"\0") == "its size must be 244 bytes, as its header says, got 245"
    endless = PLAIN[:4] + b"\xff\xff\xff\xff" + PLAIN[8:]
    assert refused(endless) == f"its size must be {2**32 + 7} bytes, as its header says, got 244"
    for size in (2**31, 2**32 - 1, 204):
        long = PLAIN[:40] + struct.pack("<I", size) + PLAIN[44:]
        assert refused(long) == f"its samples must be inside its 244 bytes, got '{size // 4 * 4} bytes from 44'"
    skip = with_chunks(b"LIST" + struct.pack("<I", 2**31))
    assert refused(skip) == "it must be a WAV of plain samples (PCM), got 'damage, or another form'"
    none = sound(np.zeros((0, 1), int), 2)
    assert refused(none) == "the samples must be 1 to 4294967296 bytes as float32 (max_bytes=), got 0"
    assert refused(PLAIN, max_bytes=399) == "the samples must be 1 to 399 bytes as float32 (max_bytes=), got 400"


def fmt(tag=1, channels=2, rate=8000, bits=16):
    return PLAIN[:20] + struct.pack("<HHIIHH", tag, channels, rate, rate * 4, 4, bits) + PLAIN[36:]


def test_other_forms(refused):
    other = "it must be a WAV of plain samples (PCM), got 'damage, or another form'"
    if not hasattr(wave.Wave_read, "getformat"):  # from Python 3.15 on wave reads floats too
        assert refused(fmt(tag=3, bits=32)) == other
    assert refused(fmt(tag=2)) == refused(fmt(channels=0)) == refused(fmt(bits=0)) == other
    assert refused(fmt(bits=64)) == "its samples must be PCM of 8, 16, 24 or 32 bits, got '64 bits of form 1'"
    assert refused(fmt(rate=0)) == "its rate must be above 0, got 0"
    assert refused(b"RIFX" + PLAIN[4:]).startswith("its start must be RIFF, a size, WAVE, got ")
    assert refused(PLAIN[:12]).startswith("its size must be 244 bytes")
    assert refused(b"RIFF\4\0\0\0WAVE") == other


def test_floats_are_never_taken_for_integers(refused, monkeypatch):
    monkeypatch.setattr(wave.Wave_read, "getformat", lambda self: 3, raising=False)
    assert refused(PLAIN) == "its samples must be PCM of 8, 16, 24 or 32 bits, got '16 bits of form 3'"
