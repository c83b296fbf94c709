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


TRAINING = """
    import os, signal
    import numpy as np
    import numbaflux as nf

    class Victim:
        def on_batch(self, event):
            if first == {victim} and event.batches == {batches}:
                os.kill(os.getpid(), signal.SIGKILL)

    with nf.distributed.init(survive=True) as world:
        first = world.rank
        nf.seed(1)
        rng = np.random.default_rng(0)
        x = rng.normal(size=(48, 5))
        y = np.tanh(x[:, :2])
        model = nf.f64(nf.Chain(nf.Dense(5, 16, nf.tanh), nf.Dense(16, 2)))
        state = nf.setup(nf.DistributedOptimizer(nf.Adam(1e-2), world), model)
        world.synchronize(model, state)
        data = nf.DataLoader((x, y), batchsize=12, shuffle=True, rng=3, world=world)
        history = nf.train(lambda m, x, y: nf.losses.mse(m(x), y), model, data, state, epochs=3, progress=False,
                           callbacks=[Victim()])
        digest = sum(float(np.abs(a).sum()) for a in nf.tree.arrays(model).values())
        losses = [row["loss"] for row in history]
        assert (world.gather([digest, *losses]) == [digest, *losses]).all()
        if world.rank == 0:
            print(world.size, state.step, repr(digest), repr(losses[-1]), flush=True)
"""


@pytest.mark.parametrize("victim", [0, 3])
def test_training_goes_on_where_it_was(openmpi, victim):
    """In float64 shares of another size change the last digits alone."""
    whole, left = (openmpi.run(TRAINING.format(victim=victim, batches=n), 4) for n in (-1, 6))
    assert whole.rc == left.rc == 0, left.err
    expected, found = whole.out.split(), left.out.split()
    assert expected[:2] == ["4", "12"] and found[:2] == ["3", "12"]
    assert [float(v) for v in found[2:]] == pytest.approx([float(v) for v in expected[2:]], rel=1e-9)
    assert left.err.count("numbaflux: 1 of 4 ranks lost; 3 go on") == 1
