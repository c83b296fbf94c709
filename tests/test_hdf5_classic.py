"""Files as h5py writes them unless told otherwise, read without it: right, or refused by name, never a crash."""

import re

import h5py
import numpy as np
import pytest

import numbaflux as nf
from numbaflux.hdf5_classic import read


def made(path, fill, **options):
    """A file that fill(file) fills."""
    with h5py.File(path, "w", **options) as file:
        fill(file)
    return path


def refused(path, text):
    with pytest.raises(nf.FileFormatError, match=text) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path.name}: ")


DTYPES = "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()


def test_arrays_of_all_types_and_ranks(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"of/{d}": rng.integers(0, 100, (2, 3)).astype(d) for d in DTYPES}
    arrays |= {f"rank/{n}": rng.normal(size=(2,) * n) for n in range(9)}

    def fill(file):
        for name, array in arrays.items():
            file[name] = array

    found = read(made(tmp_path / "a.h5", fill))
    assert list(found) == sorted(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array), name
        assert not found[name].flags.writeable


def test_many_members_fill_a_tree_of_several_levels(tmp_path):
    names = [f"group{i % 3}/{i}" for i in range(3000)]

    def fill(file):
        for i, name in enumerate(names):
            file[name] = np.float32(i)

    found = read(made(tmp_path / "a.h5", fill))
    assert {name: float(array) for name, array in found.items()} == {name: float(i) for i, name in enumerate(names)}


def test_attributes_and_empty_groups_are_passed_over(tmp_path):
    def fill(file):
        file.attrs["note"] = "text of any length"
        file.create_group("empty").attrs.update({f"name{i}": np.ones(50) for i in range(20)})
        file["a"] = np.arange(3)
        file["a"].attrs["unit"] = "m"

    found = read(made(tmp_path / "a.h5", fill))
    assert list(found) == ["a"] and found["a"].tolist() == [0, 1, 2]


def _virtual(file):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (3,))
    file.create_virtual_dataset("here/x", layout)


FILLS = {
    "chunked": (lambda f: f.create_dataset("here/x", data=np.ones(9), chunks=(3,)), "here/x: layout must be contig"),
    "gzip": (lambda f: f.create_dataset("here/x", data=np.ones(9), compression="gzip"), "here/x .*filter"),
    "virtual": (_virtual, "here/x: "),
    "soft": (lambda f: f.create_group("here").__setitem__("x", h5py.SoftLink("/a")), "here: link x must be hard"),
    "external": (
        lambda f: f.create_group("here").__setitem__("x", h5py.ExternalLink("/etc/passwd", "/a")),
        "here",
    ),
    "outside": (
        lambda f: f.create_dataset("here/x", (3,), "f4", external=[("/etc/hostname", 0, 12)]),
        "here/x .*exter",
    ),
    "text": (lambda f: f.__setitem__("here/x", "text"), "here/x: datatype must be int, uint or float"),
    "big-endian": (lambda f: f.__setitem__("here/x", np.ones(3, ">f4")), "here/x: datatype"),
    "complex": (lambda f: f.__setitem__("here/x", np.ones(3, complex)), "here/x: datatype"),
    "bool": (lambda f: f.__setitem__("here/x", np.ones(3, bool)), "here/x: datatype"),
    "empty": (
        lambda f: f.__setitem__("here/x", np.ones((2, 0))),
        r"here/x: shape must be of at least one element, got",
    ),
    "null": (lambda f: f.__setitem__("here/x", h5py.Empty("f4")), "here/x: "),
    "unwritten": (lambda f: f.create_dataset("here/x", (3,), "f4"), "here/x: "),
    "a dot": (lambda f: f.__setitem__("here/x.y", np.ones(3)), "here: a name must be"),
    "two names": (lambda f: (f.__setitem__("x", np.ones(3)), f.__setitem__("y", f["x"])), "no part of itself"),
    "a loop": (lambda f: f.create_group("here").__setitem__("again", f["/"]), "no part of itself"),
    "a type": (lambda f: f.__setitem__("here/x", np.dtype("f4")), "here/x must be"),
    "new groups": (lambda f: f.create_group("here", track_order=True), "here: header must be of version 1"),
}


@pytest.mark.parametrize("name", FILLS)
def test_other_parts_of_hdf5_are_refused(name, tmp_path):
    fill, text = FILLS[name]
    refused(made(tmp_path / "other.h5", fill), text)


def test_other_files_are_refused(tmp_path):
    own, path = tmp_path / "own.h5", tmp_path / "x.h5"
    nf.save(own, nf.Dense(2, 1))
    refused(own, "superblock must be version 0")
    refused(made(path, lambda f: f.create_group("a"), libver="latest"), "superblock must be version 0")
    refused(made(path, lambda f: f.create_group("a"), userblock_size=512), "HDF5 from its first byte")
    path.write_bytes(b"x" * 200)
    refused(path, "HDF5 from its first byte")
    path.write_bytes(b"")
    refused(path, "its size must be")
    refused(tmp_path / "nothing.h5", "cannot be read")
    refused(tmp_path, "regular file")


def test_a_file_cut_anywhere_is_refused(tmp_path):
    data = made(tmp_path / "a.h5", lambda f: f.create_dataset("a/b", data=np.ones(3))).read_bytes()
    for size in range(0, len(data), 37):
        (tmp_path / "a.h5").write_bytes(data[:size])
        refused(tmp_path / "a.h5", "its size must be|the size of the file must be")


def test_pieces_over_one_another_do_not_multiply_the_work(tmp_path):
    path = made(tmp_path / "a.h5", lambda f: [f.create_group(f"g{i}") for i in range(40)])
    data = bytearray(path.read_bytes())
    for found in re.finditer(b"HEAP", bytes(data)):  # each heap goes on to the end of the file
        start = int.from_bytes(data[found.start() + 24 : found.start() + 32], "little")
        data[found.start() + 8 : found.start() + 16] = (len(data) - start).to_bytes(8, "little")
    path.write_bytes(data)
    refused(path, "g[0-9]+: heap must be apart from other structure")


def test_bytes_changed_at_random_never_crash(tmp_path):
    path = made(tmp_path / "a.h5", lambda f: [f.__setitem__(f"g{i}/x", np.ones(2)) for i in range(12)])
    data, rng, bad = np.frombuffer(path.read_bytes(), np.uint8), np.random.default_rng(0), 0
    used = np.flatnonzero(data)
    for _ in range(600):
        broken = data.copy()
        broken[rng.choice(used, rng.integers(1, 4))] = rng.choice([0, 1, 255, rng.integers(256)])
        path.write_bytes(broken.tobytes())
        try:
            found = read(path)
        except nf.FileFormatError as error:
            bad += 1
            assert re.match("a.h5: ", str(error)) and len(str(error)) <= 300
        else:
            assert all(array.dtype.kind in "iuf" for array in found.values())
    assert bad > 200
