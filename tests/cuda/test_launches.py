"""Whole training steps and predictions as a GPU would run them: the launch list over one arena, kernels in the
simulator, tiles and blocks in several orders; beside the CPU's plan."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.interpreter import arguments
from numbaflux.launches import Launches
from numbaflux.lowering import GPU
from tests.cuda import simulator

simulator.install()


class HostMemory:
    """Memory of the CPU in the place of a GPU's."""

    def __init__(self, launches):
        self.launches, room = launches, np.full(launches.arena + 64, 0xFF, np.uint8)  # NaN: nobody has written there
        self.arena = room[-room.ctypes.data % 64 :][: launches.arena]
        kept = {id(a.buf.storage): a.buf.storage for e in launches.entries for a in e.arrays if a.buf.storage.keep}
        for s in kept.values():
            self.bytes(s)[...] = 0
        self.status = self.bytes(launches.build.status.storage).view(np.int64)

    def bytes(self, s):
        return self.arena[self.launches.offsets[id(s)] :][: s.nbytes]

    def address(self, s):
        return s.array.ctypes.data if s.kind == "array" else self.bytes(s).ctypes.data

    def run(self, arrays, order):
        """All launches on these arguments; the status word after each ends the run where it is set."""
        launches, patches = self.launches.bound(self.address)
        for patch in patches:
            launches[patch.launch].words[patch.word] += arrays[patch.argument].ctypes.data
        for one in launches:
            tiles = range(one.grid[0])
            for tile in tiles[::-1] if order == "backward" else tiles:
                args = arguments(one.codes, one.words[1:].tolist(), tile)
                simulator.simulate(simulator.find(one.kernel), args, one.threads, one.grid[1], order)
            if self.status[0]:
                break
        return launches


def model():
    return nf.Chain(nf.Dense(5, 9, nf.tanh, rng=0), nf.Dropout(0.3, rng=7), nf.Dense(9, 3, rng=1))


def loss(m, x, y):
    return nf.losses.logitcrossentropy(m(x), y)


def batches(n=70, count=3):
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(n, 5)).astype(np.float32), rng.integers(0, 3, n)) for _ in range(count)]


def trained_on_cpu(rule):
    m = model()
    step = nf.compile(loss, m, nf.setup(rule, m))
    return m, [step(*batch) for batch in batches()]


@pytest.mark.parametrize("order", simulator.ORDERS)
def test_training_step_by_step(order):
    right, losses = trained_on_cpu(nf.Adam(0.05))
    m = model()
    step = nf.compile(loss, m, nf.setup(nf.Adam(0.05), m))
    step.target = GPU
    for batch, value in zip(batches(), losses, strict=True):
        program, arrays = step.program(batch)
        launches = Launches(program.keep.build)
        memory = HostMemory(launches)
        memory.run(arrays, order)
        assert memory.status[0] == 0
        np.testing.assert_allclose(memory.bytes(program.loss.storage).view(np.float32)[0], value, rtol=1e-5)
    for one, two in zip(nf.trainables(m), nf.trainables(right), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_a_wrong_label_changes_nothing():
    m = model()
    state = nf.setup(nf.Adam(0.05), m)
    step = nf.compile(loss, m, state)
    step.target = GPU
    x, y = batches()[0]
    y[3] = 9
    program, arrays = step.program((x, y))
    before = [p.copy() for p in nf.trainables(m)]
    memory = HostMemory(Launches(program.keep.build))
    memory.run(arrays, "forward")
    code, position = memory.status
    error = memory.launches.checks[code - 1].check(position)
    assert isinstance(error, nf.RangeError) and "position 3" in str(error)
    for old, new in zip(before, nf.trainables(m), strict=True):
        np.testing.assert_array_equal(old, new)
