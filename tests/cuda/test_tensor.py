"""Products on tensor cores: beside float64 on rounded inputs, at the edges of a tile, in three orders of threads."""

from collections import defaultdict
from itertools import cycle

import numpy as np
import pytest

from numbaflux.kernels.cuda.launch import TENSOR, launch
from tests.cuda import simulator

simulator.install()
orders = cycle(simulator.ORDERS)
NONE = np.empty(0, np.float32)


def rounded(x, products):
    """As tensor cores take a number: by what is near on both sides, in float64."""
    x = x.astype(np.float64)
    _, exponent = np.frexp(x)
    unit = np.exp2(exponent - (11.0 if products == "tf32" else 8.0))
    steps = x / unit
    if products == "bf16":
        return np.rint(steps) * unit  # a tie to the even one
    return np.copysign(np.floor(np.abs(steps) + 0.5), steps) * unit


def drawn(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def laid(matrix, across, gap=0, skip=0):
    """A matrix in memory, and its strides: along its rows or across, rows `gap` longer, `skip` numbers in."""
    matrix = matrix.T if across else matrix
    room = np.full((matrix.shape[0], matrix.shape[1] + gap), np.nan, np.float32)
    room[:, : matrix.shape[1]] = matrix
    flat = np.concatenate([np.full(skip, np.nan, np.float32), room.reshape(-1)])
    aligned = np.empty(flat.size + 4, np.float32)
    at = -aligned.ctypes.data // 4 % 4
    aligned = aligned[at : at + flat.size]
    aligned[...] = flat
    step = matrix.shape[1] + gap
    return aligned[skip:], (1, step) if across else (step, 1)


def product(products, a, b, start=None, across=False, gap=0, skip=0, c_gap=0):
    """C by the kernel, of all blocks."""
    (m, k), n = a.shape, b.shape[1]
    (flat_a, strides), (flat_b, (b_row, _)) = laid(a, across, gap, skip), laid(b, False, gap)
    c = np.full((m, n + c_gap), np.nan, np.float32)
    first, row = (NONE, 0) if start is None else (start.reshape(-1), start.shape[-1] if start.ndim > 1 else 0)
    args = c.reshape(-1), flat_a, flat_b, first, m, m, n, n, k, k, n + c_gap, *strides, b_row, row, 0
    blocks = -(-m // TENSOR.rows) * -(-n // TENSOR.columns)
    kernel = simulator.find(f"dense.product_{products}")
    simulator.simulate(kernel, args, TENSOR.threads, blocks, next(orders))
    assert np.isnan(c[:, n:]).all()
    return c[:, :n]


def check(products, c, a, b, start=0.0):
    x, y = rounded(a, products), rounded(b, products)
    bound = (a.shape[1] + 8) * 2.0**-24 * (np.abs(x) @ np.abs(y) + np.abs(start))
    assert (np.abs(c - (x @ y + start)) <= bound + 1e-30).all()


@pytest.mark.parametrize("products", ["tf32", "bf16"])
@pytest.mark.parametrize(
    ("m", "n", "k", "how"),
    [
        (128, 128, 16, {}),
        (120, 128, 32, {"across": True}),
        (40, 36, 36, {}),  # vectors, and what is beyond C
        (36, 40, 20, {"across": True}),
        (130, 4, 16, {}),  # two blocks down, and across
        (4, 129, 17, {}),
        (33, 35, 15, {}),  # nothing lies on 16 bytes
        (33, 35, 18, {"across": True}),
        (40, 36, 16, {"gap": 4, "c_gap": 4}),
        (40, 36, 16, {"skip": 1}),
        (40, 37, 17, {"gap": 3, "c_gap": 1}),
        (1, 1, 1, {}),
        (5, 3, 0, {}),
    ],
)
def test_edges_of_tiles(products, m, n, k, how):
    a, b = drawn(m, k), drawn(k, n, seed=1)
    check(products, product(products, a, b, **how), a, b)


@pytest.mark.parametrize("products", ["tf32", "bf16"])
def test_sums_begin_with_a_bias_or_with_what_c_is(products):
    a, b, bias, old = drawn(36, 20), drawn(20, 33, seed=1), drawn(33, seed=2), drawn(36, 33, seed=3)
    check(products, product(products, a, b, bias), a, b, bias)
    check(products, product(products, a, b, old), a, b, old)


@pytest.mark.parametrize("products", ["tf32", "bf16"])
def test_orders_of_threads_give_the_same_bits(products):
    a, b = drawn(65, 33), drawn(33, 36, seed=1)
    one, two, three = (product(products, a, b) for _ in simulator.ORDERS)
    assert one.tobytes() == two.tobytes() == three.tobytes()


def test_rounding_of_inputs():
    """Of ties, and of what is no number."""
    given, tf32, bf16 = zip(
        (1 + 2.0**-11, 1 + 2.0**-10, 1.0),
        (1 + 3 * 2.0**-11, 1 + 2.0**-9, 1.0),
        (1 + 2.0**-8, 1 + 2.0**-8, 1.0),
        (-1 - 3 * 2.0**-8, -1 - 3 * 2.0**-8, -1 - 2.0**-6),
        (3.4028235e38, np.inf, np.inf),
        (-np.inf, -np.inf, -np.inf),
        (np.nan, np.nan, np.nan),
        strict=True,
    )
    for products, right in (("tf32", tf32), ("bf16", bf16)):
        found = product(products, np.array(given, np.float32)[:, None], np.ones((1, 1), np.float32))
        np.testing.assert_array_equal(found[:, 0], np.float32(right))


def test_nan_stays_in_its_row_and_column():
    a, b = np.ones((40, 20), np.float32), np.ones((20, 40), np.float32)
    a[3, 7], b[9, 5] = np.nan, np.inf
    for products in ("tf32", "bf16"):
        c = product(products, a, b)
        right = np.full((40, 40), 20.0)
        right[:, 5], right[3] = np.inf, np.nan
        np.testing.assert_array_equal(c, right)


def chosen(products, m, n, kind="f4"):
    sizes = [(m * n,), (m * 8,), (8 * n,), (0,), m, m, n, n, 8, 8, n, 8, 1, n, 0, 0]
    one = launch("dense.product", [f"{kind}:1"] * 4 + ["i"] * 12, sizes, products)
    return one.name.removeprefix("dense.product_"), one.parts


def test_which_products_are_rounded():
    assert chosen("float32", 128, 2048) == ("large", 16)
    for products in ("tf32", "bf16"):
        assert chosen(products, 128, 2048) == (products, 16)
        assert chosen(products, 33, 33) == (products, 1)
        assert chosen(products, 32, 2048)[0] == "middle"
        assert chosen(products, 2048, 16)[0] == "small"
        assert chosen(products, 128, 2048, "f8")[0] == "middle"


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("products", ["tf32", "bf16"])
def test_lanes_meet_different_banks(products, across, monkeypatch):
    """Of the block's memory: 32 words at once, by as many lanes as have them."""
    log = defaultdict(list)

    def watched(access):
        def call(x, at, *value):
            if x.dtype == np.int32 and x.size > 4:  # the words: all else is float32, or a vector of them
                one = isinstance(at, slice)
                log[simulator._me().number].append(range(at.start, at.stop) if one else range(int(at), int(at) + 1))
            return access(x, at, *value)

        return call

    for name in ("__getitem__", "__setitem__"):
        monkeypatch.setattr(simulator.Checked, name, watched(getattr(simulator.Checked, name)))
    product(products, drawn(128, 16), drawn(16, 128, seed=1), across=across)
    for warp in range(TENSOR.threads // simulator.WARP):
        steps = zip(*(log[simulator.WARP * warp + lane] for lane in range(simulator.WARP)), strict=True)
        for step in steps:
            at_once = simulator.WARP // len(step[0])
            for first in range(0, simulator.WARP, at_once):
                words = [word % 32 for one in step[first : first + at_once] for word in one]
                assert len(set(words)) == 32
