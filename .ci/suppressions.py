"""Lists what the tools of `make security` are told to let pass, each with its reason; fails where one has none."""

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("numbaflux", "kernels", "examples", "benchmarks", "tests", ".ci")
# A word to the tools, then the reason as a comment of its own.
WORD = r"(?:ruff: )?noqa: S\d+(?:, ?[A-Z]+\d+)*|(?:ruff: )?noqa(?!:)|nosec\b[^#]*|nosemgrep\b[^#]*"
LINE = re.compile(rf"#\s*({WORD})\s*(?:#\s*(?P<why>\S.*))?")
RULE = re.compile(r'^\s*("[SB]\d{3,}"|exclude_dirs = .*\]|- /\S+\.py),?\s*(?:#\s*(?P<why>\S.*))?$')


def of_source(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, what is let pass, why) of a source."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            for found in LINE.finditer(token.string):
                yield token.start[0], found[1].strip(), found["why"] or ""


def of_rules(text: str) -> Iterator[tuple[int, str, str]]:
    """The same of pyproject.toml, and of semgrep's rules: rules that are off, files that are left out."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := RULE.match(line):
            yield number, found[1], found["why"] or ""


def everything() -> list[tuple[str, str, str]]:
    """(place, what, why) of all that git holds or would hold."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *FOLDERS]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    sources = [ROOT / name for name in sorted(listed) if name.endswith(".py") and (ROOT / name).is_file()]
    rules = [ROOT / "pyproject.toml", *sorted((ROOT / ".ci" / "semgrep").glob("*.yml"))]
    found = [(path, *row) for path in sources for row in of_source(path.read_text())]
    found += [(path, *row) for path in rules for row in of_rules(path.read_text())]
    return [(f"{path.relative_to(ROOT)}:{number}", what, why) for path, number, what, why in found]


def main() -> int:
    rows = everything()
    for place, what, why in rows:
        print(f"{place}: {what}: {why or 'NO REASON'}")
    print(f"{len(rows)} suppressions, {sum(not why for *_, why in rows)} without a reason")
    return int(any(not why for *_, why in rows))


if __name__ == "__main__":
    sys.exit(main())
