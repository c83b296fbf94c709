"""Sums over ranks in 16 bits and by a tree, against float64 and against every way to share out the leaves."""

import numpy as np
import pytest

from numbaflux.distributed.join import Tree, pack, unpack

SPECIAL = np.array([0, -0.0, 1, -1, 65504, 1e-8, 3e38, -3e38, np.inf, -np.inf, np.nan, 1e-45], np.float32)


def bfloat16(x):
    """Round to nearest, ties to even, written plainly: of the two neighbours the nearer, else the even one."""
    if not np.isfinite(x):
        return float(x)
    low = np.float32(x).view(np.uint32) & np.uint32(0xFFFF0000)
    below = float(low.view(np.float32))
    step = (low + np.uint32(0x10000)).view(np.float32)
    above = float(step) if np.isfinite(step) else np.copysign(2.0**128, x)
    if abs(x - below) != abs(above - x):
        nearest = below if abs(x - below) < abs(above - x) else above
    else:
        nearest = below if (int(low) >> 16) % 2 == 0 else above
    return nearest if abs(nearest) < 2.0**128 else np.copysign(np.inf, x)


@pytest.mark.parametrize("wire", ["float16", "bfloat16"])
def test_sixteen_bits_are_the_nearest(wire):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20_000, dtype=np.uint32)
    x = np.concatenate([SPECIAL, bits.view(np.float32), rng.normal(size=1000).astype(np.float32)])
    got = unpack(pack(x, wire), wire)
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16) if wire == "float16" else np.array([bfloat16(v) for v in x])
    np.testing.assert_array_equal(got, expected.astype(np.float32))
    assert got.dtype == np.float32


@pytest.mark.parametrize("wire", ["float16", "bfloat16"])
def test_every_sixteen_bits_come_back(wire):
    bits = np.arange(2**16, dtype=np.uint16)
    known = unpack(bits, wire)
    finite = ~np.isnan(known)
    np.testing.assert_array_equal(pack(known, wire)[finite], bits[finite])


def by_hand(leaves):
    """((0 + 1) + (2 + 3)) + ..."""
    while len(leaves) > 1:
        leaves = [a + b for a, b in zip(leaves[::2], leaves[1::2], strict=True)]
    return leaves[0]


@pytest.mark.parametrize("count", [1, 2, 4, 8, 32])
def test_a_tree_has_the_same_bits_however_its_leaves_are_shared_out(count):
    leaves = list(np.random.default_rng(1).normal(size=(count, 1000)).astype(np.float32))
    expected = by_hand(leaves)
    assert count < 8 or not np.array_equal(expected, np.sum(leaves, 0))
    for ranks in [n for n in (1, 2, 4) if n <= count]:
        each, sums = count // ranks, []
        for rank in range(ranks):
            tree = Tree()
            for leaf in leaves[rank * each : (rank + 1) * each]:
                tree.add([leaf])
            sums.append(tree.total()[0].copy())
        np.testing.assert_array_equal(by_hand(sums), expected)


def test_a_tree_uses_its_memory_again():
    tree, given = Tree(), [np.ones(3), np.ones(2, np.float32)]
    places = set()
    for _ in range(5):
        for _ in range(4):
            tree.add(given)
        total = tree.total()
        assert [t.tolist() for t in total] == [[4, 4, 4], [4, 4]] and total[1].dtype == np.float32
        places.add(total[0].ctypes.data)
    assert len(tree.free) == 3 and len(places) <= 3
    assert given[0].tolist() == [1, 1, 1]
