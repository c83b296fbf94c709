"""Files of results of growth and of threads, which keep what they hold of other series."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.growth.series import allowed
from benchmarks.peers.machine import described
from benchmarks.written import RESULTS

PAGE = Path("docs/growth.md")


def save(root: Path, file: str, found: dict[str, Any]) -> dict[str, Any]:
    """Put what was found into a file of results, beside what it holds of other series; all that it holds then."""
    path = root / RESULTS / file
    held = json.loads(path.read_text()) if path.exists() else {}
    machine = described(allowed())
    held |= {name: {**record, "machine": machine} for name, record in found.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(held, indent=1) + "\n")
    return held
