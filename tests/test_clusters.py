"""docs/clusters.md and the files for sites: its commands run, its files say what setup.cfg says."""

import configparser
import py_compile
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import numbaflux as nf
from numbaflux.native import native
from tests.child import child
from tests.sources import ROOT
from tests.test_docs import blocks

FOLDER, PAGE = ROOT / "docs" / "clusters", ROOT / "docs" / "clusters.md"
SITE = "/sw/numbaflux/0.1.0"


@pytest.fixture(scope="module")
def config():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@pytest.fixture(scope="module")
def needs(config):
    """What numbaflux needs, as setup.cfg says: name -> versions, Python and the optional mpi4py among them."""
    lines = [*config["options"]["install_requires"].split("\n"), config["options.extras_require"]["mpi"].strip()]
    found = {need.name: need.specifier for need in map(Requirement, filter(None, lines))}
    return found | {"python": SpecifierSet(config["options"]["python_requires"])}


# ---------------------------------------------------------------------------------------------------------- the page


@pytest.fixture
def site(tmp_path):
    """A place for what the page puts below /sw, with the kernels that this user has."""
    folder = tmp_path / "sw"
    folder.mkdir(mode=0o755)
    (folder / "kernels").mkdir(mode=0o755)
    for file in native().store.files():
        shutil.copy(file, folder / "kernels")
    return folder


def test_shell_blocks_run(site, tmp_path):
    """Each in a shell of its own, top to bottom; the kernels are those of this user, so that none is compiled."""
    shell = [block for block in blocks(PAGE.read_text()) if block.language == "sh"]
    run = [block.code.replace(SITE, str(site)) for block in shell if block.reason is None]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "numbaflux").write_text(f'#!/bin/sh\nexec {sys.executable} -m numbaflux "$@"\n')
    (tmp_path / "bin" / "numbaflux").chmod(0o755)
    env = {"PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    env |= {"XDG_CACHE_HOME": str(tmp_path / "mine"), "NUMBAFLUX_CACHE_PATH": str(native().store.folder)}
    said = ""
    for code in run:
        command = ["bash", "-eu", "-c", code]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=env)
        assert done.returncode == 0, done.stderr
        said += done.stdout
    assert "#SBATCH --mem=" in said and "# memory: " in said and "0 kernels compiled" in said
    assert f"shared caches  {site / 'kernels'}" in said and (tmp_path / "job.sh").exists()
    assert (len(shell), len(run)) == (7, 4)
    for file in (site / "kernels").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o044 == 0o044 and not file.stat().st_mode & 0o022


def test_kernels_of_a_site_are_used_and_left_alone(site, tmp_path):
    """As the page says it for users; with a folder that others may write to, nothing is taken from it."""
    code = """
        import numpy as np, numbaflux as nf
        from numbaflux.native import native
        told = []
        native().store.listeners.append(lambda event, name: told.append(event))
        model = nf.Dense(3, 2)
        nf.compile(lambda m, x: (m(x) ** 2).mean(), model, nf.setup(nf.Adam(), model))(np.ones((8, 3), np.float32))
        print(sorted(set(told)), len(native().store.folders))
    """
    child(code)  # this user has the kernels now
    for file in native().store.files():
        shutil.copy(file, site / "kernels")
    before = sorted((site / "kernels").iterdir())
    env = {"NUMBAFLUX_CACHE_PATH": str(site / "kernels"), "NUMBAFLUX_CACHE_DIR": str(tmp_path / "own")}
    assert child(code, **env) in ("['hit'] 2", "[] 2")  # a bundle tells of no part of it
    assert sorted((site / "kernels").iterdir()) == before
    (site / "kernels").chmod(0o777)
    assert child("from numbaflux.native import native\nprint(len(native().store.folders))", **env) == "1"


def test_the_table_of_mpi_names_what_the_script_takes():
    text = PAGE.read_text()
    assert all(f"`--mpi {name}`" in text or f"`--mpi {name}` of" in text for name in ("pmi2", "pmix"))
    table = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ") and "libmpi" in line]
    assert len(table) == 2 and "pmi2" in table[0][2] and "pmix" in table[1][2]


def test_extras_that_the_page_names_are_there(config):
    named = set(re.findall(r"numbaflux\[(\w+)\]", PAGE.read_text()))
    assert named and named <= set(config["options.extras_require"])


def test_the_version_is_this_one():
    for file in (PAGE, FOLDER / "modulefile", FOLDER / "conda" / "meta.yaml", FOLDER / "spack" / "package.py"):
        found = set(re.findall(r"(?:numbaflux[/@]|version[ :(\"]+)(\d+\.\d+\.\d+)", file.read_text()))
        assert found == {nf.__version__}, file.name
    assert f"/sw/numbaflux/{nf.__version__}" == SITE


# ------------------------------------------------------------------------------------------------------ files for sites


def test_conda_recipe(config, needs):
    recipe = yaml.safe_load((FOLDER / "conda" / "meta.yaml").read_text())
    assert recipe["package"] == {"name": config["metadata"]["name"], "version": nf.__version__}
    run = [*recipe["requirements"]["run"], *recipe["requirements"]["run_constrained"]]
    assert {need.name: need.specifier for need in map(Requirement, run)} == needs
    host = {need.name: need.specifier for need in map(Requirement, recipe["requirements"]["host"])}
    assert host["python"] == needs["python"] and str(host["setuptools"]) == ">=77"
    assert recipe["build"]["entry_points"] == config["options.entry_points"]["console_scripts"].strip().splitlines()
    assert (FOLDER / "conda" / recipe["source"]["path"]).resolve() == ROOT
    about = recipe["about"]
    assert (about["license"], about["license_file"]) == (
        config["metadata"]["license"],
        config["metadata"]["license_files"],
    )
    for module in recipe["test"]["imports"]:
        assert (ROOT / module.replace(".", "/")).exists()


VERSIONS = [
    "2.0",
    "2.5.1",
    "2.6",
    "1.9",
    "3.11",
    "3.11.9",
    "3.15.2",
    "3.16",
    "3.10.4",
    "0.68.0",
    "0.68.1",
    "0.68.5",
    "0.69",
]
VERSIONS += [
    "0.49.9",
    "0.50.0",
    "0.50.2",
    "0.51",
    "3.12",
    "3.99",
    "4.0",
    "4.66.1",
    "4.1.2",
    "4.65",
    "5.0",
    "76.9",
    "78.1",
]


def spack_takes(span, version):
    """Whether a range of Spack, low:high, takes a version: high takes all that begin like it."""
    low, high = (tuple(map(int, end.split("."))) if end else () for end in span.split(":"))
    number = Version(version).release
    return number >= low and (not high or number[: len(high)] <= high)


def test_spack_package(config, needs, tmp_path):
    path = FOLDER / "spack" / "package.py"
    py_compile.compile(str(path), cfile=str(tmp_path / "package.pyc"), doraise=True)
    text = path.read_text()
    wanted = dict(re.findall(r'depends_on\("(?:py-)?([\w-]+)@([\d.:]+)"', text))
    wanted = {name: span if ":" in span else f"{span}:{span}" for name, span in wanted.items()}
    assert wanted.keys() == needs.keys() | {"setuptools"}
    for name, span in wanted.items():
        allowed = needs.get(name, SpecifierSet(">=77"))
        for version in VERSIONS:
            assert spack_takes(span, version) == allowed.contains(version), (name, version)
    assert f'version("{nf.__version__}")' in text and "class PyNumbaflux(PythonPackage)" in text
    assert f'license("{config["metadata"]["license"]}")' in text


def test_module_file():
    lines = [line.split() for line in (FOLDER / "modulefile").read_text().splitlines()]
    assert lines[0] == ["#%Module1.0"] and ["set", "root", "/sw/numbaflux/$version"] in lines
    assert ["append-path", "NUMBAFLUX_CACHE_PATH", "$root/kernels"] in lines
    if shutil.which("tclsh"):
        stubs = "foreach name {module-whatis conflict prepend-path append-path setenv} {proc $name args {}}\n"
        done = subprocess.run(
            ["tclsh"], input=stubs + (FOLDER / "modulefile").read_text(), capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_image_of_apptainer(config):
    text = (FOLDER / "numbaflux.def").read_text()
    parts = dict(re.findall(r"^%(\w+)\n((?:    .*\n|\n)+)", text, re.MULTILINE))
    assert set(parts) == {"files", "post", "environment", "test", "runscript"}
    for name in ("post", "environment", "test", "runscript"):
        assert subprocess.run(["sh", "-n"], input=parts[name], capture_output=True, text=True).stderr == "", name
    assert re.search(r"source\[(\w+)\]", parts["post"])[1] in config["options.extras_require"]
    sources = [line.split() for line in parts["files"].splitlines() if line.strip()]
    assert all((ROOT / source).exists() and target == f"/opt/source/{source}" for source, target in sources)
    assert {"setup.cfg", "pyproject.toml", "numbaflux", "kernels", "README.md", "LICENSE"} == {
        source for source, _ in sources
    }
    version = re.search(r"^From: python:([\d.]+)", text, re.MULTILINE)[1]
    assert version in SpecifierSet(config["options"]["python_requires"])
    for folder in re.findall(r"NUMBAFLUX_CACHE_DIR=(\S+)", parts["post"]):
        assert f"NUMBAFLUX_CACHE_PATH={folder}" in parts["environment"]
