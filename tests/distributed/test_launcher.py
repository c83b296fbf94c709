"""What the environment says of launchers."""

import pytest

from numbaflux.distributed.launcher import SIZES, launched, mismatch


@pytest.mark.parametrize("name", SIZES)
def test_a_launcher_that_tells_how_many(name):
    assert launched({name: "3", "HOME": "/"}) == (SIZES[name], 3)
    assert mismatch(3, {name: "3"}) == "" == mismatch(1, {name: "1"})
    assert mismatch(1, {name: "3"}).startswith("rank 0 of 1 in each of 3 processes that " + SIZES[name])


def test_launchers_that_do_not_tell():
    assert launched({"PMIX_RANK": "0"}) == ("a launcher that sets PMIX_RANK", 0)
    assert mismatch(1, {"PMIX_RANK": "0"}) == ""


def test_no_launcher():
    """A batch script is one process, whatever its job has."""
    assert launched({}) is None
    assert launched({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) is None
    assert launched({"PMI_SIZE": "", "SLURM_STEP_NUM_TASKS": "many"}) is None


def test_of_two_the_one_that_started_more_counts():
    assert launched({"PMI_SIZE": "1", "SLURM_STEP_NUM_TASKS": "2"}) == ("srun", 2)
