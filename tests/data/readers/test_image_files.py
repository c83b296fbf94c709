"""Images: against Pillow; sizes that lie, forms that are not asked for, folders that lead elsewhere; every message."""

import builtins
import io
import os
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import numbaflux as nf
from numbaflux.data import Images
from numbaflux.op import DTypeError, FileFormatError, RangeError
from tests.data.readers.files import PIXELS, picture

DIGITS = load_digits()
FORMS = "images: formats must be some of PNG, JPEG, BMP, GIF, PPM, WEBP, got "


@pytest.fixture
def folder(tmp_path):
    """Digits 0 to 2, four of each, in folders of their names."""
    root = tmp_path / "digits"
    for label in range(3):
        (root / f"digit {label}").mkdir(parents=True)
        for i, k in enumerate(np.flatnonzero(DIGITS.target == label)[:4]):
            pixels = (DIGITS.images[k] * 15).astype(np.uint8)
            (root / f"digit {label}" / f"{9 - i}.{'PNG' if i else 'png'}").write_bytes(picture(pixels))
    return root


@pytest.fixture
def read(tmp_path):
    def call(content, **options):
        (tmp_path / "x").write_bytes(content)
        return nf.data.image(tmp_path / "x", **options)

    return call


def refused(call, *args, **options):
    with pytest.raises(FileFormatError) as info:
        call(*args, **options)
    text = str(info.value)
    assert text.isprintable() and len(text) <= 300 and info.value.__suppress_context__
    return text.partition(": ")[2]


# ---------------------------------------------------------------------------------------------------------- one image


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM", "WEBP", "GIF", "JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_as_pillow(read, tmp_path, form, channels):
    content = picture(PIXELS, form)
    found = read(content, formats=[form], channels=channels)
    with Image.open(tmp_path / "x") as expected:
        pixels = np.asarray(expected.convert("RGB" if channels == 3 else "L"), np.float64) / 255
    assert found.shape == (5, 4, channels) and found.dtype == np.float32
    assert np.allclose(found, pixels.reshape(found.shape), atol=1e-7) and found.min() >= 0 and found.max() <= 1
    if form in ("PNG", "BMP", "PPM") and channels == 3:
        assert np.array_equal(found, PIXELS / np.float32(255))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_kinds_of_pixels(read, mode):
    image = Image.fromarray(PIXELS).convert(mode)
    found = read(_saved(image))
    assert np.array_equal(found, np.asarray(image.convert("RGB"), np.float32) / np.float32(255))


def _saved(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_another_size(read):
    found = read(picture(PIXELS), size=(10, 6))
    expected = np.asarray(Image.fromarray(PIXELS).resize((6, 10), Image.Resampling.BILINEAR), np.float32) / 255
    assert found.shape == (10, 6, 3) and np.allclose(found, expected, atol=1e-7)


def test_forms_that_are_not_asked_for(read):
    whole = "it must be a whole image of PNG, JPEG, got 'damage, or another form'"
    for form in ("BMP", "GIF", "TIFF", "PPM", "WEBP", "ICO"):
        assert refused(read, picture(PIXELS, form)) == whole
    assert refused(read, picture(PIXELS), formats=["JPEG"]).startswith("it must be a whole image of JPEG, got")
    assert refused(read, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n") == whole  # would start a program
    deep = _saved(Image.fromarray(np.arange(20, dtype=np.uint16).reshape(4, 5) * 3000))
    assert refused(read, deep) == "its pixels must be of 8 bits a channel, got 'I;16'"


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, rows=b""):
    """A PNG that says its size, whatever it holds."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sizes_before_pixels(read):
    said = "its size must be 1 to 33554432 pixels (max_pixels=), got "
    assert refused(read, png(8192, 4097)) == said + "'8192 x 4097'"
    assert refused(read, picture(PIXELS), max_pixels=19) == (
        "its size must be 1 to 19 pixels (max_pixels=), got '4 x 5'"
    )
    assert read(picture(PIXELS), max_pixels=20).shape == (5, 4, 3)
    whole = "it must be a whole image of PNG, JPEG, got 'damage, or another form'"
    assert refused(read, png(2**31 - 1, 2**31 - 1), max_pixels=2**62 - 1) == whole  # Pillow's own limit
    assert refused(read, png(100, 100, bytes(50))) == whole  # fewer pixels than it says
    refused(read, png(0, 5))  # by Pillow or by us, as its version is
    for content in (picture(PIXELS), picture(PIXELS, "JPEG")):
        assert refused(read, content[: len(content) // 2]) == whole
    flipped = bytearray(picture(PIXELS))
    flipped[flipped.index(b"IDAT") + 6] ^= 1  # of the sum's data
    assert refused(read, bytes(flipped)) == whole


def test_pillow_s_settings_stay(read):
    before = Image.MAX_IMAGE_PIXELS
    read(picture(PIXELS), max_pixels=10**6)
    assert Image.MAX_IMAGE_PIXELS == before


# ------------------------------------------------------------------------------------------------- folders of classes


def test_a_folder_for_each_class(folder):
    data = nf.data.images(folder, size=(8, 8), channels=1)
    assert isinstance(data, Images) and len(data) == nf.numobs(data) == 12
    assert data.classes == ("digit 0", "digit 1", "digit 2") and data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.files[:4] == tuple(f"digit 0/{name}" for name in ("6.PNG", "7.PNG", "8.PNG", "9.png"))
    k = np.flatnonzero(DIGITS.target == 1)[3]
    assert np.array_equal(data[4], (DIGITS.images[k] * 15).astype(np.uint8)[..., None] / np.float32(255))
    assert np.array_equal(data[-1], data[11]) and np.array_equal(data[np.int32(5)], data[5])
    assert np.array_equal(data[[1, 4, 1]], np.stack([data[1], data[4], data[1]]))
    assert data[2:5].shape == (3, 8, 8, 1) and data[np.arange(12) > 9].shape == (2, 8, 8, 1)
    assert repr(data) == "Images(12 of 3 classes in 'digits')"
    with pytest.raises(IndexError):
        data[12]
    with pytest.raises(RangeError, match=r"^images: index must be in -12\.\.11, got 12$"):
        data[[12]]


def test_batches_of_images(folder):
    data = nf.data.images(folder, size=(4, 6))
    plain = list(nf.DataLoader((data, data.labels), batchsize=5))
    threads = list(nf.DataLoader((data, data.labels), batchsize=5, workers=3))
    assert [x.shape for x, _ in plain] == [(5, 4, 6, 3), (5, 4, 6, 3), (2, 4, 6, 3)]
    assert all(np.array_equal(a, b) and np.array_equal(c, d) for (a, c), (b, d) in zip(plain, threads, strict=True))
    train, rest = nf.splitobs((data, data.labels), 0.5)
    assert len(train[0]) == len(rest[1]) == 6


def test_a_folder_below_a_root(folder):
    data = nf.data.images("digits", size=(8, 8), root=folder.parent)
    assert np.array_equal(data[3], nf.data.images(folder, size=(8, 8))[3]) and len(data) == 12
    assert "relative to its root" in refused(nf.data.images, "../digits", size=(8, 8), root=folder)
    (folder.parent / "link").symlink_to("digits")
    assert "none a symbolic link" in refused(nf.data.images, "link", size=(8, 8), root=folder.parent)


def test_the_folder_is_found_from_elsewhere(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    data = nf.data.images("digits", size=(8, 8))
    monkeypatch.chdir("/")
    assert data[0].shape == (8, 8, 3)


def test_what_is_passed_over(folder):
    (folder / "digit 0" / ".hidden.png").write_bytes(b"")
    (folder / "digit 0" / "notes.txt").write_text("x")
    (folder / "digit 0" / "0.gif").write_bytes(picture(PIXELS, "GIF"))
    (folder / "digit 0" / "below.png").mkdir()
    (folder / ".git").mkdir()
    (folder / "README.png").write_text("x")
    assert len(nf.data.images(folder, size=(8, 8))) == 12
    assert len(nf.data.images(folder, size=(8, 8), formats=["PNG", "GIF"])) == 13


def test_links_in_a_folder(folder):
    secret = folder.parent / "secret.png"
    secret.write_bytes(picture(PIXELS))
    link = folder / "digit 1" / "0.png"
    link.symlink_to(secret)
    said = "what it holds must be files and folders, no symbolic link, got "
    assert refused(nf.data.images, folder, size=(8, 8)) == said + "'0.png'"
    link.unlink()
    os.link(secret, link)
    data = nf.data.images(folder, size=(8, 8))
    assert refused(lambda: data[4]) == "it must be a file of one name below its root, got '2 hard links'"
    link.unlink()
    (folder / "other").symlink_to(folder.parent)
    assert refused(nf.data.images, folder, size=(8, 8)) == said + "'other'"


def test_what_changes_after_the_folder_was_listed(folder, tmp_path):
    data = nf.data.images(folder, size=(8, 8))
    first, secret = folder / data.files[0], tmp_path / "secret.png"
    secret.write_bytes(picture(PIXELS))
    first.unlink()
    assert refused(lambda: data[0]) == "cannot be read (No such file or directory)"
    first.symlink_to(secret)
    assert "none a symbolic link, got '6.PNG'" in refused(lambda: data[0])
    first.unlink()
    os.mkfifo(first)
    done = []
    thread = threading.Thread(target=lambda: done.append(refused(lambda: data[0])), daemon=True)
    thread.start()
    thread.join(10)
    assert done == ["it must be a regular file, got 'a pipe'"]
    (folder / "digit 1").rename(tmp_path / "moved")
    (folder / "digit 1").symlink_to(tmp_path / "moved")
    assert "none a symbolic link, got 'digit 1'" in refused(lambda: data[4])


def test_a_damaged_image_names_itself(folder):
    data = nf.data.images(folder, size=(8, 8))
    (folder / data.files[7]).write_bytes(b"no image")
    with pytest.raises(FileFormatError, match=r"^9\.png: it must be a whole image of PNG, JPEG, got"):
        list(nf.DataLoader((data, data.labels), batchsize=5, workers=2))


def test_folders_that_are_none(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refused(nf.data.images, empty, size=(8, 8)) == "it must be a folder of a folder for each class, got 'none'"
    (folder / "more").mkdir()
    assert refused(nf.data.images, folder, size=(8, 8)) == "class more must be images of PNG, JPEG, got 'none'"
    (folder / "more").rename(folder / "\33[2J")
    assert refused(nf.data.images, folder, size=(8, 8)) == "a name in it must be printable, got '\\x1b[2J'"
    assert refused(nf.data.images, tmp_path / "none", size=(8, 8)) == "cannot be read (No such file or directory)"
    assert refused(nf.data.images, folder / "digit 0" / "9.png", size=(8, 8)) == "cannot be read (Not a directory)"
    with pytest.raises(
        FileFormatError, match="^images: path must be the name of a local file, got 'http://a/b'; fetch"
    ):
        nf.data.images("http://a/b", size=(8, 8))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"size": None}, DTypeError, "images: size must be (h, w), one for all images of a batch, got None"),
        ({"size": 8}, DTypeError, "images: size must be (h, w), got 8"),
        ({"size": (8, 8, 3)}, DTypeError, "images: size must be (h, w), got (8, 8, 3)"),
        ({"size": (8, 0)}, RangeError, "images: size must be an integer in [1, 65536), got 0"),
        ({"channels": 2}, RangeError, "images: channels must be 1 or 3, got 2"),
        ({"channels": True}, RangeError, "images: channels must be 1 or 3, got True"),
        ({"formats": "PNG"}, RangeError, FORMS + "'PNG'"),
        ({"formats": ["EPS"]}, RangeError, FORMS + "['EPS']"),
        ({"formats": [["PNG"]]}, RangeError, FORMS + "[['PNG']]"),
        ({"formats": []}, RangeError, FORMS + "[]"),
        ({"max_pixels": 0}, RangeError, "images: max_pixels must be an integer in [1, 2**62), got 0"),
    ],
)  # fmt: skip
def test_arguments(folder, options, error, text):
    with pytest.raises(error) as info:
        nf.data.images(folder, **{"size": (8, 8)} | options)
    assert str(info.value) == text


def test_without_pillow(folder, monkeypatch):
    real = builtins.__import__

    def missing(name, *args):
        if name == "PIL":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", missing)
    for call in (lambda: nf.data.images(folder, size=(8, 8)), lambda: nf.data.image(folder / "x.png")):
        with pytest.raises(ImportError, match=r"Pillow must be installed, got none; pip install numbaflux\[images\]$"):
            call()
