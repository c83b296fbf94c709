"""Doors that do what no door may, to see that the judge notices."""

import ctypes
import os
import socket
import time
from importlib import import_module
from pathlib import Path

import numpy as np

from numbaflux import FileFormatError
from tests.fuzz.doors import DOORS, Digests, Door


def _other_file(path: str, base: str) -> Digests:
    Path("/etc/hostname").open().close()
    return DOORS["read"](path, base)


def _connect(path: str, base: str) -> Digests:
    with socket.socket() as one:
        one.connect_ex(("127.0.0.1", 1))
    return DOORS["read"](path, base)


def _import(path: str, base: str) -> Digests:
    import_module("colorsys")
    return DOORS["read"](path, base)


def _slow(path: str, base: str) -> Digests:
    end = time.process_time() + 1.1
    while time.process_time() < end:
        pass
    return DOORS["read"](path, base)


def _memory(path: str, base: str) -> Digests:
    np.ones(80 << 20, np.uint8)
    return DOORS["read"](path, base)


def _says(text: str) -> Door:
    def door(path: str, base: str) -> Digests:
        raise FileFormatError(text.format(path=path, name=os.path.basename(path)))

    return door


def _changed(path: str, base: str) -> Digests:
    return dict(list(DOORS["read"](path, base).items())[1:])


def _value(path: str, base: str) -> Digests:
    raise ValueError("no")


def _hang(path: str, base: str) -> Digests:
    os.kill(os.getpid(), 14)  # what the timer does after SECONDS
    return {}


# What is found -> a door that does it.
FAULTS: dict[str, Door] = {
    "crash": lambda path, base: {"": ctypes.string_at(0).decode()},
    "hang": _hang,
    "foreign read": _other_file,
    "foreign connection": _connect,
    "foreign import": _import,
    "slow": _slow,
    "memory": _memory,
    "wrong exception": _value,
    "silent change": _changed,
    "refused": _says("{name}: no"),
    "dirty message with a path": _says("{name}: {path}"),
    "dirty message without name": _says("no"),
    "dirty message in colours": _says("{name}: \x1b[31m"),
    "dirty message, long": _says("{name}: " + "x" * 300),
    "dirty message of another library": _says("{name}: Unable to synchronously open file"),
}


def _any(path: str, base: str) -> Digests:
    """Does wrong what the name of the file says."""
    word = Path(path).stem
    return FAULTS[word](path, base) if word in FAULTS else DOORS["read"](path, base)


FAULTY: dict[str, Door] = {"read": _any}
