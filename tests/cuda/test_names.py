"""Every kernel that plans ask for stands in kernels/cuda too, in the file of that name, with the same arguments."""

import importlib
import inspect

import pytest

from numbaflux import warm
from numbaflux.kernels.cuda.launch import variants
from tests.cuda import simulator
from tests.cuda.test_cubins import WITHOUT

simulator.install()
ENTRIES = sorted(
    {(f"{module.partition('.')[2]}.{function}", signature) for module, function, signature in warm.entries().values()}
)
KERNELS = {name: signature for name, signature in ENTRIES if not {name, name.partition(".")[0]} & {*WITHOUT, ""}}


@pytest.mark.parametrize("name", KERNELS)
def test_names_and_arguments_are_those_of_the_cpu(name):
    module, _, function = name.partition(".")
    twin = getattr(importlib.import_module(f"numbaflux.kernels.cpu.{module}"), function)
    right = list(inspect.signature(twin.py_func).parameters)
    for variant, _ in variants(name, KERNELS[name]):
        assert list(inspect.signature(simulator.find(variant)).parameters) == right
