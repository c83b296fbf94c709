"""How far a model of a zoo is to be trusted: four levels, and the error of a model that does not reach the one asked
for."""

from __future__ import annotations

from ..op import FileFormatError, expect

# From the least to the most; each holds what those before it hold.
LEVELS = {
    "local": "a file that reads as a model, with finite numbers and known layers; nobody vouches for it",
    "digest": "its files are those of the index, to the byte, and it has not expired",
    "signed": "name, version, files, card and dates are signed by the key that stands beside them, whoever has it",
    "trusted": "that key is one of yours (numbaflux zoo keys), and has not expired",
}
_RANK = {level: i for i, level in enumerate(LEVELS)}


class Refused(FileFormatError):
    """A model of a zoo that is not what its index, its signature or this user says it must be."""


def refuse(good: bool, what: str, expected: str, got: object, cure: str = "") -> None:
    """Raise Refused, "what must be expected, got got; cure", unless good."""
    if not good:
        shown = got if isinstance(got, str) and got.isprintable() else ascii(got)
        raise Refused(f"{what} must be {expected}, got {shown[:80]}" + (f"; {cure}" if cure else ""))


def rank(level: str) -> int:
    """Where a level stands, from 0.

    >>> rank("signed") > rank("digest")
    True
    """
    expect(isinstance(level, str) and level in _RANK, "zoo", "trust", f"one of {', '.join(LEVELS)}", level)
    return _RANK[level]
