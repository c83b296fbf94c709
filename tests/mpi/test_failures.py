"""Steps that go wrong on one rank: all ranks learn of it, nothing is changed, nobody hangs."""

import pytest

START = """
    import numpy as np
    import numbaflux as nf

    world = nf.distributed.init(timeout=20)
    nf.distributed.optimiser.TOGETHER = 0 if "{options}".endswith("compare=0") else 2**18
    nf.seed(1)
    model = nf.Chain(nf.Dense(4, 8, nf.relu), nf.BatchNorm(8), nf.Dense(8, 3))
    state = nf.setup(nf.DistributedOptimizer(nf.Adam(0.1), world{options}), model)
    world.synchronize(model, state)
    step = nf.compile(lambda m, x, y: nf.losses.logitcrossentropy(m(x), y), model, state)
    rng = np.random.default_rng(world.rank)
    def batch(n=6):
        return rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 3, n)
    step(*batch())
    def held():
        return b"".join(a.tobytes() for a in nf.tree.arrays(model).values()) + state.hyper.tobytes()
    before = held()
    x, y = batch()
"""

CHECK = """
    try:
        {call}
    except nf.Error as error:
        print(f"rank {{world.rank}}: {{type(error).__name__}}: {{error}}", flush=True)
    assert held() == before, "changed"
    step(*batch())  # and the training can go on
    assert held() != before
    world.barrier()
"""

WRONG = {
    "a label of no class": (
        "y[3] = 9 if world.rank else y[3]",
        [
            "rank 1: RangeError: crossentropy: labels must be in 0..2, got another at position 3",
            "rank 0: RankError: step: rank 1 failed: crossentropy: l",
        ],
    ),
    "not a number": (
        "x[0] = np.nan if world.rank else 0",
        ["rank 0: NonFiniteError: step: loss must be finite", "rank 1: NonFiniteError: step: loss must be finite"],
    ),
}
TOGETHER = ", compare=0"  # stands for vectors in memory that ranks share, as large ones are
FIXED = ", deterministic=True, shards=4"
WAYS = ["", ", overlap=True, bucket=1e-5", ", sharded=True", TOGETHER, ", sharded=True" + TOGETHER]


@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("name", WRONG)
def test_nothing_is_changed_on_any_rank(mpi, name, options):
    body, lines = WRONG[name]
    program = START.replace("{options}", options) + f"\n    {body}\n" + CHECK.replace("{call}", "step(x, y)")
    done = mpi.run(program.replace("{{", "{").replace("}}", "}"), 2)
    assert done.rc == 0, done.err
    assert all(line in done.out for line in lines), done.out


def test_a_shard_that_fails_is_one_of_all_ranks(mpi):
    start = START.replace("{options}", FIXED).replace("nf.BatchNorm(8)", "nf.LayerNorm(8)")
    program = start + "\n    y[0] = 9 if world.rank else y[0]\n" + CHECK.replace("{call}", "step(x, y)")
    done = mpi.run(program.replace("{{", "{").replace("}}", "}"), 2)
    assert done.rc == 0, done.err
    _, lines = WRONG["a label of no class"]
    assert all(line.partition(" at position")[0] in done.out for line in lines), done.out


def test_batches_of_other_sizes_end_the_job(mpi):
    done = mpi.run(START.replace("{options}", "") + "\n    step(*batch(6 + world.rank))", 2)
    words = "batches of all ranks must be of one size, got 6 samples on rank 0 and 7 on rank 1"
    assert done.rc != 0 and words in done.err


def test_one_step_more_on_one_rank_ends_the_job(mpi):
    body = "\n    with world:\n        [step(*batch()) for _ in range(3 + world.rank)]"
    done = mpi.run(START.replace("{options}", "") + body, 2)
    assert done.rc != 0 and "must be the same, got another on" in done.err and done.seconds < 20


def test_ranks_that_drift_apart_are_found(mpi):
    program = (
        START.replace("{options}", ", compare=3")
        + """
    model[0].weight[0, 0] += world.rank
    with world:
        for _ in range(3):
            step(*batch())
    """
    )
    done = mpi.run(program, 2)
    assert done.rc != 0 and "parameters after step 3 must be the same on all ranks" in done.err
