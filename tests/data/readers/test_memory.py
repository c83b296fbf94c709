"""Files made to take memory or time: measured in a process of its own, each beside the size of its file."""

import gzip
import io
import json
import struct
import zipfile
import zlib

import numpy as np

from tests.child import child
from tests.data.readers.files import idx, npy, npz, valid

MIB = 2**20
ROOM = 64 * MIB  # beside the file
LARGE = 2 * ROOM  # what an unpacked bomb would take
FIELDS, TEXT, PROFILE = "many short fields", "a text in an image", "a colour profile in an image"  # may be read


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, rows, *chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = b"".join(chunk(*one) for one in chunks) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + body


def zeros(size):
    """Packed zeros, made without so much memory."""
    packer = zlib.compressobj(1, wbits=31)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(size // MIB)), packer.flush()])


def directory(count):
    """A zip of nothing but its list, of so many entries."""
    entry = b"PK\1\2" + bytes(24) + struct.pack("<HHHHHII", 1, 0, 0, 0, 0, 0, 0) + b"a"
    listed = entry * count
    return listed + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, len(listed), 0, 0)


def overlong():
    """A zip whose one member says 1 kB and unpacks to much."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(LARGE))
    content = bytearray(out.getvalue())
    place = content.index(b"PK\1\2") + 24
    content[place : place + 4] = struct.pack("<I", 1000)
    return bytes(content)


def bombs():
    """(reader, what it is, content)."""
    shape = "{'descr': '<f8', 'fortran_order': False, 'shape': (16000000000,), }"
    head = struct.pack(">BBBBI", 0, 0, 8, 1, LARGE)
    rate = b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 1, 2, 2, 16)
    packed, black = zlib.compress(bytes(LARGE), 1), zlib.compress(b"\0\0")
    yield "idx", "zeros in a gzip", zeros(LARGE)
    yield "idx", "a header that says 10 before many", gzip.compress(idx(np.zeros(10, np.uint8)) + bytes(LARGE), 1)
    yield "idx", "a header that says much before nothing", head + bytes(100)
    yield "idx", "the same packed", gzip.compress(head + bytes(100))
    yield "idx", "as much as it says", gzip.compress(head + bytes(LARGE), 6)
    yield "npy", "a header of 2 GB", b"\x93NUMPY\2\0" + struct.pack("<I", 2**31) + bytes(100)
    yield "npy", "a shape of 128 GB", b"\x93NUMPY\1\0" + struct.pack("<H", len(shape)) + shape.encode()
    yield "npz", "zeros in a zip", npz(x=np.zeros(LARGE // 8))
    yield "npz", "a member longer than it says", overlong()
    yield "npz", "a list of 200000 members", directory(200_000)
    yield "csv", "one line of 16 MiB", b"1" * (16 * MIB)
    yield "csv", "two million columns", b"," * (2 * MIB) + b"\n"
    yield "csv", "names, a million of them, alike", b"a," * MIB + b"a\n"
    yield "csv", "a row that does not end", b'"' + b"\n,\n" * (4 * MIB)
    yield "csv", FIELDS, b"a,b,c,d,e,f,g\n" + b"1,2,3,4,5,6,7\n" * (MIB // 8)
    yield "wav", "samples of 4 GB", rate + b"data\xff\xff\xff\x7f" + bytes(50)
    yield "image", "30000 x 30000 black pixels", png(30000, 30000, zlib.compress(bytes(30001) * 3000, 1))
    yield "image", "a size of 2**62", png(2**31 - 1, 2**31 - 1, b"")
    yield "image", TEXT, png(1, 1, black, (b"zTXt", b"a\0\0" + packed))
    yield "image", PROFILE, png(1, 1, black, (b"iCCP", b"a\0\0" + packed))
    yield "hdf5", "a mark and zeros", b"\x89HDF\r\n\x1a\n" + bytes(MIB)


PROGRAM = """
import json, sys, time
from pathlib import Path
from numbaflux.data import READERS
from numbaflux.op import FileFormatError

def peak():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))

for name, path in json.loads({files!r}):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = peak(), time.perf_counter()
    try:
        READERS[name](path)
        said = "read"
    except FileFormatError as error:
        said = str(error)
    print(json.dumps([said, peak() - before, time.perf_counter() - start]))
"""


def test_bombs_take_no_more_than_their_files(tmp_path):
    files, made = [], list(bombs())
    for name, content in valid().items():  # first a valid file of each form: libraries come, pools grow
        made.insert(0, (name, "valid", content))
    for k, (name, _, content) in enumerate(made):
        (tmp_path / str(k)).write_bytes(content)
        files.append((name, str(tmp_path / str(k))))
    lines = child(PROGRAM.format(files=json.dumps(files))).splitlines()
    for (name, what, content), line in zip(made, lines, strict=True):
        said, taken, seconds = json.loads(line)
        assert taken <= len(content) + ROOM and seconds < 10, (name, what, taken // MIB, seconds)
        good = said == "read" if what == "valid" else said != "read" or what in (FIELDS, TEXT, PROFILE)
        assert good, (name, what, said)


def test_the_bombs_would_be_bombs():
    """What stands in these files would be much, unpacked."""
    assert len(gzip.decompress(zeros(2 * MIB))) == 2 * MIB
    assert np.load(io.BytesIO(npz(x=np.zeros(2**20))))["x"].nbytes == 8 * MIB
    assert len(directory(10)) == 22 + 47 * 10 and npy(np.zeros(3))[:6] == b"\x93NUMPY"
