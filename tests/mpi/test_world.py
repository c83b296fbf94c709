"""Worlds of real ranks: what they agree on, and how a job ends where they do not."""

import pytest

START = """
    import os, sys, time
    import numpy as np
    import numbaflux as nf
"""
INIT = "\n    world = nf.distributed.init()\n    "


def test_what_ranks_tell_each_other(mpi):
    done = mpi.run(
        START
        + """
    with nf.distributed.init() as world:
        assert (world.size, world.local_size, world.local_rank) == (3, 3, world.rank)
        assert world.gather([world.rank, 0.5]).tolist() == [[0, 0.5], [1, 0.5], [2, 0.5]]
        assert world.any(world.rank == 2) and not world.any(False)
        assert world.share(f"from {world.rank}") == "from 0" and world.share(f"ü {world.rank}", 2) == "ü 2"
        x = np.arange(5.0) + world.rank
        world.sum(x)
        assert x.tolist() == [3, 6, 9, 12, 15]
        rows = world.rows(np.full((world.rank, 2), world.rank, np.int32))
        assert rows.tolist() == [[1, 1], [2, 2], [2, 2]] and rows.dtype == np.int32
        world.broadcast(y := np.full(3, float(world.rank)), 2)
        assert (y == 2).all()
        out = np.zeros(6)
        out[2 * world.rank : 2 * world.rank + 2] = world.rank
        world.fill(out, [2, 2, 2])
        assert out.tolist() == [0, 0, 1, 1, 2, 2]
        print(f"well {world.rank};", end="", flush=True)
    """,
        3,
    )
    assert done.rc == 0, done.err
    assert sorted(done.out.split(";")) == ["", "well 0", "well 1", "well 2"]


def test_synchronize_brings_what_rank_0_has(mpi):
    done = mpi.run(
        START
        + """
    with nf.distributed.init() as world:
        nf.seed(world.rank)
        model = nf.Chain(nf.Dense(3, 4, rng=world.rank), nf.BatchNorm(4), nf.Dropout(0.5, rng=world.rank))
        state = nf.setup(nf.DistributedOptimizer(nf.Adam(), world), model)
        model[1].mean[...] = world.rank
        state.hyper[0] = 7 + world.rank
        world.synchronize(model, state)
        held = [*nf.tree.arrays(model).values(), state.hyper, model[2].rng.words]
        raw = np.frombuffer(b"".join(a.tobytes() for a in held), np.uint8)
        assert (world.rows(raw[None]) == raw).all() and not model[1].mean.any() and state.step == 7
        assert nf.rng.default().state == (0, 0)
    """,
        2,
    )
    assert done.rc == 0, done.err


FAILURES = {
    "an exception": ("if world.rank: raise ValueError('one rank alone')\n        world.barrier()", "one rank alone"),
    "other models": (
        "m = nf.Dense(2, 3 + world.rank)\n        world.synchronize(m, nf.setup(nf.Adam(), m))",
        "'weight <f4 (2, 4)' where rank 0 has 'weight <f4 (2, 3)'",
    ),
    "other numbers of arrays": (
        "m = nf.Chain(*[nf.Dense(2, 2) for _ in range(1 + world.rank)])\n        world.synchronize(m)",
        "got on rank 1 4 arrays where rank 0 has 2",
    ),
    "another turn": ("world.any(False) if world.rank else world.share('x')", "must be the same, got another on"),
    "one that ends": ("if world.rank: world.any(True)", "must be the same, got another on"),
    "one that leaves": ("sys.exit(3) if world.rank else world.barrier()", "must be the same, got another on"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_rank_that_fails_ends_the_job(mpi, name):
    body, words = FAILURES[name]
    program = START + f"\n    with nf.distributed.init() as world:\n        {body}\n        print('not reached')\n"
    done = mpi.run(program, 2)
    assert done.rc != 0 and words in done.err and done.seconds < 20
    assert "not reached" not in done.out or name == "one that ends"


def test_an_exception_ends_the_job_without_a_with_statement(mpi):
    body = INIT + "if world.rank: 1 / 0\n    print('before', flush=True)\n    world.barrier()"
    with mpi.start(START + body, 2) as job:
        job.until("before")
        done = job.finish(10)
    assert done.rc != 0 and "ZeroDivisionError" in done.err and "rank 1 of 2 failed" in done.err


def test_a_rank_that_does_not_come_is_named_and_the_job_ends(mpi):
    body = INIT.replace("()", "(timeout=4)") + "time.sleep(100) if world.rank == 1 else world.barrier('the wedding')"
    done = mpi.run(START + body, 3)
    assert done.rc != 0 and done.seconds < 30
    assert "waits for rank 1 of 3" in done.err and "the wedding; the job ends" in done.err


def test_a_late_rank_is_named_and_the_job_goes_on(mpi):
    body = "time.sleep(5 * (world.rank == 0)); world.barrier(); world.barrier()"
    done = mpi.run(START + INIT.replace("()", "(timeout=20)") + body, 3)
    assert done.rc == 0 and done.err.count("waits for rank 0 of 3") == 1


def test_ranks_share_the_cores(mpi):
    body = "print(f'{nf.native.pool().count} {len(os.sched_getaffinity(0))};', end='', flush=True)"
    done = mpi.run(START + INIT + body, 2)
    assert all(int(a) == max(1, int(b) // 2) for a, b in (one.split() for one in done.out.split(";")[:2]))


def test_several_processes_that_mpi_does_not_know_of_are_refused(mpi):
    body = "import mpi4py.rc; os.environ.update(SLURM_STEP_NUM_TASKS='2'); nf.distributed.init()"
    done = mpi.run(START + "\n    " + body, 1)
    assert done.rc != 0 and "rank 0 of 1 in each of 2 processes that srun started" in done.err
