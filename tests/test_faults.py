"""A checkpoint is written while the disk fails or the process dies, at every call of a save: the old file or the whole
new one is there, nothing else, and the next save goes well."""

import errno
import json
import mmap
import os
import shutil
import subprocess
import sys
from io import FileIO

import pytest

import numbaflux as nf
from numbaflux import hdf5
from tests.child import child
from tests.sources import ROOT

CALLS = ("open", "fsync", "replace", "close", "scandir")  # of os, in a save; writes, truncations and a map beside them


class Disk:
    """Counts the calls of a save, and lets one of them do something else."""

    def __init__(self, patch, at=None, act=None, after=False):
        self.count, self.at, self.act, self.after = 0, at, act, after
        for name in CALLS:
            patch.setattr(os, name, self.watched(getattr(os, name)))
        patch.setattr(mmap, "mmap", self.watched(mmap.mmap))
        disk = self

        class File(FileIO):
            def write(self, data):
                return disk.call(super().write, data)

            def truncate(self, size=None):
                return disk.call(super().truncate, size)

        patch.setattr(hdf5, "_Output", type("Output", (hdf5._Output, File), {}))

    def watched(self, function):
        return lambda *args, **options: self.call(function, *args, **options)

    def call(self, function, *args, **options):
        mine, self.count = self.count, self.count + 1
        if mine == self.at and not self.after:
            self.act()
        result = function(*args, **options)
        if mine == self.at:
            self.act()
        return result


def save(path, value):
    model = nf.Dense(80, 40)
    model.weight[...] = value
    nf.save_checkpoint(path, model, nf.setup(nf.Momentum(), model), epoch=value)


def value_in(path):
    run = nf.load_checkpoint(path)
    assert (run.model.weight == run.epoch).all()
    return run.epoch


def calls(path):
    save(path, 1)  # imports what it needs
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch)
        save(path, 1)
    return disk.count


def found_after(path, errors):
    """What each call's failure leaves: the file of before, or the new one."""
    found = []
    for at in range(calls(path)):
        save(path, 1)  # the save after a failed one
        error = errors[at % len(errors)]

        def fail(error=error):
            raise error

        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, at, fail)
            with pytest.raises(type(error)) as caught:
                save(path, 2)
        assert caught.value is error and os.listdir(path.parent) == ["run.h5"], at
        found.append(value_in(path))
    assert found == sorted(found) and len(found) > 20
    return found.count(2)


NUMBERS = [errno.ENOSPC, errno.EIO, errno.EINTR, errno.EROFS, errno.EDQUOT, errno.ESTALE, errno.EFBIG]


def test_an_error_of_any_call(tmp_path):
    errors = [OSError(number, os.strerror(number)) for number in NUMBERS]
    assert found_after(tmp_path / "run.h5", errors) == 3  # behind the rename: the folder's open, fsync, close


def test_ctrl_c_in_any_call(tmp_path):
    assert found_after(tmp_path / "run.h5", [KeyboardInterrupt()]) == 3


CRASHES = """
import json, os, sys
from pathlib import Path
import h5py, pytest
from tests.test_faults import Disk, save, value_in, calls

def forked(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

folder = Path({folder!r})
path = folder / "run.h5"
forked(lambda: (folder / "count").write_text(str(calls(path))))
count, found = int((folder / "count").read_text()), []
(folder / "count").unlink()
for at in range(count):
    for after in (False, True):
        assert forked(lambda: save(path, 1)) == 0 and os.listdir(folder) == ["run.h5"]

        def crash():
            with pytest.MonkeyPatch.context() as patch:
                Disk(patch, at, lambda: os._exit(9), after)
                save(path, 2)

        assert forked(crash) == 9
        left = [name for name in os.listdir(folder) if name != "run.h5"]
        found.append([value_in(path), len(left), all(name.endswith(".tmp") for name in left)])
        for name in left:
            os.utime(folder / name, (0, 0))  # a day later
print(json.dumps(found))
"""


def test_a_crash_before_and_behind_any_call(tmp_path):
    found = json.loads(child(CRASHES.replace("{folder!r}", repr(str(tmp_path)))))
    values = [value for value, _, _ in found]
    assert values == sorted(values) and values.count(2) >= 5 and values[0] == 1  # old up to the rename, new behind it
    assert all(left == (value == 1) or left == 0 for value, left, _ in found) and all(mine for *_, mine in found)


# ---------------------------------------------------------------- a training on a disk that is really full

TRAIN = """
import os, resource, subprocess, sys
import numbaflux as nf
from tests.lives import fresh, train

path, seen = os.path.join(sys.argv[1], "run-{epoch}.h5"), []
"""
LIMIT = """
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

class Disk:
    def on_epoch(self, event):
        resource.setrlimit(resource.RLIMIT_FSIZE, ([5_000, 5_000, hard, hard][event.epoch - 1], hard))
        seen.append(sorted(os.listdir(sys.argv[1])))
"""
FULL = """
class Disk:
    def on_epoch(self, event):
        filler = os.path.join(sys.argv[1], "filler")
        if event.epoch == 1:
            with open(filler, "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(1000))
                except OSError as error:
                    assert error.errno == 28
        if event.epoch == 3:
            os.unlink(filler)
        seen.append(sorted(set(os.listdir(sys.argv[1])) - {"filler"}))
"""
GO = """
train(fresh(), [nf.Checkpoint(path, keep=1), Disk()], epochs=4)
print(seen)
"""
READ_ONLY = """
import signal

class Disk:
    def on_batch(self, event):
        if event.batches == 3:
            subprocess.run(["mount", "-o", "remount,ro", sys.argv[1]], check=True)
            signal.raise_signal(signal.SIGTERM)

train(fresh(), [nf.Checkpoint(path), Disk()])
"""


def program(folder, code, *prefix):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [*prefix, sys.executable, "-c", TRAIN + code, str(folder)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


@pytest.fixture
def small_disk(tmp_path):
    """What starts a program with a disk of 256 KiB of its own at tmp_path."""
    mount = f'mount -t tmpfs -o size=256k none {tmp_path} && exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("machine: no namespace of mounts")
    return prefix


SEEN = "[['run-1.h5'], ['run-1.h5'], ['run-1.h5'], ['run-4.h5']]\n"


def told(folder, *epochs, text):
    end = f"could not be written ({text}); the last file stays, the next turn tries again\n"
    return "".join(f"Checkpoint: {folder}/run-{epoch}.h5 {end}" for epoch in epochs)


def test_a_limit_on_the_size_of_files(tmp_path):
    done = program(tmp_path, LIMIT + GO)
    assert (done.stdout, done.stderr) == (SEEN, told(tmp_path, 2, 3, text="[Errno 27] File too large"))


def test_a_full_disk(tmp_path, small_disk):
    done = program(tmp_path, FULL + GO, *small_disk)
    assert (done.stdout, done.stderr) == (SEEN, told(tmp_path, 2, 3, text="[Errno 28] No space left on device"))


def test_a_disk_that_became_read_only(tmp_path, small_disk):
    done = program(tmp_path, READ_ONLY, *small_disk)
    first, last = done.stderr.splitlines(keepends=True)
    assert first.startswith(f"Checkpoint: {tmp_path}/run-stopped.h5 could not be written ([Errno 30] Read-only file ")
    assert last == (
        "train: stopped by SIGTERM after epoch 1, batch 3; the checkpoint could not be written; exit code 143\n"
    )
    assert done.returncode == 143
