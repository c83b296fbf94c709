"""A rank is killed and the others go on: Open MPI with fault tolerance."""

import pytest

WORLD = """
    import os, signal, sys
    import numpy as np
    import numbaflux as nf

    world = nf.distributed.init(survive=True)
    assert world.size == 4
    first = world.rank
    for turn in range(4):
        try:
            if turn == 2 and first == {victim}:
                os.kill(os.getpid(), signal.SIGKILL)
            x = np.full(1000, first, np.float32)
            world.sum(x)
            world.confirm("the sum")
        except nf.RankLostError:
            assert world.shrink() == 1
            x = np.full(1000, first, np.float32)
            world.sum(x)
    assert world.size == 3 and (x == 6 - {victim}).all(), x[:3]
    assert world.gather([world.rank])[:, 0].tolist() == [0, 1, 2]
    print(f"well {{first}};", end="", flush=True)
"""


@pytest.mark.parametrize("victim", [0, 2])
def test_the_rest_shrink_and_go_on(openmpi, victim):
    done = openmpi.run(WORLD.format(victim=victim), 4)
    assert done.rc == 0, done.err
    assert sorted(done.out.split(";")) == ["", *sorted(f"well {i}" for i in {0, 1, 2, 3} - {victim})]


def test_mpi_that_cannot_is_refused(mpi):
    done = mpi.run("import numbaflux as nf\nnf.distributed.init(survive=True)\n", 2)
    assert done.rc != 0
    assert "init: survive must be False where MPI ends a job whose rank dies, got MPICH" in done.err
