"""nf.train on ranks that mpiexec started: one history, that of one process; errors on all ranks; one writer."""

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.mpi import training

PROGRAM = Path(training.__file__)
TIMES = ("seconds", "samples_per_second")
EPS = {"float32": 1e-5, "float64": 1e-12}


def trained(mpi, n, **options):
    """The history that all ranks came to, the parameters, and what they wrote."""
    with mpi.start(PROGRAM, n, json.dumps(options)) as job:
        done = job.finish()
        assert done.rc == 0, done.err
        with np.load(job.folder / "params.npz") as held:
            params = dict(held)
    found = [json.loads(line) for line in done.out.splitlines()]
    assert sorted(one["rank"] for one in found) == list(range(n))
    for name in ("digest", "history"):
        assert all(one[name] == found[0][name] for one in found)
    return found[0]["history"], params, done.err


def compare(found, params, dtype, **options):
    """With one process that is given the whole batches."""
    model, history = training.train(None, dtype=dtype, **options)
    assert len(found) == len(history)
    for row, right in zip(found, history, strict=True):
        assert row.keys() == right.keys() and row["samples_per_second"] > 0
        for name in row.keys() - set(TIMES):
            np.testing.assert_allclose(row[name], right[name], rtol=EPS[dtype], err_msg=name)
    for path, array in training.nf.tree.arrays(model).items():
        np.testing.assert_allclose(params[path], array, rtol=EPS[dtype], atol=EPS[dtype], err_msg=path)


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("n", [2, 4])
def test_ranks_train_as_one_process_does(mpi, n, dtype):
    found, params, err = trained(mpi, n, dtype=dtype)
    compare(found, params, dtype)
    assert [line.partition("  ")[0] for line in err.splitlines()] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


@pytest.mark.parametrize("options", [
    {"compile": False}, {"validate": "loader"}, {"partial": False}, {"overlap": True, "bucket": 0.0001},
    {"accumulate": 1, "sharded": True},
], ids=str)  # fmt: skip
def test_ways_to_train_give_the_same_history(mpi, options):
    own = {name: value for name, value in options.items() if name in ("compile", "validate", "partial")}
    compare(*trained(mpi, 2, dtype="float64", **options)[:2], "float64", **own)


@pytest.mark.parametrize("options", [{}, {"compile": False}, {"overlap": True, "bucket": 0.0001}], ids=str)
@pytest.mark.parametrize("dtype", EPS)
def test_synchronised_batchnorm_trains_as_one_process_does(mpi, dtype, options):
    own = {"norm": "of all"} | {name: value for name, value in options.items() if name == "compile"}
    compare(*trained(mpi, 2, dtype=dtype, norm="of all", **options)[:2], dtype, **own)


def test_ranks_of_open_mpi_train_alike(openmpi):
    compare(*trained(openmpi, 2, dtype="float64", norm="of all")[:2], "float64", norm="of all")


def test_ranks_with_statistics_of_their_own_come_to_one_model(mpi):
    found, params, _ = trained(mpi, 2, norm="own")
    _, history = training.train(None, norm="own")
    assert found[0]["loss"] != history[0]["loss"] and params["1.mean"].any()


START = """
    import json
    import numpy as np
    import numbaflux as nf
    from tests.mpi import training

    with nf.distributed.init(timeout=60) as world:
"""


def run(mpi, body, n=2):
    return mpi.run(textwrap.dedent(START) + textwrap.indent(textwrap.dedent(body), "    "), n)


SETUP = """
model, x = nf.Dense(3, 1, rng=0), np.ones((4, 3), np.float32)
state = nf.setup(nf.DistributedOptimizer(nf.Adam(), world{options}), model)
def train(data, **options):
    return nf.train(lambda m, x: (m(x) ** 2).mean(), model, data, state, **{{"epochs": 3, "progress": False}} | options)
try:
    {call}
except nf.Error as error:
    print(json.dumps([world.rank, type(error).__name__, str(error)]) + "\\n", end="", flush=True)
    world.open = False
"""
TURN = "must be the same, got another on"
ERRORS = {
    "fewer batches": ("train([x] * (3 + world.rank))", TURN),
    "fewer batches, gathered": ("train([x] * (3 + world.rank))", TURN, ", accumulate=100"),
    "fewer batches, no update": ("exec('with world.no_sync(): train([x] * (3 + world.rank), epochs=1)')", TURN),
    "no batches": ("train([x] * world.rank)", TURN),
    "larger batches": ("train([x[: 4 - world.rank]])", "of one size, got 4 samples on rank 0 and 3 on rank 1"),
    "fewer epochs": ("train([x], epochs=3 - world.rank); world.any(False)", TURN),
    "another order": (
        "train(nf.DataLoader(x, 2, shuffle=True, rng=world.rank, world=world))",
        "samples and their order must be the same on all ranks, got another than rank 0's on rank 1; the same data and",
    ),
    "other data": ("train(nf.DataLoader(x[world.rank :], 2, world=world))", "samples and their order must be the same"),
    "no validation on one": (
        "train([x], validation=[x] * world.rank)", "validation must be of one sample or more, got none",
    ),
    "fewer batches, BatchNorm": (
        "model = nf.distributed.sync_batchnorm(nf.BatchNorm(3), world)\n"
        "    state = nf.setup(nf.DistributedOptimizer(nf.Adam(), world, overlap=True), model)\n"
        "    train([x] * (3 + world.rank))",
        TURN,
    ),
    "not finite": ("train([x / (1 - world.rank)])", "epoch 1, batch 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_ranks_that_differ_are_an_error_on_all(mpi, name):
    call, words, *options = ERRORS[name]
    done = run(mpi, SETUP.format(call=call, options="".join(options)))
    found = sorted(json.loads(line) for line in done.out.splitlines() if line.startswith("["))
    assert [rank for rank, _, _ in found] == [0, 1], done.err
    assert all(words in said for _, _, said in found), found
    assert done.seconds < 20


def test_files_and_lines_are_written_once_and_functions_called_on_all(mpi):
    done = run(mpi, """
        model, seen = nf.Dense(3, 1, rng=0), []
        state = nf.setup(nf.DistributedOptimizer(nf.Adam(), world), model)
        class Own:
            first_rank_only = True
            def on_batch(self, event):
                print(f"first {world.rank}\\n", end="", flush=True)
        stop = nf.EarlyStopping("loss", patience=2, min_delta=10.0)
        callbacks = [nf.callbacks.CSVLog("log.csv"), nf.callbacks.JSONLog("log.jsonl"), seen.append, Own(), stop]
        data = nf.DataLoader(np.ones((8, 3), np.float32), 8, world=world)
        history = nf.train(lambda m, x: (m(x) ** 2).mean(), model, data, state, epochs=9, callbacks=callbacks)
        assert len(history) == len(seen) == 3
        world.barrier()
        if world.rank == 1:
            assert len(open("log.csv").read().splitlines()) == 4
            assert [json.loads(line)["loss"] for line in open("log.jsonl")] == history.column("loss")
        print(f"well {world.rank}\\n", end="", flush=True)
    """)  # fmt: skip
    assert done.rc == 0, done.err
    assert sorted(done.out.split("\n")) == ["", "first 0", "first 0", "first 0", "well 0", "well 1"]
    assert [line.partition("  ")[0] for line in done.err.splitlines()] == ["epoch 1/9", "epoch 2/9", "epoch 3/9"]
