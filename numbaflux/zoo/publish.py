"""Models into a zoo in a folder: scanned, copied, written into the index, signed."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..hdf5_objects import require
from ..op import FileFormatError, expect
from . import dates, signing
from .checks import take
from .closed import locked, write
from .folder import CHUNK, Folder
from .index import (
    FILE,
    LIMIT,
    MODEL,
    Entry,
    Signature,
    Stored,
    check_file,
    check_name,
    check_version,
    parse,
    render,
)
from .levels import refuse
from .scan import read_card, scan
from .source import chosen, entries

Path_ = str | os.PathLike[str]


def add(
    zoo: Path_, model: Path_, card: Any, *, name: str, version: str, days: int = 365, files: Iterable[Path_] = ()
) -> Entry:
    """Put a model into a zoo (a folder, made if there is none): a copy as zoo/name/version/model.h5, and in the index.

    card: a dict, or a file of JSON, with summary, data, metrics (numbers by name) and licence (SPDX). days: until it
    expires. files: more to go with it, .md .txt .csv .json. Refused: what scan finds, or a version that is there.

    >>> import os, tempfile, numbaflux as nf
    >>> os.chdir(tempfile.mkdtemp())
    >>> nf.save("model.h5", nf.Dense(2, 1))
    >>> card = {"summary": "A line.", "data": "Made up.", "metrics": {"error": 0.1}, "licence": "MIT"}
    >>> entry = nf.zoo.add("zoo", "model.h5", card, name="line", version="1.0.0")
    >>> entry.trust, [one.version for one in nf.zoo.list("zoo")]
    ('digest', ['1.0.0'])
    """
    check_name(name)
    check_version(version)
    issued, expires = dates.lifetime(days)
    card, target = read_card(card), Path(zoo)
    target.mkdir(exist_ok=True)
    with locked(target):
        known = entries(Folder(target)) if (target / FILE).exists() else ()
        there = any((e.name, e.version) == (name, version) for e in known)
        refuse(not there, f"{name} {version}", "a version that is not in the zoo", "one that is", "count it up")
        place = target / name / version
        expect(not place.exists(), "zoo", f"{name}/{version}", "free", "a folder", f"remove {place}", FileFormatError)
        temporary = target / f".numbaflux-{secrets.token_hex(16)}.tmp"
        temporary.mkdir()
        try:
            stored = {MODEL: _copied(Path(model), temporary, MODEL)}
            for one in map(Path, files):
                require(one.name not in stored, "the files", "of different names", one.name)
                stored[one.name] = _copied(one, temporary, one.name)
            looked = scan(temporary / MODEL, card)
            bad = [f"{row.check}: {row.note}" for row in looked.rows if not row.good]
            refuse(not bad, f"{os.path.basename(model)}", "one that passes every check of numbaflux zoo scan", bad[:1])
            entry = Entry(name, version, stored, looked.content, card, issued, expires)
            data = _rendered([*known, entry])
            (target / name).mkdir(exist_ok=True)
            os.rename(temporary, place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        write(target / FILE, data, 0o644)
    return entry


def sign(zoo: Path_, name: str, key: Path_, version: str | None = None, *, days: int | None = None) -> Entry:
    """Sign a model of a zoo (the newest version unless told) with a private key, once its files were checked.

    days: with new dates, which drop the signatures of others, as these were over the old ones. Needs numbaflux[sign].

    >>> import os, tempfile, numbaflux as nf
    >>> os.chdir(tempfile.mkdtemp())
    >>> nf.save("model.h5", nf.Dense(2, 1))
    >>> card = {"summary": "A line.", "data": "Made up.", "metrics": {"error": 0.1}, "licence": "MIT"}
    >>> entry = nf.zoo.add("zoo", "model.h5", card, name="line", version="1.0.0")
    >>> key = nf.zoo.keys.new("me.pem")
    >>> nf.zoo.sign("zoo", "line", "me.pem").trust
    'signed'
    """
    source = Folder(zoo)
    target = Path(source.path)
    with locked(target):
        known = entries(source)
        old = chosen(known, name, version)[-1]
        if days is not None:
            issued, expires = dates.lifetime(days)
            old = dataclasses.replace(old, issued=issued, expires=expires, signatures=())
        late = dates.moment(old.expires, "expires") <= dates.now()
        refuse(not late, f"{name} {old.version}", "valid still", f"expired on {old.expires}", "days=365 (--days 365)")
        rest = [e for e in known if (e.name, e.version) != (old.name, old.version)]
        take(source, old, None)
        public, bundle = signing.sign(old.signed(), Path(key))
        others = tuple(s for s in old.signatures if s.key != public)
        entry = dataclasses.replace(old, signatures=(*others, Signature(public, bundle)))
        write(target / FILE, _rendered([*rest, entry]), 0o644)
    return entry


def _rendered(known: Iterable[Entry]) -> bytes:
    """An index, which can be read again."""
    data = render(known)
    parse(data)
    return data


def _copied(source: Path, folder: Path, name: str) -> Stored:
    """A file into a folder; its size and SHA-256."""
    check_file(name)
    expect(source.is_file(), "zoo", name, "a file", str(source), error=FileFormatError)
    digest, size = hashlib.sha256(), 0
    with open(source, "rb") as file, open(folder / name, "xb") as copy:
        while data := file.read(CHUNK):
            size += len(data)
            require(size <= LIMIT, f"the size of {name}", f"at most {LIMIT} bytes", size)
            digest.update(data)
            copy.write(data)
        copy.flush()
        os.fsync(copy.fileno())
    return Stored(size, digest.hexdigest())
