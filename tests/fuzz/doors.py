"""The child that opens hostile files: `python -m tests.fuzz.doors MANIFEST` prints what every door made of each.

A line of JSON before a file is opened, one after each door: whoever reads them knows on which file a child died.
"""

import copy
import functools
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import numbaflux as nf
from numbaflux import hdf5, hdf5_classic
from numbaflux.tree import arrays
from tests.fuzz.digests import MODELS, digest
from tests.fuzz.limits import confine

SECONDS = 60  # after which a door hangs: the process is ended by a signal, whatever it is in
ROOM = 1 << 30  # bytes of address space more than the process has when it begins

Digests = dict[str, str]
Door = Callable[[str, str], Digests]  # of a path and a base; what it found


def _digests(found: dict[str, np.ndarray], before: str = "") -> Digests:
    return {before + name: digest(np.asarray(array)) for name, array in found.items()}


def _read(path: str, base: str) -> Digests:
    file = hdf5.read(path)
    texts = {name: np.frombuffer(text.encode(), np.uint8) for name, text in file.documents.items()}
    return _digests(file.tensors, "tensors.") | _digests(texts, "documents.")


def _read_known(path: str, base: str) -> Digests:
    """With the digest of all bytes given, as it is."""
    plain = os.path.isfile(path) and os.path.getsize(path) < ROOM
    known = hashlib.sha256(Path(path).read_bytes()).hexdigest() if plain else "0" * 64
    file = hdf5.read(path, sha256=known)
    return {name: file.digests[name] for name in sorted(file.digests)}


def _load(path: str, base: str) -> Digests:
    return _digests(arrays(nf.load(path)))


@functools.cache
def _model(base: str) -> Any:
    return MODELS[base]()


def _load_into(path: str, base: str) -> Digests:
    model = copy.deepcopy(_model(base))
    before = _digests(arrays(model))
    try:
        nf.load_into(model, path)
    except BaseException:
        assert _digests(arrays(model)) == before, "the model was changed"
        raise
    return _digests(arrays(model))


def _inspect(path: str, base: str) -> Digests:
    found = nf.inspect(path)
    text = repr(found)
    assert text.replace("\n", "").isprintable(), "what inspect prints"
    return {f"tensors.{name}": tensor.sha256 for name, tensor in found.tensors.items()}


def _load_checkpoint(path: str, base: str) -> Digests:
    return _digests(arrays(nf.load_checkpoint(path).model))


def _classic(path: str, base: str) -> Digests:
    return _digests(hdf5_classic.read(path))


DOORS: dict[str, Door] = {
    "read": _read, "read_known": _read_known, "load": _load, "load_into": _load_into, "inspect": _inspect,
    "load_checkpoint": _load_checkpoint,
}  # fmt: skip
READING = {name: DOORS[name] for name in ("read_known", "inspect")}  # enough to see every line of the reader
CLASSIC: dict[str, Door] = {"classic": _classic}

# ------------------------------------------------------------------------------------------------------------ watching

TOUCHING = (
    "compile", "ctypes.", "exec", "ftplib.", "glob.", "http.", "import", "marshal.", "mmap.", "open", "os.", "pickle.",
    "pty.", "shutil.", "socket.", "subprocess.", "tempfile.", "urllib.", "webbrowser.",
)  # fmt: skip


class Watch:
    """What the interpreter was asked to open, import, run or connect to while it looked, but for one path."""

    def __init__(self) -> None:
        self.path: str | None = None  # None: not looking
        self.seen: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.path is None or not event.startswith(TOUCHING):
            return
        if event != "open" or args[0] != self.path:
            self.seen.append(f"{event} {args[:1]!r}"[:200])

    @contextmanager
    def on(self, path: str) -> Iterator[None]:
        self.path, self.seen = path, []
        try:
            yield
        finally:
            self.path = None


def _memory(field: str) -> int:
    """Bytes of this process, as Linux tells: VmHWM (the most so far), VmRSS."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(field))


def _forget_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def attempt(door: Door, path: str, base: str, watch: Watch) -> dict[str, Any]:
    """What came of one door on one path."""
    _forget_peak()
    before, start = _memory("VmRSS"), time.process_time()
    report: dict[str, Any] = {"kind": "", "message": "", "found": {}}
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with watch.on(path):
            report["found"] = door(path, base)
    except BaseException as error:
        report |= {"kind": type(error).__name__, "message": str(error)}
    signal.setitimer(signal.ITIMER_REAL, 0)
    report |= {"seconds": time.process_time() - start, "memory": _memory("VmHWM") - before}
    foreign = [name for name in ("h5py", "pickle") if name in sys.modules and name not in _BEFORE]
    return report | {"opened": watch.seen + foreign}


_BEFORE: set[str] = set()


def main(manifest: str, table: str = "tests.fuzz.doors:DOORS", first: str = "0") -> None:
    """Open every file of the manifest by every door of the table, after a warm-up on the first."""
    module, _, name = table.partition(":")
    doors: dict[str, Door] = getattr(import_module(module), name)
    with open(manifest) as file:
        variants = [json.loads(text) for text in file]
    watch = Watch()
    for door in doors.values():
        attempt(door, variants[0]["path"], variants[0]["base"], watch)
    _BEFORE.update(sys.modules)
    confine(ROOM)
    for i, variant in enumerate(variants[int(first) :], int(first)):
        print(json.dumps({"at": i}), flush=True)
        os.environ.update(variant["env"])
        for name, door in doors.items():
            print(json.dumps({"door": name} | attempt(door, variant["path"], variant["base"], watch)), flush=True)
        for key in variant["env"]:
            del os.environ[key]


if __name__ == "__main__":
    main(*sys.argv[1:])
