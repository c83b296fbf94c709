"""The Slurm of the tests is a real one: nodes, ranks over them, signals, time limits, requeues; nothing of it stays."""

import os
import signal
import textwrap
from pathlib import Path

import pytest

from tests import processes
from tests.slurm import minislurm

RANKS = """
import os
from mpi4py import MPI

world = MPI.COMM_WORLD
print(world.rank, world.size, world.allreduce(world.rank + 1), os.environ["SLURMD_NODENAME"], flush=True)
"""

# Asks for a requeue when it gets SIGUSR1; started again it ends well.
AGAIN = """
import os, signal, sys
from mpi4py import MPI

restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
print("start", MPI.COMM_WORLD.rank, restarts, flush=True)
if restarts == "0":
    signal.pause()
"""

WAIT = """
import signal
from mpi4py import MPI

print("ready", MPI.COMM_WORLD.rank, flush=True)
signal.pause()
"""


def batch(folder: Path, program: str, *options: str, step: str = "") -> str:
    """A script with one rank of the program on each of two nodes; the program is put beside it."""
    (folder / "program.py").write_text(textwrap.dedent(program))
    told = "".join(f"#SBATCH {option}\n" for option in ("--nodes=2 --ntasks-per-node=1", *options))
    return f"#!/bin/bash\n{told}exec srun --mpi=pmi2 {step} python program.py\n"


def ready(slurm: minislurm.Slurm, job: int) -> None:
    for rank in "01":
        slurm.wait_for_output(job, f"ready {rank}")


@pytest.fixture(scope="module")
def limited(slurm, tmp_path_factory) -> int:
    """A job that nears its time limit while other tests run: Slurm looks at limits every 30 seconds."""
    folder = tmp_path_factory.mktemp("limited")
    told = batch(folder, AGAIN, "--requeue", "--open-mode=append", "--time=1", "--signal=USR1@50")
    return slurm.run(told, folder)


def test_nodes_are_idle(slurm):
    assert slurm.nodes() == {"n1": "idle", "n2": "idle"}


def test_a_job_starts_once(slurm, limited):
    for rank in "01":
        slurm.wait_for_output(limited, f"start {rank} 0")
    assert (slurm.state(limited), slurm.show(limited)["Restarts"]) == ("RUNNING", "0")


def test_ranks_stand_on_both_nodes(slurm, tmp_path):
    job = slurm.run(batch(tmp_path, RANKS), tmp_path)
    shown = slurm.wait(job, "COMPLETED", "FAILED")
    assert (shown["JobState"], shown["NodeList"], shown["Restarts"]) == ("COMPLETED", "n[1-2]", "0"), slurm.output(job)
    assert sorted(slurm.output(job).splitlines()) == ["0 2 3 n1", "1 2 3 n2"]
    assert [path.name for path in tmp_path.glob("*.out")] == [f"slurm-{job}.out"]


def test_exit_75_after_a_signal_requeues(slurm, tmp_path):
    job = slurm.run(batch(tmp_path, AGAIN, "--requeue", "--open-mode=append"), tmp_path)
    for rank in "01":
        slurm.wait_for_output(job, f"start {rank} 0")
    slurm.signal(job, "USR1")
    assert slurm.wait(job, "COMPLETED", "FAILED")["Restarts"] == "1"
    assert "start 0 1\n" in slurm.output(job) and "start 1 1\n" in slurm.output(job)


def test_a_job_that_fails_says_so(slurm, tmp_path):
    job = slurm.run("#!/bin/bash\necho no such data\nexit 3\n", tmp_path)
    assert slurm.wait(job, "COMPLETED", "FAILED")["ExitCode"] == "3:0"
    assert (slurm.state(job), slurm.output(job)) == ("FAILED", "no such data\n")


def test_a_killed_rank_ends_the_step(slurm, tmp_path):
    job = slurm.run(batch(tmp_path, WAIT, step="--kill-on-bad-exit=1"), tmp_path)
    ready(slurm, job)
    ranks = slurm.ranks(job)
    assert sorted(ranks) == [0, 1]
    os.kill(ranks[1], signal.SIGKILL)
    assert slurm.wait(job, "COMPLETED", "FAILED")["JobState"] == "FAILED"


def test_requeue_and_cancel(slurm, tmp_path):
    job = slurm.run(batch(tmp_path, WAIT, "--requeue"), tmp_path)
    ready(slurm, job)
    slurm.requeue(job)
    assert slurm.wait(job, "PENDING", "FAILED")["Restarts"] == "1"
    slurm.cancel(job)
    assert slurm.wait(job, "CANCELLED", "FAILED")["JobState"] == "CANCELLED"
    assert slurm.ranks(job) == {}


def test_a_wait_in_vain_tells_all(slurm, tmp_path):
    job = slurm.run("#!/bin/bash\necho hello\n", tmp_path)
    slurm.wait(job, "COMPLETED")
    with pytest.raises(AssertionError, match=r"(?s)in none of \('FAILED',\): .*COMPLETED.*hello.*slurmctld"):
        slurm.wait(job, "FAILED", seconds=0.1)
    with pytest.raises(AssertionError, match="(?s)'bye' never came: .*hello"):
        slurm.wait_for_output(job, "bye", seconds=0.1)


def test_all_of_it_ends(tmp_path):
    before = {place: sorted(os.listdir(place)) for place in ("/run", "/var/spool", "/var/log", "/var/lib")}
    folder = tmp_path / "slurm"
    folder.mkdir()
    with pytest.raises(RuntimeError, match="^stop$"), minislurm.minislurm(folder, nodes=1) as slurm:
        job = slurm.run("#!/bin/bash\n(setsid sleep 600 &)\necho ready\nsleep 600\n", tmp_path)
        slurm.wait_for_output(job, "ready")
        assert len(processes.belonging(folder)) >= 6  # three daemons, the job's keeper, its shell and what that started
        raise RuntimeError("stop")
    assert processes.belonging(folder) == []
    assert {place: sorted(os.listdir(place)) for place in before} == before


def test_a_daemon_that_ends_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(minislurm, "CONF", minislurm.CONF + "Nonsense=1\n")
    with pytest.raises(AssertionError, match="(?s)no Slurm, .*slurm(ctld|d)'.*ended:.*Nonsense"):
        with minislurm.minislurm(tmp_path, nodes=1):
            pass
    assert processes.belonging(tmp_path) == []


def test_the_signal_before_the_time_limit_came(slurm, limited):
    shown = slurm.wait(limited, "COMPLETED", "FAILED", "TIMEOUT", seconds=120)
    assert (shown["JobState"], shown["Restarts"]) == ("COMPLETED", "1"), slurm.output(limited)
    assert "start 0 1\n" in slurm.output(limited)
