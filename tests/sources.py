"""Where the library's sources lie: one list for every test that goes through them."""

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent
# kernels/ installs as numbaflux.kernels; the symbolic link numbaflux/kernels is not followed, so no file comes twice.
PACKAGES = {"numbaflux": ROOT / "numbaflux", "numbaflux.kernels": ROOT / "kernels"}


def python_files(folder: Path) -> list[Path]:
    """Every .py file below the folder, symbolic links not followed."""
    found = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names if name.endswith(".py")]
    return sorted(found)


def library() -> dict[str, Path]:
    """Module name -> file, for every module of the library."""
    modules = {}
    for package, folder in PACKAGES.items():
        for path in python_files(folder):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            modules[name] = path
    return modules
