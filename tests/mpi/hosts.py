"""Two hosts on this machine: each has its own network, name and shared memory, and a cable joins them."""

import contextlib
import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import processes
from tests.mpi.launch import Launcher, mpich
from tests.needs import program

ADDRESSES = {"h1": "10.77.0.1", "h2": "10.77.0.2"}
SPACES = ("--net", "--uts", "--ipc", "--mount")
# The bucket of a slowed cable, in bytes: so many pass before the rate holds.
BURST = 256 * 1024

# The files of a host are the machine's, but for its own /etc/hosts and an empty /dev/shm.
BOOT = """
set -e
hostname {name}
mount --bind {folder}/hosts /etc/hosts
mount -t tmpfs tmpfs /dev/shm
{ip} link set lo up
echo up
exec sleep infinity
"""

# What mpiexec takes for ssh: [options] HOST COMMAND...
SSH = """#!/bin/sh
while :; do case $1 in -o | -p | -l) shift 2 ;; -*) shift ;; *) break ;; esac; done
host=$1
shift
exec {nsenter} --target "$(cat {folder}/$host.pid)" {spaces} sh -c "$*"
"""


class Hosts:
    """h1 and h2; `mpi` runs programs over both: rank 0 on h1, rank 1 on h2, rank 2 on h1, ..."""

    def __init__(self, folder: Path, pids: dict[str, int]) -> None:
        self.folder, self._pids = folder, pids
        self._nsenter, self._ip, self._tc = program("nsenter"), program("ip"), program("tc")
        self._call("h1", self._ip, "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", str(pids["h2"]))
        for name, address in ADDRESSES.items():
            self._call(name, self._ip, "address", "add", f"{address}/24", "dev", "eth0")
            self._call(name, self._ip, "link", "set", "eth0", "up")
        # The kernel takes a moment; before, MPICH finds no way to the other host.
        limit = time.monotonic() + 10
        while any(self._card(name)["operstate"] != "UP" for name in ADDRESSES):
            assert time.monotonic() < limit, "the cable does not come up"
            time.sleep(0.01)
        self.mpi = self._launcher()

    def _inside(self, name: str) -> tuple[str, ...]:
        return (self._nsenter, "--target", str(self._pids[name]), *SPACES)

    def _call(self, name: str, *words: str) -> str:
        """What a program prints inside a host."""
        done = subprocess.run([*self._inside(name), *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def _launcher(self) -> Launcher:
        ssh = self.folder / "ssh"
        ssh.write_text(SSH.format(nsenter=self._nsenter, folder=shlex.quote(str(self.folder)), spaces=" ".join(SPACES)))
        ssh.chmod(0o755)
        over_both = ("-launcher", "ssh", "-launcher-exec", str(ssh), "-hosts", ",".join(ADDRESSES))
        # Inside of a host there is no current folder to start in.
        words = (*self._inside("h1"), *mpich(self.folder).words, *over_both, "-wdir", str(self.folder))
        return Launcher(words, self.folder)

    def received(self, name: str) -> int:
        """Bytes that came over the cable into a host so far."""
        return self._card(name)["stats64"]["rx"]["bytes"]

    def _card(self, name: str) -> dict:
        """What a host says of its end of the cable."""
        return json.loads(self._call(name, self._ip, "-json", "-statistics", "link", "show", "eth0"))[0]

    @contextlib.contextmanager
    def slowed(self, rate: str) -> Iterator[None]:
        """A cable that carries so much each way, such as "1gbit"."""
        limit = ("tbf", "rate", rate, "burst", str(BURST), "latency", "20ms")
        for name in ADDRESSES:
            self._call(name, self._tc, "qdisc", "add", "dev", "eth0", "root", *limit)
        try:
            yield
        finally:
            for name in ADDRESSES:
                self._call(name, self._tc, "qdisc", "delete", "dev", "eth0", "root")


def _boot(folder: Path, name: str) -> subprocess.Popen:
    """A process that holds the namespaces of a host; it ends with this one, even where that is killed."""
    boot = BOOT.format(name=name, folder=shlex.quote(str(folder)), ip=program("ip"))
    holder = subprocess.Popen(
        [program("setpriv"), "--pdeathsig", "KILL", program("unshare"), *SPACES, "sh", "-c", boot],
        env=processes.environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if holder.stdout.readline() != "up\n":
        pytest.skip(f"machine: no host can be made: {holder.communicate()[1].strip()}")
    (folder / f"{name}.pid").write_text(str(holder.pid))
    return holder


@contextlib.contextmanager
def two_hosts(folder: Path) -> Iterator[Hosts]:
    """Two hosts for as long as the block runs: with their last process the kernel takes networks and mounts away."""
    (folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{a} {n}\n" for n, a in ADDRESSES.items()))
    holders: dict[str, subprocess.Popen] = {}
    try:
        for name in ADDRESSES:
            holders[name] = _boot(folder, name)
        yield Hosts(folder, {name: holder.pid for name, holder in holders.items()})
    finally:
        processes.kill(folder)
        for holder in holders.values():
            holder.communicate()
