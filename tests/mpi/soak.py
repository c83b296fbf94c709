"""Trainings of several ranks, of which one rank or all are killed (SIGKILL) at random moments, and which go on from
their files: `python -m tests.mpi.soak 200` kills 200 times and prints a table of what came of it. One that ends must
have the bits of one that nobody disturbed."""

import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests import processes
from tests.mpi import launch, lives

PROGRAM = Path(lives.__file__)
EPOCHS = 10
LONGEST = 0.6  # seconds that a life trains at most, once it has begun
EARLY, START = 0.15, 2.0  # of lives that end before, in so many seconds from the start of mpiexec on
ENDS = 60  # seconds in which all ranks must have ended after one was killed
# Options of a training, and the numbers of ranks of which each life has one.
KINDS = {
    "BatchNorm, Dropout, Adam": ({}, (2,)),
    "the same with sharded=True": ({"sharded": True}, (2,)),
    "deterministic=True": ({"kind": "fixed"}, (1, 2, 4)),
}  # fmt: skip
HEAD = (
    "| training | ranks | one rank killed | all killed | while a file was written | went on, no file lost | "
    "ended, with the bits of one left alone |"
)


@dataclass
class Life:
    """One run: where it began, the last file that it knew of, whether it came to the end; kills of one rank, of all."""

    at: int = -1
    saved: int = -1
    done: bool = False
    one: int = 0
    whole: int = 0

    def take(self, said: str) -> None:
        """What it printed; a line that was cut off counts for nothing."""
        for line in said[: said.rfind("\n") + 1].splitlines():
            word, _, number = line.partition(" ")
            if word in ("at", "saved"):
                setattr(self, word, int(number))
            self.done = self.done or word == "done"


def live(mpi: launch.Launcher, ranks: int, options: dict, draw: random.Random | None = None) -> Life:
    """Train until it is done, or one rank, or all, are killed at a moment that is drawn."""
    life = Life()
    with mpi.start(PROGRAM, ranks, json.dumps(options)) as job:
        if draw is not None:
            if draw.random() < EARLY:
                time.sleep(draw.uniform(0, START))
            else:
                job.until("at ")
                time.sleep(draw.uniform(0, LONGEST))
            _kill(job, life, draw)
        done = job.finish(ENDS if life.one else 120)
    life.take(done.out)
    assert life.done or life.one or life.whole, (done.rc, done.out[-500:], done.err)
    assert "Traceback" not in done.err and "skipped" not in done.err, done.err
    return life


def _kill(job: launch.Job, life: Life, draw: random.Random) -> None:
    running = job.ranks()
    if draw.random() < 0.5:
        life.whole = int(job.process.poll() is None)
        processes.kill(job.folder)
    elif running:
        with contextlib.suppress(ProcessLookupError):  # it ended just then
            os.kill(running[draw.choice(sorted(running))], signal.SIGKILL)
            life.one = 1


@dataclass
class Soak:
    """What came of the lives of one kind of training."""

    mpi: launch.Launcher
    kind: str
    draw: random.Random
    lives: list[Life] = field(default_factory=list)
    inside: int = 0  # kills while a file was being written
    resumed: int = 0  # lives that went on from the last file, or a later one
    trainings: int = 0

    def kills(self) -> int:
        return sum(life.one + life.whole for life in self.lives)

    def train(self, folder: Path, expected: dict, most: int) -> None:
        """A training from its beginning to its end, killed until there were so many kills."""
        saved = -1
        while True:
            draw = self.draw if self.kills() < most else None
            life = live(self.mpi, self.draw.choice(KINDS[self.kind][1]), options(self.kind, folder), draw)
            lost = f"a checkpoint was lost: batch {saved} was saved, {life.at} was gone on from"
            assert life.at < 0 or life.at >= saved, lost
            self.resumed += life.at > 0
            saved = max(saved, life.saved)
            self.lives.append(life)
            left = list(folder.glob(".numbaflux-*.tmp"))
            self.inside += len(left) > 0
            for path in left:
                path.unlink()
            if life.done:
                assert bits(folder, self.kind) == expected, "other bits than those of a training that nobody disturbed"
                self.trainings += 1
                return

    def row(self) -> str:
        """A line of the table."""
        ranks = ", ".join(map(str, KINDS[self.kind][1]))
        one, whole = sum(life.one for life in self.lives), sum(life.whole for life in self.lives)
        return f"| {self.kind} | {ranks} | {one} | {whole} | {self.inside} | {self.resumed} | {self.trainings} |"


def options(kind: str, folder: Path) -> dict:
    """Of a training in a folder."""
    return KINDS[kind][0] | {"folder": str(folder), "epochs": EPOCHS}


def bits(folder: Path, kind: str) -> dict:
    """Losses of validation are means of ranks' parts, whose last bits follow the number of ranks."""
    return lives.bits(folder, history=len(KINDS[kind][1]) == 1)


def soak(mpi: launch.Launcher, kind: str, kills: int, seed: int) -> Soak:
    """So many kills of one kind of training."""
    found = Soak(mpi, kind, random.Random(seed))
    alone = Path(tempfile.mkdtemp(prefix="alone-", dir=mpi.folder))
    assert live(mpi, max(KINDS[kind][1]), options(kind, alone)).done
    expected = bits(alone, kind)
    while found.kills() < kills:
        found.train(Path(tempfile.mkdtemp(prefix="killed-", dir=mpi.folder)), expected, kills)
    return found


def main() -> None:
    kills, seed = int(sys.argv[1]), int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}", flush=True)
    start = time.monotonic()
    lines = [HEAD, "|---" * (HEAD.count("|") - 1) + "|"]
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(soak(launch.mpich(Path(folder)), kind, -(-kills // len(KINDS)), seed).row())
    print("\n".join(lines))
    print(f"\n{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
