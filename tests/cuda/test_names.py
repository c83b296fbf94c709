"""Every kernel that plans ask for stands in kernels/cuda too, in the file of that name, with the same arguments; and
the other way round: both proofs know every kernel that stands there."""

import importlib
import inspect

import pytest

from numbaflux.kernels.cuda.launch import variants
from tests.cuda import simulator
from tests.cuda.kernels import ASKED, CALLED, twins

simulator.install()


@pytest.mark.parametrize("name", ASKED)
def test_names_and_arguments_are_those_of_the_cpu(name):
    module, _, function = name.partition(".")
    twin = getattr(importlib.import_module(f"numbaflux.kernels.cpu.{module}"), function)
    right = list(inspect.signature(twin.py_func).parameters)
    for variant, _ in variants(name, ASKED[name][0]):
        assert list(inspect.signature(simulator.find(variant)).parameters) == right


def test_no_kernel_is_left_out():
    """One that is new: the registry or a rule must ask for it, or CALLED name it."""
    assert twins() - ASKED.keys() == CALLED
