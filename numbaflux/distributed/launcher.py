"""What the environment says of a launcher: how many processes it started, whether MPI came up with as many."""

from __future__ import annotations

import os
from collections.abc import Mapping

# Variables in which launchers tell a process how many there are. SLURM_NTASKS counts for the batch script too, which is
# one process; the variables of a step are set by srun alone.
SIZES = {
    "PMI_SIZE": "mpiexec of the MPICH family, or srun --mpi=pmi2",
    "OMPI_COMM_WORLD_SIZE": "mpiexec of Open MPI",
    "MV2_COMM_WORLD_SIZE": "mpiexec of MVAPICH",
    "PALS_SIZE": "aprun or mpiexec of PALS",
    "JSM_NAMESPACE_SIZE": "jsrun",
    "FLUX_JOB_SIZE": "flux run",
    "SLURM_STEP_NUM_TASKS": "srun",
}
# Variables in which they tell which of a node's processes it is. A batch script and mpiexec's own process on a node are
# steps of Slurm too, with 0 for all that they start.
LOCAL = (
    "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK", "PALS_LOCAL_RANKID",
    "JSM_NAMESPACE_LOCAL_RANK", "FLUX_TASK_LOCAL_ID", "SLURM_LOCALID",
)  # fmt: skip
MARKS = ("PMIX_RANK", "PMI_RANK", "PMI_FD")  # of launchers that do not tell how many


def launched(environment: Mapping[str, str] = os.environ) -> tuple[str, int] | None:
    """Who started this process and how many of it (0: it does not say); None without a launcher.

    >>> launched({"PMI_SIZE": "4"})
    ('mpiexec of the MPICH family, or srun --mpi=pmi2', 4)
    >>> launched({"SLURM_NTASKS": "4"}) is None
    True
    """
    found = [(who, int(environment[name])) for name, who in SIZES.items() if environment.get(name, "").isdecimal()]
    if found:
        return max(found, key=lambda pair: pair[1])
    marks = [name for name in MARKS if name in environment]
    return (f"a launcher that sets {marks[0]}", 0) if marks else None


def local_rank(environment: Mapping[str, str] = os.environ) -> int:
    """Which of the processes of its node this one is; 0 where nobody says.

    >>> local_rank({"MPI_LOCALRANKID": "3", "SLURM_LOCALID": "0"}), local_rank({})
    (3, 0)
    """
    return max((int(environment[name]) for name in LOCAL if environment.get(name, "").isdecimal()), default=0)


def mismatch(size: int, environment: Mapping[str, str] = os.environ) -> str:
    """What is wrong where a launcher started several processes and MPI knows of one; empty where nothing is.

    >>> mismatch(1, {"SLURM_STEP_NUM_TASKS": "2"}).partition(":")[0]
    'rank 0 of 1 in each of 2 processes that srun started'
    >>> mismatch(2, {"SLURM_STEP_NUM_TASKS": "2"})
    ''
    """
    who = launched(environment)
    if size > 1 or who is None or who[1] < 2:
        return ""
    return (
        f"rank 0 of 1 in each of {who[1]} processes that {who[0]} started: launcher and MPI library do not belong "
        "together; use srun --mpi=pmi2 or mpiexec of the same MPICH, srun --mpi=pmix or mpiexec of the same Open MPI "
        "(numbaflux doctor shows both)"
    )
