"""Connectionist temporal classification on CUDA kernels, beside the CPU's: states around the threads of a block and
more than the memory of a block holds, labels that come again, series without a path."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import run
from tests.cuda import plans, simulator

simulator.install()
OPS = {op.name: op for op in nf.REGISTRY}


def both(arrays, blank, order):
    """Loss and gradient by the simulator, and by the CPU."""
    dy = np.linspace(0.5, 2, len(arrays[0])).astype(arrays[0].dtype)
    for name, given in (("ctc", arrays), ("ctc_grad", [*arrays, dy])):
        (y,) = plans.run(OPS[name], given, {"blank": blank}, order)
        yield y, run.run(OPS[name], list(given), {"blank": blank})


@pytest.mark.parametrize("order", simulator.ORDERS)
@pytest.mark.parametrize("labels", [127, 128, 260, 800])
def test_states_of_any_count(labels, order):
    """Of 255, 257, 521 and 1601 states; the last do not fit into the memory of the block."""
    rng = np.random.default_rng(labels)
    x = rng.normal(size=(1, 4, 3))
    target = rng.integers(1, 3, (1, labels))
    counts, times = np.array([2]), np.array([4])
    for y, right in both([x, target, counts, times], 0, order):
        np.testing.assert_allclose(y, right, rtol=1e-12, atol=1e-13)
    long = np.array([labels])  # no path: infinite, and 0
    for y, right in both([x, target, long, times], 0, order):
        np.testing.assert_array_equal(y, right)


@pytest.mark.parametrize("labels", [130, 770])
def test_all_states_are_passed(labels):
    """As many times as labels: one path."""
    x = np.random.default_rng(0).normal(size=(1, labels, 3))
    target = np.arange(labels)[None] % 2
    given = [x[:, :12] if labels > 700 else x[:, :20], target[:, : 12 if labels > 700 else 20]]
    counts = times = np.array([given[1].shape[1]])
    for y, right in both([*given, counts, times], 2, "backward"):
        np.testing.assert_allclose(y, right, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("classes", [1, 31, 32, 33, 65])
def test_labels_that_come_again(classes):
    rng = np.random.default_rng(classes)
    x = rng.normal(size=(3, 9, classes)).astype(np.float32)
    target = np.repeat(rng.integers(0, max(classes - 1, 1), (3, 2)), 2, 1)
    counts, times = np.array([4, 3, 0] if classes > 1 else [0, 0, 0]), np.array([9, 7, 0])
    for y, right in both([x, target, counts, times], classes - 1, "shuffled"):
        np.testing.assert_allclose(y, right, rtol=1e-5, atol=1e-6)
