"""The examples: imported for their functions, and run as a user does, in this process or in one of their own."""

import contextlib
import importlib.util
import io
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from unittest import mock

import h5py
import numpy as np

from numbaflux import pace
from tests.sources import ROOT

FOLDER = ROOT / "examples"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


class Ran(NamedTuple):
    """What a run left: exit code, report as title -> text, folder, and what some functions of the program returned."""

    name: str
    code: int
    report: dict[str, str]
    folder: Path
    returned: dict[str, object]

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of the model's file, by path, in float64."""
        found: dict[str, np.ndarray] = {}
        with h5py.File(self.folder / f"{self.name}.h5") as file:
            file["tensors"].visititems(lambda name, x: found.update({name: x[()]}) if hasattr(x, "shape") else None)
        return {name.replace("/", "."): np.asarray(array, np.float64) for name, array in found.items()}


def imported(name: str) -> ModuleType:
    """The module of an example; under its own name among all modules, so that nf.save finds what it defines."""
    full = f"example_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, FOLDER / f"{name}.py")
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


def called(name: str, *options: object) -> tuple[int, str]:
    """Exit code and stdout of the program's main()."""
    module, out = imported(name), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(pace, "LATE", 4.0))  # as users have it
        stack.enter_context(mock.patch.object(sys, "argv", [f"{name}.py", *map(str, options)]))
        stack.enter_context(contextlib.redirect_stdout(out))
        try:
            return module.main(), out.getvalue()
        except SystemExit as end:
            return end.code, out.getvalue()


def ran(name: str, folder: Path, *options: object, watch: tuple[str, ...] = ()) -> Ran:
    """A run of main() that writes into a folder; watch: functions whose last results are kept."""
    module, returned = imported(name), {}

    def watched(function):
        def call(*args):
            returned[function.__name__] = function(*args)
            return returned[function.__name__]

        return call

    with contextlib.ExitStack() as stack:
        for one in watch:
            stack.enter_context(mock.patch.object(module, one, watched(getattr(module, one))))
        code, text = called(name, "--out", folder, *options)
    return Ran(name, code, lines(text), folder, returned)


def started(name: str, folder: Path, *options: object) -> subprocess.CompletedProcess:
    """A run in a process of its own, from an empty folder."""
    command = [sys.executable, FOLDER / f"{name}.py", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=folder)


def lines(text: str) -> dict[str, str]:
    """A report's lines: a title of 13 columns, two blanks, the rest; a line without a title goes on with the last."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        title, rest = line[:13].strip(), line[15:]
        if title:
            found[title] = rest
        else:
            found[list(found)[-1]] += "\n" + rest
    return found
