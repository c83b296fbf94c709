"""IDX: against the bytes that its page words, and scikit-learn's digits; hostile sizes, hostile gzip; every message."""

import gzip
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from sklearn.datasets import load_digits

import numbaflux as nf
from numbaflux.op import FileFormatError
from tests.data.readers.files import idx

DIGITS = load_digits().images.astype(np.uint8)
PACKED = gzip.compress(idx(DIGITS), mtime=0)


@pytest.fixture
def read(tmp_path):
    def call(content, **options):
        (tmp_path / "x").write_bytes(content)
        return nf.data.idx(tmp_path / "x", **options)

    return call


@pytest.fixture
def refused(read):
    def call(content, **options):
        with pytest.raises(FileFormatError) as info:
            read(content, **options)
        return str(info.value).removeprefix("x: ")

    return call


def test_images_and_labels(read):
    assert np.array_equal(read(idx(DIGITS)), DIGITS) and np.array_equal(read(PACKED), DIGITS)
    labels = load_digits().target.astype(np.uint8)
    x, y = next(iter(nf.DataLoader((read(PACKED), read(idx(labels))), batchsize=9)))
    assert x.shape == (9, 8, 8) and y.tolist() == labels[:9].tolist()
    for level in range(10):
        assert np.array_equal(read(gzip.compress(idx(DIGITS), level)), DIGITS)


@given(
    hn.arrays(
        st.sampled_from(["u1", "i1", "i2", "i4", "f4", "f8"]), hn.array_shapes(max_dims=8, max_side=3),
    ),
    st.booleans(),
)  # fmt: skip
def test_arrays_come_back(tmp_path_factory, array, packed):
    path = tmp_path_factory.getbasetemp() / "array.idx"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    found = nf.data.idx(path)
    assert found.dtype == array.dtype and found.dtype.isnative and found.flags.c_contiguous
    assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")


def test_starts(refused):
    start = "its start must be two zeros, a type of IDX, a rank of 1 to 8, got "
    assert refused(b"\0\1\x08\1") == start + "b'\\x00\\x01\\x08\\x01'"
    assert refused(b"\0\0\x0a\1" + bytes(9)).startswith(start)
    assert refused(b"\0\0\x08\0" + bytes(9)).startswith(start)
    assert refused(b"\0\0\x08\x09" + b"\0\0\0\1" * 9 + b"\0").startswith(start)
    assert refused(b"\0\0\x08\2" + b"\0\0\0\1") == "its header must be 2 sizes, got '4 bytes'"


def test_sizes(refused, read):
    good = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))
    assert refused(good + b"\0") == "its size must be 18 bytes, as its header says, got 19"
    assert refused(good[:-1]) == "its size must be 18 bytes, as its header says, got 17"
    assert refused(good, max_bytes=5) == "the array must be 1 to 5 bytes (max_bytes=), got 6"
    assert read(good, max_bytes=6).shape == (2, 3)
    assert refused(b"\0\0\x08\1" + bytes(4)).startswith("the array must be 1 to 4294967296 bytes (max_bytes=), got 0")
    huge = struct.pack(">BBBB4I", 0, 0, 14, 4, *[2**31] * 4)  # a product that 64 bits do not hold
    assert refused(huge + bytes(64)) == f"the array must be 1 to 4294967296 bytes (max_bytes=), got {2**127}"
    wraps = struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 2**31, 4)  # 2**64, which is 0 there
    assert refused(wraps, max_bytes=2**62 - 1).startswith("the array must be")


def test_gzip_that_lies(refused, read):
    small = idx(np.zeros(10, np.uint8))
    more = "its content must be as long as its header says, got 'more, or a cut end'"
    assert refused(gzip.compress(small + b"\0")) == more
    assert refused(gzip.compress(small + bytes(2**20))) == more
    assert refused(gzip.compress(small[:-1])) == "its content must be 10 bytes, got 9"
    behind = "the file must be one member of gzip, nothing behind it, got "
    assert refused(gzip.compress(small) + b"x") == behind + "'1 bytes more'"
    assert refused(gzip.compress(small) + bytes(2**21)) == behind + f"'{2**21} bytes more'"
    assert refused(gzip.compress(small[:9]) + gzip.compress(small[9:])).startswith("its content must be")
    assert refused(gzip.compress(small) + gzip.compress(b"")).startswith(behind)
    broken = "it must be whole, packed by gzip, got 'damage, or another form'"
    sums = bytearray(gzip.compress(small))
    sums[-5] ^= 1  # of the sum
    assert refused(bytes(sums)) == broken
    sums[-5] ^= 1
    sums[-1] ^= 1  # of the length
    assert refused(bytes(sums)) == broken
    assert refused(b"\x1f\x8b" + bytes(40)) == broken
    assert refused(zlib.compress(small)).startswith("its start must be")
    for cut in range(3, len(PACKED) - 1, 97):
        refused(PACKED[:cut])


def test_ratio(refused, read):
    zeros = gzip.compress(idx(np.zeros(2**20, np.uint8)))
    said = f"its content must be at most 200 times its {len(zeros)} bytes (max_ratio=), got {2**20 + 8}"
    assert refused(zeros) == said
    assert read(zeros, max_ratio=2000).shape == (2**20,)
    assert read(PACKED, max_ratio=9).shape == DIGITS.shape
