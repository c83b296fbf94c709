"""Where results are kept, and the blocks of pages that are made of them, between two marks."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = Path("benchmarks/results")


def between(text: str, block: str, made: str) -> str:
    """A page with what was made between <!-- block --> and <!-- /block -->, which stand in it once.

    >>> between("a\\n<!-- x -->\\nold\\n<!-- /x -->\\nb", "x", "new\\n")
    'a\\n<!-- x -->\\nnew\\n<!-- /x -->\\nb'
    """
    pattern = re.compile(rf"(<!-- {block} -->\n).*?(<!-- /{block} -->)", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise SystemExit(f"the marks of block {block} must stand once in its page")
    return pattern.sub(lambda found: found[1] + made + found[2], text)


def fill(page: Path, block: str, made: str) -> None:
    page.write_text(between(page.read_text(), block, made))
