"""SHA-256 of arrays and files, as docs/format.md words them; by threads, and many pieces at once where that is faster.

hashlib, or a kernel of ours (kernels/cpu/sha256.py) that hashes several leaves side by side: two where the CPU has
instructions for SHA, 16 where it has vectors of 256 bits or more (benchmarks/loading.py has both beside hashlib). It
must be in the cache (numbaflux cache warm): nobody waits for a compiler to load a file.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .build import features
from .native import WORD, named, native, pool
from .op import DTypeError, FileFormatError, RangeError, expect

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

FORMAT = "numbaflux"
VERSION = 1
LEAF = 64 << 10  # bytes under one SHA-256; threads share an array by its leaves
SPAN = 128 * LEAF  # bytes a thread takes at a time; a quarter towards the end
STRIDE = 16 * LEAF  # pieces of arrays begin at multiples, which every kernel takes whole
FEW = 3  # leaves of 16 from which on the kernel is faster than hashlib
LARGE = 64 * LEAF  # bytes of all arrays from which on loading the kernel (5 ms) pays
KERNEL = ("sha256.leaves", ("u4:2", "u1:1"))


def parallel(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """function of every item, by threads where there are several (hashing and reading release Python's lock)."""
    workers = min(len(items), pool().count, 16)
    if workers < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(function, items))


class Side(NamedTuple):
    """A kernel that hashes so many leaves side by side: hashed(where digests go, where leaves are, how many)."""

    many: int
    hashed: Callable[[int, int, int], None]


class Piece(NamedTuple):
    """Bytes of an array."""

    name: str
    data: memoryview


def batches(arrays: Mapping[str, Array]) -> list[list[Piece]]:
    """The bytes of all arrays, in parts for threads: smaller ones towards the end, so that all threads end together."""
    found: list[list[Piece]] = []
    left, room = sum(array.nbytes for array in arrays.values()), 0  # bytes, and those that the last part still takes
    for name, array in arrays.items():
        data, first = memoryview(array.reshape(-1).view(np.uint8)), 0
        while first < len(data):
            if room <= 0:
                found.append([])
                room = max(SPAN // 4, min(SPAN, left // (4 * pool().count)))
            found[-1].append(Piece(name, data[first : first + -(-room // STRIDE) * STRIDE]))
            size = len(found[-1][-1].data)
            first, left, room = first + size, left - size, room - size
    return found


def leaves(pieces: list[Piece], side: Side | None) -> list[bytes]:
    """SHA-256 of each leaf of each piece, joined. What the kernel, where there is one, leaves over is brought together
    for it."""
    found = [np.empty((-(-len(piece.data) // LEAF), 32), np.uint8) for piece in pieces]
    over: list[tuple[Array, memoryview]] = []  # where a digest goes, a whole leaf
    for piece, out in zip(pieces, found, strict=True):
        done = len(piece.data) // LEAF // side.many * side.many if side else 0
        if side and done:
            side.hashed(out.ctypes.data, np.frombuffer(piece.data, np.uint8).ctypes.data, done)
        rest = [(out[i], piece.data[i * LEAF : (i + 1) * LEAF]) for i in range(done, len(out))]
        whole = len(piece.data) // LEAF - done if side else 0
        over += rest[:whole]
        _one_by_one(rest[whole:])
    step = side.many if side else 1
    for i in range(0, len(over), step):
        some = over[i : i + step]
        if side and len(some) >= min(FEW, step):
            _together(some, side)
        else:
            _one_by_one(some)
    return [out.tobytes() for out in found]


def _one_by_one(parts: list[tuple[Array, memoryview]]) -> None:
    for out, leaf in parts:
        out[:] = np.frombuffer(hashlib.sha256(leaf).digest(), np.uint8)


def _together(parts: list[tuple[Array, memoryview]], side: Side) -> None:
    """Whole leaves from anywhere, as many as the kernel takes or fewer, in one place."""
    data, found = np.zeros((side.many, LEAF), np.uint8), np.empty((side.many, 32), np.uint8)
    for place, (_, leaf) in zip(data, parts, strict=False):
        place[:] = np.frombuffer(leaf, np.uint8)
    side.hashed(found.ctypes.data, data.ctypes.data, side.many)
    for digest, (out, _) in zip(found, parts, strict=False):
        out[:] = digest


@functools.cache
def abreast() -> int:
    """How many leaves the kernel hashes at once on this CPU; 0: hashlib is faster."""
    flags = features().split(",")
    return 2 if "+sha" in flags else 16 if "+avx2" in flags else 0


def beside() -> Side | None:
    """The kernel, where it is faster and compiled already."""
    if not abreast() or os.environ.get("NUMBAFLUX_NATIVE") == "0":
        return None
    (name, _), one = named(*KERNEL), native()
    if name not in one.addresses and one.store.read(name) is None:
        return None
    [entry] = one.find([KERNEL])
    call = ctypes.CFUNCTYPE(None, WORD, WORD)(entry)

    def hashed(out: int, data: int, count: int) -> None:
        row = (WORD * 9)(out, 0, count, 0, 8, data, 0, count * LEAF, 0)
        call(ctypes.addressof(row), 0)

    return Side(abreast(), hashed)


def array_digests(arrays: Mapping[str, Array]) -> dict[str, str]:
    """SHA-256 of every array: over "dtype shape", a newline, and the SHA-256 of each 64 KiB of its bytes."""
    hashes = {
        name: hashlib.sha256(f"{array.dtype.name} {'x'.join(map(str, array.shape))}\n".encode())
        for name, array in arrays.items()
    }
    side = beside() if sum(array.nbytes for array in arrays.values()) >= LARGE else None
    items = batches(arrays)
    for pieces, found in zip(items, parallel(lambda one: leaves(one, side), items), strict=True):
        for piece, leaf in zip(pieces, found, strict=True):
            hashes[piece.name].update(leaf)
    return {name: value.hexdigest() for name, value in hashes.items()}


def file_digest(digests: Mapping[str, str]) -> str:
    """SHA-256 of the format's name and version and of one line an array."""
    lines = [f"{FORMAT} {VERSION}\n", *(f"{digests[name]}  {name}\n" for name in sorted(digests))]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_digest(sha256: str | None) -> str:
    """What a user gives as the SHA-256 of a file, in small letters; empty for None."""
    if sha256 is None:
        return ""
    expected = "64 hexadecimal digits, as sha256sum prints them"
    expect(isinstance(sha256, str), "load", "sha256", expected, type(sha256).__name__, error=DTypeError)
    good = bool(re.fullmatch("[0-9a-fA-F]{64}", sha256))
    expect(good, "load", "sha256", expected, ascii(sha256), error=RangeError)
    return sha256.lower()


def expect_digest(data: Array, known: str) -> None:
    """FileFormatError unless the bytes have this SHA-256."""
    found = hashlib.sha256(memoryview(data)).hexdigest()
    if not hmac.compare_digest(found, known):
        raise FileFormatError(f"SHA-256 of all bytes must be {known}, got {found}")
