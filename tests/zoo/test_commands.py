"""numbaflux zoo: as a user types it; exit codes 0, 1 for a finding, 2 for bad input, and one line for each."""

import json
import subprocess
import sys

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.cli import main
from numbaflux.zoo.index import FILE, MODEL
from tests.sources import ROOT

NAME = "digits-cnn"
ACTIONS = ["list", "fetch", "verify", "add", "sign", "scan", "keys", "keys list", "keys add", "keys remove", "keys new"]


def called(capsys, *words):
    """Exit code, lines on stdout, lines on stderr."""
    try:
        code = main(["zoo", *map(str, words)])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err.splitlines()


@pytest.mark.parametrize("words", ["", *ACTIONS])
def test_help_has_examples(words, capsys):
    code, out, _ = called(capsys, *words.split(), "--help")
    text = "\n".join(out)
    assert code == 0 and "\nexamples:\n  " in text and f"numbaflux zoo {words}".strip() in text


def test_the_whole_way(served, zoo, tmp_path, capsys):
    """Make keys, publish, sign, list, trust, fetch, verify, load."""
    nf.save(tmp_path / "model.h5", nf.Dense(2, 1))
    card = {"summary": "A line.", "data": "Made up.", "metrics": {"error": 0.25}, "licence": "MIT"}
    (tmp_path / "card.json").write_text(json.dumps(card))
    assert called(capsys, "scan", tmp_path / "model.h5", "--card", tmp_path / "card.json")[0] == 0
    code, out, _ = called(capsys, "keys", "new", tmp_path / "me.pem")
    named = out[0].split()[-1]
    assert code == 0 and len(named) == 64
    words = "--name", "line", "--version", "1.0.0", "--card", tmp_path / "card.json", "--days", 30
    assert called(capsys, "add", zoo, tmp_path / "model.h5", *words)[:2] == (
        0, [f"{zoo / FILE}: line 1.0.0, until 2026-12-31"],
    )  # fmt: skip
    assert called(capsys, "sign", zoo, "line", "--key", tmp_path / "me.pem")[:2] == (0, ["line 1.0.0: 1 signature"])
    code, out, _ = called(capsys, "list", served)
    assert code == 0 and [line.split()[0] for line in out] == ["name", NAME, "line", "sunspots-lstm"]
    size = f"{(tmp_path / 'model.h5').stat().st_size:,}"
    assert out[2].split() == ["line", "1.0.0", "signed", "2026-12-31", size, "MIT", "error", "0.25"]
    code, out, _ = called(capsys, "list", served, "--json")
    assert [one["name"] for one in json.loads("\n".join(out))] == [NAME, "line", "sunspots-lstm"]

    words = "fetch", served, "line", "-o", tmp_path / "got", "--trust", "trusted"
    code, out, err = called(capsys, *words)
    cure = "numbaflux zoo keys add trusts a key"
    expected = f"numbaflux: line 1.0.0 must be trusted, got signed by the unknown key {named[:16]}; {cure}"
    assert (code, out, err) == (1, [], [expected])
    code, out, _ = called(capsys, "keys", "add", f"{tmp_path / 'me.pem'}.pub", "--owner", "me", "--days", 7)
    assert (code, out) == (0, [f"{named}: me, trusted until 2026-12-08"])
    assert called(capsys, "keys", "list")[:2] == (0, [f"{named[:16]}  me  until 2026-12-08"])
    path = tmp_path / "got" / "line" / "1.0.0" / MODEL
    assert called(capsys, *words) == (0, [f"{path}: line 1.0.0, trusted"], [])
    assert nf.load(path)(np.ones((3, 2), np.float32)).shape == (3, 1)
    assert called(capsys, "verify", tmp_path / "got", "--trust", "trusted")[:2] == (0, ["ok   line 1.0.0, trusted"])
    assert called(capsys, "keys", "remove", "me")[:2] == (0, [f"{named}: me, trusted no more"])
    assert called(capsys, "verify", served, "line", "--trust", "trusted")[0] == 1


def test_verify_names_every_finding(zoo, capsys):
    (zoo / NAME / "1.0.0" / MODEL).write_bytes(b"x")
    (zoo / "more").mkdir()
    code, out, err = called(capsys, "verify", zoo)
    assert (code, err) == (1, [])
    assert out == [
        "BAD  more must be in the index, got none",
        "BAD  the size of digits-cnn/1.0.0/model.h5 must be 61920 bytes, got 1",
        "ok   sunspots-lstm 1.0.0, digest",
    ]


def test_scan_of_a_bad_model(tmp_path, capsys):
    (tmp_path / "model.h5").write_bytes(b"\x80\x04." + bytes(100))
    code, out, _ = called(capsys, "scan", tmp_path / "model.h5")
    assert code == 1 and [line.split()[1] for line in out[1:]] == ["ok", "BAD", "BAD", "BAD"]


def test_rollback_needs_its_flag(zoo, tmp_path, capsys):
    model, card = zoo / NAME / "1.0.0" / MODEL, tmp_path / "card.json"
    card.write_text(json.dumps(nf.zoo.list(zoo)[0].card))
    assert called(capsys, "add", zoo, model, "--name", NAME, "--version", "1.1.0", "--card", card)[0] == 0
    assert called(capsys, "fetch", zoo, NAME, "-o", tmp_path / "a")[0] == 0
    words = "fetch", zoo, NAME, "-o", tmp_path / "b", "--version", "1.0.0"
    assert called(capsys, *words)[0] == 1
    assert called(capsys, *words, "--rollback")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "the following arguments are required: COMMAND"),
        (("keys",), 2, "the following arguments are required: ACTION"),
        (("list", "nowhere"), 2, "zoo must be a folder, or an address with https://"),
        (("list", "http://host/zoo"), 2, "zoo must be an address such as https://host/path"),
        (("fetch", "ZOO", NAME), 2, "the following arguments are required: -o/--output"),
        (("fetch", "ZOO", "other", "-o", "got"), 1, "a model of the zoo must be other, got none of this name"),
        (("fetch", "ZOO", NAME, "-o", "got", "--trust", "much"), 2, "argument --trust: invalid choice"),
        (("fetch", "ZOO", NAME, "-o", "got", "--limit", "10"), 1, "must be at most 10 bytes, got 61920"),
        (("fetch", "ZOO", NAME, "-o", "ZOO"), 2, "folder must be one that does not exist"),
        (("scan", "nowhere.h5"), 2, "nowhere.h5"),
        (("sign", "ZOO", NAME, "--key", "nowhere.pem"), 2, "nowhere.pem"),
        (("keys", "add", "nowhere.pub", "--owner", "me"), 2, "nowhere.pub"),
        (("keys", "remove", "nobody"), 2, "key must be the owner or the id of a trusted key, got nobody"),
    ],
)
def test_wrong_words_are_one_line(words, code, message, zoo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    got, out, err = called(capsys, *(zoo if word == "ZOO" else word for word in words))
    assert (got, out, len(err)) == (code, [], 1) and message in err[0]
    assert [p.name for p in tmp_path.iterdir()] == ["zoo"]


def test_hostile_words_of_an_index_cannot_rule_a_terminal(zoo, capsys):
    text = (zoo / FILE).read_text().replace("test accuracy", r"\u001b[31mred")
    (zoo / FILE).write_text(text)
    code, out, err = called(capsys, "list", zoo)
    assert (code, out) == (2, []) and err[0].isprintable() and "\x1b" not in err[0]


def test_module_runs_as_the_command(zoo):
    done = subprocess.run(
        [sys.executable, "-m", "numbaflux", "zoo", "list", zoo], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "") and NAME in done.stdout


def test_nothing_of_it_is_imported_before_it_is_used():
    code = (
        "import sys, numbaflux as nf\nbefore = 'numbaflux.zoo' in sys.modules\nnf.zoo.list\n"
        "late = [n for n in ('ssl', 'http.client', 'cryptography', 'model_signing') if n in sys.modules]\n"
        "print(before, late)\ntry: nf.zoos\nexcept AttributeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["False []", "module 'numbaflux' has no attribute 'zoos'"] and done.stderr == ""
