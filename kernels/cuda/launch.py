"""How many threads and blocks share a tile of each kernel. Pure numbers: read by processes that never import numba."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

WARP = 32  # threads that go in step
THREADS = 256  # of a block, unless a kernel says otherwise
EACH = 8  # elements that a thread should have before there are more blocks
MOST = 65_535  # blocks that may share a tile
FEW_ROWS = 32  # of a reduction, that one thread goes through alone
STRIP = 32  # columns that a block reduces at once
HELD = 16  # numbers of a row that a thread has in registers

Codes = Sequence[str]  # of a kernel's arguments: "f4:1" an array, "i" an integer, "f8" a number
Sizes = Sequence[Any]  # of the same at the largest tile: an array's shape, an integer, a number


class Launch(NamedTuple):
    """The kernel that a GPU runs for an entry, threads of a block, blocks of a tile."""

    name: str
    threads: int
    parts: int


class Rule(NamedTuple):
    """How to choose: (variant of the kernel, blocks that share a tile) from codes and sizes; threads of each variant,
    and which of them float64 does not have."""

    choose: Callable[[Codes, Sizes], tuple[str, int]]
    threads: Mapping[str, int] = {"": THREADS}
    float32: tuple[str, ...] = ()


def _up(n: int, step: int) -> int:
    return -(-n // step)


def team(n: int) -> int:
    """How many threads work together on a row of n numbers (kernels call it too)."""
    return 8 if n <= 64 else WARP if n <= 512 else THREADS


def _parts(n: int, each: int) -> int:
    return max(1, min(MOST, _up(n, each)))


# As many blocks as the first array has work for: kernels that go through elements by rank() and ranks().
ELEMENTS = Rule(lambda codes, sizes: ("", _parts(math.prod(sizes[0]), THREADS * EACH)))
# A warp for each row of the first array.
WARPS = Rule(lambda codes, sizes: ("", _parts(sizes[0][0], THREADS // WARP)))
# A thread for each column of the first array.
COLUMNS = Rule(lambda codes, sizes: ("", _parts(sizes[0][1], THREADS)))
# One block: its threads join what they find through the memory of the block.
BLOCK = Rule(lambda codes, sizes: ("", 1))
# One warp, for a few numbers.
FEW = Rule(lambda codes, sizes: ("", 1), {"": WARP})


def walked(outer: int, k: int, inner: int) -> tuple[str, int]:
    """Of x(outer, k, inner) reduced over k: teams that go along rows, threads or blocks that go down columns."""
    if inner == 1:
        return "", _parts(outer * team(k), THREADS)
    if k <= FEW_ROWS:
        return "", _parts(outer * inner, THREADS)
    return "", _parts(outer * _up(inner, STRIP), 1)


def stripped(outer: int, c: int, m: int) -> tuple[str, int]:
    """A block for each strip of channels; for all of a sample where groups of m are joined."""
    return "", _parts(outer * (_up(c, STRIP) if m == 1 else 1), 1)


def grouped(x: Sizes, stats: Sizes) -> tuple[str, int]:
    """A team for each group of each row of x(o, c), by stats(o, 2, g)."""
    return walked(stats[0] * stats[2], x[1] // stats[2], 1)


# Of the second array, (outer, k, inner) or (k, inner).
REDUCED = Rule(lambda codes, sizes: walked(*[1, *sizes[1]][-3:]))
TEAMS = Rule(lambda codes, sizes: walked(*sizes[1], 1))
CHANNELS = Rule(lambda codes, sizes: stripped(sizes[0][0], sizes[0][2], 1))
JOINS = Rule(lambda codes, sizes: stripped(sizes[1][0], sizes[1][2], sizes[1][2] // sizes[0][2]))
TOTALS = Rule(lambda codes, sizes: stripped(sizes[1][0], sizes[1][2], sizes[1][2] // sizes[3][2]))
GROUPS = Rule(lambda codes, sizes: grouped(sizes[1], sizes[0]))
ROW_GROUPS = Rule(lambda codes, sizes: grouped(sizes[1], sizes[2]))
ROW_GRADS = Rule(lambda codes, sizes: grouped(sizes[1], sizes[3]))
SLOTS = Rule(lambda codes, sizes: walked(1, sizes[1][0], sizes[0][0]))


class Tile(NamedTuple):
    """A block's part of a product: rows and columns of C, of these a thread's, and the depth worked off at once.

    A thread loads four numbers of B for that depth, and as many of A, or several fours: columns * depth = 4 threads.
    """

    rows: int
    columns: int
    depth: int
    own: int  # rows, and columns, of a thread

    @property
    def threads(self) -> int:
        return self.rows * self.columns // self.own**2


TILES = {"_large": Tile(128, 128, 8, 8), "_middle": Tile(64, 64, 16, 4), "_small": Tile(16, 16, 16, 2)}


def tiled(codes: Codes, m: int, n: int) -> tuple[str, int]:
    """The largest tile of which a few fill C, or, where there is little to do, small ones that fill more of the GPU."""
    wide = m > 64 and n > 64 and codes[0].startswith("f4")
    size = "_large" if wide else "_middle" if m > 16 and n > 16 else "_small"
    tile = TILES[size]
    return size, max(1, _up(m, tile.rows) * _up(n, tile.columns))


# A large tile's sums fill the registers with float32 alone.
PRODUCT = Rule(
    lambda codes, sizes: tiled(codes, min(sizes[4], sizes[5]), min(sizes[6], sizes[7])),
    {size: tile.threads for size, tile in TILES.items()},
    ("_large",),
)

# A block's part of a product on tensor cores, whose inputs are rounded to fewer bits.
TENSOR = Tile(128, 128, 16, 8)
FLOAT32, CUBLAS = "float32", "cublas"
ROUNDED = ("tf32", "bf16")


def on_tensor_cores(name: str) -> Rule:
    """A product for whom numbers of that name are good enough; what would leave most of a tile empty stays exact."""

    def choose(codes: Codes, sizes: Sizes) -> tuple[str, int]:
        m, n = min(sizes[4], sizes[5]), min(sizes[6], sizes[7])
        if m > 32 and n > 32 and codes[0].startswith("f4"):
            return name, _up(m, TENSOR.rows) * _up(n, TENSOR.columns)
        return PRODUCT.choose(codes, sizes)

    return Rule(choose, {**PRODUCT.threads, name: TENSOR.threads}, (*PRODUCT.float32, name))


# How products of matrices are made: what their inputs are rounded to (sums are float32), or by whom; what cuBLAS is not
# asked for is as exact as it.
PRODUCTS = {FLOAT32: PRODUCT, **{name: on_tensor_cores("_" + name) for name in ROUNDED}, CUBLAS: PRODUCT}

# Rows are pixels, or taps and channels: there are more of them than columns, which are channels.
IMAGE_TILES = {
    "_wide": Tile(128, 128, 8, 8),
    "_large": Tile(128, 64, 8, 8),
    "_middle": Tile(64, 32, 16, 4),
    "_small": Tile(64, 16, 16, 4),
}


def imaged(codes: Codes, m: int, n: int) -> tuple[str, int]:
    """The smallest tile that has all n columns, or the widest; of float64 there is one that registers have room for.
    Where groups make more blocks than these, each block does several."""
    if codes[0].startswith("f8") or (n > 16 and (m <= 64 or n <= 32)):
        size = "_middle"
    else:
        size = "_small" if n <= 16 else "_large" if n <= 64 else "_wide"
    tile = IMAGE_TILES[size]
    return size, _parts(_up(m, tile.rows) * _up(n, tile.columns), 1)


_image_threads = {size: tile.threads for size, tile in IMAGE_TILES.items()}
_single = ("_wide", "_large", "_small")
CONV = Rule(lambda codes, sizes: imaged(codes, *sizes[0]), _image_threads, _single)
CONV_GRAD_W = Rule(lambda codes, sizes: imaged(codes, sizes[5], -(-sizes[0][0] // sizes[5])), _image_threads, _single)


class Chain(NamedTuple):
    """A block that goes through the steps of recurrent layers: threads, samples, numbers in its memory (0: they stand
    in that of the GPU), and how many times sixteen weights a thread has in registers."""

    threads: int
    samples: int
    room: int
    held: int


CHAINS = {
    "_small": Chain(128, 1, 2048, 3),
    "_alone": Chain(512, 1, 6144, 3),
    "_some": Chain(256, 4, 12288, 0),
    "_wide": Chain(512, 1, 0, 0),
}


def four(n):  # type: ignore[no-untyped-def]  # kernels call it too
    """The next multiple of four."""
    return (n + 3) // 4 * 4


def chain_room(n: int, depth: int, hidden: int, columns: int, threads: int = 512) -> int:
    """Numbers that a block remembers of n samples: what is multiplied by the weights, two more of each unit, sums."""
    return n * (four(depth) + 2 * four(hidden) + max(4 * threads, four(columns)))


def chained(codes: Codes, n: int, depth: int, hidden: int, columns: int) -> tuple[str, int]:
    """For n samples a tile, and a product of depth x columns a step."""

    def fits(name: str) -> bool:
        threads, samples, room, held = CHAINS[name]
        alone = n <= samples and (held == 0 or columns <= 4 * threads)
        return alone and chain_room(n, depth, hidden, columns, threads) <= room

    if codes[0].startswith("f8"):
        return "_wide", 1
    if depth * columns <= 16 * CHAINS["_small"].held * CHAINS["_small"].threads and fits("_small"):
        return "_small", 1
    return next((name for name in ("_alone", "_some") if fits(name)), "_wide"), 1


def chain(of: Callable[[Sizes], tuple[int, int, int, int]]) -> Rule:
    """From an entry's sizes what `chained` wants to know."""
    threads = {name: c.threads for name, c in CHAINS.items()}
    return Rule(lambda codes, sizes: chained(codes, *of(sizes)), threads, ("_small", "_alone", "_some"))


FORWARD = chain(lambda sizes: (sizes[1][0] // sizes[23], sizes[23], sizes[23], sizes[25]))
BACKWARD = chain(lambda sizes: (sizes[5][0] // sizes[31], sizes[33], sizes[31], sizes[31]))


def each_row(number: int) -> Rule:
    """A block for each row of an array, by its number."""
    return Rule(lambda codes, sizes: ("", _parts(sizes[number][0], 1)))


# By kernel, else by module, else ELEMENTS.
RULES = {
    "attention": BLOCK,
    "check": Rule(lambda codes, sizes: ("", 1), {"": 2 * THREADS}),
    "cublas": BLOCK,  # which knows itself
    "ctc.grad": each_row(1),
    "ctc.loss": each_row(0),
    "conv.conv": CONV,
    "conv.conv_grad_w": CONV_GRAD_W,
    "depthwise.conv_grad_w": Rule(lambda codes, sizes: ("", _parts(sizes[0][0], WARP))),
    "move.scatter_add": COLUMNS,
    "norm.grad_factors": TOTALS,
    "norm.join_slots": JOINS,
    "norm.moments": CHANNELS,
    "norm.row_grad": ROW_GRADS,
    "norm.row_moments": GROUPS,
    "norm.rows": ROW_GROUPS,
    "norm.sums": CHANNELS,
    "optim.gate": FEW,
    "optim.join": FEW,
    "optim.norm": BLOCK,
    "optim.tick": FEW,
    "optim.trust": FEW,
    "random.advance": FEW,
    "recurrent.backward": BACKWARD,
    "recurrent.forward": FORWARD,
    "reduce": REDUCED,
    "reduce.broadcast": ELEMENTS,
    "reduce.sum_slots": SLOTS,
    "rows": REDUCED,
    "rows.broadcast": ELEMENTS,
    "scatter": COLUMNS,
    "softmax": TEAMS,
}


def rule(kernel: str, products: str = FLOAT32) -> Rule:
    if kernel == "dense.product":
        return PRODUCTS[products]
    return RULES.get(kernel) or RULES.get(kernel.partition(".")[0]) or ELEMENTS


def launch(kernel: str, codes: Codes, sizes: Sizes, products: str = FLOAT32) -> Launch:
    """What runs an entry of a plan, where products of matrices are as exact as named.

    >>> launch("elementwise.add", ["f4:1"] * 3, [(5000,), (5000,), (5000,)])
    Launch(name='elementwise.add', threads=256, parts=3)
    """
    choose, threads, _ = rule(kernel, products)
    variant, parts = choose(codes, sizes)
    return Launch(kernel + variant, threads[variant], parts)


def variants(kernel: str, codes: Codes) -> list[tuple[str, int]]:
    """The kernels that a GPU may run for an entry, and the threads of a block of each.

    >>> variants("dense.product", ["f8:1"])
    [('dense.product_middle', 256), ('dense.product_small', 64)]
    """
    found: dict[str, int] = {}
    for products in PRODUCTS:
        of = rule(kernel, products)
        skipped = of.float32 if codes[0].startswith("f8") else ()
        found |= {kernel + variant: threads for variant, threads in of.threads.items() if variant not in skipped}
    return list(found.items())
