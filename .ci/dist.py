"""Writes dist/: the source archive and the wheel, the same bytes wherever and whenever they are built from a commit.

make dist, or dist.py TREE FOLDER. setuptools gives files in the source archive the times and owners they have here.
"""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def epoch(tree: Path) -> int:
    """The time of all files: SOURCE_DATE_EPOCH, or that of the commit."""
    if said := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(said)
    command = ["git", "log", "-1", "--format=%ct"]
    return int(subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True).stdout)


def build(kind: str, tree: Path, folder: Path, when: int) -> Path:
    """Have one archive made, from the packages of this environment, and return it."""
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(folder), str(tree)]
    subprocess.run(command, check=True, env=os.environ | {"SOURCE_DATE_EPOCH": str(when)}, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.tar.gz" if kind == "sdist" else "*.whl"))


def normal(archive: Path, when: int) -> bytes:
    """A .tar.gz with its members sorted, of one time and nobody's, readable by all and writable by their owner."""
    tar = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda one: one.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = when, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isreg() else None)
    return gzip.compress(tar.getvalue(), mtime=0)


def main(tree: Path, folder: Path) -> None:
    os.umask(0o022)
    when = epoch(tree)
    with tempfile.TemporaryDirectory() as scratch:
        made = build("sdist", tree, Path(scratch), when)
        content = normal(made, when)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(scratch, filter="data")
        folder.mkdir(exist_ok=True)
        Path(folder, made.name).write_bytes(content)
        build("wheel", Path(scratch, made.name.removesuffix(".tar.gz")), folder, when)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]) if len(sys.argv) > 1 else (ROOT, ROOT / "dist"))
