"""The card of a model: what it does, of which data it came, how good it is, under which licence."""

from __future__ import annotations

import math
import re
from typing import Any

from ..hdf5_objects import require

MAX_TEXT, MAX_METRICS = 4000, 64
_ID = r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}"
_LICENCE = re.compile(rf"{_ID}( (AND|OR|WITH) {_ID}){{0,7}}")


def check_card(card: Any) -> None:
    """FileFormatError unless a card has exactly summary, data (texts), metrics (numbers by name) and licence (SPDX).

    >>> check_card({"summary": "digits", "data": "1 797 images", "metrics": {"accuracy": 0.98}, "licence": "MIT"})
    """
    keys = ["data", "licence", "metrics", "summary"]
    good = isinstance(card, dict) and sorted(card, key=str) == keys
    require(
        good, "a card", f"an object of {', '.join(keys)}", sorted(card, key=str) if isinstance(card, dict) else card
    )
    for key in ("summary", "data"):
        require(_plain(card[key], MAX_TEXT), f"{key} of the card", f"a text of 1 to {MAX_TEXT} characters", card[key])
    metrics, licence = card["metrics"], card["licence"]
    good = isinstance(metrics, dict) and 1 <= len(metrics) <= MAX_METRICS
    require(good, "metrics of the card", f"an object of 1 to {MAX_METRICS} numbers", metrics)
    for name, value in metrics.items():
        require(_plain(name, 64) and "\n" not in name, "a name of a metric", "a text of 1 to 64 characters", name)
        number = type(value) in (int, float) and abs(value) < 2**63 and math.isfinite(value)
        require(number, f"metric {name}", "a finite number", value)
    good = isinstance(licence, str) and bool(_LICENCE.fullmatch(licence))
    require(good, "licence of the card", "an SPDX identifier, such as MIT", licence)


def _plain(text: Any, size: int) -> bool:
    """Whether it is text that a terminal shows as it stands."""
    good = isinstance(text, str) and 0 < len(text) <= size and text == text.strip()
    return good and all(c.isprintable() or c == "\n" for c in text)
