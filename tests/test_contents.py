"""nf.inspect: what is in a file, of whichever classes."""

import h5py

import numbaflux as nf
from numbaflux import hdf5
from tests.toys import Block, Holder


def test_inspect_tells_what_is_in_a_file(tmp_path):
    model = nf.Chain(Block(), nf.Dense(2, 1, rng=0))
    nf.save(tmp_path / "m.h5", model, {"epochs": 3, "note": "x"})
    found = nf.inspect(tmp_path / "m.h5")
    file = hdf5.read(tmp_path / "m.h5")
    assert (found.version, found.digest, found.metadata) == (1, file.digest, {"epochs": 3, "note": "x"})
    assert {n: (t.shape, t.dtype) for n, t in found.tensors.items()} == {
        n: (a.shape, str(a.dtype)) for n, a in nf.state(model).items()
    }
    with h5py.File(tmp_path / "m.h5") as raw:
        for name, tensor in found.tensors.items():
            assert raw["tensors/" + name.replace(".", "/")].attrs["sha256"].decode() == tensor.sha256
    text = repr(found)
    for part in ("m.h5: numbaflux format 1", found.digest, "inner: Dense(3, 3, twice),", "# 12 parameters",
                 "1: Dense(2, 1),", "0.inner.weight", "(3, 3)", '"epochs": 3'):  # fmt: skip
        assert part in text


def test_inspect_prints_nothing_that_a_terminal_obeys(tmp_path):
    nf.save(tmp_path / "m.h5", Holder("\x1b[31mred\n\u202eevil"), {"k": "\x1b[2J\x07"})
    text = repr(nf.inspect(tmp_path / "m.h5"))
    assert all(line.isprintable() for line in text.split("\n")) and "Holder(value=" in text
