"""The bill of materials names what numbaflux runs with, what is inside of those wheels, and nothing else."""

import hashlib
import json
import runpy
import shutil
from importlib import metadata
from pathlib import Path

import h5py
import llvmlite.binding
import numpy as np
import pytest

from tests.needs import missing
from tests.sources import ROOT

SBOM = runpy.run_path(str(ROOT / ".ci" / "sbom.py"))
RUNTIME = {"numba", "llvmlite", "numpy", "h5py", "tqdm"}
# What cyclonedx-py lists of an environment, with more in it than numbaflux needs.
LISTED = {
    "metadata": {"tools": {}},
    "components": [
        {"bom-ref": f"{name}==1", "name": name, "version": "1", "externalReferences": [{"url": "file:///home/me"}]}
        for name in sorted({"numbaflux", "pytest", "torch"} | RUNTIME)
    ],
    "dependencies": [],
}


@pytest.fixture
def bill(monkeypatch):
    real = metadata.requires
    ours = ["numba<0.69", "llvmlite", "numpy", "h5py", "tqdm", 'torch; extra == "oracle"']
    monkeypatch.setattr(metadata, "requires", lambda name: ours if name == "numbaflux" else real(name))
    return SBOM["bill"](json.loads(json.dumps(LISTED)))


def libraries(bill):
    return {one["name"]: one for part in bill["components"] for one in part.get("components", ())}


def test_packages_are_those_it_runs_with(bill):
    assert {part["name"] for part in bill["components"]} == RUNTIME
    assert bill["metadata"]["component"]["name"] == "numbaflux"
    rows = {row["ref"]: row.get("dependsOn", []) for row in bill["dependencies"]}
    assert rows["numbaflux==1"] == sorted(f"{name}==1" for name in RUNTIME)
    assert "numpy==1" in rows["h5py==1"] and set(rows) >= {one for refs in rows.values() for one in refs}


def test_native_libraries_have_their_versions(bill):
    found = {name: one["version"] for name, one in libraries(bill).items()}
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["version"]
    llvm = ".".join(map(str, llvmlite.binding.llvm_version_info))
    hdf5 = h5py.version.hdf5_version
    known = {"libhdf5": hdf5, "libhdf5_hl": hdf5, "LLVM": llvm, "OpenBLAS": blas}
    assert {name: found.get(name) for name in known} == known
    assert found["libaec"] == found["libsz"] and found["libaec"][0].isdigit()
    assert libraries(bill)["libhdf5"]["cpe"] == f"cpe:2.3:a:hdfgroup:hdf5:{hdf5}:*:*:*:*:*:*:*"


def test_no_library_of_a_wheel_is_missing(bill):
    told = {one["properties"][0]["value"]: one["hashes"][0]["content"] for one in libraries(bill).values()}
    folder = Path(np.__file__).parent.parent
    there = [file for name in RUNTIME for file in folder.glob(f"{name}.libs/*")]
    there += folder.glob("llvmlite/binding/*.so")
    digests = {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in there}
    assert told == digests and len(told) >= 6


def test_it_tells_nothing_of_this_machine(bill):
    assert "file://" not in json.dumps(bill["metadata"]) and str(Path.home()) not in json.dumps(bill["metadata"])


def test_written_twice_it_is_valid_and_the_same(tmp_path):
    if not shutil.which("cyclonedx-py", path=SBOM["TOOLS"]):
        missing("there is no .venv-security: make .venv-security/installed")
    if not list(metadata.distributions(name="numbaflux")):
        missing("numbaflux is not installed: make .venv/installed")
    for name in ("a.json", "b.json"):
        SBOM["main"](tmp_path / name)  # CycloneDX's schema is asked there
    text = (tmp_path / "a.json").read_text()
    assert text == (tmp_path / "b.json").read_text()
    assert {"libhdf5", "LLVM", "OpenBLAS"} <= set(libraries(json.loads(text)))
    assert str(ROOT) not in text and "file://" not in text
