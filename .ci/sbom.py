"""Writes dist/numbaflux.cdx.json: what numbaflux needs to run, and the libraries that come inside of those wheels.

make sbom. cyclonedx-py lists the packages of this environment; it knows nothing of what is inside of a wheel, where
most advisories apply: libhdf5, LLVM, OpenBLAS.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / ".venv-security" / "bin"
SHARED = re.compile(r"(lib[A-Za-z0-9_+]+?)(?:-[0-9a-f]{6,})*\.so(?:\.([0-9.]+))?")
VALID = (
    "import sys; from cyclonedx.schema import SchemaVersion as V; from cyclonedx.validation.json import "
    "JsonStrictValidator as J; sys.exit(J(V.V1_6).validate_str(open(sys.argv[1]).read()))"
)


def hdf5(file: Path) -> str:
    import h5py

    return h5py.version.hdf5_version


def llvm(file: Path) -> str:
    import llvmlite.binding

    return ".".join(map(str, llvmlite.binding.llvm_version_info))


def openblas(file: Path) -> str:
    import numpy

    return numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]["version"]


def libaec(file: Path) -> str:
    return re.search(rb"libaec-v([0-9.]+)", file.read_bytes())[1].decode()


# File -> the project it is built from, who tells its version, and its name in advisories (NVD's CPE).
KNOWN: dict[str, tuple[str, Callable[[Path], str], str]] = {
    "libhdf5": ("libhdf5", hdf5, "hdfgroup:hdf5"),
    "libhdf5_hl": ("libhdf5_hl", hdf5, "hdfgroup:hdf5"),
    "libaec": ("libaec", libaec, ""),
    "libsz": ("libsz", lambda file: libaec(next(file.parent.glob("libaec-*"))), ""),
    "libscipy_openblas64_": ("OpenBLAS", openblas, "openblas_project:openblas"),
    "libllvmlite": ("LLVM", llvm, "llvm:llvm"),
}


def inside(package: str) -> Iterator[dict[str, Any]]:
    """A component for each shared library that a wheel brings along."""
    for entry in sorted(metadata.files(package) or (), key=str):
        found = SHARED.fullmatch(entry.name)
        if not found:
            continue
        file = Path(str(entry.locate()))
        name, version, cpe = KNOWN.get(found[1], (found[1], lambda _, of=found[2]: f"so.{of}", ""))
        component = {
            "type": "library",
            "bom-ref": f"{package}/{entry.name}",
            "name": name,
            "version": version(file),
            "purl": f"pkg:generic/{name.lower()}@{version(file)}",
            "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}],
            "properties": [{"name": "file", "value": str(entry)}],
        }
        yield component | ({"cpe": f"cpe:2.3:a:{cpe}:{version(file)}:*:*:*:*:*:*:*"} if cpe else {})


def needed(package: str) -> set[str]:
    """The packages that this one runs with, by their names in a list; extras are left out, and so is itself."""
    lines = map(Requirement, metadata.requires(package) or ())
    return {canonicalize_name(one.name) for one in lines if one.marker is None or one.marker.evaluate({"extra": ""})}


def bill(listed: dict[str, Any]) -> dict[str, Any]:
    """Of a list of an environment what numbaflux runs with, and what is inside of that."""
    parts = {canonicalize_name(part["name"]): part for part in listed["components"]}
    needs, waiting = {}, ["numbaflux"]
    while waiting:
        package = waiting.pop()
        needs[package] = needed(package)
        waiting += needs[package] - set(needs)
    rows = []
    for package in sorted(needs):
        part, libraries = parts[package], [] if package == "numbaflux" else list(inside(package))
        part.pop("externalReferences", None)  # of the project: where the tree lies on this machine
        part |= {"components": libraries} if libraries else {}
        refs = [parts[one]["bom-ref"] for one in needs[package]] + [one["bom-ref"] for one in libraries]
        rows += [{"ref": part["bom-ref"], "dependsOn": sorted(refs)}, *({"ref": one["bom-ref"]} for one in libraries)]
    return listed | {
        "metadata": listed["metadata"] | {"component": parts["numbaflux"]},
        "components": [parts[package] for package in sorted(needs) if package != "numbaflux"],
        "dependencies": rows,
    }


def main(out: Path) -> None:
    command = [str(TOOLS / "cyclonedx-py"), "environment", "--no-validate", "--output-reproducible"]
    listed = subprocess.run([*command, sys.executable], capture_output=True, text=True, check=True).stdout
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(bill(json.loads(listed)), indent=2, sort_keys=True) + "\n")
    subprocess.run([str(TOOLS / "python"), "-c", VALID, str(out)], check=True)
    print(f"wrote {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / "numbaflux.cdx.json")
