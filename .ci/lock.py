"""Writes .ci/locks/: every package that an environment of this project holds, with its version and hashes.

make locks; versions stay as they are where setup.cfg allows them, and make locks ARGS=--upgrade takes the newest.
"""

import configparser
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".ci" / "locks"
# Lock -> extras of setup.cfg: `install` is what numbaflux itself needs, `build` what its wheel is made with, and a
# star each extra that stands nowhere else here: a new one is locked without a line here.
LOCKS = {
    "runtime": "install",
    "dev": "install build *",
    "oracle": "oracle",
    "peers": "install build peers",
    "cuda": "install build cuda disassemblers",
    "openmpi": "openmpi",
    "security": "security",
}
ONTO = {"oracle": "dev"}  # installed into an environment of that lock: versions in both are the same


def wanted() -> dict[str, list[str]]:
    """Lock -> the requirements it answers, as they stand in setup.cfg and pyproject.toml."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    known = {"install": config["options"]["install_requires"].split("\n"), "build": build}
    known |= {extra: text.split("\n") for extra, text in config["options.extras_require"].items()}
    placed = {word for words in LOCKS.values() for word in words.split()}
    known["*"] = [line for extra, lines in known.items() if extra not in placed for line in lines]
    return {
        lock: sorted({line for word in words.split() for line in known[word] if line}) for lock, words in LOCKS.items()
    }


def main(options: list[str]) -> None:
    """Ask uv for each lock. No package is built from its source: nothing of it runs before its hash was compared."""
    # Folders with wheels that pip is told of, PyTorch's for CPUs among them, hold for uv too.
    environment = os.environ | {"UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}
    command = [str(Path(sys.executable).parent / "uv"), "pip", "compile", "-", "--quiet", "--universal"]
    command += ["--python-version=3.11", "--generate-hashes", "--only-binary=:all:"]
    command += ["--custom-compile-command=make locks", *options]
    for lock, lines in wanted().items():
        place = [f"--output-file={FOLDER / lock}.txt"]
        place += [f"--constraint={FOLDER / ONTO[lock]}.txt"] if lock in ONTO else []
        subprocess.run(command + place, input="\n".join(lines), text=True, check=True, env=environment, cwd=FOLDER)
        print(f".ci/locks/{lock}.txt")


if __name__ == "__main__":
    main(sys.argv[1:])
