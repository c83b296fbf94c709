"""The parts of examples/serve, in this process: tokens, buckets, turns, options, and what fails inside."""

import asyncio
import json
import logging
import sys
import threading
from unittest import mock

import numpy as np
import pytest
import yaml

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import httpx
import pydantic

import numbaflux as nf
from tests.examples.server import SERVE, model_file, module, token_file

TOKEN = "t" * 40


@pytest.fixture(scope="module")
def guard():
    return module("guard")


@pytest.fixture(scope="module")
def service():
    return module("service")


@pytest.fixture(scope="module")
def serve():
    return module("serve")


# ------------------------------------------------------------------------------------------------------------- tokens


def test_tokens_are_read_by_name(guard, tmp_path):
    path = tmp_path / "tokens"
    path.touch(mode=0o600)
    path.write_text(f"# people\n\nann {'a' * 32}\n bob   {'b' * 64} \n")
    known = guard.Tokens.read(path)
    assert (known.name(b"a" * 32), known.name(b"b" * 64)) == ("ann", "bob")
    for wrong in (b"", b"a" * 31, b"a" * 33, b"A" * 32, b"ann", b"\xff" * 32):
        assert known.name(wrong) is None


@pytest.mark.parametrize("text", ["", "# none\n", "ann\n", f"ann {'a' * 31}\n", f"a b {'a' * 32}\n", "ann " + "é" * 32])
def test_files_of_tokens_that_are_none(guard, tmp_path, text):
    path = tmp_path / "tokens"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(ValueError, match="lines NAME TOKEN"):
        guard.Tokens.read(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_tokens_that_others_can_read_are_refused(guard, tmp_path, mode):
    path = token_file(tmp_path)
    path.chmod(mode)
    with pytest.raises(ValueError, match="chmod 600"):
        guard.Tokens.read(path)


def test_every_token_is_compared(guard):
    known = guard.Tokens({"a" * 32: "ann", "b" * 32: "bob", "c" * 32: "carl"})
    with mock.patch.object(guard.hmac, "compare_digest", wraps=guard.hmac.compare_digest) as compared:
        assert known.name(b"a" * 32) == "ann"
    assert compared.call_count == 3
    assert all(len(digest) == 32 for call in compared.call_args_list for digest in call.args)


# ------------------------------------------------------------------------------------------------------------ buckets


def test_buckets_fill_with_time(guard):
    now = [0.0]
    buckets = guard.Buckets(rate=2.0, burst=3, clock=lambda: now[0])
    assert [buckets.take("x") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("y") == 0
    now[0] = 0.25
    assert buckets.take("x") == 0.25
    now[0] = 0.5
    assert [buckets.take("x"), buckets.take("x")] == [0, 0.5]
    now[0] = 1000.0
    assert [buckets.take("x") for _ in range(4)] == [0, 0, 0, 0.5]


def test_buckets_are_bounded(guard):
    buckets = guard.Buckets(rate=1.0, burst=1, kept=100, clock=lambda: 0.0)
    for i in range(1000):
        buckets.take(i)
    assert len(buckets.levels) == 100


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("192.0.2.7", 5000), "192.0.2.7"), (("2001:db8::1", 5000), "2001:db8::/64"),
        (("2001:db8:0:0:ffff::9", 5000), "2001:db8::/64"), (("::ffff:192.0.2.7", 5000), "192.0.2.7"),
        (None, "unknown"), (("no address", 0), "unknown"),
    ],
)  # fmt: skip
def test_strangers_count_by_their_network(guard, client, expected):
    assert guard.address({"client": client}) == expected


# -------------------------------------------------------------------------------------------------------------- inside


def asked(app, times=1, text='{"inputs": [[1, 2, 3]]}'):
    """The answers of an application to posts at the same time."""

    async def ask():
        transport = httpx.ASGITransport(app)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
            return await asyncio.gather(*[client.post("/v1/predict", content=text) for _ in range(times)])

    return asyncio.run(ask())


def guarded(guard, app):
    return guard.Guard(app, guard.Tokens({TOKEN: "ann"}), guard.Limits(rate=1000, burst=1000))


def contract(service, **more):
    return service.Contract((3,), -10.0, 10.0, **more)


def test_what_fails_inside_is_neither_told_nor_logged(guard, service, caplog):
    class Broken:
        inputs = service.schema(contract(service))

        def __call__(self, text):
            raise RuntimeError(f"/secret/path {text}")

    with caplog.at_level(logging.INFO, logger="serve"):
        (answer,) = asked(guarded(guard, service.application(Broken(), 1, False)))
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})
    (line,) = [json.loads(record.message) for record in caplog.records if record.name == "serve"]
    assert line["error"].startswith("RuntimeError test_serve_parts.py:")
    assert "secret" not in caplog.text and "1, 2, 3" not in caplog.text


def test_a_model_that_gives_no_number_is_an_error(guard, service):
    model = nf.Dense(3, 4)
    model.weight[:] = np.float32(3e38)
    classifier = service.Classifier(model, contract(service))
    (answer,) = asked(guarded(guard, service.application(classifier, 1, False)), text='{"inputs": [[9, 9, -9]]}')
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})


def test_a_call_computes_a_whole_batch(service):
    classifier = service.Classifier(nf.Dense(3, 4), contract(service, batch=5))
    with mock.patch.object(classifier, "predict", wraps=classifier.predict) as predict:
        for n in (1, 5):
            assert len(classifier(json.dumps({"inputs": [[1, 2, 3]] * n})).predictions) == n
    assert [call.args[0].shape for call in predict.call_args_list] == [(5, 3), (5, 3)]


@pytest.mark.parametrize(("model", "top"), [(nf.Dense(3, 4), 5), (nf.Chain(nf.Dense(3, 4), np.sum), 1)])
def test_a_model_that_is_no_such_classifier_is_refused(service, model, top):
    with pytest.raises((ValueError, nf.Error, IndexError)):
        service.Classifier(model, contract(service, top=top))


def test_one_fault_ends_the_check(service):
    inputs = service.schema(service.Contract((3, 100, 100), 0.0, 1.0))
    wrong = json.dumps({"inputs": [[[[2] * 100] * 100] * 3] * 5})
    with pytest.raises(pydantic.ValidationError) as info:
        inputs.model_validate_json(wrong)
    assert info.value.error_count() == 1


def test_more_than_can_wait_are_refused(guard, service):
    gate, entered = threading.Event(), threading.Semaphore(0)

    class Slow:
        inputs = service.schema(contract(service))

        def __call__(self, text):
            entered.release()
            gate.wait(20)
            return service.Answer(predictions=[])

    async def opened():
        while not entered.acquire(blocking=False):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        gate.set()

    async def both():
        transport = httpx.ASGITransport(guarded(guard, service.application(Slow(), 1, False)))
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
            *answers, _ = await asyncio.gather(*[client.post("/v1/predict", content="{}") for _ in range(15)], opened())
        return answers

    answers = asyncio.run(both())
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) == 1 + service.WAITING and statuses.count(503) == 15 - statuses.count(200)
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.json() == {"error": "busy"} and int(refused.headers["retry-after"]) >= 1


def test_one_that_takes_too_long_is_given_up(guard, service):
    gate = threading.Event()

    class Slow:
        inputs = service.schema(contract(service))

        def __call__(self, text):
            gate.wait(20)

    with mock.patch.object(service, "SECONDS", 0.2):
        (answer,) = asked(guarded(guard, service.application(Slow(), 1, False)))
    gate.set()
    assert (answer.status_code, answer.json()) == (503, {"error": "busy"})


# ------------------------------------------------------------------------------------------------------------- options

NEEDED = ["model.h5", "--sha256", "0" * 64, "--shape", "3", "--range", "0", "1"]


def options(serve, *more):
    with mock.patch.object(sys, "argv", ["serve.py", *NEEDED, *more]):
        return serve.arguments()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--shape", "3,0"], ["--shape", "x"], ["--range", "1", "1"], ["--range", "0", "nan"], ["--range", "0", "1e39"],
        ["--top", "0"], ["--decimals", "9"], ["--rate", "nan"], ["--rate", "-1"], ["--port", "70000"],
        ["--host", "192.0.2.1"], ["--host", "example.org"], ["--host", "::"], ["--behind", "*"], ["--token", "x"],
    ],
)  # fmt: skip
def test_wrong_options_are_refused(serve, wrong, capsys):
    with pytest.raises(SystemExit) as end:
        options(serve, *wrong)
    assert end.value.code == 2 and "serve.py: error: " in capsys.readouterr().err


def test_defaults_are_the_narrow_ones(serve):
    found = options(serve)
    assert (found.host, found.top, found.decimals, found.openapi, found.behind) == ("127.0.0.1", 1, 2, False, None)
    assert options(serve, "--host", "192.0.2.1", "--behind", "10.0.0.0/8").host == "192.0.2.1"


def container():
    documents = list(yaml.safe_load_all((SERVE / "kubernetes.yaml").read_text()))
    return documents, documents[0]["spec"]["template"]["spec"]


def test_the_deployment_calls_the_program_as_it_is(serve):
    _, pod = container()
    (main,) = pod["containers"]
    assert main["args"][:3] == ["python", "/app/serve.py", "/model/model.h5"]
    found = options(serve, *main["args"][3:])
    assert (found.behind, found.tokens.as_posix(), found.port) == ("10.0.0.0/8", "/private/tokens", 8000)
    assert [port["containerPort"] for port in main["ports"]] == [found.port]
    assert main["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": found.port}


def test_the_deployment_is_confined():
    documents, pod = container()
    assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in pod["containers"] + pod["initContainers"]:
        context = one["securityContext"]
        assert context["readOnlyRootFilesystem"] is True and context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert set(one["resources"]["limits"]) == {"cpu", "memory"} and "@sha256:" in one["image"]
    assert all(mount["readOnly"] for mount in pod["containers"][0]["volumeMounts"])
    assert documents[1]["kind"] == "NetworkPolicy" and documents[1]["spec"]["egress"] == []


def test_help_says_what_is_needed(serve, capsys):
    with pytest.raises(SystemExit) as end:
        options(serve, "--help")
    text = capsys.readouterr().out
    assert end.value.code == 0 and all(word in text for word in ("--sha256", "--tokens", "SERVE_TOKEN", "--behind"))


def test_tokens_come_from_a_file_or_the_environment_alone(serve, monkeypatch, tmp_path):
    monkeypatch.delenv("SERVE_TOKEN", raising=False)
    for value in (None, "short"):
        if value:
            monkeypatch.setenv("SERVE_TOKEN", value)
        with pytest.raises(ValueError, match="SERVE_TOKEN of 32"):
            serve.tokens(None)
    monkeypatch.setenv("SERVE_TOKEN", TOKEN)
    assert serve.tokens(None).name(TOKEN.encode()) == "default"
    assert "SERVE_TOKEN" not in serve.os.environ
    assert serve.tokens(token_file(tmp_path)).name(TOKEN.encode()) is None


def test_a_model_of_another_digest_is_not_loaded(serve, tmp_path):
    path, digest = model_file(tmp_path)
    given = ["--sha256", digest, "--shape", "3", "--tokens", str(token_file(tmp_path))]
    with mock.patch.object(sys, "argv", ["serve.py", str(path), *NEEDED[1:], *given]):
        found = serve.arguments()
    assert isinstance(serve.guarded(found), serve.Guard)
    nf.save(path, nf.Dense(3, 4))
    with pytest.raises(nf.FileFormatError, match="SHA-256"):
        serve.guarded(found)
