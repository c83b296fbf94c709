"""A zoo of two real models, which examples/zoo/train.py made: in a folder, or behind HTTPS on this machine."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

import numbaflux as nf
from numbaflux.zoo import dates
from tests.sources import ROOT
from tests.zoo.server import Server, certificate

KEPT = ROOT / "tests" / "files" / "zoo"  # signed by a key that nobody has any more
TODAY = datetime(2026, 12, 1, 12, 0, 0, tzinfo=UTC)


class Clock:
    """The moment that the zoo takes for now."""

    moment = TODAY

    def later(self, days: float) -> None:
        self.moment += timedelta(days=days)


class Pair(NamedTuple):
    """The files of a key pair, and the id of the public half."""

    private: Path
    public: Path
    id: str


@pytest.fixture(autouse=True)
def clock(monkeypatch, tmp_path_factory):
    """A clock that tests set; trusted keys and memory of nobody else."""
    one = Clock()
    monkeypatch.setattr(dates, "now", lambda: one.moment)
    for kind in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path_factory.mktemp(kind.lower())))
    return one


def pair(folder: Path, name: str) -> Pair:
    named = nf.zoo.keys.new(folder / name)
    return Pair(folder / name, folder / f"{name}.pub", named)


@pytest.fixture(scope="session")
def alice(tmp_path_factory) -> Pair:
    """Whose models are trusted in these tests."""
    return pair(tmp_path_factory.mktemp("alice"), "alice.pem")


@pytest.fixture(scope="session")
def mallory(tmp_path_factory) -> Pair:
    """Whose models are not."""
    return pair(tmp_path_factory.mktemp("mallory"), "mallory.pem")


@pytest.fixture(scope="session")
def template(tmp_path_factory, alice) -> Path:
    """The kept zoo, signed anew by alice."""
    folder = tmp_path_factory.mktemp("template") / "zoo"
    shutil.copytree(KEPT, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dates, "now", lambda: TODAY)
        for name in ("digits-cnn", "sunspots-lstm"):
            nf.zoo.sign(folder, name, alice.private, days=90)
    return folder


@pytest.fixture
def zoo(template, tmp_path) -> Path:
    """A zoo of one's own, signed by alice."""
    return shutil.copytree(template, tmp_path / "zoo")


@pytest.fixture
def trusting(alice):
    """Alice's key is one of this user's."""
    return nf.zoo.keys.add(alice.public, "alice", days=365)


@pytest.fixture(scope="session")
def signed_by(tmp_path_factory) -> tuple[Path, Path]:
    """The certificate of an authority of these tests; the certificate and key of its server."""
    return certificate(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(zoo, signed_by, monkeypatch):
    """The zoo behind HTTPS; its authority is one that this process trusts."""
    monkeypatch.setitem(os.environ, "SSL_CERT_FILE", str(signed_by[0]))
    with Server(zoo, signed_by[1]) as one:
        yield one


@pytest.fixture(params=["folder", "https"])
def served(request, zoo):
    """The zoo as users name it: its folder, or its address."""
    return zoo if request.param == "folder" else request.getfixturevalue("server").address
