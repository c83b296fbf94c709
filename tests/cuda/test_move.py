"""The tests of kernels/cpu/move.py, on kernels/cuda/move.py."""

from tests.cuda.entries import again

globals().update(again("tests/kernels/cpu/test_move.py"))
