"""Trainings of several ranks on GPUs that are not there: which GPU a rank takes, what waits for what, all ways to sum
gradients on ranks that mpiexec started."""

import gc
import json
from pathlib import Path

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import distributed, managed
from numbaflux.distributed import optimiser, probe, staging
from numbaflux.distributed.launcher import LOCAL
from tests.cuda import ranks
from tests.cuda.nets import batch, close, loss, net
from tests.mpi import launch

PROGRAM = Path(ranks.__file__)
ON_GPU = "nf.setup on a GPU"


class Twice(distributed.World):
    """Rank 0 of 2, of which the other has the same and does the same; `told`: what a GPU is asked, and sums of it."""

    def __init__(self, told=(), alike=False):
        super().__init__()
        self.size, self.told, self.alike = 2, told, alike

    def _do(self, start, what):
        pass

    def gather(self, numbers, what="gather"):
        found = np.array([numbers, numbers], np.float64)
        found[1, 2] += what == ON_GPU and not self.alike  # the other's GPU
        return found

    def sum(self, vector, what="sum", there=False):
        self.told.append(f"sum of {what}" + " on the GPU" * there)
        assert (managed.gpu_of(vector) is not None) == there
        vector *= 2


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in (*LOCAL, "NUMBAFLUX_CUDA_AWARE", "MPICH_GPU_SUPPORT_ENABLED"):
        monkeypatch.delenv(name, raising=False)


# ---------------------------------------------------------------- which GPU


@pytest.mark.parametrize("name", LOCAL)
def test_each_rank_of_a_node_takes_a_gpu_of_its_own(gpus, monkeypatch, name):
    taken = []
    for text in ("0", "1", "2", "3", "none"):
        monkeypatch.setenv(name, text)
        taken.append(repr(nf.gpu_device()))
    assert taken == ["gpu:0", "gpu:1", "gpu:0", "gpu:1", "gpu:0"]
    monkeypatch.setenv(name, "1")
    x = np.ones(2, np.float32)
    assert repr(nf.get_device(nf.gpu(x))) == "gpu:1" and repr(nf.get_device(nf.gpu(x, 0))) == "gpu:0"


def test_a_rank_that_is_shown_one_gpu_takes_that(gpus, monkeypatch):
    monkeypatch.setattr(nf.device, "count", lambda: 1)
    monkeypatch.setenv("SLURM_LOCALID", "3")
    assert repr(nf.gpu_device()) == "gpu:0"


def test_of_ranks_that_share_a_gpu_the_first_warns(gpus, recwarn):
    m = nf.gpu(net())
    nf.setup(nf.DistributedOptimizer(nf.Adam(), Twice()), m)
    assert not recwarn
    with pytest.warns(UserWarning, match=r"^ranks \[0, 1\] share one GPU, .*; start a rank for each GPU"):
        nf.setup(nf.DistributedOptimizer(nf.Adam(), Twice(alike=True)), m)


# ---------------------------------------------------------------- one step


def stepping(put, world=None, rule=None, **options):
    m = put(net())
    rule = rule or nf.Momentum(0.05)
    state = nf.setup(rule if world is None else nf.DistributedOptimizer(rule, world, **options), m)
    return m, state, nf.compile(loss, m, state)


def trained(put, world=None, steps=2, **options):
    nf.seed(0)
    m, state, step = stepping(put, world, **options)
    return m, [float(step(*batch(net))) for _ in range(steps)], state


@pytest.mark.parametrize("options", [{}, {"overlap": True, "bucket": 1e-5}, {"aware": "1"}], ids=str)
def test_two_ranks_that_are_alike_train_as_one_does(gpus, monkeypatch, options):
    monkeypatch.setattr("numbaflux.distributed.overlap.LEAST", 64)
    monkeypatch.setenv("NUMBAFLUX_CUDA_AWARE", options.pop("aware", "0"))
    right, losses, _ = trained(nf.gpu)
    m, found, _ = trained(nf.gpu, Twice([]), **options)
    assert found == losses
    close(right, m, 0, 0)
    assert nf.get_device(m) == nf.gpu_device()


def test_a_world_of_one_changes_nothing(gpus):
    right, losses, _ = trained(nf.gpu)
    for options in ({}, {"sharded": True}, {"accumulate": 1}):
        m, found, _ = trained(nf.gpu, distributed.World(), **options)
        assert found == losses
        close(right, m, 0, 0)
    assert gpus[0].calls.count("pin") == 0


def asked(gpus, **options):
    """What a second step asks of the GPU and of MPI."""
    _, _, step = stepping(nf.gpu, Twice(gpus[0].calls), **options)
    step(*batch(net))
    gpus[0].calls.clear()
    step(*batch(net))
    return " ".join(gpus[0].calls)


def test_what_a_step_asks_of_the_gpu(gpus):
    # The batch, counts and numbers; gradients made; status and loss come. Gradients to pinned memory, their sum, back.
    # Status and loss go. The checks; status. The update, and what comes back of a step.
    meant = (
        "upload record after upload replay download download wait "
        "download wait sum of gradients upload wait "
        "upload upload replay download wait "
        "upload replay download download download wait"
    )
    assert asked(gpus) == meant


def test_what_a_step_asks_where_mpi_reaches_the_gpu(gpus, monkeypatch):
    monkeypatch.setenv("NUMBAFLUX_CUDA_AWARE", "1")
    meant = (
        "upload record after upload replay download download wait "
        "wait sum of gradients on the GPU "
        "upload upload replay download wait "
        "upload replay download download download wait"
    )
    assert asked(gpus) == meant and "pin" not in gpus[0].calls


def test_buckets_leave_while_gradients_are_made(gpus, monkeypatch):
    monkeypatch.setattr("numbaflux.distributed.overlap.LEAST", 64)
    _, state, step = stepping(nf.gpu, Twice([]), overlap=True, bucket=1e-5)
    program, _ = step.program(batch(net))
    launches = program.plan.launches
    at = [turn.launches for turn in launches.turns]
    buckets = len(state.spread.stretches())
    assert at == sorted(at) and len(at) == buckets + 3 and buckets > 3  # with the loss, the end of them, the update
    assert len(set(at[1 : 1 + buckets])) > 2 and at[1] < at[buckets]


@pytest.mark.parametrize("left_out", ["compute", "copy"])
def test_gradients_that_nobody_waits_for_are_not_there(gpus, monkeypatch, left_out):
    """The stand-in is late enough for the tests above to see a wait that is missing."""
    right, _, _ = trained(nf.gpu)
    m, state, step = stepping(nf.gpu, Twice([]))
    own = next(iter(state.spread.staged.values())).stream
    wait, waits = gpus[0].wait, []

    def late(stream):
        waits.append("copy" if stream is own else "compute")
        if waits.count(left_out) != 1 or waits[-1] != left_out:  # all but the first
            wait(stream)

    step(*batch(net))
    gc.collect()  # what was trained above waits when it goes, which is not counted
    monkeypatch.setattr(gpus[0], "wait", late)
    step(*batch(net))
    assert waits == ["compute", "copy", "copy", "compute", "compute"]
    differ = [not np.array_equal(a, b) for a, b in zip(nf.state(m).values(), nf.state(right).values(), strict=True)]
    assert any(differ)


def test_a_step_that_fails_on_one_rank_changes_nothing(gpus, monkeypatch):
    m, state, step = stepping(nf.gpu, Twice([]))
    (x, y), before = batch(net), nf.state(m)
    with pytest.raises(nf.RangeError, match="position 1"):  # its own
        step(x, np.array([0, 7, 0, 0, 0]))
    with pytest.raises(nf.NonFiniteError, match="loss must be finite"):
        step(x * np.nan, y)

    def other(loss, samples, error):
        raise nf.RankError("step: rank 1 failed")

    monkeypatch.setattr(state.spread, "_meet", other)
    with pytest.raises(nf.RankError, match="rank 1 failed"):
        step(x, y)
    monkeypatch.undo()
    assert state.step == 0
    for a, b in zip(before.values(), nf.state(m).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    step(x, y)
    assert state.step == 1 and not np.array_equal(before["0.weight"], m[0].weight)


def test_steps_without_an_update(gpus):
    found = []
    for put in (nf.cpu, nf.gpu):
        world = Twice([])
        m, state, step = stepping(put, world, nf.Descent(0.1))
        before = nf.state(m)["0.weight"].copy()
        with world.no_sync():
            step(*batch(net))
            np.testing.assert_array_equal(m[0].weight, before)
        step(*batch(net))
        assert state.step == 1 and len(world.told) == 1
        found.append(m)
    close(*found, 1e-4)


def test_pinned_memory_is_let_go(gpus):
    m, state, step = stepping(nf.gpu, Twice([]))
    assert gpus[0].calls.count("pin") == 1
    streams = gpus[0].open["stream"]
    del state, step
    m = None
    gc.collect()
    assert m is None and gpus[0].calls.count("let_go") == 1 and gpus[0].open["stream"] < streams


def test_what_is_on_a_gpu_is_broadcast_by_way_of_the_cpu(gpus):
    seen = []

    class First(Twice):
        def broadcast(self, array, root=0):
            if managed.gpu_of(array) is None and array.flags.c_contiguous:
                seen.append(array.size)
                array += 1
            else:
                super().broadcast(array, root)

    x = nf.gpu(np.zeros((2, 3), np.float32))
    for array in (x, x.T, np.zeros((2, 3)).T):
        First().broadcast(array)
        assert (array == array.flat[0]).all() and array.flat[0] >= 1
    assert seen == [6, 6, 6] and gpus[0].calls.count("prefetch") >= 2


# ---------------------------------------------------------------- what MPI says


def test_whether_mpi_reaches_gpus(monkeypatch):
    assert not probe.reaches_gpus({}) and not probe.reaches_gpus({"MPICH_GPU_SUPPORT_ENABLED": "0"})
    assert probe.reaches_gpus({"MPICH_GPU_SUPPORT_ENABLED": "1"})

    class Library:
        MPIX_Query_cuda_support = staticmethod(lambda: 1)

    monkeypatch.setattr(probe.ctypes, "CDLL", lambda path: Library)
    assert probe.reaches_gpus({})
    assert not probe.reaches_gpus({"NUMBAFLUX_CUDA_AWARE": "0", "MPICH_GPU_SUPPORT_ENABLED": "1"})


@pytest.mark.parametrize("options", [{"wire": "float16"}, {"sharded": True}, {"deterministic": True}], ids=str)
def test_what_ranks_add_up_themselves_goes_by_way_of_the_cpu(gpus, monkeypatch, options):
    monkeypatch.setenv("NUMBAFLUX_CUDA_AWARE", "1")
    m = nf.gpu(nf.Dense(3, 2))
    state = nf.setup(nf.DistributedOptimizer(nf.Descent(0.1), Twice(), **options), m)
    [one] = state.spread.staged.values()
    assert isinstance(one, staging.Staging) and one.apart and gpus[0].calls.count("pin") == 1


# ---------------------------------------------------------------- ranks

TOGETHER = optimiser.TOGETHER
WAYS = {
    "plain": (TOGETHER, {}),
    "memory that ranks share": (0, {}),
    "overlap": (TOGETHER, {"overlap": True, "bucket": 1e-4, "norm": "of all"}),
    "overlap, shared": (0, {"overlap": True, "bucket": 1e-4}),
    "wire": (TOGETHER, {"wire": "bfloat16"}),
    "sharded": (TOGETHER, {"sharded": True, "accumulate": 2}),
    "sharded, shared": (0, {"sharded": True}),
    "deterministic": (TOGETHER, {"deterministic": True, "shards": 4}),
    "accumulate": (TOGETHER, {"accumulate": 2}),
    "own statistics": (TOGETHER, {"norm": "own"}),
    "step by step": (TOGETHER, {"compile": False, "norm": "of all"}),
}


@pytest.mark.parametrize("aware", ["0", "1"])
def test_ranks_train_on_gpus_as_on_cpus(tmp_path, aware):
    ways = list(WAYS.values() if aware == "0" else [WAYS["plain"], WAYS["overlap"]])
    with launch.mpich(tmp_path).start(PROGRAM, 2, json.dumps(ways), NUMBAFLUX_CUDA_AWARE=aware) as job:
        done = job.finish(300)
    assert done.rc == 0, done.err
    found = sorted((json.loads(line) for line in done.out.splitlines()), key=lambda one: (one["way"], one["rank"]))
    assert [(one["way"], one["rank"]) for one in found] == [(way, rank) for way in range(len(ways)) for rank in (0, 1)]
    for one in found:
        assert one["on"] == f"gpu:{one['local']}", one
        assert one["pins"] == (aware == "0"), one
        for right, wrong in one["pairs"]:
            np.testing.assert_allclose(wrong, right, rtol=2e-3 if "wire" in ways[one["way"]][1] else 1e-5, atol=1e-6)
