"""The wheel and the source archive hold the tree and nothing else, and the installed wheel works without the tree."""

import ast
import configparser
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.sources import ROOT, library


def _call(*command: object, **options: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def _build(folder: Path) -> Path:
    """A folder with the sdist, and the wheel made from it; built from a copy, so an old build/ cannot leak in."""
    ignore = shutil.ignore_patterns(".git", ".*_cache", ".venv*", ".asv", ".hypothesis", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, folder / "tree", symlinks=True, ignore=ignore, ignore_dangling_symlinks=True)
    for unwanted in [*folder.glob("tree/**/__pycache__"), *folder.glob("tree/*.h5")]:
        shutil.rmtree(unwanted) if unwanted.is_dir() else unwanted.unlink()
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    _call(sys.executable, ROOT / ".ci/dist.py", folder / "tree", folder / "dist", env=environment)
    return folder / "dist"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    return _build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    return next(built.glob("*.whl"))


def _expected_files() -> set[str]:
    """What a wheel must hold, by its names there."""
    names = set()
    for module, path in library().items():
        name = module.replace(".", "/")
        names.add(f"{name}/__init__.py" if path.name == "__init__.py" else f"{name}.py")
    return names | {"numbaflux/py.typed"}


def _version() -> str:
    """The version as the source states it."""
    for node in ast.parse((ROOT / "numbaflux" / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__version__":
            return ast.literal_eval(node.value)
    raise AssertionError("numbaflux/__init__.py must set __version__ to a plain string: setuptools reads it unimported")


def test_packages_are_the_folders_of_the_tree(config):
    packages = {module for module, path in library().items() if path.name == "__init__.py"}
    assert set(config["options"]["packages"].split()) == packages


def test_no_folder_lacks_its_init():
    known = library()
    parents = {module.rpartition(".")[0] for module in known} - {""}
    assert parents <= set(known)


def test_kernels_link_points_to_the_kernels():
    link = ROOT / "numbaflux" / "kernels"
    assert link.is_symlink() and link.readlink() == Path("../kernels")


def test_wheel_holds_the_tree_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if ".dist-info/" not in name} == _expected_files()
    assert len(names) == len(set(names))


def test_sdist_holds_each_source_once(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    kernels = {name.replace("numbaflux/kernels/", "kernels/") for name in _expected_files()}
    assert kernels <= set(names)
    assert not [name for name in names if name.startswith("numbaflux/kernels/") or "__pycache__" in name]
    assert {"LICENSE", "README.md", "NEWS.md", "setup.cfg", "pyproject.toml", "tests/test_packaging.py"} <= set(names)


def test_a_second_build_elsewhere_gives_the_same_bytes(built, tmp_path):
    """Another folder, another time, other permissions."""
    ours, umask = {file.name: file.read_bytes() for file in built.iterdir()}, os.umask(0o077)
    try:
        again = _build(tmp_path / "somewhere else")
    finally:
        os.umask(umask)
    assert {file.name: file.read_bytes() for file in again.iterdir()} == ours and len(ours) == 2


def test_archives_tell_nothing_of_where_they_were_built(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        members = archive.getmembers()
    assert {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in members} == {(1_700_000_000, 0, 0, "", "")}
    assert {one.mode for one in members} <= {0o644, 0o755} and [one.name for one in members] == sorted(
        one.name for one in members
    )
    times = {entry.date_time for entry in zipfile.ZipFile(next(built.glob("*.whl"))).infolist()}
    assert times == {(2023, 11, 14, 22, 13, 20)}


def test_version_stands_once(wheel):
    assert wheel.name.split("-")[1] == str(Version(_version()))


def test_installed_wheel_works_without_the_tree(wheel, tmp_path):
    site = tmp_path / "site"
    _call(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)
    code = "import sys, numbaflux as nf\nfrom numbaflux import kernels\n"
    code += "print(kernels.__file__, nf.__version__, 'kernels' in sys.modules)"
    printed = _call(sys.executable, "-c", code, cwd=tmp_path, env={"PYTHONPATH": str(site), "HOME": str(tmp_path)})
    assert printed.split() == [str(site / "numbaflux" / "kernels" / "__init__.py"), _version(), "False"]


def test_uninstalled_checkout_works(tmp_path):
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    code = "import numbaflux, numbaflux.kernels.cpu; print(numbaflux.__version__)"
    assert _call(sys.executable, "-c", code, cwd=tmp_path, env=environment).strip() == _version()


def test_command_is_there(wheel):
    scripts = zipfile.ZipFile(wheel).read(f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/entry_points.txt").decode()
    assert "numbaflux = numbaflux.cli:main" in scripts
    assert _call(sys.executable, "-c", "from numbaflux.cli import main; print(callable(main))", cwd=ROOT) == "True\n"


def test_numba_and_llvmlite_are_held_to_one_series(config):
    needs = {r.name: r for r in map(Requirement, config["options"]["install_requires"].strip().splitlines())}
    assert set(needs) == {"numba", "llvmlite", "numpy", "h5py", "tqdm"}
    for name, need in needs.items():
        assert {bound.operator for bound in need.specifier} == {">=", "<"}, name
        assert need.specifier.contains(importlib.metadata.version(name)), name
    assert not needs["numba"].specifier.contains("0.69.0") and not needs["numba"].specifier.contains("0.67.9")
    assert not needs["llvmlite"].specifier.contains("0.51.0") and not needs["llvmlite"].specifier.contains("0.49.9")


def test_extras(config):
    promised = "mpi mpich openmpi cuda convert plot tensorboard examples serve sign fuzz images"
    ours = "dev oracle peers security disassemblers"
    assert set(config["options.extras_require"]) == {*promised.split(), *ours.split()}
