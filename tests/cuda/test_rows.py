"""Reductions over the leading axis on CUDA kernels, by the tests of the CPU's."""

from tests.cuda.entries import again

globals().update(again("tests/kernels/cpu/test_rows.py"))
