"""The file format: what is written is read back, by us and by any HDF5 tool; a failed or killed write harms nothing."""

import os
import random
import re
import signal
import stat
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numbaflux import hdf5
from numbaflux.hdf5 import File, read, write
from numbaflux.op import FileFormatError
from tests.fuzz import forge

FILES = Path(__file__).parent / "files"
DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def same(file: File, tensors: dict[str, np.ndarray], documents: dict[str, str]) -> None:
    assert file.documents == documents and list(file.tensors) == sorted(tensors)
    for name, array in tensors.items():
        got = file.tensors[name]
        assert got.dtype == array.dtype.newbyteorder("=") and got.shape == array.shape
        assert got.tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()
        assert got.flags.aligned and not got.flags.writeable


def all_datasets(path: Path) -> dict[str, np.ndarray]:
    """What h5py finds, by HDF5 path."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


def names_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# -------------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 4), (2, 1, 3, 1, 2, 1, 1, 2)])
def test_types_and_shapes(tmp_path, dtype, shape):
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2, dtype)
    digest = write(tmp_path / "m.h5", {"a": array}, {})
    file = read(tmp_path / "m.h5")
    same(file, {"a": array}, {})
    assert (file.version, file.digest) == (1, digest)
    (stored,) = all_datasets(tmp_path / "m.h5").values()
    np.testing.assert_array_equal(stored, array)


def test_nothing_at_all(tmp_path):
    write(tmp_path / "m.h5", {}, {})
    same(read(tmp_path / "m.h5"), {}, {})


def test_layout_of_memory_does_not_matter(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    views = {"t": array.T, "s": array[::2, ::-1], "big": array.astype(">f4"), "f": np.asfortranarray(array)}
    write(tmp_path / "m.h5", views, {})
    same(read(tmp_path / "m.h5"), views, {})


def test_values_beyond_numbers(tmp_path):
    tensors = {"f": np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324]), "i": np.array([-(2**63), 2**63 - 1])}
    write(tmp_path / "m.h5", tensors, {"note": "Grüße, 世界 \N{ROCKET}"})
    same(read(tmp_path / "m.h5"), tensors, {"note": "Grüße, 世界 \N{ROCKET}"})


part = st.text("abcXYZ019_-", min_size=1, max_size=6)
name = st.lists(part, min_size=1, max_size=5).map(".".join)
tensor = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=5))
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(name, tensor, max_size=30), st.dictionaries(name, st.text(min_size=1), max_size=3))
def test_any_content(tmp_path, tensors, documents):
    names = [f"t.{x}" for x in tensors] + [f"d.{x}" for x in documents]
    if any(b.startswith(a + ".") for a in names for b in names):
        with pytest.raises(FileFormatError, match="no continuation of another"):
            write(tmp_path / "m.h5", tensors, documents)
        return
    write(tmp_path / "m.h5", tensors, documents)
    same(read(tmp_path / "m.h5"), tensors, documents)


@pytest.mark.parametrize("count", [8, 9, 64, 65, 600])
def test_crowded_groups(tmp_path, count):
    tensors = {f"body.{i}.weight": np.full((2,), i, np.float32) for i in range(count)}
    write(tmp_path / "m.h5", tensors, {})
    same(read(tmp_path / "m.h5"), tensors, {})
    with h5py.File(tmp_path / "m.h5") as file:
        sizes = []
        file.visititems(lambda _, item: sizes.append(len(item)) if isinstance(item, h5py.Group) else None)
    assert max(sizes) <= 8


def test_same_input_same_bytes(tmp_path):
    tensors = {f"l.{i}.w": np.full((i + 1,), i, np.float32) for i in range(20)}
    write(tmp_path / "a.h5", tensors, {"a": "x", "b": "y"})
    time.sleep(1.1)  # a time stamp would show
    write(tmp_path / "b.h5", dict(reversed(tensors.items())), {"b": "y", "a": "x"})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_digest_is_as_documented(tmp_path):
    """An independent digest agrees, below, at and above the 64 KiB leaf and over what one thread takes."""
    sizes = (1, 16_383, 16_384, 16_385, 40_000, 1_100_000, 2_200_000)
    tensors = {f"t{n}": np.random.default_rng(n).random(n, np.float32) for n in sizes}
    digest = write(tmp_path / "m.h5", tensors, {"note": "hello"})
    arrays = {f"tensors.{name}": array for name, array in tensors.items()}
    assert digest == forge.file_digest(arrays | {"documents.note": np.frombuffer(b"hello", np.uint8)})
    with h5py.File(tmp_path / "m.h5") as file:
        assert file.attrs["digest"] == digest.encode()
        assert file["tensors/t40000"].attrs["sha256"] == forge.digest(tensors["t40000"]).encode()
    same(read(tmp_path / "m.h5"), tensors, {"note": "hello"})


def test_files_of_every_version():
    file = read(FILES / "format-1.h5")
    assert file.version == 1
    tensors = {"body.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "body.0.flag": np.array([True, False])}
    same(file, tensors | {"step": np.array(7, np.int64)}, {"architecture": '{"layer": "Dense"}'})


def test_h5dump_reads_it(tmp_path):
    write(tmp_path / "m.h5", {"body.weight": WEIGHT}, {"note": "hello"})
    command = ["h5dump", "-d", "/tensors/body/weight", "-b", "LE", "-o", str(tmp_path / "raw"), str(tmp_path / "m.h5")]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("h5dump is missing (Debian: hdf5-tools)")
    assert (tmp_path / "raw").read_bytes() == WEIGHT.tobytes()


def test_reading_needs_no_h5py(tmp_path):
    write(tmp_path / "m.h5", {"w": WEIGHT}, {})
    code = "import sys; from numbaflux import hdf5; hdf5.read(sys.argv[1]); print('h5py' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code, tmp_path / "m.h5"], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_memory_of_reading(tmp_path):
    write(tmp_path / "m.h5", {f"w{i}": np.zeros(1 << 19, np.float64) for i in range(4)}, {})
    tracemalloc.start()
    file = read(tmp_path / "m.h5")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(file.tensors) == 4 and peak < (16 << 20) + (1 << 20)


def test_no_memory(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    write(tmp_path / "m.h5", {"w": WEIGHT}, {})
    monkeypatch.setattr(np, "empty", fail)
    with pytest.raises(FileFormatError, match="^m.h5: does not fit in memory$"):
        read(tmp_path / "m.h5")


def test_links_to_files_are_followed(tmp_path):
    write(tmp_path / "m.h5", {"w": WEIGHT}, {})
    (tmp_path / "latest.h5").symlink_to("m.h5")
    same(read(tmp_path / "latest.h5"), {"w": WEIGHT}, {})


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "tensors, about",
    [
        ({"w": np.zeros((0, 3))}, "none empty"),
        ({"w": np.zeros((1,) * 9)}, "8 dimensions"),
        ({"w": np.zeros(3, complex)}, "complex128"),
        ({"w": np.zeros(3, object)}, "object"),
        ({"w": np.zeros(3, "datetime64[s]")}, "datetime64"),
        ({"w": np.zeros(3, "S4")}, "bytes32"),
        ({"w": [1.0]}, "list"),
        ({"": WEIGHT}, "name"),
        ({"a..b": WEIGHT}, "name"),
        ({".": WEIGHT}, "name"),
        ({"a/b": WEIGHT}, "name"),
        ({"a b": WEIGHT}, "name"),
        ({"ä": WEIGHT}, "name"),
        ({"a\n": WEIGHT}, "name"),
        ({"~0": WEIGHT}, "name"),
        ({"n" * 65: WEIGHT}, "name"),
        ({".".join("n" * 17): WEIGHT}, "name"),
        ({"a": WEIGHT, "a.b": WEIGHT}, "no continuation"),
        ({"a.b.c": WEIGHT, "a.b": WEIGHT}, "no continuation"),
        ({f"w{i}": WEIGHT for i in range(65_537)}, "at most 65536"),
    ],
)
def test_tensors_the_format_has_not(tmp_path, tensors, about):
    with pytest.raises(FileFormatError, match=rf"^m\.h5: .*{re.escape(about)}") as error:
        write(tmp_path / "m.h5", tensors, {})
    assert str(error.value).isprintable() and len(str(error.value)) <= 300
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "documents, about",
    [
        ({"a": ""}, "text"),
        ({"a": b"bytes"}, "bytes"),
        ({"a": "\ud800"}, "Unicode"),
        ({"a b": "x"}, "name"),
        ({"a": "x" * ((8 << 20) + 1)}, "8388608"),
        ({"a": "ä" * (4 << 20), "b": "x"}, "8388608"),
    ],
)
def test_documents_the_format_has_not(tmp_path, documents, about):
    with pytest.raises(FileFormatError, match=rf"^m\.h5: .*{about}"):
        write(tmp_path / "m.h5", {}, documents)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("path", ["http://example.org/m.h5", "s3://m.h5", "", "folder/", "a\0b", b"m.h5"])
def test_paths_that_name_no_file(path):
    for attempt in (lambda: read(path), lambda: write(path, {}, {})):
        with pytest.raises(FileFormatError, match="path must be text that names a file"):
            attempt()


def test_names_of_files_in_messages(tmp_path):
    for name in ("n" * 250, "evil\x1b[31m\n.h5", os.fsdecode(b"\xff.h5")):
        (tmp_path / name).write_bytes(b"x" * 100)
        with pytest.raises(FileFormatError) as error:
            read(tmp_path / name)
        assert str(error.value).isprintable() and len(str(error.value)) <= 300


# -------------------------------------------------------------------------------------------------- whole or not at all


def test_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "shared.h5", {"w": WEIGHT}, {})
        write(tmp_path / "private.h5", {"w": WEIGHT}, {}, mode=0o600)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("shared.h5", "private.h5")]
    assert modes == [0o640, 0o600]


def test_a_link_is_replaced_and_its_target_kept(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "m.h5").symlink_to("victim")
    write(tmp_path / "m.h5", {"w": WEIGHT}, {})
    assert (tmp_path / "victim").read_text() == "precious" and not (tmp_path / "m.h5").is_symlink()


def test_only_files_are_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "null.h5").symlink_to("/dev/null")
    for name in ("pipe.h5", "folder.h5", "null.h5"):
        with pytest.raises(FileFormatError, match=f"^{name}: the target must be a file or nothing"):
            write(tmp_path / name, {"w": WEIGHT}, {})
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "no" / "m.h5", {"w": WEIGHT}, {})
    assert names_in(tmp_path) == ["folder.h5", "null.h5", "pipe.h5"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_disk_that_fails(tmp_path, monkeypatch, broken):
    write(tmp_path / "m.h5", {"w": WEIGHT}, {})

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="Input/output error"):
        write(tmp_path / "m.h5", {"w": WEIGHT + 1}, {})
    same(read(tmp_path / "m.h5"), {"w": WEIGHT}, {})
    assert names_in(tmp_path) == ["m.h5"]


def test_order_of_a_durable_write(tmp_path, monkeypatch):
    """Data reach the disk before the name changes, and the folder after it."""
    calls = []
    fsync, replace = os.fsync, os.replace
    kinds = {True: "fsync folder", False: "fsync file"}
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(kinds[stat.S_ISDIR(os.fstat(fd).st_mode)]), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda old, new: (calls.append("replace"), replace(old, new)))
    write(tmp_path / "m.h5", {"w": WEIGHT}, {})
    assert calls == ["fsync file", "replace", "fsync folder"]


def test_another_libhdf5_that_writes_otherwise(tmp_path, monkeypatch):
    """What our parser would refuse never takes the place of a good file."""
    write(tmp_path / "m.h5", {"w": WEIGHT}, {})
    with monkeypatch.context() as patch, pytest.raises(FileFormatError, match="multiple of 8"):
        patch.setattr(hdf5, "ALIGNMENT", 1)
        write(tmp_path / "m.h5", {"w": WEIGHT + 1}, {})
    same(read(tmp_path / "m.h5"), {"w": WEIGHT}, {})
    assert names_in(tmp_path) == ["m.h5"]


FULL_DISK = """
import os, resource, sys
import numpy as np
from numbaflux import hdf5
path = sys.argv[1]
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
hdf5.write(path, {"w": np.zeros(3)}, {})
for limit in (0, 47, 48, 100, 500, 2_000, 10_000, 100_000, 1_000_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        hdf5.write(path, {f"w{i}": np.ones(10_000) for i in range(20)}, {"note": "x" * 5_000})
    except OSError as error:
        assert error.errno == 27, error
    else:
        raise AssertionError(limit)
    assert os.listdir(os.path.dirname(path)) == ["m.h5"], limit
    assert hdf5.read(path).tensors["w"].tolist() == [0, 0, 0]
print("done")
"""


def test_a_full_disk(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, tmp_path / "m.h5"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("done\n", "")


WRITER = """
import sys
import numpy as np
from numbaflux import hdf5
path = sys.argv[1]
for i in range(1_000_000):
    hdf5.write(path, {f"l{k}": np.full(50_000, i % 2, np.float32) for k in range(10)}, {"i": str(i % 2)})
    if i == 0:
        print("ready", flush=True)
"""


def test_killed_while_writing(tmp_path):
    draw = random.Random()
    for _ in range(40 if os.environ.get("NUMBAFLUX_LONG") == "1" else 5):
        with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "m.h5"], stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            time.sleep(draw.uniform(0, 0.1))
            child.send_signal(signal.SIGKILL)
        file = read(tmp_path / "m.h5")
        values = {value for array in file.tensors.values() for value in (array.min(), array.max())}
        assert values == {float(file.documents["i"])} and len(file.tensors) == 10


def test_leftovers_are_swept_after_a_day(tmp_path):
    old, fresh, other = (tmp_path / f".numbaflux-{c * 32}.tmp" for c in "012")
    for path in (old, fresh, other.with_suffix(".txt")):
        path.write_text("left")
    for path in (old, other.with_suffix(".txt")):
        os.utime(path, (0, 0))
    write(tmp_path / "m.h5", {"w": WEIGHT}, {})
    assert names_in(tmp_path) == sorted([fresh.name, other.with_suffix(".txt").name, "m.h5"])
