"""The index of a zoo: JSON of one form only, in which nothing is believed before it was checked."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..hdf5_json import parse_json
from ..hdf5_objects import fail, require
from .card import check_card
from .dates import moment

FILE, MODEL = "index.json", "model.h5"
FORMAT = "numbaflux-zoo 1"
MAX_INDEX = 4 << 20  # bytes
MAX_MODELS, MAX_FILES, MAX_SIGNATURES = 4096, 16, 8
MAX_BUNDLE, MAX_KEY = 16 << 10, 1024  # characters
LIMIT = 16 << 30  # bytes of a file

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NUMBER = "(0|[1-9][0-9]{0,5})"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")
_FILE = re.compile(r"model\.h5|[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.(md|txt|csv|json)")  # nothing that runs, no pickle
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=]{1,64}\n)+-----END PUBLIC KEY-----\n")


class Stored(NamedTuple):
    """What is known of a file."""

    size: int
    sha256: str


class Signature(NamedTuple):
    """A public key as PEM, and the bundle that model-signing made with the other half of it."""

    key: str
    bundle: dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A version of a model: all of it but the signatures is what these sign. content: the digest in model.h5."""

    name: str
    version: str
    files: dict[str, Stored]
    content: str
    card: dict[str, Any]
    issued: str
    expires: str
    signatures: tuple[Signature, ...] = ()

    @property
    def trust(self) -> str:
        """The level that the index says it has; "trusted" only its reader can say."""
        return "signed" if self.signatures else "digest"

    @property
    def folder(self) -> str:
        """Where its files lie in the zoo."""
        return f"{self.name}/{self.version}"

    @property
    def order(self) -> tuple[str, tuple[int, ...]]:
        """Versions of a name from the oldest to the newest."""
        return self.name, order(self.version)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names, sizes and digests of all files."""
        return hashlib.sha256(_compact({name: list(stored) for name, stored in self.files.items()})).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(stored.size for stored in self.files.values())

    def manifest(self) -> dict[str, Any]:
        """What is signed, as JSON."""
        files = {name: stored._asdict() for name, stored in self.files.items()}
        dates = {"issued": self.issued, "expires": self.expires}
        named = {"format": FORMAT, "name": self.name, "version": self.version}
        return named | {"files": files, "content": self.content, "card": self.card} | dates

    def signed(self) -> bytes:
        """What is signed, as bytes."""
        return _compact(self.manifest())


def order(version: str) -> tuple[int, ...]:
    """A version as numbers to compare."""
    return tuple(map(int, version.split(".")))


def _compact(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def render(entries: Iterable[Entry]) -> bytes:
    """The one form of an index of these models.

    >>> render([])
    b'{\\n "format": "numbaflux-zoo 1",\\n "models": []\\n}\\n'
    """
    models = [
        {"manifest": e.manifest(), "signatures": [s._asdict() for s in e.signatures], "trust": e.trust}
        for e in sorted(entries, key=lambda e: e.order)
    ]
    return (json.dumps({"format": FORMAT, "models": models}, sort_keys=True, indent=1) + "\n").encode()


def parse(data: bytes) -> tuple[Entry, ...]:
    """The models of an index, by name and version; FileFormatError for anything that render does not write.

    >>> parse(render([]))
    ()
    """
    require(len(data) <= MAX_INDEX, "the size of the index", f"at most {MAX_INDEX} bytes", len(data))
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        fail("the index", "ASCII", "other bytes")
    head = _object(parse_json(text, "the index"), "the index", "format", "models")
    require(head["format"] == FORMAT, "format of the index", FORMAT, head["format"])
    models = _list(head["models"], "the models of the index", MAX_MODELS)
    entries = tuple(_entry(node, f"model {i}") for i, node in enumerate(models))
    orders = [e.order for e in entries]
    require(len(set(orders)) == len(orders), "the models of the index", "there once each", "one twice")
    require(render(entries) == data, "the index", "in the form that numbaflux writes", "another form")
    return entries


def check_name(name: object) -> None:
    """FileFormatError unless it can name a model."""
    good = isinstance(name, str) and len(name) <= 64 and bool(_NAME.fullmatch(name))
    require(good, "the name of a model", "1 to 64 of a-z 0-9, with single - between", name)


def check_version(version: object) -> None:
    """FileFormatError unless it can be a version."""
    good = isinstance(version, str) and bool(_VERSION.fullmatch(version))
    require(good, "a version", "three numbers with points between, such as 1.0.0", version)


def _object(node: Any, what: str, *keys: str) -> dict[str, Any]:
    good = isinstance(node, dict) and set(node) == set(keys)
    require(good, what, f"an object of {', '.join(sorted(keys))}", node)
    found: dict[str, Any] = node
    return found


def _list(node: Any, what: str, most: int) -> list[Any]:
    require(isinstance(node, list) and len(node) <= most, what, f"a list of at most {most}", type(node).__name__)
    found: list[Any] = node
    return found


def _entry(node: Any, what: str) -> Entry:
    outer = _object(node, what, "manifest", "signatures", "trust")
    keys = ("format", "name", "version", "files", "content", "card", "issued", "expires")
    m = _object(outer["manifest"], f"manifest of {what}", *keys)
    require(m["format"] == FORMAT, f"format of {what}", FORMAT, m["format"])
    check_name(m["name"])
    check_version(m["version"])
    what = f"{m['name']} {m['version']}"
    check_card(m["card"])
    begin, end = (moment(m[key], f"{key} of {what}") for key in ("issued", "expires"))
    require(begin < end, f"expires of {what}", "after issued", m["expires"])
    require(_digest(m["content"]), f"content of {what}", "64 hexadecimal digits", m["content"])
    files = {name: _stored(name, one, what) for name, one in _files(m["files"], what).items()}
    listed = _list(outer["signatures"], f"signatures of {what}", MAX_SIGNATURES)
    signatures = tuple(_signature(one, what) for one in listed)
    require(len({s.key for s in signatures}) == len(signatures), f"keys of {what}", "there once each", "one twice")
    entry = Entry(m["name"], m["version"], files, m["content"], m["card"], m["issued"], m["expires"], signatures)
    require(outer["trust"] == entry.trust, f"trust of {what}", f"{entry.trust}, by its signatures", outer["trust"])
    return entry


def _files(node: Any, what: str) -> dict[str, Any]:
    good = isinstance(node, dict) and MODEL in node and len(node) <= MAX_FILES
    require(good, f"files of {what}", f"an object of at most {MAX_FILES}, {MODEL} among them", node)
    files: dict[str, Any] = node
    require(len({n.lower() for n in files}) == len(files), f"files of {what}", "of different names", sorted(files))
    return files


def check_file(name: str) -> None:
    """FileFormatError unless a zoo may hold a file of this name."""
    form = f"{MODEL}, or of A-Z a-z 0-9 _ - with .md .txt .csv .json"
    require(bool(_FILE.fullmatch(name)), "the name of a file", form, name)


def _stored(name: str, node: Any, what: str) -> Stored:
    check_file(name)
    one = _object(node, f"{name} of {what}", "size", "sha256")
    good = type(one["size"]) is int and 0 < one["size"] <= LIMIT
    require(good, f"size of {name} of {what}", f"1 to {LIMIT} bytes", one["size"])
    require(_digest(one["sha256"]), f"sha256 of {name} of {what}", "64 hexadecimal digits", one["sha256"])
    return Stored(one["size"], one["sha256"])


def _digest(text: Any) -> bool:
    return isinstance(text, str) and bool(_SHA256.fullmatch(text))


def _signature(node: Any, what: str) -> Signature:
    one = _object(node, f"a signature of {what}", "key", "bundle")
    good = isinstance(one["key"], str) and len(one["key"]) <= MAX_KEY and bool(_KEY.fullmatch(one["key"]))
    require(good, f"the key of a signature of {what}", "a public key as PEM", one["key"])
    good = isinstance(one["bundle"], dict) and len(_compact(one["bundle"])) <= MAX_BUNDLE
    require(good, f"the bundle of a signature of {what}", f"an object of at most {MAX_BUNDLE} bytes", "another")
    return Signature(one["key"], one["bundle"])
