"""No kernel is compiled with flags by which NaN and Inf may be taken for numbers: in options, and in LLVM's code."""

import importlib
import pkgutil
import re

import numba
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import numbaflux.kernels
from numbaflux import build
from numbaflux.kernels import jit
from numbaflux.warm import entries

ALLOWED = {"contract", "nsz", "arcp", "reassoc", "afn"}  # all but nnan, ninf, and fast, which stands for all
FLAGS = re.compile(r"= (?:tail |musttail |notail )?(?:f\w+|call|select|phi)\b[^\n(]*\b(nnan|ninf|fast)\b")


def modules():
    """Every module of kernels that can be imported without a GPU."""
    for found in pkgutil.walk_packages(numbaflux.kernels.__path__, "numbaflux.kernels."):
        if ".cuda" not in found.name:
            yield importlib.import_module(found.name)


def dispatchers():
    """All that Numba compiles there, by name."""
    return {f"{module.__name__}.{name}": one for module in modules() for name, one in vars(module).items()
            if isinstance(one, Dispatcher)}  # fmt: skip


def flags_of(dispatcher):
    given = dispatcher.targetoptions.get("fastmath", False)
    return {"fast"} if given is True else set(given or ())


def code(dispatcher, signature):
    """The code that LLVM made of a function, and the one that it was given."""
    dispatcher.compile(signature)
    [done] = dispatcher.overloads.values()
    return done.library.get_llvm_str()


def test_no_kernel_has_such_an_option():
    found = dispatchers()
    assert len(found) > 200 and all(flags_of(one) <= ALLOWED for one in found.values())
    assert flags_of(jit.kernel(lambda x: x)) == set()


WANTED = ["reduce.sum", "elementwise.exp", "elementwise.maximum", "optim.adam", "check.finite"]


@pytest.mark.parametrize("name", WANTED)
def test_no_instruction_has_such_a_flag(name):
    """Of an entry as it is written to the cache: sums, exponentials, roots, comparisons, checks for NaN."""
    what = next(
        what for what in entries().values() if what[0].endswith(name.split(".")[0]) and what[1] == name.split(".")[1]
    )
    module, function, signature = what
    kernel = getattr(importlib.import_module(f"numbaflux.kernels.{module}"), function)
    text = build.entry(kernel, signature)._library.get_llvm_str()
    assert re.search(r"= (fadd|fsub|fmul|fdiv|fcmp)|llvm.fma", text) and FLAGS.search(text) is None


def test_such_a_flag_is_found():
    def largest(x):
        total = np.float32(0)
        for i in range(x.size):
            total += x[i] if x[i] == x[i] else np.float32(1)
        return total

    signature = (numba.float32[::1],)
    assert FLAGS.search(code(numba.njit(fastmath=set(ALLOWED))(largest), signature)) is None
    for flags in ({"nnan"}, {"ninf"}, {"fast"}):
        option = True if flags == {"fast"} else flags
        dispatcher = numba.njit(**{"fastmath": option})(largest)
        assert not flags_of(dispatcher) <= ALLOWED
        assert FLAGS.search(code(dispatcher, signature)) is not None
