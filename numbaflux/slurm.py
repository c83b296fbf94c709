"""The batch script that `numbaflux slurm script` prints: a training on one node or many, requeued at its time limit."""

from __future__ import annotations

import os
import re
import resource
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from .compiled import Step
from .op import expect
from .preemption import AGAIN
from .ranges import check

RESERVE = 0.25  # of the memory that is counted: for MPI, for what the allocator keeps, for what a program does besides
COMPILER = 300_000_000  # bytes of a process that compiles kernels: one rank of a node does it, on all of its CPUs
TIME = re.compile(
    r"(?P<days>\d+)-(?P<h>\d+)(:(?P<min>\d+)(:(?P<sec>\d+))?)?"
    r"|(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)|(?P<m>\d+)(:(?P<s>\d+))?",
    re.ASCII,
)
UNITS = {"days": 86400, "hours": 3600, "h": 3600, "minutes": 60, "min": 60, "m": 60, "seconds": 1, "sec": 1, "s": 1}
ITEM = r"\d+(-\d+(:\d+)?)?"
# What Slurm would understand, as a pattern and in words.
TEXTS = {
    "nodes": (r"[1-9]\d*(-[1-9]\d*)?", "a number, or least-most such as 1-2"),
    "time": (TIME.pattern, "minutes, h:mm:ss, d-h or d-h:mm:ss"),
    "job_name": (r"[\w.@+-]+", "letters, digits and . _ @ + -"),
    "partition": (r"[\w.@+-]+(,[\w.@+-]+)*", "a name, or several with commas between"),
    "account": (r"[\w.@+-]+", "a name"),
    "memory": (r"[1-9]\d*[KMGT]?", "that of a node, such as 64G or 500M"),
    "array": (rf"{ITEM}(,{ITEM})*(%[1-9]\d*)?", "numbers such as 0-8 or 0-99%4"),
}
# What a shell inside of another job, or a login file, leaves behind. srun would take the first for options of its own,
# an MPI library the next for its launcher's words, and numbaflux the last before SLURM_CPUS_PER_TASK.
LEFT_BEHIND = (
    "SLURM_CPU_BIND SLURM_CPU_BIND_LIST SLURM_CPU_BIND_TYPE SLURM_CPU_BIND_VERBOSE",
    "SLURM_MEM_PER_CPU SLURM_MEM_PER_GPU",
    "PMI_RANK PMI_SIZE PMIX_RANK OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE",
    "NUMBA_NUM_THREADS",
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the script asks of Slurm, and what it runs: the options of the command.

    cpus: of a rank; without it nodes are taken whole and cut into ranks_per_node, or into their NUMA domains where
    that is not given either. gpus: of a node, with a rank for each unless ranks_per_node says otherwise. time, memory,
    array: as Slurm writes them. signal: seconds before the time limit.
    notes: lines of comment. Raises RangeError, DTypeError.

    >>> Job(command=("train.py",), nodes="no")
    Traceback (most recent call last):
    numbaflux.op.RangeError: slurm: nodes must be a number, or least-most such as 1-2, got no
    """

    command: tuple[str, ...]
    nodes: str = "1"
    ranks_per_node: int | None = None
    cpus: int | None = None
    time: str = "1:00:00"
    job_name: str = ""
    partition: str = ""
    account: str = ""
    memory: str = ""
    gpus: int = 0
    array: str = ""
    mpi: str = "pmi2"
    requeue: bool = True
    max_restarts: int = 20
    signal: int = 120
    module: tuple[str, ...] = ()
    venv: str = ""
    container: str = ""
    env: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("ranks_per_node", "cpus"):
            if getattr(self, name) is not None:
                check(f"slurm.{name}", getattr(self, name))
        for name in ("gpus", "signal", "max_restarts"):
            check(f"slurm.{name}", getattr(self, name))
        for name, (pattern, words) in TEXTS.items():
            text = getattr(self, name)
            expect(not text or re.fullmatch(pattern, text, re.ASCII) is not None, "slurm", name, words, text)
        least, _, most = self.nodes.partition("-")
        expect(int(least) <= int(most or least), "slurm", "nodes", "least-most", self.nodes)
        for name in self.env:
            good = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) is not None
            expect(good, "slurm", "env", "NAME=VALUE, the name of letters, digits and _", name)
        limit = seconds(self.time)
        expect(self.signal < limit, "slurm", "signal", f"less than the {limit} s of time", self.signal)

    @property
    def ranks(self) -> int | None:
        """Of a node; None: they follow from its NUMA domains."""
        return self.ranks_per_node or self.gpus or None


def seconds(limit: str) -> int:
    """The seconds of a time limit as Slurm writes it.

    >>> [seconds(text) for text in ("90", "90:30", "1:30:00", "2-12", "1-0:30")]
    [5400, 5430, 5400, 216000, 88200]
    """
    found = TIME.fullmatch(limit)
    parts = found.groupdict(default="0") if found else {}
    return sum(int(text) * UNITS[unit] for unit, text in parts.items())


# -------------------------------------------------------------------------------------------------------------- memory


def resident() -> int:
    """The most bytes that this process has held so far.

    >>> resident() > 10_000_000
    True
    """
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def held(step: Step, example: Any, cpus: int) -> dict[str, int]:
    """Bytes that a training step holds in a rank of so many CPUs, by what they are for."""
    plan = step.program((example,))[0].plan
    vectors = step.opt_state.vectors.values()
    flat = [a for v in vectors for a in (v.params, v.grads, v.scratch, *v.states.values())]
    return {
        "parameters, gradients, optimiser": sum(a.nbytes for a in flat),
        "activations": plan.arena + plan.own * min(cpus, plan.most),
        "batches made ahead": 3 * example.nbytes,
    }


def memory(parts: dict[str, int], ranks: int, cpus: int) -> tuple[str, str]:
    """What to ask of a node, and how it comes about: what ranks hold, and a reserve, enough to compile kernels in.

    >>> memory({"interpreter": 100_000_000, "activations": 1_500_000_000}, 2, 1)
    ('4000M', 'memory: 2 ranks x (interpreter 100 MB + activations 1500 MB) + 25 % in reserve')
    """
    words = " + ".join(f"{name} {ceil(size / 1e6)} MB" for name, size in parts.items())
    total, compiling = ranks * sum(parts.values()), cpus * COMPILER
    spare = f"{100 * RESERVE:.0f} % in reserve"
    if compiling > RESERVE * total:
        spare = f"{compiling / 1e6:.0f} MB to compile kernels on {cpus} CPU{'s' * (cpus > 1)}"
    size = ceil((total + max(RESERVE * total, compiling)) / 1e6)
    return f"{size}M", f"memory: {ranks} rank{'s' * (ranks > 1)} x ({words}) + {spare}"


# ------------------------------------------------------------------------------------------------------------ the text


def script(job: Job, made_by: tuple[str, ...]) -> str:
    """The text of the script; made_by: the command that made it, for its second line.

    >>> made_by = ("numbaflux", "slurm", "script", "train.py")
    >>> script(Job(command=("train.py",)), made_by).splitlines()[1]
    '# Made by: numbaflux slurm script train.py'
    """
    kept = [_head(job, made_by), _environment(job), _ranks(job), _cache(), _runs(job), _end(job)]
    return "\n\n".join("\n".join(lines) for lines in kept) + "\n"


def _head(job: Job, made_by: tuple[str, ...]) -> Iterator[str]:
    """The first line, and what Slurm reads."""
    yield "#!/bin/bash -l" if job.module else "#!/bin/bash"  # login shells have the function module
    yield "# Made by: " + "".join(c if c.isprintable() else "?" for c in shlex.join(made_by))
    yield from (f"# {note}" for note in job.notes)
    whole, stem = job.cpus is None, os.path.splitext(os.path.basename(job.command[0]))[0]
    options = {
        "job-name": job.job_name or re.sub(r"[^\w.@+-]", "-", stem, flags=re.ASCII) or "numbaflux",
        "partition": job.partition,
        "account": job.account,
        "nodes": job.nodes,
        "ntasks-per-node": job.ranks or ("" if whole else 1),
        "cpus-per-task": job.cpus or "",
        "gpus-per-node": job.gpus or "",
        "mem": job.memory or ("0" if whole else ""),  # 0: all of the node
        "time": job.time,
        "array": job.array,
        "output": "%x-%A_%a.log" if job.array else "%x-%j.log",
        "open-mode": "append",
        "signal": f"B:USR1@{job.signal}",
    }
    yield from (f"#SBATCH --{option}={value}" for option, value in options.items() if value != "")
    yield from (["#SBATCH --exclusive"] if whole else [])
    yield "#SBATCH --requeue" if job.requeue else "#SBATCH --no-requeue"


def _environment(job: Job) -> Iterator[str]:
    yield "# Left behind by other jobs and login files. Threads follow from the CPUs that a rank is given."
    yield "unset " + " \\\n    ".join(LEFT_BEHIND)
    if job.module:
        yield f"module load {shlex.join(job.module)} || exit 1"
    if job.venv:
        yield f"source {shlex.quote(os.path.join(job.venv, 'bin', 'activate'))} || exit 1"
    yield from (f"export {name}={shlex.quote(value)}" for name, value in job.env.items())


def _ranks(job: Job) -> Iterator[str]:
    """How many processes on a node, and their CPUs."""
    if job.cpus is not None:
        yield "ranks=$SLURM_NTASKS_PER_NODE cpus=$SLURM_CPUS_PER_TASK # of a node; of a rank"
        return
    if job.ranks is not None:
        yield "ranks=$SLURM_NTASKS_PER_NODE # of a node"
    else:
        yield "# One rank for each NUMA domain with CPUs: its threads work on memory that is near."
        yield "ranks=$(cat /sys/devices/system/node/node[0-9]*/cpulist | grep -c .)"
        yield "((ranks > 0 && ranks <= SLURM_CPUS_ON_NODE)) || ranks=1"
    yield "cpus=$((SLURM_CPUS_ON_NODE / ranks)) # of a rank"


def _cache() -> Iterator[str]:
    yield "# Kernels are read from where they were kept before; new ones stay on the node: no two write to one place."
    yield "kept=${NUMBAFLUX_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/numbaflux}"
    yield "export NUMBAFLUX_CACHE_PATH=${NUMBAFLUX_CACHE_PATH:+$NUMBAFLUX_CACHE_PATH:}$kept"
    yield "export NUMBAFLUX_CACHE_DIR=${SLURM_TMPDIR:-/tmp}/numbaflux-$UID"


def _runs(job: Job) -> Iterator[str]:
    start, told = ("warned=0 ended=0", "ended=1") if job.requeue else ("warned=0", ":")
    inside = ["apptainer", "exec", job.container] if job.container else []
    python = ["python"] if job.command[0].endswith(".py") else []
    yield f"""\
# USR1 comes {job.signal} s before the time limit: the ranks end their step, write the checkpoint and exit with {AGAIN}.
{start}
trap 'warned=1; kill -USR1 "$step"' USR1
trap '{told}' TERM # scancel; Slurm tells the ranks itself

# In the background, as a shell that waits in the foreground serves no trap.
srun -K1 --mpi={job.mpi} --cpu-bind=cores --nodes="$SLURM_JOB_NUM_NODES" \\
    --ntasks="$((ranks * SLURM_JOB_NUM_NODES))" --ntasks-per-node="$ranks" --cpus-per-task="$cpus" \\
    {shlex.join([*inside, *python, *job.command])} &
step=$!
while kill -0 "$step" 2>/dev/null; do wait "$step"; done # a signal ends wait, not the step
wait "$step"
code=$?
((warned && code == 128 + 15)) && code={AGAIN} # srun -K1 ends ranks that leave after the first one"""


def _end(job: Job) -> Iterator[str]:
    if not job.requeue:
        yield f'exit "$code" # {AGAIN}: the checkpoint is written; submit again to go on'
        return
    ident = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" if job.array else "$SLURM_JOB_ID"
    yield f"""\
# Back to the queue, unless the job was cancelled. Where scontrol is not there, RequeueExit={AGAIN} of the site does it.
if ((code == {AGAIN} && !ended)); then
    if ((${{SLURM_RESTART_COUNT:-0}} >= {job.max_restarts})); then
        echo "not done after {job.max_restarts} restarts" >&2
        exit 1
    fi
    scontrol requeue "{ident}"
fi
exit "$code\""""
