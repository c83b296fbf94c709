"""Digests beside hashlib alone: with the kernel, without it, by any number of threads; a digest from outside."""

import hashlib
import os
import time

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import digests
from numbaflux.digests import LARGE, LEAF, SPAN
from numbaflux.kernels.cpu import sha256
from numbaflux.native import Native, native
from numbaflux.objects import Store
from tests.child import child


def plain(array):
    """As docs/format.md words it."""
    data = array.tobytes()
    leaves = [hashlib.sha256(data[i : i + LEAF]).digest() for i in range(0, len(data), LEAF)]
    shape = "x".join(str(n) for n in array.shape)
    return hashlib.sha256(f"{array.dtype.name} {shape}\n".encode() + b"".join(leaves)).hexdigest()


def arrays(*sizes):
    rng = np.random.default_rng(0)
    return {f"a{i}": rng.integers(0, 256, size, dtype=np.uint8) for i, size in enumerate(sizes)}


SIZES = [
    (1,), (LEAF - 1,), (LEAF,), (16 * LEAF,), (16 * LEAF + 1,), (2 * SPAN + 17 * LEAF + 5,),
    (3, SPAN, 7, 16 * LEAF - 1), (20 * LEAF,) * 5, (3 * LEAF,) * 11 + (LEAF + 7, 18 * LEAF + 1) * 4,
]  # fmt: skip


@pytest.fixture(params=["kernel", "hashlib"])
def way(request, monkeypatch):
    """Each way to hash, wherever it is the faster one."""
    monkeypatch.setattr(digests, "LARGE", 0)
    many = digests.abreast() or 16
    monkeypatch.setattr(digests, "abreast", lambda: many if request.param == "kernel" else 0)
    native().find([digests.KERNEL])
    assert (digests.beside() is not None) == (request.param == "kernel")


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("threads", [1, 2])
def test_any_sizes(sizes, threads, way):
    given = arrays(*sizes)
    with nf.threads(min(threads, len(os.sched_getaffinity(0)))):
        assert digests.array_digests(given) == {name: plain(array) for name, array in given.items()}


def test_types_and_shapes(way):
    given = {"a": np.ones((2, 3), np.float32), "b": np.array(True), "c": np.arange(1 << 19, dtype=np.int64)}
    assert digests.array_digests(given) == {name: plain(array) for name, array in given.items()}


def test_parts_get_smaller_and_hold_each_byte_once():
    given = arrays(5, 3 * SPAN, 2 * LEAF, 4 * SPAN + 9, 77)
    with nf.threads(1):
        parts = digests.batches(given)
    for name, array in given.items():
        pieces = [piece for part in parts for piece in part if piece.name == name]
        assert b"".join(piece.data for piece in pieces) == array.tobytes()
        assert all(len(piece.data) % LEAF == 0 for piece in pieces[:-1])
    sizes = [sum(len(piece.data) for piece in part) for part in parts]
    assert max(sizes) <= SPAN + 16 * LEAF and sizes[0] > 2 * sizes[-2]


def test_an_error_ends_all_threads():
    done = []

    def work(item):
        if item == 3:
            raise KeyError(item)
        time.sleep(0.001)
        done.append(item)

    with pytest.raises(KeyError):
        digests.parallel(work, list(range(1000)))
    assert digests.parallel(str, [1, 2, 3]) == ["1", "2", "3"] and len(done) < 100


def test_large_files_alone_take_the_kernel(monkeypatch):
    asked = []
    monkeypatch.setattr(digests, "beside", lambda: asked.append(1))
    digests.array_digests(arrays(LARGE - 2, 1))
    assert not asked
    digests.array_digests(arrays(LARGE - 2, 1, 1))
    assert asked


def test_nobody_waits_for_a_compiler(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    empty = Native(Store(tmp_path, []))
    monkeypatch.setattr(digests, "native", lambda: empty)
    monkeypatch.setattr(digests, "abreast", lambda: 16)
    assert digests.beside() is None and not os.listdir(tmp_path)


def test_no_kernel_where_native_code_is_switched_off(monkeypatch):
    monkeypatch.setattr(digests, "abreast", lambda: 16)
    monkeypatch.setenv("NUMBAFLUX_NATIVE", "0")
    assert digests.beside() is None


@pytest.mark.parametrize(
    ("flags", "many"),
    [("+avx2,+sse4.2", 16), ("+avx2,+avx512f,-sha", 16), ("+avx2,+sha", 2), ("+sha2", 0), ("+sse2", 0), ("-avx2", 0)],
)  # fmt: skip
def test_the_cpu_decides(flags, many, monkeypatch):
    monkeypatch.setattr(digests, "features", lambda: flags)
    assert digests.abreast.__wrapped__() == many


def test_the_kernel_takes_as_many_as_it_is_given():
    assert digests.abreast() % sha256.TOGETHER == 0


# ------------------------------------------------------------------------------------- a digest from somewhere else


@pytest.fixture
def file(tmp_path, saved_model):
    return tmp_path / "model.h5"


def of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_of_that_digest_is_read(file, saved_model):
    for given in (of(file), of(file).upper(), None):
        model = nf.load(file, sha256=given)
        assert np.array_equal(model[0].weight, saved_model[0].weight)
        nf.load_into(model, file, sha256=given)
        assert nf.inspect(file, sha256=given).file == "model.h5"
    nf.save_checkpoint(file, saved_model, nf.setup(nf.Adam(), saved_model))
    assert nf.load_checkpoint(file, sha256=of(file)).epoch == 0


READERS = [
    nf.load,
    nf.inspect,
    nf.load_checkpoint,
    lambda path, **options: nf.load_into(nf.Dense(1, 1), path, **options),
]


@pytest.mark.parametrize("read", READERS)
def test_another_digest_is_refused_before_anything_is_parsed(read, file, monkeypatch):
    good = of(file)
    monkeypatch.setattr("numbaflux.hdf5.objects", lambda data: pytest.fail("parsed"))
    monkeypatch.setattr("numbaflux.hdf5.superblock", lambda *_: pytest.fail("parsed"))
    wrong = good[:-1] + ("0" if good[-1] != "0" else "1")
    with pytest.raises(nf.FileFormatError, match=f"^model.h5: SHA-256 of all bytes must be {wrong}, got {good}$"):
        read(file, sha256=wrong)
    file.write_bytes(b"x" * 100)
    with pytest.raises(nf.FileFormatError, match=f"^model.h5: SHA-256 of all bytes must be {good}, got "):
        read(file, sha256=good)


def test_the_right_digest_of_a_bad_file_does_not_help(tmp_path):
    (tmp_path / "m.h5").write_bytes(b"x" * 100)
    with pytest.raises(nf.FileFormatError, match="^m.h5: the file must be HDF5 from its first byte"):
        nf.load(tmp_path / "m.h5", sha256=of(tmp_path / "m.h5"))


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("given", "error"),
    [("", nf.RangeError), ("a" * 63, nf.RangeError), ("g" * 64, nf.RangeError), ("é" * 64, nf.RangeError),
     (b"a" * 64, nf.DTypeError), (5, nf.DTypeError)],
)  # fmt: skip
def test_what_is_no_digest(read, given, error, file):
    with pytest.raises(error, match="^load: sha256 must be 64 hexadecimal digits, as sha256sum prints them, got "):
        read(file, sha256=given)


def test_loading_a_large_model_imports_no_compiler(tmp_path):
    nf.save(tmp_path / "m.h5", nf.Dense(1024, 2048))
    code = "import sys, numbaflux as nf; nf.load(sys.argv[1]); print('numba' in sys.modules, 'h5py' in sys.modules)"
    assert child(f"import sys; sys.argv[1:] = [{str(tmp_path / 'm.h5')!r}]\n{code}") == "False False"
