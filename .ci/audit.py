"""Asks the Python advisories about every package of every lock; fails at one that is known to be vulnerable.

Where the advisories cannot be reached that is said, and is no failure, but for GitHub, where they can.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LOCKS = Path(__file__).parent / "locks"
PIP_AUDIT = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner=off"]


def asked(lock: Path, folder: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What pip-audit says of a lock. The advisories know PyTorch's builds by the release that they are of."""
    copy = Path(folder, lock.name)
    copy.write_text(lock.read_text().replace("+cpu", ""))
    return subprocess.run([*PIP_AUDIT, *options, "--requirement", str(copy)], capture_output=True, text=True)


def out_of_reach(done: subprocess.CompletedProcess[str]) -> str:
    """Why nothing at all was audited; empty where something was. Without --strict pip-audit calls that a success.

    done: of a run with --format=json.
    """
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1][:300]
    reasons = [package.get("skip_reason", "") for package in packages]
    return reasons[0] if reasons and all(reasons) else ""


def main() -> int:
    strict, failed = os.environ.get("GITHUB_ACTIONS") == "true", 0
    with tempfile.TemporaryDirectory() as folder:
        reason = out_of_reach(asked(LOCKS / "runtime.txt", folder, "--format=json"))
        if reason:
            print(f"NOT AUDITED: no advisory source can be reached from here ({reason})")
            return int(strict)
        for lock in sorted(LOCKS.glob("*.txt")):
            done = asked(lock, folder, "--strict")
            print(f"{lock.name}: {(done.stdout + done.stderr).strip()}")
            failed |= done.returncode
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main())
