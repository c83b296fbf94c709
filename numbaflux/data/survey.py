"""Numbers about data, chunk by chunk: what does not fit into memory is never held whole."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..onehot import OneHot
from .samples import map_parts, stack

CHUNK = 2**22  # bytes of samples that are looked at together
SPREAD = 2**20  # elements from which medians are taken, of samples evenly spread
CHANNELS = 16  # a longer last axis of images or series is no axis of channels
CLASSES = 1000  # more different targets are numbers, not classes
FAR = 6.0  # robust deviations from the median that make an outlier
FEW = 0.01  # share of samples: where most have one value, so many others are outliers at most
BINS = 40
DRAWN = 6  # columns of a part of which there are histograms


@dataclass(frozen=True)
class Column:
    """A feature, a channel, or a number made of each sample, by its finite elements.

    nan, inf: how many; first: the first sample with one, or None. count: how many are finite.
    outliers: samples FAR robust deviations (1.4826 times the median distance from the median) away, or, where half of
    all have one value, those with another if they are few; farthest: the sample farthest away, at score deviations.
    """

    name: str
    dtype: str
    nan: int
    inf: int
    first: int | None
    count: int
    low: float
    high: float
    mean: float
    std: float
    outliers: int
    farthest: int | None
    score: float

    @property
    def away(self) -> str:
        """How far out the farthest is, in words."""
        return f"{self.score:.3g} robust deviations away" if self.score < math.inf else "where most have one value"

    @property
    def constant(self) -> bool:
        return self.count > 1 and self.low == self.high and not self.nan + self.inf


class Table:
    """Columns that come out of a part of the data together: (elements, columns), so many elements a sample."""

    def __init__(self, names: list[str], dtype: str, each: int, n: int) -> None:
        self.names, self.dtype, self.each, self.n = names, dtype, each, n
        taken = max(1, min(n * each, SPREAD // len(names)))
        self.step, self.kept = max(1, n * each // taken), [np.empty((0, len(names)))]
        self.nan, self.inf, self.count, self.outliers = np.zeros((4, len(names)), np.int64)
        self.first, self.farthest = np.full((2, len(names)), -1)
        self.mean, self.squares, self.score = np.zeros((3, len(names)))
        self.low, self.high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
        self.counts = np.zeros((min(DRAWN, len(names)), BINS), np.int64)

    def add(self, x: np.ndarray, start: int) -> None:
        """Elements (m, columns) as float64 from sample number start on."""
        finite = np.isfinite(x)
        own = finite.sum(0)
        self.nan += np.isnan(x).sum(0)
        self.inf += np.isinf(x).sum(0)
        fresh = (own < len(x)) & (self.first < 0)
        self.first[fresh] = start + np.argmin(finite[:, fresh], 0) // self.each
        clean = x if finite.all() else np.where(finite, x, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = clean.sum(0) / np.maximum(own, 1)
            apart, both = np.where(own > 0, mean - self.mean, 0.0), np.maximum(self.count + own, 1)
            self.squares += ((clean - mean) ** 2 * finite).sum(0) + apart * apart * (self.count * own / both)
            self.mean += apart * (own / both)
        self.count += own
        self.low = np.minimum(self.low, x.min(0, where=finite, initial=np.inf))
        self.high = np.maximum(self.high, x.max(0, where=finite, initial=-np.inf))
        self.kept.append(x[(-start * self.each) % self.step :: self.step].copy())  # not a view of it all

    def centre(self) -> None:
        """Medians, and distances from them that count as one."""
        x = np.concatenate(self.kept)
        x[~np.isfinite(x)] = np.nan
        x[:, np.isnan(x).all(0)] = 0
        self.middle = np.nanmedian(x, 0)
        self.scale = 1.4826 * np.nanmedian(abs(x - self.middle), 0)
        self.kept = []

    def look(self, x: np.ndarray, start: int) -> None:
        """The same elements once more: how far out each is, and how they are spread."""
        for j in np.flatnonzero(self.low[:DRAWN] < self.high[:DRAWN]):
            own, half = x[np.isfinite(x[:, j]), j] / 2, self.low[j] / 2  # halves: a difference may overflow
            share = (own - half) / (self.high[j] / 2 - half)
            self.counts[j] += np.bincount(np.minimum(share * BINS, BINS - 1).astype(np.int64), minlength=BINS)
        if self.each > 1:
            return
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            away = abs(x - self.middle)
            scores = np.where((away > 0) & np.isfinite(x), away / self.scale, 0.0)
        self.outliers += (scores > FAR).sum(0)
        worst = scores.argmax(0)
        score = np.take_along_axis(scores, worst[None], 0)[0]
        farther = (score > self.score) & (score > FAR)
        self.farthest = np.where(farther, start + worst, self.farthest)
        self.score = np.where(farther, score, self.score)

    def columns(self) -> list[Column]:
        """What is known at the end."""
        many = (self.scale == 0) & (self.outliers > max(1, FEW * self.n))  # of those with few values
        outliers, score = np.where(many, 0, self.outliers), np.where(many, 0.0, self.score)
        farthest = np.where(many, -1, self.farthest)
        some = self.count > 0
        std = np.sqrt(self.squares / np.maximum(self.count, 1))
        low, high, mean, std = (np.where(some, x, np.nan) for x in (self.low, self.high, self.mean, std))
        numbers = (self.nan, self.inf, self.first, self.count, low, high, mean, std, outliers, farthest, score)
        return [Column(name, self.dtype, nan, inf, first if first >= 0 else None, count, lo, hi, m, s, out,
                       far if far >= 0 else None, at)
                for name, nan, inf, first, count, lo, hi, m, s, out, far, at
                in zip(self.names, *(x.tolist() for x in numbers), strict=True)]  # fmt: skip

    def histograms(self) -> dict[str, tuple[list[int], float, float]]:
        """(counts, smallest, largest) of the first columns."""
        rows = zip(self.names, self.counts.tolist(), self.low.tolist(), self.high.tolist(), strict=False)
        return {name: (k, low, high) for name, k, low, high in rows if sum(k)}


class Part:
    """An array or dataset inside the data, by its path."""

    def __init__(self, path: str, data: Any, n: int) -> None:
        self.path, self.data = path, data
        one = self.rows(0, 1)
        self.shape, self.dtype = (n, *one.shape[1:]), one.dtype
        self.kind = "OneHot" if isinstance(data, OneHot) else str(one.dtype)
        self.known = hashlib.sha256(f"{path} {self.shape} {self.dtype}".encode())
        self.numbers = self.dtype.kind in "fiub" and one.size > 0 and not isinstance(data, OneHot)
        inner = self.shape[1:]
        names = [path] if not inner else [f"{path}[:, {j}]" for j in range(inner[0])]
        self.tables: list[Table] = []
        if self.numbers and len(inner) < 2:
            self.tables = [Table(names, str(self.dtype), 1, n)]
        elif self.numbers:
            channels = inner[-1] if inner[-1] <= CHANNELS else 1
            names = [path] if channels == 1 else [f"{path}[..., {j}]" for j in range(channels)]
            made = [f"{path}: mean of a sample", f"{path}: spread of a sample"]
            self.tables = [Table(names, str(self.dtype), math.prod(inner) // channels, n),
                           Table(made, str(self.dtype), 1, n)]  # fmt: skip

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Some samples as an array; of OneHot the indices."""
        if isinstance(self.data, OneHot):
            return np.asarray(self.data.indices[start:stop])
        if hasattr(self.data, "shape"):
            return np.asarray(self.data[start:stop])
        return np.asarray(stack([self.data[i] for i in range(start, stop)], "report"))

    def elements(self, x: np.ndarray) -> Iterator[tuple[Table, np.ndarray]]:
        """Each table with its elements of some samples."""
        if not self.tables:
            return
        wide = x.astype(np.float64)
        yield self.tables[0], wide.reshape(-1, len(self.tables[0].names))
        if len(self.tables) > 1:
            flat = wide.reshape(len(wide), -1)
            with np.errstate(over="ignore", invalid="ignore"):
                yield self.tables[1], np.stack([flat.mean(1), flat.std(1)], 1)


class Survey:
    """All that is known of data of n samples: parts x, and y if there is one."""

    def __init__(self, x: Any, y: Any, n: int) -> None:
        self.n = n
        self.x = [Part(path, part, n) for path, part in _paths("x", x)]
        self.y = [] if y is None else [Part(path, part, n) for path, part in _paths("y", y)]
        parts = [*self.x, *self.y]
        widest = sum(math.prod(p.shape[1:]) * max(8, p.dtype.itemsize) for p in parts)
        self.rows = max(1, CHUNK // max(1, widest))
        keys, self.labels = np.empty(n, "V16"), np.empty(n, "V16" if self.y else "V1")
        flat = bool(self.y) and all(len(p.shape) < 3 for p in self.y)
        self.classes: dict[bytes, tuple[Any, int]] | None = {} if flat else None  # digest -> (target, count)
        for start in range(0, n, self.rows):
            stop = min(n, start + self.rows)
            xs, ys = ([p.rows(start, stop) for p in ps] for ps in (self.x, self.y))
            for part, rows in zip(parts, [*xs, *ys], strict=True):
                part.known.update(_bytes(rows))
                for table, elements in part.elements(rows):
                    table.add(elements, start)
            _fill(keys, start, xs)
            if self.y:
                self._count(ys, start)
        self.groups = _groups(keys)
        self._again(parts)
        self.sha256 = hashlib.sha256(b"".join(p.known.digest() for p in parts)).hexdigest()

    def _count(self, ys: list[np.ndarray], start: int) -> None:
        marks = _fill(self.labels, start, ys)
        for i, mark in enumerate(marks):
            if self.classes is None:
                return
            label, before = self.classes.get(mark, (None, 0))
            self.classes[mark] = (_label(ys, i) if before == 0 else label), before + 1
            if len(self.classes) > CLASSES:
                self.classes = None

    def _again(self, parts: list[Part]) -> None:
        """The second time through: what needs medians and extremes."""
        tables = [table for part in parts for table in part.tables]
        for table in tables:
            table.centre()
        for start in range(0, self.n if tables else 0, self.rows):
            for part in parts:
                for table, elements in part.elements(part.rows(start, min(self.n, start + self.rows))):
                    table.look(elements, start)


def _paths(path: str, data: Any) -> list[tuple[str, Any]]:
    found: list[Any] = []
    if isinstance(data, tuple | dict):
        pairs = data.items() if isinstance(data, dict) else enumerate(data)
        for name, part in pairs:
            found += _paths(f"{path}[{name!r}]", part)
        return found
    map_parts(found.append, data)
    return [(path, found[0])]


def _bytes(rows: np.ndarray) -> bytes:
    return repr(rows.tolist()).encode() if rows.dtype.hasobject else rows.tobytes()


def _fill(keys: np.ndarray, start: int, parts: list[np.ndarray]) -> list[bytes]:
    """A short digest of each sample, into keys from start on."""
    rows = len(parts[0])
    marks = [hashlib.blake2b(b"".join(_bytes(p[i : i + 1]) for p in parts), digest_size=16).digest()
             for i in range(rows)]  # fmt: skip
    keys[start : start + rows] = np.frombuffer(b"".join(marks), "V16")
    return marks


def _label(ys: list[np.ndarray], i: int) -> Any:
    """A target as one sees it: a number or text; of one-hot numbers the class; else a tuple."""
    row = ys[0][i] if len(ys) == 1 else tuple(y[i].tolist() for y in ys)
    if isinstance(row, np.ndarray) and row.ndim == 1 and row.size > 1 and row.dtype.kind in "fiub":
        hot = (row == 1).sum() == 1 and (row == 0).sum() == row.size - 1
        return int(np.argmax(row)) if hot else tuple(row.tolist())
    plain = row.tolist() if isinstance(row, np.ndarray | np.generic) else row
    if isinstance(plain, list):
        return plain[0] if len(plain) == 1 else tuple(plain)
    return plain


def _groups(keys: np.ndarray) -> list[list[int]]:
    """Samples that are alike, the group with the first of all before the others."""
    _, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    alike = np.flatnonzero(counts[inverse] > 1)
    groups: dict[int, list[int]] = {}
    for i in alike.tolist():
        groups.setdefault(int(first[inverse[i]]), []).append(i)
    return list(groups.values())
