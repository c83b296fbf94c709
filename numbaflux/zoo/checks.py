"""What a model of a zoo must pass: dates, signatures and memory first, then its files, then the scan."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from . import dates
from .folder import Folder
from .index import MODEL, Entry
from .keys import trusted
from .levels import rank, refuse
from .scan import scan
from .seen import check_not_older, floor, seen
from .signing import check, key_id
from .source import Source


def admit(source: Source, entry: Entry, trust: str, rollback: bool) -> str:
    """The level that an entry reaches, by dates, signatures and memory; its files come after. Refused if too low."""
    known = None if rollback else seen(source.name, entry.name)
    wanted, what, now = floor(known, trust), f"{entry.name} {entry.version}", dates.now()
    begin, end = dates.moment(entry.issued, "issued"), dates.moment(entry.expires, "expires")
    refuse(begin - now <= dates.SKEW, what, f"issued before now, {dates.shown(now)}", entry.issued)
    refuse(now < end, what, "valid still", f"expired on {entry.expires}", "ask its publisher to sign it anew")
    reached = "digest" if rank(wanted) <= rank("digest") else _signed(entry, what)
    cure = "numbaflux zoo keys add trusts a key" if reached == "signed" else ""
    if known is not None and wanted != trust:
        cure = "it was so before; rollback=True (--rollback) takes it with less"
    refuse(rank(reached) >= rank(wanted), what, wanted, _reason(entry, reached), cure)
    check_not_older(known, entry, reached)
    return reached


def _signed(entry: Entry, what: str) -> str:
    """signed, or trusted if one of the keys is; Refused if any of the signatures does not fit."""
    for signature in entry.signatures:
        check(entry.signed(), signature.bundle, signature.key, what)
    if not entry.signatures:
        return "digest"
    known = trusted()
    keys = [known.get(key_id(signature.key)) for signature in entry.signatures]
    return "trusted" if any(key is not None and not key.expired for key in keys) else "signed"


def _reason(entry: Entry, reached: str) -> str:
    """The level reached, and by which keys."""
    if reached != "signed":
        return f"no more than {reached}, as it has no signature"
    known = trusted()
    ids = [key_id(signature.key) for signature in entry.signatures]
    late = [known[i] for i in ids if i in known]
    words = f"the key of {late[0].owner}, expired on {late[0].expires}" if late else f"the unknown key {ids[0][:16]}"
    return f"signed by {words}"


def take(source: Source, entry: Entry, target: Path | None) -> Path:
    """Check all files of an entry, copied below target if one is given; returns where the model lies."""
    if isinstance(source, Folder):
        names = source.names(entry.folder)
        refuse(names == set(entry.files), f"the files of {entry.folder}", f"{sorted(entry.files)}", f"{sorted(names)}")
    for name, stored in entry.files.items():
        path = f"{entry.folder}/{name}"
        digest, size = hashlib.sha256(), 0
        with open(os.devnull if target is None else target / path, "wb") as file:
            for data in source.chunks(path, stored.size):
                digest.update(data)
                size += len(data)
                file.write(data)
        refuse(size == stored.size, f"the size of {path}", f"{stored.size} bytes", size)
        refuse(digest.hexdigest() == stored.sha256, f"SHA-256 of {path}", stored.sha256[:16], digest.hexdigest()[:16])
    model = Path(source.path if target is None else target) / entry.folder / MODEL
    looked = scan(model, entry.card)
    bad = [row.note for row in looked.rows if not row.good]
    refuse(not bad, f"{entry.folder}/{MODEL}", "a model of numbaflux", bad[0] if bad else "")
    refuse(looked.content == entry.content, f"the content of {entry.folder}", entry.content[:16], looked.content[:16])
    return model
