"""What ranks that were killed leave in memory: found, and removed where nobody uses it."""

import contextlib
from pathlib import Path

FOLDER = Path("/dev/shm")
PATTERNS = ("mpich_shm_*", "sm_segment.*")  # MPICH's and Open MPI's


def segments() -> set[Path]:
    """The shared memory of every MPI program of this machine."""
    return {path for pattern in PATTERNS for path in FOLDER.glob(pattern)}


def remove_unused(paths: set[Path]) -> None:
    """Remove those that no process has mapped: others may belong to runs that began meanwhile."""
    if not paths:
        return
    mapped = ""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            mapped += maps.read_text()
    for path in paths:
        if str(path) not in mapped:
            path.unlink(missing_ok=True)
