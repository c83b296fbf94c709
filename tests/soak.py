"""Trainings that are killed (SIGKILL) at random moments and go on from their files: `python -m tests.soak 200` kills
200 times and prints what came of it. One that ends must have the bits of one that nobody disturbed."""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.sources import ROOT

EPOCHS = 40  # of 6 batches, with a checkpoint every third: a life sees a few dozen of them
LONGEST = 1.5  # seconds that a life trains at most, once it has begun
EARLY = 0.15  # of lives that end before, at any moment from the start of the process on

LIFE = """
import sys, hashlib
import numbaflux as nf
from tests.lives import bits, fresh, train
from tests.soak import EPOCHS

class Tell:
    def on_start(self, event):
        print("at", event.batches, flush=True)
    def on_batch(self, event):
        if event.batches % 3 == 0:
            print("saved", event.batches, flush=True)
    def on_epoch(self, event):
        print("saved", event.batches, flush=True)

training = fresh(nf.EMA(nf.Adam(0.02)))
folder = sys.argv[1]
by_batch = nf.Checkpoint(folder + "/run-{batches}.h5", by="batch", every=3, keep=3)
by_epoch = nf.Checkpoint(folder + "/run.h5")
history = train(training, [by_batch, by_epoch, Tell()], EPOCHS, resume="auto")
print("bits", hashlib.sha256(repr(bits(*training, history)).encode()).hexdigest(), flush=True)
"""


@dataclass
class Life:
    """One process: where it began, the last checkpoint that it knew of, and what it ended with, if it did."""

    at: int = -1
    saved: int = -1
    bits: str = ""
    errors: str = ""


def live(folder: Path, early: float | None = None, late: float | None = None) -> Life:
    """Train until it is done, or killed so many seconds after the process's, or the training's, beginning."""
    life, timers = Life(), []

    def kill_after(seconds):
        timers.append(threading.Timer(seconds, child.kill))
        timers[-1].start()

    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, "-c", LIFE, str(folder)], stdout=subprocess.PIPE, stderr=errors, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        if early is not None:
            kill_after(early)
        with child:
            for line in child.stdout:
                if line.endswith("\n"):  # else cut off by the kill
                    word, _, value = line.strip().partition(" ")
                    setattr(life, word, value if word == "bits" else int(value))
                    if word == "at" and late is not None:
                        kill_after(late)
        for timer in timers:
            timer.cancel()
        errors.seek(0)
        life.errors = errors.read()
    assert child.returncode in (0, -9) and life.errors == "", (child.returncode, life.errors)
    return life


@dataclass
class Soak:
    kills: int = 0
    trainings: int = 0
    inside: int = 0  # kills while a file was being written
    steps: list[int] = field(default_factory=list)  # of each life
    again: list[int] = field(default_factory=list)  # batches that were trained again

    def train(self, folder: Path, expected: str, most: int, draw: random.Random) -> None:
        """A training from its beginning to its end, killed at most so often."""
        known = -1
        while True:
            early = draw.uniform(0, 1.5) if draw.random() < EARLY else None
            last = self.kills >= most
            life = live(folder) if last else live(folder, early, draw.uniform(0, LONGEST))
            if life.at >= 0:
                assert life.at >= known, f"a checkpoint was lost: batch {known} was saved, {life.at} was gone on from"
                self.again.append(life.at - max(known, 0))
                self.steps.append(max(life.saved, life.at) - life.at)
            known = max(known, life.saved)
            if life.bits:
                assert life.bits == expected, "other bits than those of a training that nobody disturbed"
                self.trainings += 1
                return
            self.kills += 1
            left = list(folder.glob(".numbaflux-*.tmp"))
            self.inside += len(left) > 0
            for path in left:
                path.unlink()


def soak(kills: int, folder: Path, seed: int) -> Soak:
    draw, found = random.Random(seed), Soak()
    (folder / "alone").mkdir()
    expected = live(folder / "alone").bits
    while found.kills < kills:
        place = folder / str(found.trainings)
        place.mkdir()
        found.train(place, expected, kills, draw)
    return found


def main() -> None:
    kills, seed = int(sys.argv[1]), int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}", flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = soak(kills, Path(folder), seed)
    print(f"{found.kills} kills in {time.monotonic() - start:.0f} s, {found.inside} while a file was being written")
    print(f"{found.trainings} trainings of {6 * EPOCHS} batches ended, each with the bits of one left alone")
    print(f"batches of a life that were saved: median {statistics.median(found.steps)}, most {max(found.steps)}")
    print("0 checkpoints lost, 0 files torn")


if __name__ == "__main__":
    main()
