"""What runs on GitHub has the least rights, is pinned, ends, and a check of it finds what breaks these rules."""

import copy
import re

import pytest
import yaml

from tests.sources import ROOT

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.y*ml"))
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
# Who may do more than read: the job, and what it needs.
RIGHTS = {
    ("release", "attest"): {"id-token": "write", "attestations": "write"},
    ("release", "publish"): {"id-token": "write"},
}


def wrong(name: str, flow: dict) -> list[str]:
    """What a workflow does that none of ours may."""
    found = [] if flow.get("permissions") == {} else ["rights that no job asked for"]
    found += [] if "group" in flow.get("concurrency", {}) else ["no concurrency group"]
    events = flow[True] if isinstance(flow[True], dict) else {flow[True]: None}  # YAML 1.1 reads `on` as true
    found += [f"begins by {one}" for one in events if one in ("pull_request_target", "workflow_run", "issue_comment")]
    for title, job in flow["jobs"].items():
        if job.get("permissions") != RIGHTS.get((name, title), {"contents": "read"}):
            found.append(f"{title}: rights {job.get('permissions')}")
        if not 0 < job.get("timeout-minutes", 0) <= 120:
            found.append(f"{title}: no time limit")
        if not re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"]):
            found.append(f"{title}: runs on {job['runs-on']}")
        for step in job["steps"]:
            found += [f"{title}: {fault}" for fault in _of_step(step)]
    return found


def _of_step(step: dict) -> list[str]:
    uses, found = step.get("uses", ""), []
    if uses and not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", uses):
        found.append(f"{uses} is no commit")
    if uses.startswith("actions/checkout@") and step.get("with", {}).get("persist-credentials") is not False:
        found.append("a checkout that leaves its credentials")
    if "${{" in step.get("run", ""):
        found.append("text from outside in a shell")
    if "secrets." in str(step) or "password" in str(step):
        found.append("a secret")
    return found


def test_there_are_three():
    assert [path.stem for path in FILES] == ["audit", "ci", "release"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_workflow_keeps_the_rules(path):
    assert wrong(path.stem, yaml.safe_load(path.read_text())) == []
    for line in path.read_text().splitlines():
        assert "uses:" not in line or PINNED.search(line), line
    assert not re.search(r"https?://", path.read_text())


def test_the_audit_is_weekly_and_strict_there():
    flow = yaml.safe_load((FOLDER / "audit.yml").read_text())
    assert [row["cron"].split()[2:] for row in flow[True]["schedule"]] == [["*", "*", "1"]]
    runs = [step.get("run") for step in flow["jobs"]["audit"]["steps"]]
    assert {"make audit", "make security", "make sbom"} <= set(runs)


def test_a_release_is_checked_attested_and_then_published():
    jobs = yaml.safe_load((FOLDER / "release.yml").read_text())["jobs"]
    assert jobs["attest"]["needs"] == "build" and jobs["publish"]["needs"] == "attest"
    assert jobs["publish"]["environment"] == "release"
    assert [step["uses"].partition("@")[0] for step in jobs["publish"]["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]
    said = " ".join(step.get("run", "") for step in jobs["build"]["steps"])
    assert all(word in said for word in ("make security audit", "make test", "make dist sbom", "cmp "))


def test_ci_does_all_that_the_checks_do():
    jobs = yaml.safe_load((FOLDER / "ci.yml").read_text())["jobs"]
    assert any("bash .ci/run" in step.get("run", "") for step in jobs["all"]["steps"])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda flow: flow.pop("permissions"), "rights that no job asked for"),
        (lambda flow: flow.update(permissions={"contents": "read"}), "rights that no job asked for"),
        (lambda flow: flow.pop("concurrency"), "no concurrency group"),
        (lambda flow: flow.update({True: {"pull_request_target": None}}), "begins by pull_request_target"),
        (lambda flow: flow["jobs"]["all"].update(permissions={"contents": "write"}), "all: rights"),
        (lambda flow: flow["jobs"]["all"].pop("permissions"), "all: rights"),
        (lambda flow: flow["jobs"]["all"].pop("timeout-minutes"), "all: no time limit"),
        (lambda flow: flow["jobs"]["all"].update({"runs-on": "ubuntu-latest"}), "all: runs on"),
        (lambda flow: flow["jobs"]["all"]["steps"][0].pop("with"), "all: a checkout"),
        (lambda flow: flow["jobs"]["all"]["steps"][1].update(uses="actions/setup-python@v6"), "is no commit"),
        (lambda flow: flow["jobs"]["all"]["steps"].append({"run": "echo ${{ github.head_ref }}"}), "text from outside"),
        (lambda flow: flow["jobs"]["all"]["steps"].append({"env": {"T": "${{ secrets.TOKEN }}"}}), "a secret"),
    ],
)
def test_each_broken_rule_is_found(change, fault):
    flow = copy.deepcopy(yaml.safe_load((FOLDER / "ci.yml").read_text()))
    change(flow)
    (said,) = wrong("ci", flow)
    assert fault in said
