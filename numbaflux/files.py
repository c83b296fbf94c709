"""Files that are written beside their place and moved there: the old one or the whole new one, never a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .op import FileFormatError, expect


def nameable(name: str) -> bool:
    """Whether a file system can hold a name: not half of a surrogate pair, nor a zero byte.

    >>> nameable("model.h5"), nameable("\\ud800")
    (True, False)
    """
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def check_folder(where: str, argument: str, path: str | os.PathLike[str]) -> Path:
    """The path, whose folder must exist."""
    target = Path(path)
    expect(target.parent.is_dir(), where, argument, "in a folder that exists", str(target), error=FileFormatError)
    return target


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of path unless an error comes.

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "a.txt")
    >>> with replacing(path) as file:
    ...     _ = file.write(b"new")
    >>> Path(path).read_text(), os.listdir(os.path.dirname(path))
    ('new', ['a.txt'])
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with temporary.open("xb") as file:
            yield file
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
