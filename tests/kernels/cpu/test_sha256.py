"""SHA-256 side by side, beside hashlib: every lane, any bytes, from any place; nothing written beyond."""

import hashlib

import numpy as np
import pytest

from numbaflux.kernels.cpu import sha256, sha256_lanes, sha256_words
from numbaflux.kernels.jit import FEATURES, LANES, address, kernel
from tests.entries import call

LEAF = sha256_words.LEAF


def digests(data):
    parts = [hashlib.sha256(data[i : i + LEAF].tobytes()).digest() for i in range(0, len(data), LEAF)]
    return np.frombuffer(b"".join(parts), np.uint32).reshape(-1, 8)


@pytest.mark.parametrize("count", [16, 48])
@pytest.mark.parametrize("start", [0, 1, 8])
def test_leaves(count, start):
    data = np.random.default_rng(count).integers(0, 256, count * LEAF + 16, dtype=np.uint8)[start:][: count * LEAF]
    out = np.full((count + 1, 8), 7, np.uint32)
    call("sha256.leaves", out[:count], data)
    np.testing.assert_array_equal(out[:count], digests(data))
    assert (out[count] == 7).all()


@pytest.mark.parametrize("fill", [0, 255, 128])
def test_leaves_of_one_byte(fill):
    data, out = np.full(16 * LEAF, fill, np.uint8), np.zeros((16, 8), np.uint32)
    call("sha256.leaves", out, data)
    np.testing.assert_array_equal(out, digests(data))


def test_a_bit_changes_its_lane_alone():
    data, out, other = np.zeros(16 * LEAF, np.uint8), np.zeros((16, 8), np.uint32), np.zeros((16, 8), np.uint32)
    call("sha256.leaves", out, data)
    for lane in (0, 5, 15):
        data[lane * LEAF + 63 * lane] ^= 1
    call("sha256.leaves", other, data)
    assert np.flatnonzero((out != other).any(axis=1)).tolist() == [0, 5, 15]


def test_the_cpu_decides():
    assert sha256.TOGETHER == (2 if FEATURES.get("sha") else LANES)


def test_vectors_on_any_cpu():
    """A CPU with instructions for SHA would never see them."""

    @kernel
    def lanes(out, data):
        sha256_lanes.hash_lanes(address(out), address(data))

    data, out = np.random.default_rng(1).integers(0, 256, LANES * LEAF, dtype=np.uint8), np.zeros((LANES, 8), np.uint32)
    lanes(out, data)
    np.testing.assert_array_equal(out, digests(data))


def test_numbers_are_those_of_the_standard():
    start, added = sha256_words.START, sha256_words.ADDED
    assert start[0] == 0x6A09E667 and start[7] == 0x5BE0CD19 and len(start) == 8
    assert added[0] == 0x428A2F98 and added[63] == 0xC67178F2 and len(added) == 64
    assert 16 % sha256.TOGETHER == 0
