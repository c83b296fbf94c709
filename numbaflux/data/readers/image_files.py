"""Images, decoded by Pillow when they are asked for: sizes first, few formats, a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hdf5_objects import require
from ...op import DTypeError, expect
from ...ranges import check
from ..samples import positions, stack
from .opened import Path, folder, library, local, named, opened

# What Pillow can be asked for here. Others of its decoders start programs (EPS) or are seldom used, and seldom tested.
FORMATS = {
    "PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "BMP": (".bmp",), "GIF": (".gif",), "PPM": (".ppm", ".pgm", ".pbm"),
    "WEBP": (".webp",),
}  # fmt: skip
USUAL = ("PNG", "JPEG")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # of 8 bits; 16 would be cut to 8 silently
MAX_PIXELS = 2**25  # unless told: 8192 x 4096


def image(
    path: Path, size: tuple[int, int] | None = None, channels: int = 3, formats: Sequence[str] = USUAL,
    max_pixels: int = MAX_PIXELS, root: Path | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """One image as (h, w, channels) float32 from 0 to 1, decoded by Pillow: pip install numbaflux[images].

    size: (h, w) to resize to, bilinear, as it is unless told. channels: 3 for RGB, 1 for grey; transparency is dropped.
    formats: which of PNG, JPEG, BMP, GIF, PPM, WEBP are decoded, whatever a file is called; of frames the first.
    max_pixels: an image whose header says more is refused before it is decoded; Pillow's own limit holds besides.
    root: as in nf.data.idx. FileFormatError for anything else, RangeError, DTypeError for other arguments.

    >>> import tempfile
    >>> from PIL import Image
    >>> path = os.path.join(tempfile.mkdtemp(), "red.png")
    >>> Image.new("RGB", (4, 2), "red").save(path)
    >>> image(path).shape, image(path, size=(1, 1)).tolist()
    ((2, 4, 3), [[[1.0, 0.0, 0.0]]])
    """
    how = _how("image", size, channels, formats, max_pixels)
    with opened("image", path, root) as (file, _):
        return how.decoded(file)


def images(
    path: Path, size: tuple[int, int], channels: int = 3, formats: Sequence[str] = USUAL,
    max_pixels: int = MAX_PIXELS, root: Path | None = None,
) -> Images:  # fmt: skip
    """The images of a folder that holds a folder for each class, decoded when they are asked for.

    data[i] is an image as nf.data.image gives it, data.labels (n,) are int64, data.classes the names of the folders;
    nf.DataLoader((data, data.labels), 32, shuffle=True, workers=4) makes batches. Classes and files are in the order of
    their names. What has no suffix of the formats, or begins with a dot, is passed over. Every path is found from path
    downwards, in each call: no symbolic link, no file of several names. Other arguments: as for nf.data.image.
    FileFormatError for a folder without such images, or an entry that may not be there; RangeError, DTypeError.

    >>> import tempfile
    >>> from PIL import Image
    >>> path = tempfile.mkdtemp()
    >>> for name in ("cat", "dog"):
    ...     os.mkdir(os.path.join(path, name))
    ...     Image.new("RGB", (5, 3), "white").save(os.path.join(path, name, "1.png"))
    >>> data = images(path, size=(8, 8))
    >>> data.classes, data.labels, data[1].shape
    (('cat', 'dog'), array([0, 1]), (8, 8, 3))
    """
    expect(size is not None, "images", "size", "(h, w), one for all images of a batch", "None", error=DTypeError)
    how = _how("images", size, channels, formats, max_pixels)
    name, top = local("images", "path", path), None if root is None else local("images", "root", root)
    suffixes = tuple(suffix for one in how.formats for suffix in FORMATS[one])
    with named(name):
        classes = _listed(name, top, folders=True)
        files: list[str] = []
        labels: list[int] = []
        for label, one in enumerate(classes):
            below = one if top is None else os.path.join(name, one)
            found = [x for x in _listed(below, name if top is None else top) if x.lower().endswith(suffixes)]
            require(bool(found), f"class {one[:60]}", f"images of {', '.join(how.formats)}", "none")
            files += [os.path.join(below, x) for x in found]
            labels += [label] * len(found)
        require(bool(classes), "it", "a folder of a folder for each class", "none")
    where = os.path.abspath(name) if top is None else top
    return Images(where, tuple(files), np.array(labels, np.int64), tuple(classes), how)


def _listed(path: str, root: str | None, folders: bool = False) -> list[str]:
    """The names of the files (or folders) in a folder, sorted; a link among them is an error."""
    found = []
    here = folder(path, root)
    try:
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                require(entry.name.isprintable(), "a name in it", "printable", entry.name)
                require(not entry.is_symlink(), "what it holds", "files and folders, no symbolic link", entry.name)
                if entry.is_dir(follow_symlinks=False) == folders:
                    found.append(entry.name)
    finally:
        os.close(here)
    return sorted(found)


@dataclass(frozen=True)
class How:
    """How images are decoded."""

    size: tuple[int, int] | None
    channels: int
    formats: tuple[str, ...]
    max_pixels: int

    def decoded(self, file: BufferedReader) -> NDArray[np.float32]:
        """The image in an open file."""
        pillow = _pillow()
        what = f"a whole image of {', '.join(self.formats)}"
        for last in (False, True):  # after verify() an image must be opened anew
            with library(what):
                file.seek(0)
                found = pillow.open(file, formats=self.formats)
            width, height = found.size
            few = 0 < width * height <= self.max_pixels
            require(few, "its size", f"1 to {self.max_pixels} pixels (max_pixels=)", f"{width} x {height}")
            require(found.mode in MODES, "its pixels", "of 8 bits a channel", found.mode)
            if not last:
                with library(what):
                    found.verify()
        with library(what):
            found = found.convert("RGB" if self.channels == 3 else "L")
            if self.size:
                found = found.resize(self.size[::-1], pillow.Resampling.BILINEAR)
        pixels: NDArray[np.float32] = np.asarray(found, np.float32) / np.float32(255)
        return pixels.reshape(*pixels.shape[:2], self.channels)


def _how(where: str, size: Any, channels: Any, formats: Any, max_pixels: Any) -> How:
    """The arguments, checked."""
    pair = size is None or isinstance(size, tuple) and len(size) == 2
    expect(pair, where, "size", "(h, w)", repr(size), error=DTypeError)
    for side in size or ():
        check(f"{where}.size", side)
    expect(channels in (1, 3) and not isinstance(channels, bool), where, "channels", "1 or 3", repr(channels))
    several = isinstance(formats, Sequence) and not isinstance(formats, str) and len(formats) > 0
    known = several and all(isinstance(one, str) and one in FORMATS for one in formats)
    expect(known, where, "formats", f"some of {', '.join(FORMATS)}", repr(formats))
    check(f"{where}.max_pixels", max_pixels)
    _pillow()
    return How(size and (int(size[0]), int(size[1])), int(channels), tuple(formats), int(max_pixels))


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("images: Pillow must be installed, got none; pip install numbaflux[images]") from None
    return Image


@dataclass(frozen=True, eq=False)
class Images:
    """Images of a folder by number, decoded when they are asked for; nf.data.images makes one.

    images[i] is (h, w, channels) float32, images[[0, 5]] a batch of them. files: their paths below root.
    """

    root: str
    files: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    how: How

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        if isinstance(index, int | np.integer) and not isinstance(index, bool):
            if not -len(self) <= index < len(self):
                raise IndexError(f"image {index} of {len(self)}")
            with opened("images", self.files[index], self.root) as (file, _):
                return self.how.decoded(file)
        return np.asarray(stack([self[int(i)] for i in positions("images", index, len(self))], "images"))

    def __repr__(self) -> str:
        return f"Images({len(self)} of {len(self.classes)} classes in {ascii(os.path.basename(self.root))})"
