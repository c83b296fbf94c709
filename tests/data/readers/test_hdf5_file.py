"""HDF5 as data: slices of a mapped file, digests up front or later, other files by h5py where that is asked for."""

import os

import h5py
import numpy as np
import pytest

import numbaflux as nf
from numbaflux.data import Arrays
from numbaflux.op import FileFormatError, RangeError
from tests.child import child

X, Y = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32), np.arange(40)
FLAGS = np.arange(40) % 2 == 0


@pytest.fixture
def path(tmp_path):
    nf.hdf5.write(tmp_path / "set.h5", {"train.x": X, "train.y": Y, "flags": FLAGS, "rate": np.float64(3)}, {"n": "hi"})
    return tmp_path / "set.h5"


@pytest.fixture
def foreign(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w", libver="latest") as file:
        file.create_dataset("a/x", data=X, chunks=(8, 3), compression="gzip")
        file["y"] = Y
    return tmp_path / "other.h5"


def refused(call, *args, **options):
    with pytest.raises(FileFormatError) as info:
        call(*args, **options)
    text = str(info.value)
    assert text.isprintable() and len(text) <= 300 and info.value.__suppress_context__
    return text


def test_a_mapping_of_arrays(path):
    data = nf.data.hdf5(path)
    assert isinstance(data, Arrays) and set(data) == {"train.x", "train.y", "flags", "rate"} and len(data) == 4
    assert data.documents == {"n": "hi"} and "train.x: (40, 3) float32" in repr(data)
    x = data["train.x"]
    assert isinstance(x, np.memmap) and not x.flags.writeable and np.array_equal(x, X)
    assert np.array_equal(x[5:9], X[5:9]) and np.array_equal(x[[3, 1, 3]], X[[3, 1, 3]])
    assert data["rate"].shape == () and data["rate"] == 3 and np.array_equal(data["flags"], FLAGS)
    with pytest.raises(KeyError):
        data["x"]


def test_it_is_data_for_a_loader(path):
    data = nf.data.hdf5(path)
    loader = nf.DataLoader((data["train.x"], data["train.y"]), batchsize=16, shuffle=True, rng=0)
    batches = list(loader)
    order = np.concatenate([y for _, y in batches])
    assert sorted(order) == list(range(40)) and np.array_equal(np.concatenate([x for x, _ in batches]), X[order])
    assert all(type(x) is np.ndarray and x.flags.writeable for x, _ in batches)  # new memory, as of any data
    flags = list(nf.DataLoader({name: data[name] for name in ("flags", "train.y")}, batchsize=40))[0]
    assert np.array_equal(flags["flags"], FLAGS) and flags["train.y"].tolist() == list(range(40))
    train, rest = nf.splitobs((data["train.x"], data["train.y"]), 0.75)
    assert np.array_equal(train[0], X[:30]) and np.array_equal(rest[1], Y[30:])


def test_a_model_file_is_one(tmp_path):
    model = nf.Chain(nf.Dense(2, 3, rng=0))
    nf.save(tmp_path / "model.h5", model)
    data = nf.data.hdf5(tmp_path / "model.h5")
    assert any(np.array_equal(one, model[0].weight) for one in data.values())


def damaged(path):
    """One bit of a value changed."""
    content = bytearray(path.read_bytes())
    content[content.index(X.tobytes()) + 88] ^= 1
    path.write_bytes(content)


def test_digests_up_front_or_later(path):
    nf.data.hdf5(path, verify=False).verify()
    damaged(path)
    text = refused(nf.data.hdf5, path)
    assert text.startswith("set.h5: SHA-256 of tensors.train.x must be ")
    data = nf.data.hdf5(path, verify=False)  # structure alone
    assert np.count_nonzero(data["train.x"] != X) == 1
    data.verify("train.y", "flags", "rate")
    assert refused(data.verify, "train.x").startswith("set.h5: SHA-256 of train.x must be ")
    assert refused(data.verify).startswith("set.h5: SHA-256 of train.x must be ")
    assert refused(data.verify, "none").startswith("set.h5: names must be of arrays with a digest")


def test_documents_are_verified_always(path):
    content = path.read_bytes()
    path.write_bytes(content.replace(b"hi", b"ha"))
    assert "SHA-256 of documents.n must be" in refused(nf.data.hdf5, path, verify=False)


def test_a_list_of_digests_that_lies(path):
    content = bytearray(path.read_bytes())
    at = content.index(b"digest") + 30
    place = content.index(nf.hdf5.read(path).digest.encode(), at - 30)
    content[place : place + 1] = b"0" if content[place : place + 1] != b"0" else b"1"
    path.write_bytes(content)  # its checksum sees it first
    assert "intact, got 'damage'" in refused(nf.data.hdf5, path, verify=False)


def test_another_program_s_file(foreign):
    text = refused(nf.data.hdf5, foreign)
    assert text.startswith("other.h5: ")
    assert text.endswith("; another program's file: trusted=True, if you know who made it, or limited=True")
    with pytest.raises(RangeError, match="^hdf5: trusted must be without limited=True, got both$"):
        nf.data.hdf5(foreign, trusted=True, limited=True)


def test_trusted_files_by_h5py(foreign, tmp_path):
    data = nf.data.hdf5(foreign, trusted=True)
    assert list(data) == ["a/x", "y"] and isinstance(data["a/x"], h5py.Dataset) and data.documents == {}
    x, y = next(iter(nf.DataLoader((data["a/x"], data["y"]), batchsize=8)))
    assert np.array_equal(x, X[:8]) and y.tolist() == list(range(8))
    os.remove(foreign)  # it is open
    assert np.array_equal(data["a/x"][30:], X[30:])
    assert refused(data.verify).startswith("other.h5: names must be of arrays with a digest, as numbaflux writes them")
    (tmp_path / "text").write_text("no HDF5 at all")
    text = refused(nf.data.hdf5, tmp_path / "text", trusted=True)
    assert text == "text: it must be a whole HDF5 file, got 'damage, or another form'"
    assert np.array_equal(nf.data.hdf5(os.path.basename(_again(foreign)), trusted=True, root=tmp_path)["y"], Y)


def _again(path):
    with h5py.File(path, "w") as file:
        file["y"] = Y
    return path


def test_others_by_a_process_with_limits(foreign, tmp_path):
    data = nf.data.hdf5(foreign, limited=True)
    assert list(data) == ["a/x", "y"] and np.array_equal(data["a/x"], X) and np.array_equal(data["y"], Y)
    assert np.array_equal(nf.data.hdf5("other.h5", limited=True, root=tmp_path)["y"], Y)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["x"] = h5py.ExternalLink("other.h5", "y")
    text = refused(nf.data.hdf5, tmp_path / "link.h5", limited=True)
    assert text.startswith("link.h5: link ") and "hard, got 'external'" in text
    text = refused(nf.data.hdf5, foreign, limited=True, max_bytes=X.nbytes - 1)
    assert text.startswith("other.h5: a/x must be ")
    os.mkfifo(tmp_path / "pipe")
    assert "a regular file" in refused(nf.data.hdf5, tmp_path / "pipe", limited=True)


def test_sizes(path, tmp_path):
    content = path.read_bytes()
    for cut in (0, 1, 47, 48, len(content) - 1):
        path.write_bytes(content[:cut])
        assert refused(nf.data.hdf5, path).startswith("set.h5: ")
    path.write_bytes(content + b"\0")
    assert "the size of the file must be" in refused(nf.data.hdf5, path)


def test_slices_of_a_file_larger_than_the_memory_it_takes(tmp_path):
    """256 MiB of data in a process that may have 96 MiB more of memory of its own."""
    nf.hdf5.write(tmp_path / "large.h5", {"x": np.ones((64, 2**20), np.float32)}, {})
    said = child(f"""
        import resource, numpy as np, numbaflux as nf
        nf.data.hdf5  # all that an import takes
        now = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (now + (96 << 20),) * 2)
        data = nf.data.hdf5({str(tmp_path / "large.h5")!r})
        print(sum(float(b.sum()) for b in nf.DataLoader(data["x"], batchsize=2, prefetch=1)) / 2**26)
        try:
            np.ones(2**26, np.float32) + 1
        except MemoryError:
            print("the limit holds")
    """)
    assert said.split("\n") == ["1.0", "the limit holds"]
