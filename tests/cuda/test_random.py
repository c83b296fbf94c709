"""The tests of kernels/cpu/random.py, on kernels/cuda/random.py."""

from tests.cuda.entries import again

globals().update(again("tests/kernels/cpu/test_random.py"))
