"""Memory that numbaflux slurm script asks for: that of the compiled step, for each rank, and enough of it."""

import numpy as np

import numbaflux as nf
from numbaflux.cli import mean_of_squares
from numbaflux.native import pool
from numbaflux.slurm import COMPILER, RESERVE, held, memory
from tests.child import child
from tests.test_slurm_script import asked, printed


def test_memory_is_that_of_the_plan():
    model = nf.Chain(nf.Dense(100, 300, nf.tanh), nf.Dense(300, 10))
    step = nf.compile(mean_of_squares, model, nf.setup(nf.Adam(), model))
    x = np.ones((500, 100), np.float32)
    found = held(step, x, pool().count)
    step(x)
    assert found["activations"] == step.memory and found["batches made ahead"] == 3 * x.nbytes
    numbers = sum(-(-n // 16) * 16 for n in (100 * 300, 300, 300 * 10, 10))  # each array starts on a line of the cache
    assert found["parameters, gradients, optimiser"] == 4 * 4 * numbers
    assert held(step, x, 10**6)["activations"] >= held(step, x, 1)["activations"] > 0


def test_memory_of_a_node():
    total, note = memory({"a": 10**9, "b": 2 * 10**9}, 4, 2)
    assert total == f"{int((1 + RESERVE) * 4 * 3000)}M" and note.endswith("+ 25 % in reserve")
    total, note = memory({"a": 10**6}, 2, 64)
    assert total == f"{2 + 64 * COMPILER // 10**6}M" and note.endswith(" MB) + 19200 MB to compile kernels on 64 CPUs")


def test_memory_counts_the_samples_of_a_rank(tmp_path, capsys):
    nf.save(tmp_path / "model.h5", nf.Dense(1000, 1000))
    words = ["--model", tmp_path / "model.h5", "--nodes=2", "--ranks-per-node=2", "--cpus=1"]

    def ahead(*more):
        text = printed(capsys, *words, *more, "train.py")
        (note,) = [line for line in text.splitlines() if line.startswith("# memory: ") and "ahead" in line]
        return int(note.partition("batches made ahead ")[2].partition(" MB")[0])

    assert ahead("--input-shape=5000,1000") == 60
    assert ahead("--input-shape=1,1000", "--batch=10000") == 30


def test_training_fits_into_what_was_asked_for(tmp_path):
    """What a process of its own takes at most, by the system's count."""
    nf.save(tmp_path / "model.h5", nf.Chain(nf.Dense(2000, 2000, nf.tanh), nf.Dense(2000, 2000)))
    words = f"['slurm', 'script', '--model', '{tmp_path / 'model.h5'}', '--input-shape=4000,2000', '--cpus=2', 'a.py']"
    text = child(f"from numbaflux.cli import main\nmain({words})")
    granted = int(asked(text)["mem"].removesuffix("M")) * 1e6
    took = child(f"""
        import resource, numpy as np, numbaflux as nf
        from numbaflux.cli import mean_of_squares
        model = nf.load({str(tmp_path / "model.h5")!r})
        data = np.ones((4000, 2000), np.float32)
        loader = nf.DataLoader(data, batchsize=4000)
        nf.train(mean_of_squares, model, loader, nf.setup(nf.Adam(), model), epochs=2, progress=False)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    """)
    data = 4000 * 2000 * 4
    assert 0.5 * (granted - 2 * COMPILER) < int(took) - data < granted - 2 * COMPILER  # nothing was compiled
