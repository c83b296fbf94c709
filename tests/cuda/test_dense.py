"""The tests of kernels/cpu/dense.py, on kernels/cuda/dense.py; and every tile bit for bit beside the CPU's."""

from itertools import cycle

import numpy as np
import pytest

from numbaflux.kernels.cuda.launch import TILES
from tests import entries
from tests.cuda import simulator
from tests.cuda.entries import again

LARGE = ("test_value", "test_forward_by_rows")  # EDGES has as much of a tile, and takes seconds
globals().update(again("tests/kernels/cpu/test_dense.py", leave=LARGE))
orders = cycle(simulator.ORDERS)
EDGES = [  # a little depth: what threads do besides is the same for each step of it
    *(("_large", np.float32, m, n, 3) for m, n in ((127, 65), (128, 4), (1, 128))),
    ("_large", np.float32, 5, 130, 9),
    *(("_middle", t, m, n, 17) for t in (np.float32, np.float64) for m, n in ((63, 64), (65, 3))),
    *(("_small", t, m, n, k) for t in (np.float32, np.float64) for m, n, k in ((15, 17, 16), (16, 33, 40), (1, 1, 1))),
]


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize(("tile", "dtype", "m", "n", "k"), EDGES)
def test_edges_of_tiles(tile, dtype, m, n, k, across):
    """Rows, columns and depth around those of a tile; A along its rows, and across."""
    rng = np.random.default_rng([m, n, k])
    a, b, bias = (rng.standard_normal(size).astype(dtype) for size in (m * k, k * n, n))
    c, right = np.full((2, m * n), np.nan, dtype)
    sizes = m, m, n, n, k, k, n, *((1, m) if across else (k, 1)), n, 0, 0
    entries.call("dense.product", right, a, b, bias, *sizes)
    blocks = -(-m // TILES[tile].rows) * -(-n // TILES[tile].columns)
    kernel = simulator.find("dense.product" + tile)
    simulator.simulate(kernel, (c, a, b, bias, *sizes), TILES[tile].threads, blocks, next(orders))
    np.testing.assert_array_equal(c, right)
