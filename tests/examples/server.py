"""examples/serve: its modules, and a server as a process of its own on a free port."""

import contextlib
import hashlib
import importlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import httpx
import numpy as np

import numbaflux as nf
from tests.examples.program import FOLDER

SERVE = FOLDER / "serve"
CLIENTS = {name: (name[0] + name) * 8 for name in ("alice", "greedy", "tester")}


def module(name: str) -> ModuleType:
    """serve, service or guard, which import each other by these names."""
    sys.path.insert(0, str(SERVE))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SERVE))


class Server:
    """A running server; clients with and without a token, raw bytes, and all that it has logged when it has ended."""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self.process, self.log = process, log
        self.port = int(re.search(r"port (\d+)", process.stdout.readline())[1])
        self.address = f"http://127.0.0.1:{self.port}"

    def client(self, name: str | None = "alice") -> httpx.Client:
        headers = {"Authorization": f"Bearer {CLIENTS[name]}"} if name else {}
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used, and made at once
        return httpx.Client(base_url=self.address, headers=headers, timeout=30, trust_env=False, verify=bare)

    def logged(self, request: str, seconds: float = 20) -> str:
        """All that was logged once a request is in it, which happens after its answer was sent."""
        end = time.monotonic() + seconds
        while request not in (text := self.log.read_text()):
            assert time.monotonic() < end, f"{request} is not in the log"
            time.sleep(0.02)
        return text

    def send(self, *parts: bytes, seconds: float = 10) -> bytes:
        """What comes back until the server closes; our side stays open meanwhile."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as raw, contextlib.suppress(OSError):
            for part in parts:
                raw.sendall(part)
            found = b""
            while more := raw.recv(65536):
                found += more
            return found
        return b""


def model_file(folder: Path) -> tuple[Path, str]:
    """A classifier of 3 numbers into 4 classes, and the digest of its file."""
    nf.seed(3)
    path = folder / "model.h5"
    nf.save(path, nf.Chain(nf.Dense(3, 8, nf.tanh), nf.Dense(8, 4, init=partial(nf.init.glorot_normal, gain=3.0))))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def token_file(folder: Path) -> Path:
    path = folder / "tokens"
    path.touch(mode=0o600)
    path.write_text("# who may ask\n" + "".join(f"{name} {token}\n" for name, token in CLIENTS.items()))
    return path


@contextlib.contextmanager
def serving(folder: Path, *options: object) -> Iterator[Server]:
    path, digest = model_file(folder)
    command = [sys.executable, SERVE / "serve.py", path, "--sha256", digest, "--shape", 3, "--range", -10, 10]
    command += ["--tokens", token_file(folder), "--port", 0, *options]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        yield Server(process, folder / "log")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def chances(path: Path, rows: list[list[float]]) -> np.ndarray:
    """What the model of model_file gives, in float64 and without numbaflux."""
    import h5py

    with h5py.File(path) as file:
        (w0, b0), (w1, b1) = (
            (file[f"tensors/{i}/weight"][()].astype(float), file[f"tensors/{i}/bias"][()].astype(float)) for i in (0, 1)
        )
    scores = np.tanh(np.array(rows, float) @ w0 + b0) @ w1 + b1
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
