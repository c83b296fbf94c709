"""SHA-256 of arrays and files, as docs/format.md words them; by threads, and many pieces at once where that is faster.

hashlib, or a kernel of ours (kernels/cpu/sha256.py) that hashes 16 leaves side by side. The kernel is taken where the
CPU has vectors of 256 bits or more and no instructions for SHA, which hashlib uses: it is 3 to 6 times as fast there.
It must be in the cache (numbaflux cache warm): nobody waits for a compiler to load a file.
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
from typing import Any, TypeAlias

import numpy as np

from .build import features
from .native import WORD, named, native, pool
from .op import DTypeError, FileFormatError, RangeError, expect

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Hash = Callable[[int, int, int], None]  # addresses of what is written and read, leaves

FORMAT = "numbaflux"
VERSION = 1
LEAF = 64 << 10  # bytes under one SHA-256; threads share an array by its leaves
SPAN = 64 * LEAF  # bytes a thread takes at a time
SIDE = 16  # leaves that the kernel hashes at once
LARGE = SPAN  # bytes of all arrays from which on loading the kernel (5 ms) pays
KERNEL = ("sha256.leaves", ("u4:2", "u1:1"))
SHA = {"+sha", "+sha2"}  # what LLVM calls the instructions, on x86 and ARM


def parallel(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """function of every item, by threads where there are several (hashing and reading release Python's lock)."""
    workers = min(len(items), pool().count, 16)
    if workers < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(function, items))


def leaves(spans: list[memoryview], side: Hash | None) -> list[bytes]:
    """SHA-256 of each leaf of each span, joined; by side, which hashes SIDE of them at once, where it is given."""
    found = []
    for span in spans:
        count = len(span) // (SIDE * LEAF) * SIDE if side else 0
        out = np.empty(32 * count, np.uint8)
        if side and count:
            side(out.ctypes.data, np.frombuffer(span, np.uint8).ctypes.data, count)
        rest = [hashlib.sha256(span[i : i + LEAF]).digest() for i in range(count * LEAF, len(span), LEAF)]
        found.append(out.tobytes() + b"".join(rest))
    return found


@functools.cache
def fitting() -> bool:
    """Whether the kernel is faster than hashlib on this CPU."""
    flags = set(features().split(","))
    return "+avx2" in flags and not flags & SHA


def beside() -> Hash | None:
    """The kernel, where it is faster and compiled already."""
    if not fitting() or os.environ.get("NUMBAFLUX_NATIVE") == "0":
        return None
    (name, _), one = named(*KERNEL), native()
    if name not in one.addresses and one.store.read(name) is None:
        return None
    [entry] = one.find([KERNEL])
    call = ctypes.CFUNCTYPE(None, WORD, WORD)(entry)

    def hashed(out: int, data: int, count: int) -> None:
        row = (WORD * 9)(out, 0, count, 0, 8, data, 0, count * LEAF, 0)
        call(ctypes.addressof(row), 0)

    return hashed


def array_digests(arrays: Mapping[str, Array]) -> dict[str, str]:
    """SHA-256 of every array: over "dtype shape", a newline, and the SHA-256 of each 64 KiB of its bytes."""
    batches: list[tuple[list[str], list[memoryview]]] = []
    room = total = 0
    for name, array in arrays.items():
        data = memoryview(array.reshape(-1).view(np.uint8))
        total += len(data)
        for i in range(0, len(data), SPAN):
            if room <= 0:
                batches.append(([], []))
                room = SPAN
            batches[-1][0].append(name)
            batches[-1][1].append(data[i : i + SPAN])
            room -= len(batches[-1][1][-1])
    hashes = {
        name: hashlib.sha256(f"{array.dtype.name} {'x'.join(map(str, array.shape))}\n".encode())
        for name, array in arrays.items()
    }
    work = functools.partial(leaves, side=beside() if total >= LARGE else None)
    for (names, _), found in zip(batches, parallel(work, [spans for _, spans in batches]), strict=True):
        for name, leaf in zip(names, found, strict=True):
            hashes[name].update(leaf)
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
