"""The table of ranges is what the docs say, and says what it means. (tests/test_bad_input.py fuzzes it.)"""

import math

from numbaflux.ranges import RANGES, Range
from tests.sources import ROOT


def test_docs_show_every_range():
    shown = [line for line in (ROOT / "docs" / "api.md").read_text().splitlines() if line.startswith("| `")]
    for name, span in RANGES.items():
        assert f"| `{name}` | {span} |" in shown


def test_ends_belong_where_brackets_say():
    assert str(Range(0, 1, open_high=True)) == "a number in [0, 1)"
    assert str(Range(1, math.inf, whole=True)) == "an integer in [1, inf)"
    inside = [x in Range(0, 1, open_low=True, open_high=True) for x in (0, 0.5, 1)]
    assert inside == [False, True, False]
    assert [x in Range(0, 1) for x in (-1e-300, 0, 1, 1.0000001)] == [False, True, True, False]
    assert math.inf not in Range(0, math.inf)
    assert math.nan not in Range(0, math.inf)
