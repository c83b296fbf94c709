"""HDF5 files of others: read in a process of its own, or refused by one line, whatever becomes of that process."""

import os
import resource
import sys
import textwrap
import time

import h5py
import numpy as np
import pytest

import numbaflux as nf
from numbaflux.convert import child, foreign
from numbaflux.convert.child import Limits, arrays

X = np.arange(600, dtype=np.float32).reshape(20, 30)


def made(path, fill, **options):
    """A file that fill(file) fills."""
    with h5py.File(path, "w", **options) as file:
        fill(file)
    return path


SMALL = Limits(1 << 24, 20)


def refused(path, text, limits=SMALL):
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(nf.FileFormatError, match=text) as caught:
        arrays(path, limits)
    said = str(caught.value)
    assert (
        said.startswith(f"{path.name}: ") and said.isprintable() and len(said) <= 300 and str(path.parent) not in said
    )
    assert len(os.listdir("/proc/self/fd")) == open_before
    with pytest.raises(ChildProcessError):  # nobody is left behind
        os.waitpid(-1, os.WNOHANG)


def test_numbers_of_every_kind_and_layout(tmp_path):
    types = [order + name for name in foreign.TYPES for order in "<>"]
    given = {f"type/{i}": X.astype(name) for i, name in enumerate(types)}
    given |= {f"rank/{n}": np.full((2,) * n, 3.5) for n in range(9)}

    def fill(file):
        for name, array in given.items():
            file[name] = array
        file.attrs["note"] = "text of any length"
        file.create_group("empty")
        for i, options in enumerate([{"compression": 9}, {"shuffle": True, "compression": 1}, {"chunks": (7, 11)}]):
            file.create_dataset(f"chunked/{i}", data=X, **options)
            given[f"chunked/{i}"] = X
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((600,))
        h5py.h5d.create(file.id, b"compact", h5py.h5t.IEEE_F32LE, space, plist).write(
            h5py.h5s.ALL, h5py.h5s.ALL, X.ravel()
        )
        given["compact"] = X.ravel()

    for options in ({}, {"libver": "latest", "track_order": True}, {"userblock_size": 512}):
        for name in [name for name in given if name.startswith(("chunked", "compact"))]:
            del given[name]
        found = arrays(made(tmp_path / "a.h5", fill, **options))
        assert list(found) == sorted(given)
        for name, array in found.items():
            assert array.dtype == given[name].dtype.newbyteorder("<") and np.array_equal(array, given[name]), name


def _virtual(file):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource(".", "x", (3,))
    file.create_virtual_dataset("x", layout)


def _unknown_filter(file):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((3,))
    plist.set_filter(32_000, h5py.h5z.FLAG_OPTIONAL, ())
    h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((3,)), plist)


def _twice(file):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((1 << 20,))
    plist.set_deflate(9)
    plist.set_deflate(9)
    made = h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((1 << 20,)), plist)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.zeros(1 << 20, np.float32))


def _overlong(file):
    """32 numbers in a chunk that inflates to 300 MiB."""
    import zlib

    made = file.create_dataset("x", (32,), "f4", chunks=(32,), compression=9)
    squeeze = zlib.compressobj(9)
    data = b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(300)) + squeeze.flush()
    made.id.write_direct_chunk((0,), data)


def _biased(file):
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_ebias(100)
    h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((3,)))


FLAT = {"chunks": (1 << 20,), "compression": 9}
HOSTILE = {
    "soft link": (lambda f: f.__setitem__("x", h5py.SoftLink("/y")), "link b'x' of the root group must be hard"),
    "external link": (lambda f: f.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")), "must be hard, got 'ext"),
    "a loop": (lambda f: f.create_group("a").__setitem__("up", f["a"]), "a/up must be no second name of an object"),
    "itself": (_virtual, "x must be plain or chunked, got 'virtual'"),
    "elsewhere": (lambda f: f.create_dataset("x", (3,), "f4", external=[("/etc/hostname", 0, 12)]), "be in this file"),
    "lzf": (lambda f: f.create_dataset("x", data=X, compression="lzf"), "without filters but deflate and shuffle"),
    "a plugin": (_unknown_filter, "without filters but deflate and shuffle, once each, got .32000."),
    "deflated twice": (_twice, "without filters but deflate and shuffle, once each, got .1, 1."),
    "text": (lambda f: f.__setitem__("x", "text"), "x must be of int, uint or float of 1 to 8 bytes, got 'another'"),
    "texts": (lambda f: f.create_dataset("x", data=["a", "b"]), "x must be of int, uint or float"),
    "lists": (lambda f: f.create_dataset("x", (3,), h5py.vlen_dtype("i4")), "x must be of int, uint or float"),
    "references": (lambda f: f.create_dataset("x", data=f.ref, dtype=h5py.ref_dtype), "x must be of int, uint"),
    "a table": (lambda f: f.__setitem__("x", np.zeros(3, [("a", "f4")])), "x must be of int, uint or float"),
    "a float of its own": (_biased, "x must be of int, uint or float of 1 to 8 bytes, got"),
    "a type": (lambda f: f.__setitem__("x", np.dtype("f4")), "x must be a group or a dataset, got 'TypeFloatID'"),
    "nothing": (lambda f: f.__setitem__("x", h5py.Empty("f4")), "x must be of 0 to 8 dimensions, got None"),
    "empty": (lambda f: f.__setitem__("x", np.ones((2, 0))), "x must be of at least one element"),
    "many axes": (lambda f: f.__setitem__("x", np.ones((1,) * 9)), "x must be of 0 to 8 dimensions"),
    "4 TiB": (lambda f: f.create_dataset("x", (1 << 40,), "f4"), "all arrays take at most the limit"),
    "unwritten": (lambda f: f.create_dataset("x", (1 << 20,), "f4"), "stored as large as it is said to be, got '0 by"),
    "unwritten chunks": (lambda f: f.create_dataset("x", (1 << 22,), "f4", **FLAT), "stored as large as it is said"),
    "a huge chunk": (lambda f: f.create_dataset("x", data=X[0], chunks=(1 << 23,), maxshape=(None,)), "chunk must"),
    "many bombs": (
        lambda f: [f.create_dataset(f"x{i}", data=np.zeros(1 << 20, "f4"), **FLAT) for i in range(5)],
        "x4 must be such that all arrays take at most the limit",
    ),
    "an overlong chunk": (_overlong, "must be a whole HDF5 file, got|must need no more memory"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name, tmp_path):
    fill, text = HOSTILE[name]
    refused(made(tmp_path / "x.h5", fill), text)


def test_a_loop_in_libhdf5_is_ended(tmp_path):
    """A node of a B-tree that is its own sibling: libhdf5 goes round for ever."""
    path = made(tmp_path / "x.h5", lambda file: [file.create_group(f"a/{i}") for i in range(3)])
    data = bytearray(path.read_bytes())
    at = data.index(b"TREE", data.index(b"TREE") + 1)
    for where in (at, data.index(b"TREE")):
        data[where + 16 : where + 24] = where.to_bytes(8, "little")
    path.write_bytes(data)
    refused(
        path, "reading it must be done in 1 seconds, got|an end of its process by SIG(XCPU|KILL)", Limits(1 << 24, 1)
    )


def test_files_that_are_none(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"x" * 5000)
    refused(tmp_path / "a.h5", "it must be a whole HDF5 file, got OSError from libhdf5")
    whole = made(tmp_path / "b.h5", lambda file: file.__setitem__("x", X)).read_bytes()
    (tmp_path / "b.h5").write_bytes(whole[:-1000])
    refused(tmp_path / "b.h5", "it must be a whole HDF5 file")
    refused(tmp_path / "none.h5", r"cannot be read \(No such file or directory\)")
    (tmp_path / "folder.h5").mkdir()
    refused(tmp_path / "folder.h5", "it must be a regular file, got 'd'")
    os.mkfifo(tmp_path / "pipe.h5")
    refused(tmp_path / "pipe.h5", "it must be a regular file, got 'p'")
    with pytest.raises(nf.FileFormatError, match="cannot be read"):
        arrays("a\0b.h5")


# ------------------------------------------------------------------ what a process may do that a file has taken over


NAIVE = "import h5py, sys; file = h5py.File(sys.stdin.buffer.raw, 'r'); out = file['x'][()]"
TAKEN = {
    "naive, of a dataset made of itself": (NAIVE, "SIGSEGV"),
    "crash": ("import signal; signal.raise_signal(signal.SIGSEGV)", "SIGSEGV"),
    "abort": ("os.abort()", "SIGABRT"),
    "exit": ("os._exit(7)", "code 7"),
    "nothing": ("os._exit(0)", "code 0"),
    "hang": ("import time; time.sleep(60)", "done in 1 seconds"),
    "busy": ("\nwhile True: pass", "done in 1 seconds|SIGXCPU|SIGKILL"),
    "memory": ("x = bytearray(1 << 40)", "code 1"),
    "files": ("open('/tmp/numbaflux-written', 'w')", "code 1"),
    "another program": ("os.execv('/bin/true', ['true'])", "code 127"),  # it can load no library
    "other bytes": ("out(b'hello')", "what its reader sends must be arrays"),
    "a large error": ("out(b'E' + struct.pack('<H', 65535) + b'\\x1b[31m\\n' * 20000)", "\\?\\[31m\\?"),
    "a large array": ("out(b'A\\1\\0xf4\\1' + struct.pack('<Q', 1 << 40))", "a size must be 1 to "),
    "a negative size": ("out(b'A\\1\\0xf4\\2' + struct.pack('<QQ', 1 << 63, 2))", "a size must be 1 to "),
    "no elements": ("out(b'A\\1\\0xf4\\1' + bytes(8))", "a size must be 1 to "),
    "objects": ("out(b'A\\1\\0xO8\\0' + bytes(8))", "a type must be a number, got 'O8'"),
    "rank": ("out(b'A\\1\\0xf4\\x09')", "a shape must be of 0 to 8 dimensions, got 9"),
    "a name": ("out(b'A\\1\\0\\nf4\\0')", "a name must be printable"),
    "twice": ("out((b'A\\1\\0xf4\\0' + bytes(4)) * 2)", "a name must be there once"),
    "too short": ("out(b'A\\1\\0xf4\\1' + struct.pack('<Q', 9) + bytes(8))", "an end of its process by code 0"),
}  # fmt: skip
BEFORE = """
import os, struct, sys, json
sys.path[:] = json.loads(sys.argv[1])[0]
from numbaflux.convert import foreign
foreign.confine(1 << 26, 1)
def out(data):
    os.write(1, data)
os.write(1, foreign.READY)
"""


@pytest.mark.parametrize("name", TAKEN)
def test_a_process_that_was_taken_over(name, tmp_path, monkeypatch):
    code, text = TAKEN[name]
    script = tmp_path / "script.py"
    loaded = code.replace(NAIVE, "out = file['x'][()]")
    early = "import h5py\nfile = h5py.File(sys.stdin.buffer.raw, 'r')\n" if code == NAIVE else ""
    script.write_text(textwrap.dedent(BEFORE).replace("foreign.confine", early + "foreign.confine") + loaded)
    monkeypatch.setattr(child, "SCRIPT", script)
    start = time.monotonic()
    refused(made(tmp_path / "x.h5", _virtual), text, Limits(1 << 20, 1))
    assert time.monotonic() - start < 40 and not os.path.exists("/tmp/numbaflux-written")


def test_nothing_of_the_environment_gets_in(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    for name in ("HDF5_PLUGIN_PATH", "HDF5_VOL_CONNECTOR", "HDF5_DRIVER", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    path = made(tmp_path / "a.h5", lambda file: file.__setitem__("x", X))
    assert np.array_equal(arrays(path)["x"], X)


def test_limits_hold_in_a_child_alone(tmp_path):
    limits = [resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE]
    before = [resource.getrlimit(one) for one in limits]
    path = made(tmp_path / "a.h5", lambda file: file.__setitem__("x", X))
    assert np.array_equal(arrays(path, Limits(X.nbytes, 20))["x"], X)
    refused(path, "take at most the limit, 2399 bytes more, got", Limits(X.nbytes - 1, 20))
    assert before == [resource.getrlimit(one) for one in limits]
