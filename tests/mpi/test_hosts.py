"""Two hosts: ranks on both, what goes over the cable, and how long that takes."""

import os
import time
from pathlib import Path

import pytest

from tests import processes
from tests.child import start
from tests.mpi.hosts import BURST, two_hosts

REDUCE = """
import time
import numpy as np
from mpi4py import MPI

world = MPI.COMM_WORLD
x = np.arange(262144, dtype=np.float32) + world.rank
total = np.empty_like(x)
world.Allreduce(x, total)
world.Barrier()
began = time.perf_counter()
for _ in range(8):
    world.Allreduce(x, total)
seconds = time.perf_counter() - began
right = np.array_equal(total, 2 * np.arange(262144, dtype=np.float32) + 1)
print(world.rank, MPI.Get_processor_name(), right, seconds, flush=True)
"""

# Each leaves a file in its host's memory, and stays.
WAIT = """
import os, time

name = os.uname().nodename
open(f"/dev/shm/numbaflux-{name}", "x").close()
print("ready", name, flush=True)
time.sleep(600)
"""
MOVED = 8 * 4 * 262144  # bytes that each of two ranks must send for eight sums of 1 MB


def reduce(hosts):
    """Seconds of the eight sums, by the slower rank."""
    done = hosts.mpi.run(REDUCE, 2)
    assert (done.rc, done.err) == (0, ""), done.err
    words = [line.split() for line in sorted(done.out.splitlines())]
    assert [line[:3] for line in words] == [["0", "h1", "True"], ["1", "h2", "True"]]
    return max(float(line[3]) for line in words)


def test_ranks_on_two_hosts_sum_over_the_cable(hosts):
    before = [hosts.received(name) for name in ("h1", "h2")]
    reduce(hosts)
    for name, bytes_before in zip(("h1", "h2"), before, strict=True):
        assert MOVED <= hosts.received(name) - bytes_before <= 2 * MOVED


def test_a_slow_cable_takes_the_time_of_its_bytes(hosts):
    at_least = 8 * (MOVED - BURST) / 1e9
    with hosts.slowed("1gbit"):
        assert reduce(hosts) >= at_least
    assert min(reduce(hosts) for _ in range(3)) < at_least


def test_hosts_have_networks_and_memory_of_their_own_and_go_away(tmp_path):
    outside = os.readlink("/proc/self/ns/net")
    with two_hosts(tmp_path) as hosts:
        with hosts.mpi.start(WAIT, 2) as job:
            job.until("ready h1")
            job.until("ready h2")
            assert len({os.readlink(f"/proc/{pid}/ns/net") for pid in job.ranks().values()} | {outside}) == 3
            assert not Path("/dev/shm/numbaflux-h1").exists()
        assert len(processes.belonging(tmp_path)) == 2  # the holders of the hosts
    assert processes.belonging(tmp_path) == []
    assert os.readlink("/proc/self/ns/net") == outside


def test_hosts_go_away_after_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="^stop$"), two_hosts(tmp_path) as hosts:
        hosts.mpi.start(WAIT, 2).until("ready h2")
        raise RuntimeError("stop")
    assert processes.belonging(tmp_path) == []


def test_hosts_go_away_with_a_killed_test(tmp_path):
    code = f"""
        import time
        from pathlib import Path
        from tests.mpi.hosts import two_hosts
        with two_hosts(Path({str(tmp_path)!r})):
            print("up", flush=True)
            time.sleep(600)
    """
    process = start(code)
    try:
        assert process.stdout.readline() == "up\n"
        assert len(processes.belonging(tmp_path)) == 3
        process.kill()
        process.communicate()
        limit = time.monotonic() + 10
        while processes.belonging(tmp_path):
            assert time.monotonic() < limit
    finally:
        processes.kill(tmp_path)
