"""What a cubin holds: registers, memory, instructions. By NVIDIA's cuobjdump and nvdisasm, which need no GPU."""

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.needs import missing
from tests.sources import ROOT

WHERE = "there is no .venv-cuda: make .venv-cuda/installed"
# The Python that has numba-cuda: it and what runs without it are never in one process.
PYTHON = Path(os.environ.get("NUMBAFLUX_CUDA_PYTHON", ROOT / ".venv-cuda/bin/python"))


def with_cuda() -> str:
    """The path of that Python."""
    return str(PYTHON) if PYTHON.exists() else missing(WHERE)


INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)(.*?);", re.M)
LABEL = re.compile(r"^(\.L_x_\d+):", re.M)
DOUBLE = ("DADD", "DMUL", "DFMA", "DSETP", "DMNMX", "F2F.F64", "F2F.F32.F64", "I2F.F64", "F2I.F64")
CALCULATES = ("FFMA", "DFMA", "HMMA", "HGMMA")


@functools.cache
def tool(name: str) -> str:
    """The path of one of NVIDIA's programs."""
    found = [*PYTHON.parent.parent.glob(f"lib/python*/site-packages/nvidia/*/bin/{name}"), shutil.which(name)]
    return str(next((path for path in found if path), None) or missing(WHERE))


def _said(name: str, *arguments: str) -> str:
    return subprocess.run([tool(name), *arguments], capture_output=True, text=True, check=True).stdout


class Usage(NamedTuple):
    """What a kernel takes: registers of a thread, bytes of its stack and of its block's memory."""

    registers: int
    stack: int
    shared: int


def usage(path: Path, reserved: int) -> Usage:
    """reserved: bytes of shared memory that the GPU keeps for itself and that the tool counts."""
    found = {k: int(v) for k, v in re.findall(r"(REG|STACK|SHARED):(\d+)", _said("cuobjdump", "-res-usage", str(path)))}
    return Usage(found["REG"], found["STACK"], max(0, found["SHARED"] - reserved))


@dataclass(frozen=True)
class MachineCode:
    """The instructions of one kernel in order."""

    instructions: tuple[str, ...]
    loops: tuple[tuple[int, int], ...]  # first and last instruction

    def count(self, *begins: str) -> int:
        return sum(i.startswith(begins) for i in self.instructions)

    @property
    def spills(self) -> int:
        """Loads and stores of numbers that had no register."""
        return self.count("LDL", "STL")

    @property
    def doubles(self) -> int:
        """Calculations in float64."""
        return self.count(*DOUBLE)

    @property
    def repeated_doubles(self) -> int:
        """Those in loops: what a thread does once before it goes through its elements costs little."""
        inside = {i for first, last in self.loops for i in range(first, last + 1)}
        return sum(self.instructions[i].startswith(DOUBLE) for i in inside)

    def share(self) -> float:
        """Of the loop that multiplies most per instruction: the part of multiply-adds."""
        shares = [0.0]
        for first, last in self.loops:
            body = self.instructions[first : last + 1]
            shares.append(sum(i.startswith(CALCULATES) for i in body) / len(body))
        return max(shares)


def machine_code(path: Path) -> MachineCode:
    text = _said("nvdisasm", "-c", str(path))
    places = {int(m[1], 16): i for i, m in enumerate(INSTRUCTION.finditer(text))}
    labels = {}
    for found in LABEL.finditer(text):
        after = INSTRUCTION.search(text, found.end())
        labels[found[1]] = places[int(after[1], 16)] if after else len(places)
    instructions, loops = [], []
    for i, m in enumerate(INSTRUCTION.finditer(text)):
        instructions.append(m[2])
        target = re.search(r"\.L_x_\d+", m[3]) if m[2].startswith("BRA") else None
        if target and labels.get(target[0], i + 1) < i:  # the last line of all code is a jump to itself
            loops.append((labels[target[0]], i))
    return MachineCode(tuple(instructions), tuple(loops))
