"""Saves that are killed, or whose system calls fail one by one: python -m tests.saves FOLDER kills 1000, or
FOLDER calls EIO ENOSPC kill (each call by each), or FOLDER turns EIO ENOSPC kill (each call by the next of these).

A process with everything imported forks one child for each save. Calls are failed and children killed by strace, at
the call's entry: so each call of a save is tried that libhdf5, NumPy and Python make, not only those that we know of.
"""

import collections
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numbaflux as nf
from tests.needs import program

KILL = "kill"
LEFT = re.compile(r"\.numbaflux-[0-9a-f]{32}\.tmp")
CALL = re.compile(r"^(?:\d+ +)?(\w+)\(", re.MULTILINE)
BETWEEN = "getpgrp"  # a call that nothing else makes: before and behind a save
NOT_HERE = "strace may not look into a process"
NO_ERRORS = {"brk"}  # says that it failed by where memory ends


class End(NamedTuple):
    """How a save ended: the call, its number among those of its name, what was done to it; "saved", the error's text or
    the signal; the value in the file; how many temporary files are left."""

    call: str
    number: int
    fault: str
    said: str
    value: int
    left: int


def save(path: Path, value: int) -> None:
    """A training whose arrays are all this value."""
    model = nf.Dense(300, 200)
    model.weight[...], model.bias[...] = value, value
    nf.save_checkpoint(path, model, nf.setup(nf.Momentum(), model), epoch=value, metadata={"value": value})


def value_in(path: Path) -> int:
    """The value, which must be the same everywhere."""
    run = nf.load_checkpoint(path)
    assert run.metadata == {"value": run.epoch}
    assert (run.model.weight == run.epoch).all() and (run.model.bias == run.epoch).all()
    return run.epoch


def child(path: Path, value: int) -> tuple[int, int]:
    """A process that stops, and saves when it is let go on; and where it says how that was."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        os.getpgrp()
        save(path, value)
        os.getpgrp()
        said = "saved"
    except (nf.Error, OSError, MemoryError) as error:
        said = f"{type(error).__name__}: {error}"
    except BaseException as error:
        said = f"UNEXPECTED {type(error).__name__}: {error}"
    os.write(writer, said.encode())
    os._exit(0)


def traced(path: Path, value: int, log: Path, *options: str) -> str:
    """How a save ended under strace with these options: what it said, or its signal."""
    pid, reader = child(path, value)
    os.waitpid(pid, os.WUNTRACED)
    command = [program("strace"), "-f", "-o", str(log), *options, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        attached = tracer.stderr.readline()
        if "attached" not in attached:
            os.kill(pid, signal.SIGKILL)
            sys.exit(f"{NOT_HERE}: {attached}")
        os.kill(pid, signal.SIGCONT)
        status = os.waitpid(pid, 0)[1]
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else said


def calls(path: Path, log: Path) -> list[tuple[str, int]]:
    """Every system call of a save, with its number among those of its name since strace came."""
    assert traced(path, 1, log) == "saved"
    names = CALL.findall(log.read_text())
    first, last = [i for i, name in enumerate(names) if name == BETWEEN]
    counts: collections.Counter[str] = collections.Counter()
    found = []
    for i, name in enumerate(names):
        counts[name] += 1
        if first < i < last:
            found.append((name, counts[name]))
    return found


def failing(folder: Path, faults: list[str], turns: bool) -> Iterator[End]:
    """A save for each call and each fault (KILL, or the name of an error), or one for each call, by turns."""
    path, log = folder / "run.h5", folder.parent / "calls.log"
    save(path, 1)  # imports what it needs
    for i, (name, number) in enumerate(calls(path, log)):
        for fault in [faults[i % len(faults)]] if turns else faults:
            if fault != KILL and name in NO_ERRORS:
                continue
            save(path, 1)  # the save after a failed one
            what = "signal=SIGKILL" if fault == KILL else f"error={fault}"
            said = traced(path, 2, log, "-e", f"trace={name}", "-e", f"inject={name}:{what}:when={number}")
            yield ended(folder, name, number, fault, said)


def ended(folder: Path, name: str, number: int, fault: str, said: str) -> End:
    left = [one for one in os.listdir(folder) if one != "run.h5"]
    assert all(LEFT.fullmatch(one) for one in left), left
    for one in left:
        (folder / one).unlink()
    return End(name, number, fault, said, value_in(folder / "run.h5"), len(left))


def killed(folder: Path, times: int, draw: random.Random) -> Iterator[End]:
    """Saves that are killed at random moments; before each, the time that one takes is measured anew."""
    path = folder / "run.h5"
    save(path, 0)
    for value in range(1, times + 1):
        start = time.monotonic()
        save(path, value)
        late = draw.uniform(0, 1.5 * (time.monotonic() - start))
        pid, reader = child(path, value + 1)
        os.waitpid(pid, os.WUNTRACED)
        os.kill(pid, signal.SIGCONT)
        time.sleep(late)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        found = ended(folder, "", value, KILL, "")
        assert found.value in (value, value + 1), found
        yield found._replace(value=found.value - value)


def main(words: list[str]) -> None:
    folder, what, rest = Path(words[0]), words[1], words[2:]
    ends = killed(folder, int(rest[0]), random.Random()) if what == "kills" else failing(folder, rest, what == "turns")
    for end in ends:
        print(json.dumps(end), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
