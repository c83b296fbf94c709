"""Kernels for CPUs with narrower vector registers: those of AVX2 and SSE, on this one, against the oracles.

They compile for seconds each, so every run takes each of them at one of the widths, and a long run all cases at both.
"""

import importlib
import re
from collections import Counter

import numpy as np
import pytest

from tests.child import said, start
from tests.sources import ROOT

WIDTHS = {"AVX2": 8, "SSE": 4}  # float32 values in one register
# Around dense.product, compile for 10 s and more each: in long runs only.
SLOW = {"attention.attention", "attention.attention_grad", "recurrent.backward"}
SHARE, MOST = (
    2,
    30_000,
)  # cases of each kernel in every run; elements of a case, if there are such: plans are interpreted
CODE = """
    from numbaflux.kernels import jit
    jit.LANES, jit.FEATURES["sha"] = {lanes}, False
    from tests.kernels.cpu.test_widths import narrow
    narrow({lanes}, {dtype!r}, {part})
"""


def families():
    """The files of kernels that know how wide a register is, or use one that does."""
    texts = {path.stem: path.read_text() for path in (ROOT / "kernels" / "cpu").glob("*.py")}
    found = {stem for stem, text in texts.items() if re.search(r"^from \.\.jit import .*\bLANES\b", text, re.MULTILINE)}
    while (
        more := {
            stem
            for stem, text in texts.items()
            if re.search(rf"^from \.({'|'.join(found)}) import", text, re.MULTILINE)
        }
        - found
    ):
        found |= more
    return {stem for stem in found if not stem.endswith(("tile", "_lanes"))}  # of which kernels are made


def size(case):
    return sum(int(np.prod(i.shape)) for i in case.inputs if i)


def short(name):
    """dense.product"""
    return name.split("-")[0]


def names_of(pairs):
    return {short(name) for _, own in pairs for name in own}


def kernels_of(dtype):
    """(case, those of its kernels that are looked at here) of each case; large ones of up to MOST elements first."""
    from tests.cases import CASES
    from tests.test_registry import kernels

    mine = families()
    order = sorted(CASES, key=lambda case: size(case) if size(case) > MOST else -size(case))
    found = [(case, {name for name in kernels(case, dtype) if name.split(".")[0] in mine}) for case in order]
    return [(case, names) for case, names in found if names]


def chosen(dtype, part):
    """Of these all (part None), or until each of every other kernel (the first or the second one) had its share."""
    pairs = kernels_of(dtype)
    if part is None:
        return pairs
    names = sorted(name for name in set().union(*(own for _, own in pairs)) if short(name) not in SLOW)[part::2]
    found, runs = [], Counter()
    for case, own in pairs:
        if any(name in names and runs[name] < (1 if size(case) > MOST else SHARE) for name in own):
            found.append((case, own))
            runs.update(own)
    return found


def narrow(lanes, dtype, part):
    """What a process of its own does: no kernel may be imported before the number of lanes is set."""
    from tests.test_registry import call, check

    assert importlib.import_module("numbaflux.kernels.cpu.tile").WIDTH == 4 * lanes
    pairs = chosen(np.dtype(dtype), part)
    for case, _ in pairs:
        xs = case.arrays(dtype)
        check(case, xs, call(case, xs))
    hashed()
    print(*names_of(pairs))


def hashed():
    """The one kernel that no operation calls."""
    from numbaflux.kernels.cpu import sha256
    from numbaflux.kernels.jit import LANES
    from tests.kernels.cpu.test_sha256 import digests

    assert sha256.TOGETHER == LANES
    data = np.random.default_rng(0).integers(0, 256, 16 * sha256.LEAF, dtype=np.uint8)
    out = np.zeros((16, 8), np.uint32)
    sha256.leaves(out, data)
    np.testing.assert_array_equal(out, digests(data))


def ran(width, dtype, part):
    """A process that runs them, at work."""
    return start(CODE.format(lanes=WIDTHS[width], dtype=dtype, part=part), NUMBAFLUX_NATIVE="0")


def every_kernel():
    return names_of(kernels_of(np.dtype("f4")))


def test_families_are_known():
    assert {"dense", "conv", "depthwise", "lanes", "pool", "move", "attention", "recurrent"} <= families()
    assert families() == {name.split(".")[0] for name in every_kernel()} | {"sha256"} and every_kernel() >= SLOW


def test_every_kernel():
    """Half of them at one width, half at the other, at the same time."""
    found = [set(said(one, 300).split()) for one in [ran("AVX2", "f4", 0), ran("SSE", "f8", 1)]]
    assert found[0] | found[1] >= every_kernel() - SLOW


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_case(width, dtype):
    assert set(said(ran(width, dtype, None), 1200).split()) == every_kernel()
