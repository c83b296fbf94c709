"""All models of a zoo, checked where they are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from .checks import admit, take
from .fetch import LIMIT, Found, check_size
from .folder import Folder
from .index import FILE, Entry
from .levels import Refused, rank
from .source import Zoo, chosen, entries, opened


def verify(zoo: Zoo, name: str | None = None, version: str | None = None, *, trust: str = "digest") -> list[Found]:
    """Check the models of a zoo, or those of a name: files, digests, dates, scan, and signatures if trust asks for it.

    In a folder nothing may lie that the index does not name. Raises Refused for the first that is not as it must be.

    >>> import os, tempfile, numbaflux as nf
    >>> os.chdir(tempfile.mkdtemp())
    >>> nf.save("model.h5", nf.Dense(2, 1))
    >>> card = {"summary": "A line.", "data": "Made up.", "metrics": {"error": 0.1}, "licence": "MIT"}
    >>> entry = nf.zoo.add("zoo", "model.h5", card, name="line", version="1.0.0")
    >>> [(found.entry.name, found.trust) for found in nf.zoo.verify("zoo")]
    [('line', 'digest')]
    """
    found = []
    for one in examined(zoo, name, version, trust):
        if isinstance(one, Refused):
            raise one
        found.append(one)
    return found


def examined(zoo: Zoo, name: str | None, version: str | None, trust: str) -> Iterator[Found | Refused]:
    """Each model of a zoo, or of a name, and what is wrong with it if something is."""
    rank(trust)
    source = opened(zoo)
    known = entries(source)
    if name is None and isinstance(source, Folder):
        yield from _strangers(source, known)
    newest = {e.name: e for e in known}
    for entry in known if name is None else chosen(known, name, version):
        try:
            reached = admit(source, entry, trust, rollback=newest[entry.name] is not entry)
            if isinstance(source, Folder):
                yield Found(entry, reached, take(source, entry, None))
            else:
                check_size(entry, LIMIT)
                with tempfile.TemporaryDirectory() as folder:
                    (Path(folder) / entry.folder).mkdir(parents=True)
                    take(source, entry, Path(folder))
                    yield Found(entry, reached, None)
        except Refused as error:
            yield error


def _strangers(source: Folder, known: tuple[Entry, ...]) -> Iterator[Refused]:
    """What lies in the folder of a zoo without being named by its index."""
    lawful = {"": {FILE, *(e.name for e in known)}}
    for e in known:
        lawful.setdefault(e.name, set()).add(e.version)
    for folder, names in lawful.items():
        try:
            extra = source.names(folder) - names
        except Refused as error:
            yield error
        else:
            yield from (Refused(f"{f'{folder}/{x}'.lstrip('/')} must be in the index, got none") for x in sorted(extra))
