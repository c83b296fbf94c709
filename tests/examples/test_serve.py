"""examples/serve as a process: what it answers, refuses, bears and logs; schemathesis against it."""

import concurrent.futures
import json
import os
import random
import signal
import ssl
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import httpx

from tests.examples.server import CLIENTS, SERVE, chances, model_file, module, serving, token_file

PAGE = "/v1/predict"
GOOD = {"inputs": [[1.0, -2.0, 3.0], [0, 0, 10]]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    with serving(folder, "--top", 3, "--decimals", 3, "--rate", 1, "--burst", 100, "--seconds", 1) as running:
        yield running


def test_answers_are_those_of_the_file(server):
    with server.client() as client:
        answer = client.post(PAGE, json=GOOD)
    assert answer.status_code == 200
    expected = chances(server.log.parent / "model.h5", GOOD["inputs"])
    for row, told in zip(expected, answer.json()["predictions"], strict=True):
        assert [one["label"] for one in told] == np.argsort(-row)[:3].tolist()
        for one in told:
            assert abs(one["probability"] - row[one["label"]]) <= 0.00051
            assert one["probability"] == round(one["probability"], 3)


@pytest.mark.parametrize(
    "header",
    [
        None, "", "Bearer", "Bearer x", f"Basic {CLIENTS['alice']}", CLIENTS["alice"],
        f"Bearer {CLIENTS['alice'][:-1]}", f"Bearer {CLIENTS['alice']}x", "Bearer \u00e9".encode("latin-1"),
        f"Bearer {CLIENTS['alice']} {CLIENTS['alice']}",
    ],
)  # fmt: skip
def test_without_a_token_every_page_is_closed(server, header):
    headers = {} if header is None else {"Authorization": header}
    with server.client(None) as client:
        for page in (PAGE, "/docs", "/nothing"):
            answer = client.post(page, json=GOOD, headers=headers)
            assert (answer.status_code, answer.json()) in (
                (401, {"error": "a token is needed"}),
                (429, json.loads(TOO_MANY)),
            )
            assert answer.status_code == 429 or answer.headers["www-authenticate"] == "Bearer"


TOO_MANY = b'{"error": "too many requests"}'


def test_health_needs_none(server):
    with server.client("tester") as client:
        assert client.get("/healthz").json() == {"status": "ok"}


def test_nothing_is_shown_that_was_not_asked_for(server):
    with server.client() as client:
        for page in ("/docs", "/redoc", "/openapi.json", "/", "/v1", "/../serve.py", "/%2e%2e/model.h5"):
            answer = client.get(page)
            assert (answer.status_code, answer.json()) == (404, {"error": "no such page"})
        answer = client.delete(PAGE)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        for answer in (client.get("/healthz"), client.post(PAGE, json=GOOD), client.get("/")):
            assert "server" not in answer.headers
            for name, value in module("guard").HEADERS.items():
                assert answer.headers[name] == value


BAD = {
    "NaN": '{"inputs": [[1, 2, NaN]]}',
    "infinite": '{"inputs": [[1, 2, Infinity]]}',
    "overflow": '{"inputs": [[1, 2, 1e999]]}',
    "6000 digits": '{"inputs": [[1, 2, 1' + "0" * 6000 + "]]}",
    "too large": '{"inputs": [[1, 2, 10.001]]}',
    "too small": '{"inputs": [[1, 2, -11]]}',
    "text": '{"inputs": [[1, 2, "3"]]}',
    "bool": '{"inputs": [[1, 2, true]]}',
    "null": '{"inputs": [[1, 2, null]]}',
    "object": '{"inputs": [{"0": 1, "1": 2, "2": 3}]}',
    "short": '{"inputs": [[1, 2]]}',
    "long": '{"inputs": [[1, 2, 3, 4]]}',
    "flat": '{"inputs": [1, 2, 3]}',
    "deeper": '{"inputs": [[[1], [2], [3]]]}',
    "no inputs": '{"inputs": []}',
    "33 inputs": '{"inputs": [' + ", ".join(["[1, 2, 3]"] * 33) + "]}",
    "more keys": '{"inputs": [[1, 2, 3]], "debug": true}',
    "no key": "{}",
    "a list": "[[1, 2, 3]]",
    "nested": "[" * 100_000,
    "nested objects": '{"inputs": ' * 50_000,
    "nothing": "",
    "half": '{"inputs": [[1, 2,',
    "not UTF-8": b'{"inputs": [[1, 2, 3]], "\xff": 1}',
    "zeros": b"\0" * 1000,
    "two texts": '{"inputs": [[1, 2, 3]]}{"inputs": [[1, 2, 3]]}',
    "surrogate": '{"\\ud800": 1}',
}


@pytest.mark.parametrize("name", BAD)
def test_bodies_that_do_not_fit_are_refused_at_once(server, name):
    with server.client("tester") as client:
        start = time.perf_counter()
        answer = client.post(PAGE, content=BAD[name], headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()) == (422, {"error": "the body does not fit the schema"})
        assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": ""},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)  # fmt: skip
def test_other_kinds_of_bodies_are_refused(server, headers):
    with server.client() as client:
        assert client.post(PAGE, content=json.dumps(GOOD), headers=headers).status_code == 415


def head(*lines, name="alice", page=PAGE):
    first = (f"POST {page} HTTP/1.1", "Host: x", f"Authorization: Bearer {CLIENTS[name]}")
    return "\r\n".join((*first, "Content-Type: application/json", *lines, "", "")).encode()


def test_a_large_body_is_refused_before_it_is_sent(server):
    assert server.send(head("Content-Length: 2000000")).startswith(b"HTTP/1.1 413 ")


def test_a_large_body_without_a_length_is_cut_off(server):
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    answer = server.send(head("Transfer-Encoding: chunked"), chunk * 40)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")  # empty: reset while it was still sent


@pytest.mark.parametrize(("page", "status"), [(PAGE, b"401"), ("/healthz", b"413")])
@pytest.mark.parametrize("line", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_nothing_is_read_of_strangers(server, page, status, line):
    body = b"" if "Length" in line else b"5\r\nhello\r\n"
    answer = server.send(f"GET {page} HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode() + body)
    assert answer.split()[1] in (status, b"429")


@pytest.mark.parametrize("which", ["server", "roomy"])
def test_only_a_proxy_that_is_named_may_tell_addresses(which, request):
    running = request.getfixturevalue(which)
    with running.client(None) as client:
        request = client.get("/", headers={"X-Forwarded-For": "198.51.100.7"}).headers["x-request-id"]
    assert ("198.51.100.7" in running.logged(request)) == (which == "roomy")


def test_slow_clients_are_let_go(server):
    start = time.perf_counter()
    assert server.send(head("Content-Length: 100"), b'{"inputs"').startswith(b"HTTP/1.1 408 ")
    for part in (b"", b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n"):
        assert server.send(part) == b""
    assert 2.5 < time.perf_counter() - start < 9  # 1 s each


def test_slow_clients_do_not_hinder_others(server):
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        slow = [pool.submit(server.send, head("Content-Length: 100", name="tester")) for _ in range(20)]
        with server.client() as client:
            start = time.perf_counter()
            assert client.post(PAGE, json=GOOD).status_code == 200
            assert time.perf_counter() - start < 1.5
        assert all(one.result()[9:12] in (b"408", b"429") for one in slow)


GARBAGE = {
    "noise": random.Random(0).randbytes(3000),
    "zeros": bytes(3000),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "a long head": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
    "many lines": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
    "two lengths": head("Content-Length: 3", "Content-Length: 4") + b"abcd",
    "no length": head("Content-Length: -1"),
    "a word as length": head("Content-Length: many"),
    "no chunk": head("Transfer-Encoding: chunked") + b"zz\r\nabc\r\n",
    "a websocket": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_ends_a_connection_and_no_more(server, name):
    answer = server.send(GARBAGE[name])
    assert answer == b"" or answer.split()[1] in (b"400", b"401", b"408", b"429", b"431")
    assert b"Traceback" not in answer and b".py" not in answer
    assert server.process.poll() is None


def test_one_client_cannot_use_up_what_others_have(server):
    one = head(name="greedy", page="/healthz").replace(b"POST", b"GET")
    answers = server.send(one * 199, one.replace(b"Host", b"Connection: close\r\nHost")).split(b"HTTP/1.1 ")[1:]
    assert len(answers) == 200 and all(answer.startswith(b"200 ") for answer in answers[:100])
    for answer in answers[150:]:
        assert answer.startswith(b"429 ") and b"retry-after: 1\r\n" in answer and answer.endswith(TOO_MANY)
    with server.client() as client:
        assert client.get("/healthz").status_code == 200


def test_logs_hold_no_data(server):
    with server.client() as client:
        client.post("/secret-page?key=secret-query", json={"inputs": [[7.125, 7.125, 7.125]]})
        client.post(PAGE, json={"inputs": [[7.125, 7.125, "secret-value"]]}, headers={"User-Agent": "secret-agent"})
        request = client.post(PAGE, json={"inputs": [[7.125, 7.125, 7.125]]}).headers["x-request-id"]
    log = server.logged(request)
    assert '"client": "alice"' in log
    for word in ("secret", "7.125", "predict", "Traceback", *CLIENTS.values()):
        assert word not in log
    assert all(line.isprintable() for line in log.splitlines())


@pytest.fixture(scope="module")
def roomy(tmp_path_factory):
    """With the schema shown, and limits that a test under load does not reach."""
    folder = tmp_path_factory.mktemp("roomy")
    with serving(
        folder, "--openapi", "--behind", "127.0.0.1", "--rate", 100_000, "--burst", 100_000, "--decimals", 6
    ) as running:
        yield running


def test_many_at_once_get_their_own_answers(roomy):
    rows = np.random.default_rng(0).uniform(-10, 10, (120, 3)).round(3)
    expected = chances(roomy.log.parent / "model.h5", rows.tolist())

    def ask(part):
        with roomy.client() as client:
            return [client.post(PAGE, json={"inputs": [rows[i].tolist()]}) for i in part]

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = [one for part in pool.map(ask, np.array_split(np.arange(120), 12)) for one in part]
    assert [answer.status_code for answer in answers] == [200] * 120
    for row, answer in zip(expected, answers, strict=True):
        ((told,),) = answer.json()["predictions"]
        assert told["label"] == row.argmax() and abs(told["probability"] - row.max()) < 2e-5


def test_schemathesis_finds_nothing(roomy, tmp_path):
    pytest.importorskip("schemathesis")
    examples = 500 if os.environ.get("NUMBAFLUX_LONG") else 10
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]
    command += [f"{roomy.address}/openapi.json", "--seed", "1"]
    command += ["-H", f"Authorization: Bearer {CLIENTS['tester']}", "--max-examples", str(examples), "--no-color"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Tested: 2" in done.stdout and "No issues found" in done.stdout
    assert "Traceback" not in roomy.log.read_text()


def test_a_signal_ends_it(tmp_path):
    with serving(tmp_path) as running:
        with running.client() as client:
            assert client.post(PAGE, json=GOOD).status_code == 200, running.log.read_text()
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(20)
        assert "Traceback" not in running.log.read_text()


def test_over_tls_nothing_goes_in_the_clear(tmp_path):
    pytest.importorskip("cryptography")
    from tests.zoo.server import certificate

    authority, pem = certificate(tmp_path)
    context = ssl.create_default_context(cafile=authority)
    with serving(tmp_path, "--certificate", pem, "--seconds", 1) as running:
        address = f"https://localhost:{running.port}{PAGE}"
        headers = {"Authorization": f"Bearer {CLIENTS['alice']}"}
        answer = httpx.post(address, json=GOOD, headers=headers, verify=context, trust_env=False, timeout=30)
        assert answer.status_code == 200, running.log.read_text()
        assert b"HTTP/1.1" not in running.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")


def test_a_file_of_another_digest_is_not_served(tmp_path):
    path, _ = model_file(tmp_path)
    command = [sys.executable, SERVE / "serve.py", path, "--sha256", "0" * 64, "--shape", 3, "--range", 0, 1]
    command += ["--tokens", token_file(tmp_path), "--port", 0]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("serve.py: ") and "SHA-256" in done.stderr and done.stderr.count("\n") == 1
