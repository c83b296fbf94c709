"""What was fetched from each zoo before, so that no older version, and no less trust, is taken by accident later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from ..hdf5_json import parse_json
from ..hdf5_objects import line, require
from ..op import FileFormatError
from .closed import closed, home, locked, read, write
from .index import Entry, check_version, order
from .levels import LEVELS, rank, refuse

CURE = "rollback=True (--rollback) takes it all the same"


class Seen(NamedTuple):
    """The newest version that was fetched, what its files were, and how far it was checked."""

    version: str
    files: str
    trust: str


def seen(zoo: str, name: str) -> Seen | None:
    """What is remembered of a model of a zoo."""
    return _read(_path()).get(zoo, {}).get(name)


def floor(known: Seen | None, trust: str) -> str:
    """The level to reach: the one asked for, or the one reached before."""
    return trust if known is None or rank(trust) >= rank(known.trust) else known.trust


def check_not_older(known: Seen | None, entry: Entry, trust: str) -> None:
    """Refused if a version from before, or of other files, is offered by those who were trusted as far as now."""
    if known is None or rank(trust) > rank(known.trust):
        return
    good = order(entry.version) >= order(known.version)
    refuse(good, f"{entry.name}", f"version {known.version}, seen before, or later", entry.version, CURE)
    same = entry.version != known.version or entry.fingerprint == known.files
    refuse(same, f"{entry.name} {entry.version}", "of the files seen before", "others", CURE)


def remember(zoo: str, entry: Entry, trust: str) -> None:
    """Keep what was fetched, unless a newer version at this level is known."""
    path = _path()
    with locked(closed(path.parent)):
        found = _read(path)
        known = found.get(zoo, {}).get(entry.name)
        older = known is not None and order(entry.version) < order(known.version)
        if known is None or rank(trust) > rank(known.trust) or (trust == known.trust and not older):
            found.setdefault(zoo, {})[entry.name] = Seen(entry.version, entry.fingerprint, trust)
            plain = {zoo: {name: s._asdict() for name, s in models.items()} for zoo, models in found.items()}
            write(path, (json.dumps(plain, sort_keys=True, indent=1) + "\n").encode())


def _path() -> Path:
    return home("state") / "zoo.json"


def _read(path: Path) -> dict[str, dict[str, Seen]]:
    """All that is remembered, by zoo and name."""
    data = read(path)
    if data is None:
        return {}
    try:
        found = parse_json(data.decode(), "it")
        require(isinstance(found, dict), "it", "an object", found)
        return {zoo: {name: _one(node) for name, node in _models(models).items()} for zoo, models in found.items()}
    except (FileFormatError, UnicodeDecodeError) as error:
        cure = f"remove {path}, and what was seen is forgotten"
        raise FileFormatError(f"{line(str(path), error)}; {cure}") from None


def _models(node: Any) -> dict[str, Any]:
    require(isinstance(node, dict), "a zoo", "an object", node)
    models: dict[str, Any] = node
    return models


def _one(node: Any) -> Seen:
    good = isinstance(node, dict) and set(node) == set(Seen._fields)
    good = good and all(isinstance(text, str) for text in node.values())
    require(good and node["trust"] in LEVELS, "a model", f"an object of {', '.join(Seen._fields)}", node)
    check_version(node["version"])
    return Seen(node["version"], node["files"], node["trust"])
