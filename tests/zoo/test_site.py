"""Servers that lie, stall or send elsewhere: one printable line, in time, with memory in proportion to the index."""

import re
import resource
import sys
import time

import pytest

import numbaflux as nf
from numbaflux.zoo import site
from numbaflux.zoo.index import FILE, MAX_INDEX
from tests.zoo.server import Server, reply

NAME = "digits-cnn"
PATH = f"/{NAME}/1.0.0/model.h5"


def refused(zoo, folder, error=nf.zoo.Refused):
    """What a fetch says that is refused; it leaves nothing."""
    with pytest.raises(nf.FileFormatError) as info:
        nf.zoo.fetch(zoo, NAME, folder / "got")
    assert type(info.value) is error
    text = str(info.value)
    assert text.isprintable() and len(text) < 400 and [p.name for p in folder.iterdir()] in ([], ["zoo"])
    return text


def drip(handler):
    """A byte now and then, for ever: no silence is long, the whole is."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    while not handler.server.stop.wait(0.02):
        handler.wfile.write(b"x")


def drip_headers(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.server.stop.wait(0.02):
        handler.wfile.write(b"a: b\r\n")


def silent(handler):
    handler.server.stop.wait(20)


def chunked(handler):
    """More than was agreed, in pieces of unknown number."""
    handler.protocol_version = "HTTP/1.1"
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        handler.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def endless(handler):
    """Without any length, to the end of the connection."""
    handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
    while True:
        handler.wfile.write(bytes(1 << 16))


LIES = {
    "more than the index says": (reply(body=bytes(70_000)), "the size of .* must be at most 61920 bytes, got 70000"),
    "a length of a terabyte": (reply(body=b"x", Content_Length=str(1 << 40)), "must be at most 61920 bytes, got 10995"),
    "less than announced": (reply(body=b"x" * 100, Content_Length="61920"), "must be 61920 bytes, as announced, got 1"),
    "less than the index says": (reply(body=b"x" * 100), "the size of .* must be 61920 bytes, got 100"),
    "other bytes": (reply(body=bytes(61_920)), "SHA-256"),
    "no length": (endless, "must be at most 61920 bytes, got more"),
    "chunks": (chunked, "must be at most 61920 bytes, got more"),
    "not found": (reply(404, b"no"), r"must be in the zoo \(status 200\), got 404"),
    "a part": (reply(206, bytes(61_920)), "got 206"),
    "nothing new": (reply(304), "got 304"),
    "compressed": (reply(body=bytes(50), Content_Encoding="gzip"), "must be sent as it is, got gzip"),
    "to http": (reply(302, Location="http://127.0.0.1/x"), "a redirect of .* must be to https://127.0.0.1:"),
    "to a file": (reply(302, Location="file:///etc/passwd"), "got file:///etc/passwd"),
    "to another host": (reply(301, Location="https://example.org/x"), "got https://example.org/x"),
    "to another port": (reply(307, Location="https://127.0.0.1:1/x"), "got https://127.0.0.1:1/x"),
    "to a user": (reply(308, Location="https://a:b@127.0.0.1/x"), "a redirect of"),
    "above the zoo": (reply(302, Location="/%2e%2e/x"), "a redirect of"),
    "nowhere": (reply(302), "a redirect of"),
    "to itself": (reply(302, Location=PATH), "after 3 redirects, got another"),
    "escapes": (reply(302, Location="\x1b[31mred"), "a redirect of"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_refused(lie, server, tmp_path):
    server.answers[PATH], message = LIES[lie]
    text = refused(server.address, tmp_path)
    assert re.search(message, text), text


def test_redirect_within_the_host_is_followed(server, tmp_path):
    server.answers["/other" + PATH] = reply(302, Location=PATH)
    server.answers[f"/other/{FILE}"] = reply(302, Location=f"https://127.0.0.1:{server.server_port}/{FILE}")
    assert nf.zoo.fetch(f"{server.address}/other/", NAME, tmp_path / "got").trust == "digest"
    assert server.asked == [f"/other/{FILE}", f"/{FILE}", "/other" + PATH, PATH]


@pytest.mark.parametrize("path", [f"/{FILE}", PATH])
@pytest.mark.parametrize("answer", [drip, drip_headers])
def test_slow_servers_are_left(path, answer, server, tmp_path, monkeypatch):
    monkeypatch.setattr(site, "PATIENCE", 0.5)
    monkeypatch.setattr(site, "PACE", 1e9)
    server.answers[path] = answer
    start = time.monotonic()
    text = refused(server.address, tmp_path)
    assert time.monotonic() - start < 5 and ("must be there within" in text or "as announced" in text)


def test_silent_servers_are_left(server, tmp_path, monkeypatch):
    monkeypatch.setattr(site, "SILENCE", 0.3)
    server.answers[PATH] = silent
    assert refused(server.address, tmp_path, nf.FileFormatError).endswith("model.h5 cannot be read (slow)")


def test_index_is_bounded(server, tmp_path):
    server.answers[f"/{FILE}"] = reply(body=b" " * (MAX_INDEX + 1))
    assert f"must be at most {MAX_INDEX} bytes" in refused(server.address, tmp_path)
    server.answers[f"/{FILE}"] = endless
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert f"must be at most {MAX_INDEX} bytes" in refused(server.address, tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_limit_of_the_caller_holds_before_a_byte_of_the_model_is_asked_for(server, tmp_path):
    with pytest.raises(nf.zoo.Refused, match=r"the size of digits-cnn/1\.0\.0 must be at most 1000 bytes, got 61920"):
        nf.zoo.fetch(server.address, NAME, tmp_path / "got", limit=1000)
    assert server.asked == [f"/{FILE}"]


def test_verify_has_the_same_limit(server, monkeypatch):
    monkeypatch.setattr(sys.modules["numbaflux.zoo.verify"], "LIMIT", 1000)  # nf.zoo.verify is the function
    with pytest.raises(nf.zoo.Refused, match="must be at most 1000 bytes"):
        nf.zoo.verify(server.address, NAME)
    assert server.asked == [f"/{FILE}"]


def test_unknown_authority_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    assert refused(server.address, tmp_path, nf.FileFormatError).endswith("(SSLCertVerificationError)")
    assert server.asked == []


def test_certificate_of_another_name_is_refused(server, tmp_path):
    """127.0.0.2 is this machine too, but not in the certificate."""
    address = server.address.replace("127.0.0.1", "127.0.0.2")
    text = refused(address, tmp_path, nf.FileFormatError)
    assert "SSLCertVerificationError" in text or "ConnectionRefusedError" in text


def test_plain_http_behind_the_address_is_refused(zoo, tmp_path):
    with Server(zoo, None) as plain:
        assert "(SSLError)" in refused(plain.address, tmp_path, nf.FileFormatError)


def test_proxies_of_the_environment_are_not_asked(server, tmp_path, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://user:secret@127.0.0.1:1")
    assert nf.zoo.fetch(server.address, NAME, tmp_path / "got").trust == "digest"


def test_nobody_there_is_one_line(tmp_path):
    assert "(ConnectionRefusedError)" in refused("https://127.0.0.1:1/zoo", tmp_path, nf.FileFormatError)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1/zoo",
        "file:///etc",
        "ftp://host/zoo",
        "https://user:secret@host/zoo",
        "https://host/zoo/../other",
        "https://host/zoo?token=1",
        "https://host/zoo#x",
        "https://host/%2e%2e/zoo",
        "https://host/a b",
        "https://host\n/zoo",
        "https://host:99999/zoo",
        "https://host:0/zoo",
        "https:///zoo",
        "https://hö.example/zoo",
        "HTTPS://host/zoo",
        "://",
    ],
)
def test_addresses_that_are_none(address, tmp_path):
    text = refused(address, tmp_path, nf.FileFormatError)
    assert text.startswith("zoo: zoo must be an address such as https://host/path")
