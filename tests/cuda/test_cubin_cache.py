"""Cubins in the cache: compiled once, by processes of their own, under a key that knows all that made them."""

import json
import os
import subprocess

import pytest

import numbaflux as nf
from numbaflux import build, cubin
from numbaflux.objects import Store
from tests.cuda.machine_code import with_cuda
from tests.sources import ROOT

ADD = ("elementwise.add", ("f4:1", "f4:1", "f4:1"), 256)
COPY = ("elementwise.copy", ("f4:1", "f4:1"), 256)
SHARE = """
import json, sys
from numbaflux.cubin import cubins
from numbaflux.objects import Store
store, events = Store(), []
store.listeners.append(lambda event, name: events.append(event))
found = cubins([(f, tuple(s), n) for f, s, n in json.load(sys.stdin)], (9, 0), store)
print(json.dumps([[c.name, len(c.code), c.code[:4].hex()] for c in found.values()]), json.dumps(events),
      "numba" in sys.modules, sep="\\n")
"""


@pytest.fixture
def fake(monkeypatch):
    """Compilers that are not asked; what would have been compiled."""
    made = []

    def compiled(wanted, capability, jobs):
        for name, what in wanted.items():
            made.append(what)
            yield name, what[0].encode() + b"\0code of " + str(capability).encode()

    monkeypatch.setattr(cubin, "versions", lambda: "numba-cuda 1")
    monkeypatch.setattr(cubin, "compiled", compiled)
    cubin.key.cache_clear()
    yield made
    cubin.key.cache_clear()


def test_compiled_once_then_read(fake, tmp_path):
    store = Store(tmp_path, [])
    found = cubin.cubins([ADD, COPY], (9, 0), store)
    assert found[ADD] == cubin.Cubin("elementwise.add", b"code of (9, 0)")
    assert sorted(fake) == [ADD, COPY]
    assert cubin.cubins([ADD, COPY], (9, 0), store) == found
    assert cubin.cubins([COPY], (9, 0), store) == {COPY: found[COPY]}
    assert len(fake) == 2
    cubin.cubins([COPY], (8, 0), store)  # another kind of GPU
    assert len(fake) == 3
    assert cubin.cubins([], (9, 0), store) == {}


def test_a_broken_file_is_made_again(fake, tmp_path):
    store = Store(tmp_path, [])
    right = cubin.cubins([ADD], (9, 0), store)
    [path] = store.files()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert cubin.cubins([ADD], (9, 0), store) == right
    assert fake == [ADD, ADD]


def test_the_key_knows_what_made_a_cubin(fake, monkeypatch):
    first = cubin.key(ADD, (9, 0))
    assert first.startswith("sm90.elementwise.add-")
    others = {cubin.key(COPY, (9, 0)), cubin.key(ADD, (8, 9)), cubin.key((*ADD[:2], 128), (9, 0)),
              cubin.key((ADD[0], ("f8:1",) * 3, 256), (9, 0))}  # fmt: skip
    cubin.key.cache_clear()
    monkeypatch.setattr(cubin, "versions", lambda: "numba-cuda 2")
    others.add(cubin.key(ADD, (9, 0)))
    cubin.key.cache_clear()
    monkeypatch.setattr(cubin, "sources", lambda module: "other")
    others.add(cubin.key(ADD, (9, 0)))
    assert len(others | {first}) == 7


def test_sources_are_followed():
    found = {f"{p.parent.name}/{p.name}" for p in cubin._imported(cubin.KERNELS / "cuda" / "jit.py")}
    assert found == {"kernels/activation.py", "kernels/scalar.py", "kernels/jit.py"}
    assert cubin.KERNELS / "hyper.py" in cubin._imported(cubin.KERNELS / "cuda" / "optim.py")
    assert cubin.sources("softmax") != cubin.sources("elementwise")


def test_without_numba_cuda(monkeypatch):
    monkeypatch.setattr(cubin, "version", lambda name: (_ for _ in ()).throw(cubin.PackageNotFoundError(name)))
    cubin.versions.cache_clear()
    with pytest.raises(nf.PlanError, match=r"^gpu: numba-cuda must be installed, got nothing; pip install numbaflux\["):
        cubin.versions()
    cubin.versions.cache_clear()


def test_a_kernel_that_does_not_compile_is_named(monkeypatch):
    said = "Traceback\n  lines\ncould not compile dense.product(f4:1): TypingError: no"
    done = subprocess.CompletedProcess([], 1, b"", said.encode())
    monkeypatch.setattr(build.subprocess, "run", lambda *args, **kwargs: done)
    with pytest.raises(nf.PlanError, match=r"^gpu: could not compile dense.product\(f4:1\): TypingError: no$"):
        list(cubin.compiled({"a": ADD}, (9, 0), 1))
    done.stderr = b"Killed"
    with pytest.raises(nf.PlanError, match=r"^gpu: could not compile elementwise.add: Killed$"):
        list(cubin.compiled({"a": ADD}, (9, 0), 1))


def asked(what, folder):
    """cubins() in a process whose Python has numba-cuda."""
    env = dict(os.environ) | {"PYTHONPATH": str(ROOT), "NUMBAFLUX_CACHE_DIR": str(folder)}
    command = [with_cuda(), "-P", "-c", SHARE]
    return subprocess.run(command, input=json.dumps(what), env=env, capture_output=True, text=True, check=False)


def test_real_compilers_and_no_numba_in_the_users_process(tmp_path):
    done = asked([ADD, COPY], tmp_path)
    assert done.returncode == 0, done.stderr
    cubins, events, numba = done.stdout.splitlines()
    assert all(name and size > 1000 and magic == "7f454c46" for name, size, magic in json.loads(cubins))
    assert (json.loads(events), numba) == (["built", "built"], "False")
    again = asked([ADD, COPY], tmp_path)
    assert again.stdout.splitlines() == [cubins, "[]", "False"]  # the bundle


def test_real_reason(tmp_path):
    done = asked([ADD, ("elementwise.nowhere", ("f4:1",), 256)], tmp_path)
    assert done.stderr.splitlines()[-1].startswith(
        "numbaflux.op.PlanError: gpu: could not compile elementwise.nowhere(f4:1): AttributeError: "
    )
