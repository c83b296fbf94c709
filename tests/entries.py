"""Calls a kernel of kernels/cpu through its entry, as plans do: the object file is what is tested."""

import ctypes

import numpy as np

from numbaflux.native import WORD, native


def words_of(x):
    """The row's words of an argument: an array whole, an integer, a float."""
    if isinstance(x, np.ndarray):
        assert x.flags.c_contiguous
        return f"{x.dtype.kind}{x.dtype.itemsize}:{x.ndim}", [x.ctypes.data, 0, x.shape[0], 0, *x.shape[1:]]
    if isinstance(x, np.floating):
        bits = np.array([x]).view(np.int32 if x.itemsize == 4 else np.int64)
        return f"f{x.itemsize}", [int(bits[0])]
    return "i", [int(x), 0]


def call(kernel, *args):
    """kernel(*args), "optim.adam" say; arrays of one axis or more, C-contiguous; np.float32 or np.float64 numbers."""
    codes, words = zip(*map(words_of, args), strict=True)
    row = np.array([w for part in words for w in part], np.int64)
    [address] = native().find([(kernel, codes)])
    ctypes.CFUNCTYPE(None, WORD, WORD)(address)(row.ctypes.data, 0)
