"""The tools of `make security` and `make audit` find what is planted, and what they let pass has a reason."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib

import pytest

from tests.needs import missing
from tests.sources import ROOT

CI = ROOT / ".ci"
SUPPRESSIONS = runpy.run_path(str(CI / "suppressions.py"))
AUDIT = runpy.run_path(str(CI / "audit.py"))
TOOLS = ROOT / ".venv-security" / "bin"
# File -> what is planted there, and the rule that finds it; None: allowed there.
PLANTED = {
    "numbaflux/data/read.py": ("import h5py\nh5py.File('model.h5')\n", "hdf5-elsewhere"),
    "numbaflux/hdf5.py": ("import h5py\nh5py.File('model.h5')\n", "hdf5-reads"),
    "numbaflux/convert/foreign.py": ("import h5py\nh5py.File('model.h5')\n", None),
    "numbaflux/distributed/world.py": ("self.comm.bcast(model)\n", "mpi-pickles"),
    "numbaflux/distributed/node.py": ("self.comm.Bcast(model)\n", None),
    "numbaflux/checkpoint.py": ("def f():\n    import pickle\n", "pickle"),
    "numbaflux/predict.py": ("import numpy as np\nnp.load('x.npy', allow_pickle=True)\n", "numpy-pickles"),
    "kernels/cpu/dense.py": ("import numba\nnumba.njit(fastmath=True)\n", "fastmath"),
    "numbaflux/trace.py": ("eval('1 + 1')\n", "runs-text"),
    "numbaflux/walk.py": ("import importlib\nimportlib.import_module(name)\n", "imports-by-name"),
    "numbaflux/zoo/index.py": ("import zipfile\nzipfile.ZipFile('x').extractall('y')\n", "unpacks"),
    "examples/serve.py": ("import subprocess\nsubprocess.run('ls', shell=True)\n", "shell"),
    "tests/test_walk.py": ("eval('1 + 1')\n", None),
}


def program(name: str) -> str:
    return shutil.which(name, path=TOOLS) or missing("there is no .venv-security: make .venv-security/installed")


def test_semgrep_finds_what_is_planted_where_it_may_not_be(tmp_path):
    semgrep = program("semgrep")
    for name, (text, _) in PLANTED.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [semgrep, "scan", "--metrics=off", "--disable-version-check", "--quiet", "--json", "--no-git-ignore"]
    command += [
        "--project-root",
        ".",
        "--config",
        str(CI / "semgrep" / "library.yml"),
        *sorted({name.split("/")[0] for name in PLANTED}),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    found = {row["path"]: row["check_id"].rpartition(".")[2] for row in json.loads(done.stdout)["results"]}
    assert found == {name: rule for name, (_, rule) in PLANTED.items() if rule}


def test_each_rule_has_a_right_and_a_wrong_sample_and_a_planted_one():
    rules = re.findall(r"^  - id: ([\w-]+)$", (CI / "semgrep" / "library.yml").read_text(), re.M)
    samples = (CI / "semgrep" / "library.py").read_text()
    wrong = {rule for line in re.findall(r"# ruleid: (.*)", samples) for rule in line.split(", ")}
    right = set(re.findall(r"# ok: ([\w-]+)", samples))
    assert set(rules) == wrong == {rule for _, rule in PLANTED.values() if rule}
    assert right >= set(rules) - {"hdf5-reads"} and len(rules) == len(set(rules)) == 10


def test_files_that_rules_leave_out_are_there():
    left_out = re.findall(r"^ +- (/\S+\.py)", (CI / "semgrep" / "library.yml").read_text(), re.M)
    assert left_out and all((ROOT / name[1:]).is_file() for name in left_out)


def test_ruff_looks_for_holes_everywhere():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert (
        "S" in config["select"]
        and not config.get("ignore")
        and set(config["per-file-ignores"])
        == {
            "tests/**",
            "benchmarks/**",
            ".ci/**",
        }
    )  # none for the library


def test_what_is_let_pass_has_a_reason():
    rows = SUPPRESSIONS["everything"]()
    assert [row for row in rows if not row[2]] == []
    library = [row for row in rows if row[0].startswith(("numbaflux/", "kernels/"))]
    assert len(library) <= 6 and len(rows) <= 40, "each one more is one to be looked at: mend it, or raise this number"


@pytest.mark.parametrize(
    ("line", "what", "why"),
    [
        ("x = 1  # noqa: S301  # made here", "noqa: S301", "made here"),
        ("x = 1  # noqa: S301, S603", "noqa: S301, S603", ""),
        ("x = 1  # noqa", "noqa", ""),
        ("x = 1  # nosec B603  # made here", "nosec B603", "made here"),
        ("x = 1  # nosemgrep: pickle", "nosemgrep: pickle", ""),
        ("# ruff: noqa: S101", "ruff: noqa: S101", ""),
    ],
)
def test_suppressions_are_found(line, what, why):
    assert list(SUPPRESSIONS["of_source"](f"\n{line}\n")) == [(2, what, why)]


def test_near_misses_are_none():
    assert list(SUPPRESSIONS["of_source"]("x = '# noqa: S301'\ny = 1  # noqa: E731\n# nanoseconds\n")) == []
    rules = '"S101",  # why\n    "S108",\n- /numbaflux/hdf5.py\nselect = ["S"]\n'
    assert list(SUPPRESSIONS["of_rules"](rules)) == [
        (1, '"S101"', "why"),
        (2, '"S108"', ""),
        (3, "- /numbaflux/hdf5.py", ""),
    ]


def done(packages: object, errors: str = "") -> subprocess.CompletedProcess[str]:
    text = packages if isinstance(packages, str) else json.dumps({"dependencies": packages})
    return subprocess.CompletedProcess([], 0, text, errors)


def test_a_silent_audit_is_no_audit():
    skipped, asked = {"name": "h5py", "skip_reason": "not found"}, {"name": "h5py", "version": "3", "vulns": []}
    assert AUDIT["out_of_reach"](done([skipped, skipped])) == "not found"
    assert AUDIT["out_of_reach"](done("", "Traceback\nConnectionError: no route")) == "ConnectionError: no route"
    assert AUDIT["out_of_reach"](done([skipped, asked])) == AUDIT["out_of_reach"](done([asked])) == ""


def audited(tmp_path, answers: dict[str, int], reached: bool, github: bool) -> tuple[int, str]:
    """The exit code and the words of an audit, asked by a pip-audit of ours that answers by the name of the lock."""
    (tmp_path / "pip_audit.py").write_text(
        "import json, os, pathlib, sys\n"
        f"answers, lock = {answers}, pathlib.Path(sys.argv[-1])\n"
        "assert '+cpu' not in lock.read_text() and '--require-hashes' in sys.argv\n"
        "if '--format=json' in sys.argv:\n"
        f"    answer = {{'vulns': []}} if {reached} else {{'skip_reason': 'no route'}}\n"
        "    print(json.dumps({'dependencies': [answer]}))\n"
        "else:\n"
        "    assert '--strict' in sys.argv\n"
        "    print('asked'); sys.exit(answers.get(lock.stem, 0))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "GITHUB_ACTIONS": str(github).lower()}
    command = [sys.executable, str(CI / "audit.py")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    return run.returncode, run.stdout + run.stderr


def test_an_audit_fails_at_a_known_vulnerability(tmp_path):
    code, said = audited(tmp_path, {}, reached=True, github=False)
    assert code == 0 and said.count("asked") == len(list((CI / "locks").iterdir()))
    assert audited(tmp_path, {"security": 1}, reached=True, github=False)[0] == 1


def test_out_of_reach_is_said_and_fails_on_github_alone(tmp_path):
    code, said = audited(tmp_path, {}, reached=False, github=False)
    assert code == 0 and said == "NOT AUDITED: no advisory source can be reached from here (no route)\n"
    assert audited(tmp_path, {}, reached=False, github=True)[0] == 1
