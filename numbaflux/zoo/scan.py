"""What is looked at before a model enters a zoo, and again when it leaves one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import hdf5
from ..checkpoint import OWN, Builder, architecture, naming
from ..hdf5_json import parse_json
from ..hdf5_objects import fail, require
from ..op import Error, FileFormatError
from .card import check_card
from .index import LIMIT

MAX_CARD = 1 << 20  # bytes


class Row(NamedTuple):
    """A check, whether it is passed, and what was seen."""

    check: str
    good: bool
    note: str


@dataclass(frozen=True)
class Scan:
    """What nf.zoo.scan found; prints itself as a table."""

    file: str
    rows: tuple[Row, ...]
    content: str  # the digest of the file, if it could be read

    @property
    def good(self) -> bool:
        return all(row.good for row in self.rows)

    @property
    def trust(self) -> str | None:
        """The level that a file has of itself, if it has one."""
        return "local" if self.good else None

    def __repr__(self) -> str:
        return "\n".join(
            [
                f"{self.file}: {self.trust or 'refused'}",
                *(f"  {r.check:<8} {'ok' if r.good else 'BAD':<4} {r.note}" for r in self.rows),
            ]
        )


@dataclass
class _Looked:
    """What the checks look at: a path, a card, and the content once it was read."""

    path: Path
    card: Any
    held: list[hdf5.File] = field(default_factory=list)

    @property
    def file(self) -> hdf5.File:
        if not self.held:
            fail("the file", "one that could be read", "not so")
        return self.held[0]


class _Known(Builder):
    """Builds a model of known layers on the file's own memory."""

    def copied(self, stored: np.ndarray) -> np.ndarray:
        return stored


def _size(of: _Looked) -> str:
    size = os.stat(of.path).st_size
    require(size <= LIMIT, "the file", f"at most {LIMIT} bytes", size)
    return f"{size:,} bytes"


def _profile(of: _Looked) -> str:
    _size(of)  # a file that is too large is not read
    of.held.append(hdf5.read(of.path))
    return f"format {of.file.version}, digest {of.file.digest[:16]}"


def _schema(of: _Looked) -> str:
    with naming(of.path):
        require("training" not in of.file.documents, "it", "a model alone (nf.save)", "a training")
        _Known(of.file.tensors, OWN).model(architecture(of.file))
    count = sum(a.size for a in of.file.tensors.values())
    return f"known layers, {len(of.file.tensors)} arrays, {count:,} numbers"


def _finite(of: _Looked) -> str:
    for name, array in of.file.tensors.items():
        require(
            array.dtype.kind != "f" or bool(np.isfinite(array).all()), f"tensor {name[:100]}", "finite", "NaN or Inf"
        )
    return "no NaN, no Inf"


def _card(of: _Looked) -> str:
    check_card(of.card)
    return f"{of.card['licence']}, {', '.join(of.card['metrics'])}"


CHECKS: dict[str, Callable[[_Looked], str]] = {
    "size": _size, "profile": _profile, "schema": _schema, "finite": _finite, "card": _card,
}  # fmt: skip


def scan(model: str | os.PathLike[str], card: Any = None) -> Scan:
    """Look at a model's file: size, profile (the whole file as docs/format.md says), schema (layers of numbaflux alone,
    whose arrays fit), finite numbers; and at its card, if one is given (a dict, or a file of JSON).

    Nothing of the file runs. Raises nothing for a bad file: the rows say what is wrong. OSError: no such file.

    >>> import os, tempfile, numbaflux as nf
    >>> path = os.path.join(tempfile.mkdtemp(), "model.h5")
    >>> nf.save(path, nf.Dense(2, 1))
    >>> nf.zoo.scan(path).good
    True
    """
    path = Path(model)
    os.stat(path)
    looked, rows = _Looked(path, card), []
    for check, examine in CHECKS.items():
        if check == "card" and card is None:
            continue
        try:
            if check == "card":
                looked.card = read_card(card)
            rows.append(Row(check, True, examine(looked)))
        except Error as error:
            rows.append(Row(check, False, str(error)))
    return Scan(path.name, tuple(rows), looked.held[0].digest if looked.held else "")


def read_card(card: Any) -> Any:
    """A card, from a file if it is the path of one."""
    if not isinstance(card, str | os.PathLike):
        return card
    with open(card, "rb") as file:
        data = file.read(MAX_CARD + 1)
    require(len(data) <= MAX_CARD, "a card", f"at most {MAX_CARD} bytes", "more")
    try:
        return parse_json(data.decode(), os.path.basename(os.fspath(card)))
    except UnicodeDecodeError:
        raise FileFormatError(f"{os.path.basename(os.fspath(card))} must be UTF-8, got other bytes") from None
