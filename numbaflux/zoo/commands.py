"""The command numbaflux zoo: list, fetch, verify, add, sign, scan, keys. Exit codes: 0; 1, a finding; 2, bad input."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..contents import printable
from . import keys
from .fetch import LIMIT, fetch
from .index import FILE, Entry
from .levels import LEVELS, Refused
from .publish import add, sign
from .scan import scan
from .signing import beside
from .source import listed
from .verify import examined

TEXT = "models of a zoo: list, fetch, verify, publish, sign, scan; and the keys that are trusted"
EXAMPLES = (
    "list https://example.org/zoo",
    "fetch https://example.org/zoo digits-cnn -o digits --trust signed",
    "keys add alice.pub --owner alice",
)
ZOO = "a folder, or an address with https://"
Parser = argparse.ArgumentParser


def parsers(zoo: Parser, kind: type[Parser], described: Callable[..., Parser]) -> None:
    """Add the commands to the parser of numbaflux zoo; kind and described are those of numbaflux.cli."""
    group = zoo.add_subparsers(required=True, metavar="COMMAND", parser_class=kind)

    def command(run: Callable[[Any], int], name: str, text: str, *examples: str, of: Any = group) -> Parser:
        full = (f"zoo {words}" for words in examples)
        one = described(of.add_parser(name.split()[-1], help=text), text, *full)
        one.set_defaults(zoo_run=run)
        return one

    one = command(_list, "list", "show what the index of a zoo names; nothing is checked but its form", "list zoo")
    one.add_argument("zoo", metavar="ZOO", help=ZOO)
    one.add_argument("--json", action="store_true", help="all of it, as JSON")
    _reading(command)
    _publishing(command)
    one = command(_scan, "scan", "look at a model: size, profile, layers, finite numbers, card", "scan model.h5")
    one.add_argument("model", metavar="MODEL", help="a file that nf.save wrote")
    one.add_argument("--card", metavar="FILE", help="its card, JSON: summary, data, metrics, licence")
    _keys(command, kind, described, group)


def _reading(command: Callable[..., Parser]) -> None:
    example = "fetch https://example.org/zoo digits-cnn -o digits --trust signed"
    one = command(_fetch, "fetch", "copy a model into a new folder, once everything about it was checked", example)
    one.add_argument("zoo", metavar="ZOO", help=ZOO)
    one.add_argument("name", metavar="NAME", help="of the model")
    one.add_argument("-o", "--output", metavar="DIR", required=True, help="a folder that does not exist")
    one.add_argument("--version", metavar="X.Y.Z", help="the newest unless told")
    _trust(one)
    one.add_argument("--rollback", action="store_true", help="take an older version, or less trust, than before")
    one.add_argument("--limit", metavar="BYTES", type=int, default=LIMIT, help=f"of all files: {LIMIT} unless told")
    text = "check models where they are: index, files, digests, dates, scan; signatures from --trust signed on"
    one = command(_verify, "verify", text, "verify zoo", "verify zoo digits-cnn --trust trusted")
    one.add_argument("zoo", metavar="ZOO", help=f"{ZOO}; what was fetched is such a folder")
    one.add_argument("name", metavar="NAME", nargs="?", help="of a model: all unless told")
    one.add_argument("--version", metavar="X.Y.Z", help="all unless told")
    _trust(one)


def _trust(parser: Parser) -> None:
    words = "; ".join(f"{level}: {text}" for level, text in LEVELS.items() if level != "local")
    parser.add_argument("--trust", choices=list(LEVELS)[1:], default="digest", help=f"the least; {words}")


def _publishing(command: Callable[..., Parser]) -> None:
    example = "add zoo model.h5 --name digits-cnn --version 1.0.0 --card card.json"
    one = command(_add, "add", "scan a model and put it into a zoo", example)
    one.add_argument("zoo", metavar="ZOO", help="a folder; made if there is none")
    one.add_argument("model", metavar="MODEL", help="a file that nf.save wrote")
    one.add_argument("--name", metavar="NAME", required=True, help="a-z 0-9, with single - between")
    one.add_argument("--version", metavar="X.Y.Z", required=True, help="one that the zoo does not have")
    one.add_argument("--card", metavar="FILE", required=True, help="JSON: summary, data, metrics, licence (SPDX)")
    one.add_argument("--days", metavar="N", type=int, default=365, help="until it expires: 365 unless told")
    text = "goes with it: .md .txt .csv .json; as often as needed"
    one.add_argument("--file", metavar="FILE", action="append", default=[], help=text)
    one = command(_sign, "sign", "sign a model of a zoo, once it was checked", "sign zoo digits-cnn --key me.pem")
    one.add_argument("zoo", metavar="ZOO", help="a folder")
    one.add_argument("name", metavar="NAME", help="of the model")
    one.add_argument("--key", metavar="FILE", required=True, help="a private key that numbaflux zoo keys new made")
    one.add_argument("--version", metavar="X.Y.Z", help="the newest unless told")
    one.add_argument("--days", metavar="N", type=int, help="new dates; signatures of others, over the old ones, go")


def _keys(command: Callable[..., Parser], kind: type[Parser], described: Callable[..., Parser], group: Any) -> None:
    text, lines = (
        "the keys that are trusted, and new ones to sign with",
        ("keys new me.pem", "keys add alice.pub --owner alice"),
    )
    parser = described(group.add_parser("keys", help=text), text, *(f"zoo {words}" for words in lines))
    actions = parser.add_subparsers(required=True, metavar="ACTION", parser_class=kind)
    command(_keys_list, "keys list", "show the keys that are trusted", "keys list", of=actions)
    text = "trust what this key signs; compare its id by a way you trust"
    one = command(_keys_add, "keys add", text, "keys add alice.pub --owner alice --days 90", of=actions)
    one.add_argument("public", metavar="FILE", help="a public key, .pub")
    one.add_argument("--owner", metavar="NAME", required=True, help="whose it is")
    one.add_argument("--days", metavar="N", type=int, default=365, help="until it expires: 365 unless told")
    one = command(_keys_remove, "keys remove", "trust a key no more", "keys remove alice", of=actions)
    one.add_argument("name", metavar="NAME", help="its owner, or its id or 8 digits of that and more")
    text = "make a key pair to sign with: FILE is private, FILE.pub is for all"
    one = command(_keys_new, "keys new", text, "keys new me.pem", of=actions)
    one.add_argument("private", metavar="FILE", help="where the private key goes; nothing may be there")


def run(arguments: Any) -> int:
    """Run one of the commands; a model that is refused is one line on stderr, and exit code 1."""
    try:
        code: int = arguments.zoo_run(arguments)
        return code
    except Refused as error:
        print("numbaflux:", _line(error), file=sys.stderr)
        return 1


def _line(error: Refused) -> str:
    """All of an error, in one line for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(error))


def _table(rows: Iterable[tuple[str, ...]]) -> None:
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _row(entry: Entry) -> tuple[str, ...]:
    metrics = ", ".join(f"{name} {value:g}" for name, value in entry.card["metrics"].items())
    return (entry.name, entry.version, entry.trust, entry.expires[:10], f"{entry.size:,}", entry.card["licence"],
            printable(metrics)[:60])  # fmt: skip


def _list(arguments: Any) -> int:
    known = listed(arguments.zoo)
    if arguments.json:
        print(json.dumps([entry.manifest() | {"trust": entry.trust} for entry in known], indent=2))
    elif known:
        _table([("name", "version", "trust", "expires", "bytes", "licence", "metrics"), *map(_row, known)])
    return 0


def _fetch(arguments: Any) -> int:
    found = fetch(arguments.zoo, arguments.name, arguments.output, arguments.version, trust=arguments.trust,
                  rollback=arguments.rollback, limit=arguments.limit)  # fmt: skip
    print(f"{found.model}: {found.entry.name} {found.entry.version}, {found.trust}")
    return 0


def _verify(arguments: Any) -> int:
    code = 0
    for one in examined(arguments.zoo, arguments.name, arguments.version, arguments.trust):
        if isinstance(one, Refused):
            code = 1
            print(f"BAD  {_line(one)}")
        else:
            print(f"ok   {one.entry.name} {one.entry.version}, {one.trust}")
    return code


def _add(arguments: Any) -> int:
    entry = add(arguments.zoo, arguments.model, arguments.card, name=arguments.name, version=arguments.version,
                days=arguments.days, files=arguments.file)  # fmt: skip
    print(f"{os.path.join(arguments.zoo, FILE)}: {entry.name} {entry.version}, until {entry.expires[:10]}")
    return 0


def _sign(arguments: Any) -> int:
    entry = sign(arguments.zoo, arguments.name, arguments.key, arguments.version, days=arguments.days)
    print(f"{entry.name} {entry.version}: {len(entry.signatures)} signature{'s' * (len(entry.signatures) > 1)}")
    return 0


def _scan(arguments: Any) -> int:
    found = scan(arguments.model, arguments.card)
    print("\n".join(map(printable, repr(found).splitlines())))
    return 0 if found.good else 1


def _keys_list(arguments: Any) -> int:
    known = keys.trusted().values()
    if known:
        _table((key.id[:16], key.owner, f"{'expired' if key.expired else 'until'} {key.expires[:10]}") for key in known)
    return 0


def _keys_add(arguments: Any) -> int:
    key = keys.add(arguments.public, arguments.owner, arguments.days)
    print(f"{key.id}: {key.owner}, trusted until {key.expires[:10]}")
    return 0


def _keys_remove(arguments: Any) -> int:
    for key in keys.remove(arguments.name):
        print(f"{key.id}: {key.owner}, trusted no more")
    return 0


def _keys_new(arguments: Any) -> int:
    named = keys.new(arguments.private)
    print(f"{arguments.private}: the private key; {beside(Path(arguments.private))}: the public one, {named}")
    return 0
