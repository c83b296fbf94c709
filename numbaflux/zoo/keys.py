"""Keys of those whose models this user trusts: one small file each, in a folder closed to others."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from ..hdf5_json import parse_json
from ..hdf5_objects import line, require
from ..op import FileFormatError, expect
from . import dates
from .closed import closed, home, read, write
from .signing import MAX_PEM, key_id, new_pair, public_key

__all__ = ["Key", "add", "new", "remove", "trusted"]
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}")
_FILE = re.compile(r"([0-9a-f]{64})\.json")


class Key(NamedTuple):
    """A trusted public key: its SHA-256, as PEM, whose it is, and until when it is trusted."""

    id: str
    pem: str
    owner: str
    expires: str

    @property
    def expired(self) -> bool:
        return dates.moment(self.expires, "expires") <= dates.now()


def new(private: str | os.PathLike[str]) -> str:
    """Make a key pair to sign with: the private key in this file (mode 0600), the public one beside it as .pub.

    Returns the id of the public one. Files that are there stay: OSError. Needs numbaflux[sign].

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "me.pem")
    >>> len(new(path)), sorted(os.listdir(os.path.dirname(path)))
    (64, ['me.pem', 'me.pem.pub'])
    """
    return key_id(new_pair(Path(private)))


def add(public: str | os.PathLike[str], owner: str, days: int = 365) -> Key:
    """Trust models signed by this key (a file of its public half) for so many days; under whose name, is yours to say.

    A key that is trusted already gets the new name and days. FileFormatError: no public key of an elliptic curve.

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "me.pem")
    >>> named = new(path)
    >>> add(f"{path}.pub", "me").id == named, named in trusted()
    (True, True)
    >>> [key.owner for key in remove("me")]
    ['me']
    """
    expect(
        bool(_OWNER.fullmatch(owner)), "zoo", "owner", "a name of up to 64 letters, digits, blanks and . _ @ -", owner
    )
    with open(public, "rb") as file:
        pem = public_key(file.read(MAX_PEM + 1), os.path.basename(os.fspath(public)))
    key = Key(key_id(pem), pem, owner, dates.lifetime(days)[1])
    write(closed(_folder()) / f"{key.id}.json", (json.dumps(key._asdict(), sort_keys=True, indent=1) + "\n").encode())
    return key


def trusted() -> dict[str, Key]:
    """The keys that were added, by id, expired ones too (Key.expired)."""
    folder = _folder()
    names = sorted(name for name in os.listdir(folder) if not name.startswith(".")) if folder.is_dir() else []
    return {key.id: key for key in (_read(folder / name) for name in names)}


def remove(name: str) -> list[Key]:
    """Trust a key no more: by its id, the first 8 digits of it or more, or all of an owner. Returns what went."""
    found = [key for key in trusted().values() if key.owner == name or (len(name) >= 8 and key.id.startswith(name))]
    expect(bool(found), "zoo", "key", "the owner or the id of a trusted key", name, "numbaflux zoo keys list")
    for key in found:
        (_folder() / f"{key.id}.json").unlink()
    return found


def _folder() -> Path:
    return home("config") / "keys"


def _read(path: Path) -> Key:
    """A key of the folder, which is this user's; still it must be what add writes."""
    named, data = _FILE.fullmatch(path.name), read(path)
    try:
        node = parse_json((data or b"null").decode(), "it")
        good = (
            isinstance(node, dict) and set(node) == set(Key._fields) and all(isinstance(x, str) for x in node.values())
        )
        require(good, "it", "what numbaflux zoo keys add writes", node)
        key = Key(**node)
        dates.moment(key.expires, "expires")
        good = named is not None and key.id == named[1] == key_id(key.pem)
        require(good, "its name", "the id of its key", path.name)
    except (FileFormatError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{line(str(path), error)}; remove {path}") from None
    return key
