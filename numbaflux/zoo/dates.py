"""Moments as a zoo writes them: UTC, to the second, in one form."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from ..hdf5_objects import fail
from ..ranges import check

SKEW = timedelta(minutes=5)  # by which clocks may differ
_FORM = "%Y-%m-%dT%H:%M:%SZ"
_DIGITS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def now() -> datetime:
    """This second."""
    return datetime.now(UTC).replace(microsecond=0)


def shown(moment: datetime) -> str:
    """A moment as text: 2026-11-22T13:20:24Z."""
    return moment.strftime(_FORM)


def moment(text: object, what: str) -> datetime:
    """The moment of a text.

    >>> shown(moment("2026-11-22T13:20:24Z", "issued"))
    '2026-11-22T13:20:24Z'
    """
    if isinstance(text, str) and _DIGITS.fullmatch(text):
        try:
            return datetime.strptime(text, _FORM).replace(tzinfo=UTC)
        except ValueError:
            pass
    fail(what, "a moment such as 2026-11-22T13:20:24Z", text)


def lifetime(days: object) -> tuple[str, str]:
    """Now, and so many days later."""
    start = now()
    return shown(start), shown(start + timedelta(days=int(check("zoo.days", days))))
