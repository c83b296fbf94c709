"""What `numbaflux slurm script` prints runs under a real Slurm: over nodes, to its end, through restarts, cancelled."""

import subprocess
import sys

import pytest

from numbaflux.native import native
from numbaflux.slurm import Job, script
from tests.examples.test_slurm import PROGRAM, weights
from tests.mpi.launch import mpich

MADE_BY = ("numbaflux", "slurm", "script", "train.py")
# Over UCX the start failed now and then: "value not properly terminated".
NETWORK = {"MPIR_CVAR_CH4_NETMOD": "ofi"}


@pytest.fixture
def submitted(slurm, tmp_path):
    """Submits a job that runs the example's program in a folder: its number. Kernels are this user's."""

    def submit(*words, **options):
        node = tmp_path / "node"
        node.mkdir(mode=0o700)
        env = {"SLURM_TMPDIR": str(node), "NUMBAFLUX_CACHE_PATH": str(native().store.folder), **NETWORK}
        job = Job(command=(str(PROGRAM), *map(str, words), "--out", "files"), env=env, **options)
        return slurm.run(script(job, MADE_BY), tmp_path)

    return submit


def ended(slurm, job):
    """State, restarts and nodes at the end."""
    shown = slurm.wait(job, "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", seconds=120)
    assert shown["JobState"] == "COMPLETED", slurm.output(job)
    return shown["Restarts"], shown["NodeList"]


def warn(slurm, job):
    """The signal that comes before the time limit, now: to the batch script alone."""
    slurm.call("scancel", "--batch", "--signal=USR1", str(job))


def test_two_nodes_train_through_restarts_as_if_nothing_had_happened(slurm, submitted, tmp_path):
    job = submitted("--epochs", 12, nodes="2", cpus=1, time="5")
    for epoch in ("epoch 3/12", "epoch 6/12"):
        slurm.wait_for_output(job, epoch, seconds=120)
        warn(slurm, job)
        slurm.wait(job, "PENDING", "FAILED", "COMPLETED")
    assert ended(slurm, job) == ("2", "n[1-2]")
    said = slurm.output(job)
    assert said.count("stopped by SIGUSR1") == 2 and "12 epochs" in said and "2 ranks" in said
    done = mpich(tmp_path).run(PROGRAM, 2, "--epochs", "12", "--out", str(tmp_path / "once"), seconds=120)
    assert done.rc == 0, done.err
    once, restarted = weights(tmp_path / "once" / "model.h5"), weights(tmp_path / "files" / "model.h5")
    assert once.keys() == restarted.keys() and all((once[name] == restarted[name]).all() for name in once)


def test_whole_nodes_are_cut_into_memory_domains(slurm, submitted):
    """All of them here have the domains of this machine, and two CPUs each."""
    job = submitted("--epochs", 1, nodes="2", time="5")
    assert ended(slurm, job) == ("0", "n[1-2]")
    domains = subprocess.run(
        ["sh", "-c", "cat /sys/devices/system/node/node*/cpulist | grep -c ."], capture_output=True
    )
    ranks = 2 * (int(domains.stdout) if int(domains.stdout) <= 2 else 1)
    assert f"{ranks} ranks" in slurm.output(job)


def test_a_cancelled_job_keeps_its_checkpoint_and_stays_away(slurm, submitted, tmp_path):
    job = submitted("--epochs", 100_000, nodes="1", cpus=2, time="5")
    slurm.wait_for_output(job, "epoch 2/100000", seconds=120)
    slurm.cancel(job)
    shown = slurm.wait(job, "CANCELLED", "FAILED", "COMPLETED", "PENDING")
    assert (shown["JobState"], shown["Restarts"]) == ("CANCELLED", "0")
    assert "stopped by SIGTERM" in slurm.output(job) and (tmp_path / "files" / "run.h5").exists()


def test_each_job_of_an_array_comes_back_alone(slurm, submitted, tmp_path):
    job = submitted("--epochs", 25, array="0-1", cpus=2, time="5")
    log = tmp_path / f"train-{job}_0.log"
    slurm._until(job, lambda _: log.exists() and "epoch 2/25" in log.read_text(), "no second epoch", 120)
    slurm.call("scancel", "--batch", "--signal=USR1", f"{job}_0")
    slurm._until(job, lambda _: "epoch 25/25" in log.read_text(), "not resumed", 120)
    assert log.read_text().count("epoch 2/25") == 1 and "stopped by SIGUSR1" in log.read_text()
    other = tmp_path / f"train-{job}_1.log"
    slurm._until(job, lambda _: "test accuracy" in other.read_text(), "no second trial", 120)
    assert "stopped" not in other.read_text() and "rate 0.001, 16 channels" in other.read_text()


def test_a_training_that_never_ends_is_given_up(slurm, submitted):
    job = submitted("--epochs", 100_000, cpus=2, time="5", max_restarts=0)
    slurm.wait_for_output(job, "epoch 2/100000", seconds=120)
    warn(slurm, job)
    assert slurm.wait(job, "FAILED", "PENDING", "COMPLETED")["JobState"] == "FAILED"
    assert "not done after 0 restarts" in slurm.output(job)


def test_doctor_under_srun_sees_both_nodes(slurm, tmp_path):
    network = "\n".join(f"export {name}={value}" for name, value in NETWORK.items())
    text = (
        f"#!/bin/bash\n#SBATCH --nodes=2\n{network}\nsrun --ntasks=2 --mpi=pmi2 {sys.executable} -m numbaflux doctor\n"
    )
    job = slurm.run(text, tmp_path)
    slurm.wait(job, "COMPLETED", "FAILED")
    said = slurm.output(job)
    assert "ranks            rank 0 of 2, " in said and f"job {job}, nodes 2" in said and "allreduce 64 MB" in said
    text = text.replace("pmi2", "none")
    job = slurm.run(text, tmp_path)
    assert slurm.wait(job, "COMPLETED", "FAILED")["JobState"] == "FAILED"
    assert slurm.output(job).count("FAULT rank 0 of 1 in each of 2 processes that srun started") == 1
