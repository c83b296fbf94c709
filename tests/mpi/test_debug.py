"""Where NaN comes from, on ranks: those that have none of it are told, too."""

PROGRAM = """
    import numpy as np
    import numbaflux as nf

    world = nf.distributed.init(timeout=20)
    nf.seed(1)
    model = nf.Chain(nf.Dense(4, 8, nf.relu), {norm}, nf.Dense(8, 3))
    model = nf.distributed.sync_batchnorm(model, world)
    state = nf.setup(nf.DistributedOptimizer(nf.Adam(0.1), world), model)
    x, y = np.ones((6, 4), np.float32), np.zeros(6, np.int64)
    x[2, 1] = np.nan if world.rank == 1 else 1
    try:
        nf.train(lambda m, x, y: nf.losses.logitcrossentropy(m(x), y), model, [(x, y)], state, epochs=1, progress=False)
    except nf.NonFiniteError as error:
        print(f"rank {{world.rank}}: {{error}}", flush=True)
    world.barrier()
"""
STEP = "train: epoch 1, batch 1: step: loss must be finite, got NaN or Inf; nothing was changed"


def test_all_ranks_are_told_the_cause(mpi):
    done = mpi.run(PROGRAM.format(norm="nf.LayerNorm(8)"), 2)
    cause = "on rank 1 input 0, which dense in layer 0 (Dense) reads, of shape (6, 4) has 1 of 24 elements"
    lines = sorted(line for line in done.out.splitlines() if line.startswith("rank "))
    assert [line[:7] for line in lines] == ["rank 0:", "rank 1:"]
    assert all(f"{STEP}; {cause}" in line for line in lines)


def test_layers_over_all_ranks_are_not_run_again(mpi):
    done = mpi.run(PROGRAM.format(norm="nf.BatchNorm(8)"), 2)
    assert sorted(done.out.splitlines()) == [f"rank {rank}: {STEP}" for rank in (0, 1)]
