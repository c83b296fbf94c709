"""The tests of kernels/cpu/scatter.py, on kernels/cuda/scatter.py."""

from tests.cuda.entries import again

globals().update(again("tests/kernels/cpu/test_scatter.py"))
