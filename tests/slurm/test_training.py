"""A training of two ranks on two nodes of a real Slurm: signalled, at its time limit, with a rank killed, it goes on
from its files, and ends with the bits of one that nobody disturbed."""

import json
import os
import signal
from pathlib import Path

import pytest

from numbaflux.native import native
from numbaflux.slurm import Job, script
from tests.mpi import lives
from tests.mpi.launch import mpich
from tests.slurm.test_script import MADE_BY, NETWORK, warn

PROGRAM = Path(lives.__file__)
EPOCHS = 20
ALL = lives.whole(EPOCHS)
ENDS = "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL"


def submit(slurm, folder, pause, **options):
    """A job that trains in the folder; a first life makes a step in so many seconds. Kernels are this user's."""
    folder.mkdir(exist_ok=True)
    env = {"SLURM_TMPDIR": str(folder), "NUMBAFLUX_CACHE_PATH": str(native().store.folder), **NETWORK}
    words = json.dumps({"folder": str(folder), "epochs": EPOCHS, "pause": pause})
    options = {"nodes": "2", "cpus": 1, "time": "5", "max_restarts": 2} | options
    return slurm.run(script(Job(command=(str(PROGRAM), words), env=env, **options), MADE_BY), folder)


@pytest.fixture(scope="module")
def limited(slurm, tmp_path_factory):
    """A job that nears its limit of a minute while others run, and its folder. Slurm looks every half minute who has
    less than that, and the seconds of signal, left."""
    folder = tmp_path_factory.mktemp("limited")
    return submit(slurm, folder, 2.0, time="1", signal=8), folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a training comes to that nobody disturbs, on two ranks of mpiexec."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = mpich(folder).run(PROGRAM, 2, json.dumps({"folder": str(folder), "epochs": EPOCHS}))
    assert done.rc == 0 and lives.steps(done.out) == ALL, done.err
    return lives.bits(folder)


def ended(slurm, job, seconds=90):
    """State and restarts in the end."""
    shown = slurm.wait(job, *ENDS, seconds=seconds)
    return shown["JobState"], shown["Restarts"]


def stops(said):
    """The steps after which a signal was answered with a file and exit code 75, and from which it went on."""
    told = [line for line in said.splitlines() if line.startswith("train: stopped by SIGUSR1 after epoch ")]
    assert all(line.endswith("; exit code 75") and "; checkpoint " in line for line in told), said
    at = lives.numbers(said, "at")
    assert len(at) == 1 + len(told) and at[0] == 0, said
    return at[1:]


def test_signalled_it_is_requeued_and_repeats_no_step(slurm, limited, undisturbed, tmp_path):
    job = submit(slurm, tmp_path, 0.3)
    slurm.wait_for_output(job, "step 4\n", seconds=90)
    warn(slurm, job)
    slurm.wait(job, "PENDING", "FAILED", "COMPLETED")
    stop = lives.steps(slurm.output(job))[-1]
    assert 4 <= stop < ALL[-1] and ended(slurm, job) == ("COMPLETED", "1")
    assert stops(slurm.output(job)) == [stop] and lives.steps(slurm.output(job)) == ALL
    assert lives.bits(tmp_path) == undisturbed


def test_a_killed_rank_ends_the_job_and_the_next_one_goes_on(slurm, limited, undisturbed, tmp_path):
    job = submit(slurm, tmp_path, 0.3)
    slurm.wait_for_output(job, "step 5\n", seconds=90)
    os.kill(slurm.ranks(job)[1], signal.SIGKILL)
    assert ended(slurm, job) == ("FAILED", "0")
    said = slurm.output(job)
    assert slurm.ranks(job) == {} and stops(said) == []
    again = submit(slurm, tmp_path, 0.0)
    assert ended(slurm, again) == ("COMPLETED", "0")
    [at] = lives.numbers(slurm.output(again), "at")
    assert lives.numbers(said, "saved")[-1] <= at <= lives.steps(said)[-1] < ALL[-1]
    assert lives.steps(slurm.output(again)) == ALL[at:]
    assert lives.bits(tmp_path) == undisturbed


def test_at_its_time_limit_it_is_requeued_by_itself(slurm, limited, undisturbed):
    job, folder = limited
    assert ended(slurm, job, seconds=120) == ("COMPLETED", "1"), slurm.output(job)
    [stop] = stops(slurm.output(job))
    assert 0 < stop < ALL[-1] and lives.steps(slurm.output(job)) == ALL
    assert lives.bits(folder) == undisturbed
