"""Files of results, and the blocks of docs/growth.md that are made of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.growth.series import allowed
from benchmarks.peers.machine import described

ROOT = Path(__file__).parent.parent.parent
RESULTS = Path("benchmarks/results")
PAGE = Path("docs/growth.md")
NAMED = ("numbaflux", "torch", "numpy")


def save(root: Path, file: str, found: dict[str, Any]) -> dict[str, Any]:
    """Put what was found into a file of results, beside what it holds of other series; all that it holds then."""
    path = root / RESULTS / file
    held = json.loads(path.read_text()) if path.exists() else {}
    machine = described(allowed())
    held |= {name: {**record, "machine": machine} for name, record in found.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(held, indent=1) + "\n")
    return held


def fill(root: Path, block: str, text: str) -> None:
    """Let a text stand in the page between the two marks of a block."""
    path = root / PAGE
    marks = f"<!-- {block} -->", f"<!-- /{block} -->"
    pattern = re.compile(f"{re.escape(marks[0])}.*{re.escape(marks[1])}", re.DOTALL)
    if len(pattern.findall(path.read_text())) != 1:
        raise SystemExit(f"{PAGE}: the marks of block {block} must stand in it once")
    path.write_text(pattern.sub(lambda _: f"{marks[0]}\n\n{text}\n\n{marks[1]}", path.read_text()))


def spelt(machine: dict[str, Any]) -> str:
    """What a record was measured on, in a line."""
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in NAMED if name in machine["versions"])
    return f"{machine['processor']}, {machine['threads']} threads; {versions}; {machine['date']}"
