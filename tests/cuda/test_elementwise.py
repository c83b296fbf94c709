"""The tests of kernels/cpu/elementwise.py, on kernels/cuda/elementwise.py."""

from tests.cuda.entries import again

globals().update(again("tests/kernels/cpu/test_elementwise.py", leave=("test_names_are_those_of_the_module",)))
