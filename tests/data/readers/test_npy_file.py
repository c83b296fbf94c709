"""npy and npz: against np.load; pickles, headers that lie, zips that are bombs; every message."""

import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

import numbaflux as nf
from numbaflux.op import FileFormatError
from tests.data.readers.files import npy, npz

KINDS = ["?", "i1", "u2", ">i4", "<u8", "f2", ">f4", "f8", "c8", ">c16", "U3", ">U2", "S4"]


@pytest.fixture
def read(tmp_path):
    def call(content, reader=nf.data.npy, **options):
        (tmp_path / "x").write_bytes(content)
        return reader(tmp_path / "x", **options)

    return call


@pytest.fixture
def refused(read):
    def call(content, reader=nf.data.npy, **options):
        with pytest.raises(FileFormatError) as info:
            read(content, reader, **options)
        return str(info.value).removeprefix("x: ")

    return call


def head(text, version=1, pad=b"", length=None):
    """A file of no values with this header."""
    data = text.encode()
    width = struct.pack("<H" if version == 1 else "<I", len(data) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + width + data + pad


arrays = st.sampled_from(KINDS).flatmap(
    lambda kind: hn.arrays(kind, hn.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=3))
)


@given(arrays, st.booleans())
def test_arrays_come_back(tmp_path_factory, array, fortran):
    array = np.asfortranarray(array) if fortran else array
    path = tmp_path_factory.getbasetemp() / "array.npy"
    np.save(path, array)
    found, expected = nf.data.npy(path), np.load(path, allow_pickle=False)
    assert found.dtype == array.dtype.newbyteorder("=") and found.shape == expected.shape and found.dtype.isnative
    assert found.flags.f_contiguous == expected.flags.f_contiguous
    assert np.array_equal(found, expected, equal_nan=found.dtype.kind in "fc")


@settings(max_examples=25)
@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(lambda n: n != "file"), arrays))
def test_archives_come_back(tmp_path_factory, several):
    path = tmp_path_factory.getbasetemp() / "arrays.npz"
    for save in (np.savez, np.savez_compressed):
        save(path, **several)
        found, expected = nf.data.npz(path), np.load(path, allow_pickle=False)
        assert list(found) == list(several)
        for name, array in found.items():
            assert np.array_equal(array, expected[name], equal_nan=array.dtype.kind in "fc")


def test_versions_and_other_writers(read):
    for version in ((1, 0), (2, 0), (3, 0)):
        out = io.BytesIO()
        np.lib.format.write_array(out, np.arange(3.0), version=version)
        assert read(out.getvalue()).tolist() == [0, 1, 2]
    for text in (
        dictionary(), dictionary() + "\n", dictionary(order="True").replace(" ", ""), dictionary()[:-1] + ", }   \n",
        "{ 'shape' : ( 1 , ) , 'descr' : '<f8' , 'fortran_order' : False }   \n",
    ):  # fmt: skip
        content = head(text, pad=struct.pack("<d", 2.5))
        assert read(content).tolist() == np.load(io.BytesIO(content)).tolist() == [2.5]


def test_an_archive_is_data(read):
    found = read(npz(x=np.ones((5, 2), np.float32), y=np.arange(5)), nf.data.npz)
    assert [batch["x"].shape for batch in nf.DataLoader(found, batchsize=3)] == [(3, 2), (2, 2)]


def test_pickles_are_refused(refused, tmp_path):
    class Harm:
        def __reduce__(self):
            return (tmp_path.joinpath("harm").touch, ())

    expected = "its header must be that of a plain array (no objects, which are pickles), got "
    content = npy(np.array([Harm()], object))
    assert refused(content).startswith(expected)
    assert refused(npz(x=np.array([Harm()], object)), nf.data.npz).startswith(f"array x: {expected}")
    assert refused(npy(np.zeros(2, "i4,f4"))).startswith(expected)
    assert refused(npy(np.zeros(2, "M8[s]"))).startswith(expected)
    assert not tmp_path.joinpath("harm").exists()


def dictionary(descr="'<f8'", order="False", shape="(1,)"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "()", "[" * 4000, "-" * 4000 + "1", "(" * 4000, "__import__('os')", dictionary() + "; x",
        dictionary(order="0"), dictionary(order="'no'"), dictionary(shape="(1)"), dictionary(shape="1"),
        dictionary(shape="(-1,)"), dictionary(shape="(01,)"), dictionary(shape="(1e3,)"), dictionary(shape="(\u0661,)"),
        dictionary(shape="(1,,)"), dictionary(descr="'O'"), dictionary(descr="'f16'"), dictionary(descr="'U0'"),
        dictionary(descr="[('a', 'O')]"), dictionary(descr="'|V8'"), "{'descr': '<f8', 'fortran_order': False}",
        "{'descr': '<f8', 'descr': '<f8', 'shape': ()}", "{'shape': ()" + ", 'shape': ()" * 300,
    ],
)  # fmt: skip
def test_headers_are_matched_not_evaluated(refused, text):
    expected = "its header must be that of a plain array (no objects, which are pickles), got "
    assert refused(head(text, 2, bytes(8))).startswith(expected)


def shaped(*shape, kind="<f8", pad=b""):
    return head(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}", pad=pad)


def test_headers_that_lie(refused, read):
    assert refused(shaped(10**18)) == f"the array must be of at most 4294967296 bytes (max_bytes=), got {8 * 10**18}"
    assert refused(shaped(2**32, 2**32)).startswith("the array must be of at most")
    assert refused(shaped(0, 2**62, 2**62)).startswith("the array must be of at most")
    assert read(shaped(0, 2**58), max_bytes=2**62 - 1).shape == (0, 2**58)
    assert refused(shaped(3, pad=bytes(23))).startswith("its size must be ")
    assert refused(shaped(3, pad=bytes(25))).endswith(f"as its header says, got {len(shaped(3)) + 25}")
    assert refused(shaped(*[1] * 33, pad=bytes(8))) == "its shape must be of 0 to 32 axes, got 33"
    assert (
        refused(shaped(3, pad=bytes(24)), max_bytes=23) == "the array must be of at most 23 bytes (max_bytes=), got 24"
    )
    assert refused(head("", 2, length=2**31)) == f"its header must be of at most 4096 bytes, got {2**31}"
    assert refused(head("", 1, length=4097)) == "its header must be of at most 4096 bytes, got 4097"
    start = "its start must be NumPy's mark and version 1 to 3, got "
    assert refused(b"\x93NUMPY\4\0" + bytes(99)).startswith(start) and refused(b"\x93NUMPX\1\0").startswith(start)
    assert refused(b"\x93NUM").startswith(start)


def test_values_that_are_none(refused):
    assert refused(shaped(2, kind="|b1", pad=b"\1\2")) == "its booleans must be 0 or 1, got 'more'"
    assert refused(shaped(1, kind="<U1", pad=b"\0\0\x11\0")) == "its texts must be Unicode, got '0x110000'"
    assert refused(shaped(1, kind=">U1", pad=b"\0\x11\0\0")) == "its texts must be Unicode, got '0x110000'"


# ---------------------------------------------------------------------------------------------------------------- zips


def zipped(*members, kind=zipfile.ZIP_STORED, tail=b""):
    """A zip of (name, content)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue() + tail


def patched(content, at, number, size=4, mark=b"PK\1\2"):
    """The content with a number of its list changed."""
    place = content.index(mark) + at
    return content[:place] + number.to_bytes(size, "little") + content[place + size :]


ONE = npy(np.arange(4.0))
PLAIN, PACKED = zipped(("x.npy", ONE)), zipped(("x.npy", npy(np.zeros(1000))), kind=zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize(
    "name", ["x", "../x.npy", "a/../x.npy", "/x.npy", ".npy", "a//b.npy", "\33[1m.npy", "x" * 201 + ".npy"]
)
def test_names_in_archives(refused, read, name):
    expected = "a name in it must be printable, ending in .npy, there once, got "
    assert refused(zipped((name, ONE)), nf.data.npz).startswith(expected)
    assert list(read(zipped(("layer/0.npy", ONE)), nf.data.npz)) == ["layer/0"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_there_twice(refused):
    assert "there once, got 'x.npy'" in refused(zipped(("x.npy", ONE), ("x.npy", ONE)), nf.data.npz)


def test_archives_that_are_not_plain(refused):
    call = lambda content, **options: refused(content, nf.data.npz, **options)  # noqa: E731
    assert call(PLAIN + b"x").startswith("its end must be that of a zip, without a comment, got ")
    assert call(b"#!/bin/sh\n" + PLAIN).startswith("array x must be behind the one before it, the first at the start")
    assert call(patched(PLAIN, 8, 1, 2)) == "array x must be stored or deflated, not encrypted, got 0"
    assert call(patched(PLAIN, 10, 14, 2)) == "array x must be stored or deflated, not encrypted, got 14"
    damage = "must be a zip of arrays, as np.savez writes it, got 'damage, or another form'"
    assert call(patched(PLAIN, 16, 7)) == f"it {damage}"  # its sum
    assert call(PACKED[:60] + b"\xff\xff" + PACKED[62:]) == f"it {damage}"
    assert call(patched(PLAIN, 42, 9)).startswith("array x must be behind")
    assert call(b"PK\5\6" + bytes(4) + b"\1\0\1\0" + b"\x2e\0\0\0" + bytes(6)) == f"it {damage}"
    nested = zipped(("x.npy", PLAIN))
    assert call(nested).startswith("array x: its start must be NumPy's mark")


def test_archives_that_are_bombs(refused, read):
    call = lambda content, **options: refused(content, nf.data.npz, **options)  # noqa: E731
    zeros = npz(x=np.zeros(2**18))
    assert " times its " in call(zeros) and "(max_ratio=), got" in call(zeros)
    assert read(zeros, nf.data.npz, max_ratio=2000)["x"].shape == (2**18,)
    several = npz(**{f"x{i}": np.arange(1000) for i in range(10)})
    assert call(several, max_bytes=20_000).startswith("the arrays must be of at most 20000 bytes (max_bytes=), got ")
    assert call(patched(PLAIN, 24, 2**31)).startswith("array x must be at most 1 times its 160 bytes")
    assert call(patched(PACKED, 24, 2**20)).startswith("array x must be at most 200 times its ")
    assert call(patched(PACKED, 24, 1000)).startswith("it must be a zip of arrays")  # says less than it holds
    assert call(patched(PACKED, 24, 9000)).startswith(
        "array x: its size must be 8128 bytes, as its header says, got 9000"
    )


def test_members_that_lie_over_one_another(refused):
    """Many names of the same bytes: each fits, together they would be much more than the file."""
    two = bytearray(zipped(("x.npy", ONE), ("x.npz.npy", ONE)))
    second = two.index(b"PK\1\2", two.index(b"PK\1\2") + 1)
    two[second + 42 : second + 46] = (20).to_bytes(4, "little")
    assert "must be behind the one before it" in refused(bytes(two), nf.data.npz)
    long = patched(patched(PLAIN, 20, 10_000), 24, 10_000)
    assert refused(long, nf.data.npz).startswith(
        "the arrays must be before the list of them, got 'bytes up to 10035 of"
    )


def test_lists_that_are_too_long(refused):
    many = zipped(*((f"{i}.npy", ONE) for i in range(4097)))
    assert refused(many, nf.data.npz) == "it must be of at most 4096 arrays, got 4097"
    said = "its list of arrays must be of at most 1048576 bytes, got "
    assert refused(patched(PLAIN, 12, 2**21, mark=b"PK\5\6"), nf.data.npz) == said + str(2**21)
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 2**30, 0)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, PLAIN.index(b"PK\5\6"), 1)
    at = PLAIN.index(b"PK\5\6")
    assert refused(PLAIN[:at] + record + locator + PLAIN[at:], nf.data.npz) == said + str(2**30)
