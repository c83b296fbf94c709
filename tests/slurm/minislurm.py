"""A Slurm of several nodes on this machine: real daemons, all of their files in one folder, ended whole."""

import contextlib
import getpass
import os
import random
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import processes
from tests.mpi import shared_memory
from tests.needs import missing, program

SERVERS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "scontrol", "scancel", "sinfo", "srun")

# TmpFS: else nodes meet in one folder for srun --mpi=pmix. cred_expire: a requeued job waits so long, else 2 minutes.
# config_overrides: the nodes have what stands here, whatever the machine has.
CONF = """
ClusterName=mini
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=cred_expire=5,socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
TmpFS={folder}/tmp-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2
RequeueExit=75
JobRequeue=1
ReturnToService=2
KillWait=5
MailProg=/bin/true
PartitionName=debug Nodes=ALL Default=YES MaxTime=30 DefaultTime=2 OverSubscribe=YES:4 State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=2000 State=UNKNOWN\n"


class Slurm:
    """Nodes n1, n2, ...; the methods are Slurm's commands. `env` is what its clients need."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder = folder
        self.names = [f"n{i + 1}" for i in range(nodes)]
        self.env = processes.environment(folder, SLURM_CONF=str(folder / "slurm.conf"))

    def call(self, *words: str, **options: Any) -> str:
        """What a client prints, such as call("sinfo", "-h")."""
        words = (program(words[0]), *words[1:])
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=60, **options)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def run(self, script: str, folder: Path) -> int:
        """Submit a batch script from a folder: the job's id. Its output lies there unless the script says otherwise."""
        return int(self.call("sbatch", "--parsable", input=script, cwd=folder).partition(";")[0])

    def show(self, job: int) -> dict[str, str]:
        """All that Slurm knows of a job, such as JobState, Reason, ExitCode, Restarts, NodeList, StdOut."""
        told = self.call("scontrol", "show", "job", str(job))
        return dict(re.findall(r"(?<!\S)([\w:/]+)=(.*?)(?= [\w:/]+=|$)", told, re.MULTILINE))

    def state(self, job: int) -> str:
        return self.show(job)["JobState"]

    def output(self, job: int) -> str:
        """What the job printed so far, those parts before a requeue included if it appends."""
        path = Path(self.show(job)["StdOut"])
        return path.read_text() if path.exists() else ""

    def wait(self, job: int, *states: str, seconds: float = 60) -> dict[str, str]:
        """Wait until the job is in one of the states: what `show` says then."""
        return self._until(job, lambda shown: shown["JobState"] in states, f"in none of {states}", seconds)

    def wait_for_output(self, job: int, words: str, seconds: float = 60) -> dict[str, str]:
        """Wait until the job printed these words."""
        return self._until(job, lambda _: words in self.output(job), f"{words!r} never came", seconds)

    def _until(
        self, job: int, true: Callable[[dict[str, str]], bool], otherwise: str, seconds: float
    ) -> dict[str, str]:
        limit = time.monotonic() + seconds
        while not true(shown := self.show(job)):
            if time.monotonic() > limit:
                raise AssertionError(f"{otherwise}: {shown}\n{self.output(job)[-2000:]}\n{self.logs()}")
            time.sleep(0.1)
        return shown

    def cancel(self, job: int) -> None:
        self.call("scancel", str(job))

    def signal(self, job: int, name: str) -> None:
        """A signal such as "USR1" to the tasks of a job's steps, not to its batch script."""
        self.call("scancel", f"--signal={name}", str(job))

    def requeue(self, job: int) -> None:
        self.call("scontrol", "requeue", str(job))

    def ranks(self, job: int) -> dict[int, int]:
        """Rank -> process id, of an MPI program that runs in the job."""
        ours = processes.belonging(self.folder)
        return processes.ranks(pid for pid in ours if processes.variables(pid).get("SLURM_JOB_ID") == str(job))

    def nodes(self) -> dict[str, str]:
        """Node -> state."""
        return dict(line.split() for line in self.call("sinfo", "-h", "-N", "-o", "%N %T").splitlines())

    def logs(self) -> str:
        """The ends of what the daemons wrote."""
        paths = sorted((self.folder / "log").iterdir())
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in paths)


def _write(slurm: Slurm) -> None:
    """The configuration, the key, and the folders that it names."""
    names = ["log", "state", *(f"{kind}-{name}" for kind in ("spool", "tmp") for name in slurm.names)]
    for name in names:
        (slurm.folder / name).mkdir(mode=0o700)
    key = slurm.folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    host = socket.gethostname().partition(".")[0]
    port, *ports = free_ports(1 + len(slurm.names))
    conf = CONF.format(host=host, port=port, user=getpass.getuser(), folder=slurm.folder)
    nodes = (NODE.format(name=name, host=host, port=port) for name, port in zip(slurm.names, ports, strict=True))
    (slurm.folder / "slurm.conf").write_text(conf.replace("PartitionName", "".join(nodes) + "PartitionName"))


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on, below those that the kernel hands out to clients."""
    found = []
    for port in random.sample(range(20000, 32000), 1000):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == n:
            break
    return found


def _commands(slurm: Slurm) -> Iterator[tuple[str, list[str]]]:
    """(name, command) of each daemon in the order of their start; none leaves the foreground."""
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "seed-file": "munge.seed"}
    options = [f"--{option}={slurm.folder / name}" for option, name in files.items()]
    yield "munged", [program("munged"), "--foreground", "--force", *options]
    conf = str(slurm.folder / "slurm.conf")
    yield "slurmctld", [program("slurmctld"), "-D", "-f", conf]
    for name in slurm.names:
        yield f"slurmd-{name}", [program("slurmd"), "-D", "-f", conf, "-N", name]


def _start(slurm: Slurm, daemons: list[subprocess.Popen]) -> None:
    """Start all, and wait until every node is idle."""
    for name, command in _commands(slurm):
        with open(slurm.folder / "log" / f"{name}.out", "wb") as log:
            # They end with this process, even where that is killed.
            words = [program("setpriv"), "--pdeathsig", "KILL", *command]
            daemons.append(
                subprocess.Popen(words, env=slurm.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
            )
        if name == "munged":
            _wait(slurm, daemons, (slurm.folder / "munge.socket").exists)
    _wait(slurm, daemons, lambda: _idle(slurm))


def _idle(slurm: Slurm) -> bool:
    with contextlib.suppress(AssertionError):  # the controller does not answer yet
        return slurm.nodes() == dict.fromkeys(slurm.names, "idle")
    return False


def _wait(slurm: Slurm, daemons: list[subprocess.Popen], ready: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not ready():
        ended = [daemon.args for daemon in daemons if daemon.poll() is not None]
        assert not ended and time.monotonic() < limit, f"no Slurm, {ended} ended:\n{slurm.logs()}"
        time.sleep(0.05)


@contextlib.contextmanager
def minislurm(folder: Path, nodes: int) -> Iterator[Slurm]:
    """A Slurm of some nodes for as long as the block runs, in an empty folder."""
    for name in (*SERVERS, *CLIENTS):
        program(name)
    if not os.path.ismount("/sys/fs/cgroup"):
        missing("nothing is mounted on /sys/fs/cgroup, and slurmd ends without it")
    slurm, segments = Slurm(folder, nodes), shared_memory.segments()
    _write(slurm)
    daemons: list[subprocess.Popen] = []
    try:
        _start(slurm, daemons)
        yield slurm
    finally:
        processes.kill(folder)
        shared_memory.remove_unused(shared_memory.segments() - segments)
        for daemon in daemons:
            daemon.wait()
