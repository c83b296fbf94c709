"""CSV: numbers or texts in rows and columns, each line checked before it counts."""

from __future__ import annotations

import contextlib
import csv as standard
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from numbers import Integral
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...hdf5_objects import fail, require
from ...op import DTypeError, Error, FileFormatError, RangeError, expect
from ...ranges import check
from .opened import MAX_BYTES, Path, opened

Columns: TypeAlias = Sequence[str | int]

DELIMITERS = ",;\t|"
MAX_LINE = 2**22  # bytes of one row, unless told
MAX_COLUMNS = 2**16  # unless told
BLOCK = 2**16  # fields made into an array at once
TEXTS = 64  # times the file: an array of texts gives each the room of the longest
ROOM = 2**26  # bytes that such an array may take in any case

# No number of spaces or digits makes these slow: what is taken is not given back.
_WHOLE = re.compile(r"[ \t]*+[+-]?[0-9]{1,40}+[ \t]*+")
_DIGITS = r"(?:[0-9]{1,400}+(?:\.[0-9]{0,400}+)?+|\.[0-9]{1,400}+)"
_REAL = re.compile(rf"[ \t]*+[+-]?{_DIGITS}(?:[eE][+-]?[0-9]{{1,5}}+)?+[ \t]*+")
_PLAIN = re.compile(r"[0-9eE+\-. \t\n]*+")
_WORDS = re.compile(r"[ \t]*+(?:[+-]?(?:nan|infinity|inf))?+[ \t]*+", re.IGNORECASE)  # or nothing: a gap


@dataclass(frozen=True, eq=False)
class Table:
    """What a CSV file holds: values (rows, columns), and the names of the columns, None where it has none.

    table[name] is a column. A table itself is no data for a loader, since its items are columns; its values are.

    >>> table = Table(np.eye(2, dtype=np.float32), ("width", "height"))
    >>> table["height"]
    array([0., 1.], dtype=float32)
    """

    values: NDArray[Any]
    names: tuple[str, ...] | None

    def __getitem__(self, name: str) -> NDArray[Any]:
        expect(isinstance(name, str), "Table", "a column", "a name", repr(name), error=DTypeError)
        return self.values[:, _position("Table", name, self.names, self.values.shape[1], RangeError)]

    def __repr__(self) -> str:
        shown = "" if self.names is None else ": " + ", ".join(self.names)[:200]
        return f"Table({self.values.shape[0]} x {self.values.shape[1]} {self.values.dtype}{shown})"


def csv(
    path: Path, dtype: DTypeLike = np.float32, header: bool = True, columns: Columns | None = None,
    delimiter: str = ",", max_rows: int | None = None, finite: bool = True, root: Path | None = None,
    max_bytes: int = MAX_BYTES, max_line: int = MAX_LINE, max_columns: int = MAX_COLUMNS,
) -> Table:  # fmt: skip
    """The numbers, or texts, of a CSV file in UTF-8: .values (rows, columns), .names; table["width"] is a column.

    dtype: of floats, of integers, or str: texts come by a call of their own, with columns. header: whether the first
    row names the columns. columns: which, by name or position, in this order; all unless told. delimiter: one of , ; |
    and tab; quotes as in Excel. max_rows: stop behind so many. finite: NaN, Inf and numbers too large for dtype are
    errors; finite=False takes them, and empty fields as NaN. Numbers are plain ASCII: 1_000 is none. root: as in
    nf.data.idx. max_bytes: of the file, and of the array; max_line: characters of a row; max_columns: of the file.
    FileFormatError names line and column of anything else; RangeError, DTypeError of other arguments. Source: RFC 4180.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "iris.csv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("length,width,species\\n5.1,3.5,setosa\\n7.0,3.2,versicolor\\n")
    >>> csv(path, columns=["length", "width"]).values
    array([[5.1, 3.5],
           [7. , 3.2]], dtype=float32)
    >>> csv(path, dtype=str, columns=["species"])["species"].tolist()
    ['setosa', 'versicolor']
    """
    kind = _kind(dtype)
    max_bytes, max_line = int(check("csv.max_bytes", max_bytes)), int(check("csv.max_line", max_line))
    max_columns = int(check("csv.max_columns", max_columns))
    rows = None if max_rows is None else int(check("csv.max_rows", max_rows))
    known = isinstance(delimiter, str) and len(delimiter) == 1 and delimiter in DELIMITERS
    expect(known, "csv", "delimiter", "',', ';', '|' or tab", repr(delimiter))
    with opened("csv", path, root) as (file, size):
        require(size <= max_bytes, "its size", f"at most {max_bytes} bytes (max_bytes=)", size)
        reader = _Rows(file, delimiter, max_line)
        names, first = reader.head(header, max_columns)
        chosen = _chosen(columns, names, len(first))
        most = min(max_bytes, ROOM + TEXTS * size) if kind.kind == "U" else max_bytes
        values = _Values(kind, finite, names, chosen, most)
        for line, row in reader.body(None if header else first, len(first), rows):
            values.add(line, row if columns is None else [row[i] for i in chosen])
        return Table(values.array(), None if names is None else tuple(names[i] for i in chosen))


def _kind(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = np.dtype(object)
    good = kind.kind in "iuf" and kind.itemsize <= 8 or kind == np.dtype(str)
    expect(good, "csv", "dtype", "of floats, of integers, or str", repr(dtype), error=DTypeError)
    return kind


def _position(where: str, column: Any, names: Sequence[str] | None, width: int, error: type[Error]) -> int:
    """Which column a name or number says; error where there is none such."""
    if isinstance(column, str):
        shown = "a position, as the columns have no names" if names is None else f"one of {', '.join(names)[:100]}"
        expect(names is not None and column in names, where, "a column", shown, ascii(column)[:80], error=error)
        return list(names or ()).index(column)
    good = isinstance(column, Integral) and not isinstance(column, bool)
    expect(good, where, "a column", "a name or an integer", repr(column), error=DTypeError)
    expect(-width <= column < width, where, "a column", f"in {-width}..{width - 1}", int(column), error=error)
    return int(column) % width


def _chosen(columns: Columns | None, names: Sequence[str] | None, width: int) -> list[int]:
    if columns is None:
        return list(range(width))
    several = isinstance(columns, Sequence) and not isinstance(columns, str) and len(columns) > 0
    expect(several, "csv", "columns", "a list of names or positions", repr(columns), error=DTypeError)
    return [_position("csv", column, names, width, FileFormatError) for column in columns]


class _Rows:
    """The rows of a file, with the numbers of their lines; none longer than max_line."""

    def __init__(self, file: BinaryIO, delimiter: str, max_line: int) -> None:
        self.file, self.max_line, self.taken = file, max_line, 0
        self.reader = standard.reader(self._lines(), delimiter=delimiter, strict=True)
        self.rows = self._rows()

    def _lines(self) -> Iterator[str]:
        self.file.seek(3 if self.file.read(3) == b"\xef\xbb\xbf" else 0)  # Excel's mark of UTF-8
        while data := self.file.readline(self.max_line + 1):
            self.taken += len(data)  # since the row began: quotes may hold several lines
            if self.taken > self.max_line or b"\0" in data:
                line = f"line {self.reader.line_num + 1}"
                require(b"\0" not in data, line, "text", "a zero byte")
                fail(line, f"of a row of at most {self.max_line} bytes (max_line=)", "more")
            yield data.decode()

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Every row behind the number of its last line."""
        last = 0
        try:
            for row in self.reader:
                self.taken, last = 0, self.reader.line_num
                yield last, row
        except (standard.Error, UnicodeError):  # their words hold bytes of the file
            fail("it", f"CSV in UTF-8 at line {last + 1}", "damage, or another form")

    def head(self, header: bool, max_columns: int) -> tuple[list[str] | None, list[str]]:
        """The names, if any, and the first row."""
        line, row = next(self.rows, (0, []))
        require(bool(row), "its first line", "a row", "nothing")
        require(len(row) <= max_columns, f"line {line}", f"of at most {max_columns} columns (max_columns=)", len(row))
        if not header:
            return None, row
        names = [name.strip() for name in row]
        values = all(_REAL.fullmatch(name) for name in names) and not all(_WHOLE.fullmatch(name) for name in names)
        expected = "the names of the columns, each there once (or header=False)"
        require(not values and len(set(names)) == len(names), f"line {line}", expected, ", ".join(names[:9]))
        for name in names:
            good = name.isprintable() and len(name) <= 256
            require(good, f"line {line}: a name", "printable, of at most 256 characters", name)
        return names, row

    def body(self, first: list[str] | None, width: int, rows: int | None) -> Iterator[tuple[int, list[str]]]:
        """All rows, or so many, behind the numbers of their lines; first: one that was read already."""
        found = self.rows if first is None else chain([(1, first)], self.rows)
        ended = 0
        for line, row in found if rows is None else islice(found, rows):
            if not row:  # lawful behind the last row
                ended = ended or line
                continue
            if ended or len(row) != width:
                require(not ended, f"line {ended}", "a row", "an empty line")
                fail(f"line {line}", f"of {width} columns", len(row))
            yield line, row


class _Values:
    """Rows of fields, gathered as an array."""

    def __init__(
        self, dtype: np.dtype[Any], finite: bool, names: list[str] | None, chosen: list[int], max_bytes: int
    ) -> None:
        self.dtype, self.finite, self.names, self.chosen, self.max_bytes = dtype, finite, names, chosen, max_bytes
        self.text, self.convert = dtype.kind == "U", float if dtype.kind == "f" else int
        self.field = _WHOLE if self.convert is int else _REAL
        self.rows: list[list[str]] = []
        self.lines: list[int] = []
        self.blocks: list[NDArray[Any]] = []
        self.count = 0
        self.width = 4 if self.text else dtype.itemsize  # bytes of a value: of texts, the longest

    def add(self, line: int, fields: list[str]) -> None:
        """One row more."""
        self.rows.append(fields)
        self.lines.append(line)
        self.count += 1
        if self.text:
            self.width = max(self.width, 4 * max(map(len, fields)))
        size, waiting = self.count * len(fields) * self.width, len(self.rows) * len(fields)
        if size > self.max_bytes:
            fail(f"line {line}", f"within an array of {self.max_bytes} bytes (max_bytes=)", size)
        if waiting >= BLOCK or waiting * self.width >= ROOM:
            self._block()

    def array(self) -> NDArray[Any]:
        """All rows."""
        require(self.count > 0, "it", "one row of values or more", "none")
        self._block()
        return np.concatenate(self.blocks)

    def _block(self) -> None:
        """The rows so far as an array."""
        if not self.rows:
            return
        if self.text:
            self.blocks.append(np.array(self.rows, np.str_))
        else:
            values = self._numbers(list(chain.from_iterable(self.rows)))
            block = self._whole(values) if self.convert is int else self._real(values)
            self.blocks.append(block.reshape(len(self.rows), -1))
        self.rows, self.lines = [], []

    def _numbers(self, fields: list[str]) -> list[Any]:
        text = "\n".join(fields)
        if _PLAIN.fullmatch(text) and text.count("\n") == len(fields) - 1 and max(map(len, fields)) <= 64:
            with contextlib.suppress(ValueError):  # of such characters Python takes what the patterns take
                return list(map(self.convert, fields))
        found: list[Any] = []
        for i, field in enumerate(fields):
            if not self.finite and self.convert is float and _WORDS.fullmatch(field):
                found.append(float(field.strip() or "nan"))
                continue
            number = "an integer" if self.convert is int else "a number" + " (or finite=False)" * self.finite
            if not self.field.fullmatch(field):
                fail(self._place(i), number, field)
            found.append(self.convert(field))
        return found

    def _whole(self, values: list[int]) -> NDArray[Any]:
        span = np.iinfo(self.dtype)
        if min(values) < span.min or max(values) > span.max:
            i = next(i for i, value in enumerate(values) if not span.min <= value <= span.max)
            fail(self._place(i), f"in {span.min}..{span.max}", values[i])
        return np.array(values, self.dtype)

    def _real(self, values: list[float]) -> NDArray[Any]:
        with np.errstate(over="ignore"):  # what is too large is said below, by its line
            block = np.array(values, self.dtype)
        if self.finite and not np.isfinite(block).all():
            i = int(np.flatnonzero(~np.isfinite(block))[0])
            fail(self._place(i), f"a finite {self.dtype} (or finite=False)", values[i])
        return block

    def _place(self, i: int) -> str:
        """The line and column of a field of the rows so far, in words."""
        line, column = self.lines[i // len(self.chosen)], self.chosen[i % len(self.chosen)]
        return f"line {line}, column {column if self.names is None else ascii(self.names[column])[:60]}"
