"""Convolutions of every tile, bit for bit beside the CPU's: edges of the tile, groups, steps, padding."""

from itertools import cycle

import numpy as np
import pytest

from numbaflux.kernels.cuda.launch import IMAGE_TILES, launch
from numbaflux.ops.spans import forward_spans, sizes_of
from numbaflux.ops.window import axes
from tests import entries
from tests.cuda import simulator

simulator.install()
orders = cycle(simulator.ORDERS)
# n, spatial sizes, window, in, out, stride, pad, dilation, groups; pixels and channels around the edges of a tile
CASES = {
    "_wide": (1, (9, 11), (1, 3), 3, 66, (1, 1), (0, 1), (1, 1), 1),
    "_large": (1, (8, 8), (2, 1), 4, 37, (1, 1), (1, 0), (1, 1), 1),
    "_middle": (2, (5, 9), (3, 1), 4, 33, (1, 2), (1, 0), (1, 1), 1),
    "_small": (2, (7, 10), (3, 2), 6, 34, (2, 1), (1, 2), (1, 3), 2),
}


def drawn(shape, dtype, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def sizes(size, window, c, o, stride, pad, dilation, groups):
    found = axes("conv", size, window, stride, tuple((p, p) for p in pad), dilation)
    spans = forward_spans(found)
    inside = spans[2].padded(spans[2].before, spans[2].behind)
    return spans, sizes_of((*spans[:2], inside), c, o, groups, spans[0].out * spans[1].out).buf.storage.array


def on_gpu(kernel, tile, *args):
    simulator.simulate(simulator.find(kernel + tile), args, IMAGE_TILES[tile].threads, 2, next(orders))


def case(tile, dtype):
    """What conv is given, x with its columns of zeros."""
    n, size, window, c, o, *rest = CASES[tile]
    spans, dims = sizes(size, window, c, o, *rest)
    x = drawn((n, *size, c), dtype, 0)
    x = np.pad(x, ((0, 0), (0, 0), (spans[2].before, spans[2].behind), (0, 0)))
    w = drawn((*window, c // rest[-1], o), dtype, 1)
    return n, x.reshape(-1), w, drawn((o,), dtype, 2), dims, n * spans[0].out * spans[1].out * spans[2].out


def types_of(tile):
    return [np.float32, np.float64] if tile == "_middle" else [np.float32]


@pytest.mark.parametrize(("tile", "dtype"), [(tile, t) for tile in CASES for t in types_of(tile)])
def test_conv(tile, dtype):
    n, x, w, b, dims, pixels = case(tile, dtype)
    y, right = np.full((2, pixels, w.shape[-1]), np.nan, dtype)
    entries.call("conv.conv", right, x, w.reshape(-1), b, dims, 0, n, n, 0)
    on_gpu("conv.conv", tile, y, x, w.reshape(-1), b, dims, 0, n, n, 0)
    np.testing.assert_array_equal(y, right)


@pytest.mark.parametrize(("tile", "dtype"), [(tile, t) for tile in CASES for t in types_of(tile)])
def test_conv_grad_w(tile, dtype):
    """All rows at once, and some of them from lines of their own."""
    n, x, w, _, dims, pixels = case(tile, dtype)
    dy, depth = drawn((pixels, w.shape[-1]), dtype, 3).reshape(-1), w.size // w.shape[-1]
    for row, count in ((0, depth), (depth // 2, 5)):
        dw, right = np.full((2, min(count, depth - row) * w.shape[-1]), np.nan, dtype)
        entries.call("conv.conv_grad_w", right, x, dy, dims, row, count, 0, n, n)
        on_gpu("conv.conv_grad_w", tile, dw, x, dy, dims, row, count, 0, n, n)
        np.testing.assert_array_equal(dw, right)


def test_tiles_by_channels():
    def chosen(o, kind="f4"):
        return launch("conv.conv", [f"{kind}:2"], [(1000, o)]).name

    assert [chosen(o) for o in (1, 16, 17, 32, 33, 64, 65)] == [
        f"conv.conv_{size}" for size in "small small middle middle large large wide".split()
    ]
    assert {chosen(o, "f8") for o in (1, 65)} == {"conv.conv_middle"}
