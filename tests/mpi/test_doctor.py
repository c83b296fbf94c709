"""numbaflux doctor alone and on ranks of both families of MPI: facts, table, faults, one exit code."""

import subprocess
import sys

import pytest

from numbaflux.distributed.probe import SIZES
from tests import processes
from tests.test_doctor import page

PROGRAM = "import sys; from numbaflux.cli import main; sys.exit(main(['doctor']))"


def alone(folder, **env):
    """Without a launcher."""
    command, known = [sys.executable, "-m", "numbaflux", "doctor"], processes.environment(folder, **env)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=known)


def test_alone_it_tells_of_mpi(mpi, tmp_path):
    said = page(alone(tmp_path).stdout)
    assert said["launcher"] == "none" and said["ranks"] == "rank 0 of 1, 1 node, 1 on this one"
    assert said["MPI"].startswith("MPICH Version: ") and "/libmpi" in said["MPI"]
    assert said["mpi4py"].endswith(", ABI mpich") and said["MPI threads"] == "MULTIPLE"
    assert said["fault tolerance"] == "none: a lost rank ends the job" and "allreduce 4 KB" not in said


def test_on_two_ranks_one_prints_with_a_table(mpi):
    done = mpi.run(PROGRAM, 2)
    said = page(done.out)
    assert (done.rc, done.err, done.out.count("MPI threads")) == (int("FAULT" in done.out), "", 1)
    assert said["launcher"] == "mpiexec of the MPICH family, or srun --mpi=pmi2, 2 processes"
    assert said["ranks"] == "rank 0 of 2, 1 node, 2 on this one"
    times = [float(said[f"allreduce {size}"].split()[0]) for size in SIZES]
    assert times == sorted(times) and times[0] > 0


def test_open_mpi_could_go_on_without_a_rank(openmpi):
    done = openmpi.run(PROGRAM, 2)
    said = page(done.out)
    assert said["MPI"].startswith("Open MPI v5") and said["mpi4py"].endswith(", ABI openmpi"), done.err
    assert said["fault tolerance"].startswith("ULFM: ") and "allreduce 64 MB" in said
    assert said["launcher"] == "mpiexec of Open MPI, 2 processes"


def test_ranks_of_two_nodes_are_counted(hosts):
    done = hosts.mpi.run(PROGRAM, 2, MPIR_CVAR_CH4_NETMOD="ofi", FI_PROVIDER="tcp")
    assert page(done.out)["ranks"] == "rank 0 of 2, 2 nodes, 1 on this one", done.err


def test_a_fault_of_another_rank_is_the_exit_code_of_all(mpi):
    """Rank 1 has fewer CPUs than it was promised: rank 0 finds nothing, and ends with 1 too."""
    program = f"""
        import os
        if os.environ["PMI_RANK"] == "1":
            os.environ["SLURM_CPUS_PER_TASK"] = "100000"
        {PROGRAM}
    """
    done = mpi.run(program, 2)
    assert done.rc == 1 and "no faults" not in done.out and "100000" not in done.out


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_launcher_of_another_mpi_is_a_fault(rank, mpi, tmp_path):
    done = alone(tmp_path, SLURM_STEP_NUM_TASKS="2", SLURM_PROCID=rank)
    assert done.returncode == 1
    assert ("FAULT rank 0 of 1 in each of 2 processes that srun started" in done.stdout) == (rank == "0")
