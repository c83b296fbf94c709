"""The index: what render writes is read, and hundreds of hostile ones are one FileFormatError each."""

import copy
import dataclasses
import json
import random

import pytest

import numbaflux as nf
from numbaflux.zoo.index import FILE, MAX_INDEX, MAX_MODELS, parse, render
from tests.zoo.conftest import KEPT

GOOD = (KEPT / FILE).read_bytes()
CARD = {"summary": "s", "data": "d", "metrics": {"m": 1}, "licence": "MIT"}


def outcome(data):
    """The models of an index, or the one line that says why there are none."""
    try:
        return parse(data)
    except nf.FileFormatError as error:
        text = str(error)
        assert type(error) is nf.FileFormatError and text.isprintable() and 0 < len(text) <= 500
        return text


def written(node):
    """JSON in the form of an index."""
    return (json.dumps(node, sort_keys=True, indent=1) + "\n").encode()


def test_index_comes_back():
    entries = parse(GOOD)
    assert [e.folder for e in entries] == ["digits-cnn/1.0.0", "sunspots-lstm/1.0.0"]
    assert render(entries) == GOOD == written(json.loads(GOOD))
    assert [e.trust for e in entries] == ["signed", "signed"] and nf.zoo.list(KEPT) == entries


def test_versions_are_sorted_as_numbers():
    entry = parse(GOOD)[0]
    many = [dataclasses.replace(entry, version=v) for v in ("1.10.0", "1.2.0", "1.9.9", "10.0.0")]
    assert [e.version for e in parse(render(many))] == ["1.2.0", "1.9.9", "1.10.0", "10.0.0"]


HEAD, MANIFEST = ("models", 0), ("models", 0, "manifest")
ONE = {"size": 1, "sha256": "0" * 64}
HOSTILE_FILES = ["../x.txt", "/etc/x.txt", "a/b.txt", ".x.txt", "x.py", "x.pkl", "x.h5", "x.txt\n", "con", "", "x.txt/"]
DIGESTS = ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, 0, None]
PRIVATE = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
DATES = ["", "2026-11-22", "2026-13-01T00:00:00Z", "2026-11-22T00:00:00+00:00", "0000-00-00T00:00:00Z", 5, None]
HOSTILE = (
    ((*MANIFEST, "name"), "the name of a model must be",
     ["", "A", "a b", "../a", "a/b", "a--b", "-a", "a-", "a.b", ".", "..", "a\n", "é", "x" * 65, 1, None, ["a"]]),
    ((*MANIFEST, "version"), "a version must be",
     ["1", "1.0", "1.0.0.0", "01.0.0", "1.0.0-rc", "-1.0.0", "1.0.0\n", "1.0.1234567", "١.0.0", 1.0, None]),
    ((*MANIFEST, "files"), "the name of a file must be", [{"model.h5": ONE, name: ONE} for name in HOSTILE_FILES]),
    ((*MANIFEST, "files"), "files of digits-cnn 1.0.0 must be",
     [{"x.txt": ONE}, {}, None, [], {"model.h5": ONE} | {f"{i}.txt": ONE for i in range(16)}]),
    ((*MANIFEST, "files"), "must be of different names", [{"model.h5": ONE, "a.txt": ONE, "A.txt": ONE}]),
    ((*MANIFEST, "files", "model.h5", "size"), "size of model.h5", [0, -1, 2**63, 1.0, "1", None, True, 17 << 30]),
    ((*MANIFEST, "files", "model.h5", "sha256"), "sha256 of model.h5", DIGESTS),
    ((*MANIFEST, "files", "model.h5"), "model.h5 of digits-cnn 1.0.0 must be", [None, [], {}, ONE | {"x": 1}]),
    ((*MANIFEST, "content"), "content of digits-cnn 1.0.0 must be", DIGESTS),
    ((*MANIFEST, "issued"), "issued of digits-cnn 1.0.0 must be a moment", DATES),
    ((*MANIFEST, "expires"), "expires of digits-cnn 1.0.0 must be a moment", DATES),
    ((*MANIFEST, "expires"), "must be after issued", ["2020-01-01T00:00:00Z"]),
    ((*MANIFEST, "card"), "card", [None, {}, [], "x", CARD | {"more": 1}]),
    ((*MANIFEST, "format"), "format of model 0", ["numbaflux-zoo 2", 1]),
    ((*MANIFEST, "more"), "manifest of model 0 must be an object of", [1]),
    ((*HEAD, "trust"), "trust of digits-cnn 1.0.0 must be signed, by its signatures",
     ["digest", "trusted", "local", "", None, 3]),
    ((*HEAD, "signatures"), "trust of digits-cnn 1.0.0 must be digest, by its signatures", [[]]),
    ((*HEAD, "signatures"), "signatures of digits-cnn 1.0.0 must be", [None, {}, "x", [None] * 9]),
    ((*HEAD, "signatures", 0), "a signature of digits-cnn 1.0.0 must be", [None, {}, [], "x"]),
    ((*HEAD, "signatures", 0, "key"), "the key of a signature",
     ["", "-----BEGIN PUBLIC KEY-----", PRIVATE, "x" * 2000, 1]),
    ((*HEAD, "signatures", 0, "bundle"), "the bundle of a signature", [None, [], "x", {"x": "y" * 17_000}]),
    (("format",), "format of the index", ["numbaflux-zoo 2", "", 1]),
    (("models",), "the models of the index", [None, {}, [0] * (MAX_MODELS + 1)]),
    (("models", 0), "model 0 must be an object of", [None, [], {}, 1, "x"]),
    (("more",), "the index must be an object of format, models", [1]),
)  # fmt: skip
# where a value is put, the value, what is said of it
CASES = [(path, value, message) for path, message, values in HOSTILE for value in values]


@pytest.mark.parametrize(("path", "value", "message"), CASES, ids=[f"{c[0][-1]}-{i}" for i, c in enumerate(CASES)])
def test_hostile_values_are_refused(path, value, message):
    node = above = json.loads(GOOD)
    for part in path[:-1]:
        above = above[part]
    above[path[-1]] = value
    assert message in outcome(written(node))


def test_order_and_number_of_models():
    node = json.loads(GOOD)
    node["models"].reverse()
    assert "in the form that numbaflux writes" in outcome(written(node))
    node["models"].append(node["models"][0])
    assert "there once each, got 'one twice'" in outcome(written(node))


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"summary": ""}, "summary of the card must be a text"),
        ({"data": "x" * 4001}, "data of the card must be a text"),
        ({"summary": "\x1b[31m"}, "summary of the card"),
        ({"summary": " x"}, "summary of the card"),
        ({"metrics": {}}, "metrics of the card"),
        ({"metrics": {f"{i}": i for i in range(65)}}, "metrics of the card"),
        ({"metrics": {"a": True}}, "metric a must be a finite number"),
        ({"metrics": {"a": "1"}}, "metric a must be"),
        ({"metrics": {"a": 10**19}}, "metric a must be"),
        ({"metrics": {"a\n": 1}}, "a name of a metric"),
        ({"licence": ""}, "licence of the card must be an SPDX"),
        ({"licence": "all rights reserved!"}, "licence of the card"),
        ({"licence": "MIT OR"}, "licence of the card"),
        ({"licence": None}, "licence of the card"),
    ],
)
def test_bad_cards_are_refused(card, message):
    node = json.loads(GOOD)
    node["models"][0]["manifest"]["card"] = CARD | card
    assert message in outcome(written(node))


def test_cards_as_they_should_be():
    for card in (
        CARD,
        CARD | {"licence": "GPL-3.0-or-later WITH Classpath-exception-2.0"},
        CARD | {"summary": "a\nb é"},
    ):
        node = json.loads(GOOD)
        node["models"][0]["manifest"]["card"] = card
        assert outcome(written(node))[0].card == card


FORMS = {
    "empty": b"",
    "no JSON": b"\x89HDF\r\n\x1a\n",
    "not ASCII": GOOD.replace(b"MIT", "é".encode(), 1),
    "not UTF-8": GOOD + b"\xff",
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "compact": json.dumps(json.loads(GOOD)).encode(),
    "a blank more": GOOD + b" ",
    "two documents": GOOD + GOOD,
    "a key twice": GOOD.replace(b'"models"', b'"format": "numbaflux-zoo 1", "models"', 1),
    "NaN": GOOD.replace(b"0.9861", b"NaN", 1),
    "Infinity": GOOD.replace(b"0.9861", b"-Infinity", 1),
    "a huge number": GOOD.replace(b"0.9861", b"1e999", 1),
    "many digits": GOOD.replace(b"0.9861", b"9" * 5000, 1),
    "the same number otherwise": GOOD.replace(b"0.9861", b"0.98610", 1),
    "half a surrogate pair": GOOD.replace(b"MIT", rb"\ud800", 1),
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "large": b" " * (MAX_INDEX + 1),
    "many values": b"[" + b"0," * 2_000_000 + b"0]",
    "a list": b"[]\n",
    "a null": b"null\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_are_refused(form):
    assert FORMS[form] != GOOD and isinstance(outcome(FORMS[form]), str)


def nodes(node, path=()):
    """The paths of all values."""
    yield path
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield from nodes(value, (*path, key))


VALUES = (
    None,
    True,
    0,
    -1,
    1 << 62,
    0.5,
    "",
    "x",
    "../x",
    "\x00",
    "x" * 5000,
    [],
    {},
    [[]],
    {"a": {}},
    "1.0.1",
    "2.0.0",
)


def structural(draw, start):
    """The JSON of an index with a value or key replaced, dropped, doubled or swapped."""
    node = json.loads(start)
    paths = [path for path in nodes(node) if path]
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        path = draw.choice(paths)
        above = node
        try:
            for part in path[:-1]:
                above = above[part]
            old = above[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # an edit before took it away
        kind = draw.randrange(4)
        if kind == 0:
            above[path[-1]] = draw.choice(VALUES)
        elif kind == 1:
            above.pop(path[-1])
        elif kind == 2 and isinstance(above, dict):
            above[draw.choice(("x", "", path[-1] + "x"))] = old
        else:
            above[path[-1]] = copy.deepcopy(draw.choice([above, old, path[-1]]))
    return written(node)


def bytewise(draw, start):
    """The bytes of an index with a few flipped, dropped or put in."""
    data = bytearray(start)
    for _ in range(draw.choice((1, 1, 2, 8))):
        at = draw.randrange(len(data))
        kind = draw.randrange(3)
        if kind == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del data[at : at + draw.choice((1, 1, 10))]
        else:
            data[at:at] = draw.choice((b"\x00", b'"', b"{", b"}", b",", b"9", b"\\", b"a" * 100))
    return bytes(data)


@pytest.mark.parametrize("mutate", [structural, bytewise])
def test_mutations_are_errors_or_another_lawful_index(mutate, zoo, trusting):
    """400 of each kind, seeded; none is another exception, none gets a model trusted that is not as signed."""
    start = (zoo / FILE).read_bytes()
    draw, good = random.Random(7), {e.signed() for e in parse(start)}
    lawful = 0
    for _ in range(400):
        data = mutate(draw, start)
        found = outcome(data)
        if isinstance(found, str):
            continue
        assert render(found) == data
        lawful += data != start
        (zoo / FILE).write_bytes(data)
        for entry in found:
            if entry.signed() not in good:
                with pytest.raises(nf.zoo.Refused):
                    nf.zoo.verify(zoo, entry.name, entry.version, trust="trusted")
    assert lawful > 50  # a card may say something else: only its signature tells
