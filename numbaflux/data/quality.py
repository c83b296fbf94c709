"""A report of data before it is trained on: what is broken, what may be poisoned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import plots
from ..op import DTypeError, ShapeError, expect
from .digest import digest
from .loader import DataLoader
from .samples import numobs
from .survey import DRAWN, Column, Survey

if TYPE_CHECKING:
    from ..plots import Figure

SHOWN = 12  # columns, classes and groups that the table has at most
NAMED = 5  # columns of one trouble that have a line each among the findings
RARE = 0.1  # of the median of all classes
HEAD = ("column", "NaN", "Inf", "min", "max", "mean", "std", "outliers")


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """What nf.data.report found; as text, a table.

    samples: how many; parts: (path, shape, dtype) of each array; columns: numbers about each feature or channel.
    classes: label -> how many samples, where targets are classes, else None.
    duplicates: positions of samples with the same x, in groups; conflicts: those groups whose targets differ.
    digest: as the record of a training on the same DataLoader has it ("is", "sha256"), from a part of each sample;
    sha256: of every byte. findings: lines worth a look, the gravest first.
    histograms: column -> (counts, smallest, largest).
    """

    samples: int
    parts: tuple[tuple[str, tuple[int, ...], str], ...]
    columns: tuple[Column, ...]
    classes: dict[Any, int] | None
    duplicates: tuple[tuple[int, ...], ...]
    conflicts: tuple[tuple[int, ...], ...]
    digest: dict[str, str]
    sha256: str
    findings: tuple[str, ...]
    histograms: dict[str, tuple[list[int], float, float]]

    def plot(self, path: str | Path | None = None) -> Figure:
        """Histograms of the first columns and bars of the classes, as a Matplotlib figure; written to path if told.

        >>> figure = report(np.arange(6.0), np.array([0, 0, 0, 1, 1, 1])).plot()
        >>> [axes.get_title() for axes in figure.axes]
        ['x', 'samples of a class']
        """
        shown = dict(list(self.histograms.items())[:DRAWN])
        figure = plots.data(shown, {str(label): count for label, count in (self.classes or {}).items()})
        if path is not None:
            figure.savefig(path)
        return figure

    def __repr__(self) -> str:
        lines = [f"{self.samples} samples: " + ", ".join(f"{p} {shape} {dtype}" for p, shape, dtype in self.parts)]
        lines += [f"sha256 {self.sha256}; in a training's record {self.digest['sha256']}", ""]
        rows = [HEAD, *((c.name, str(c.nan), str(c.inf), *(f"{v:.4g}" for v in (c.low, c.high, c.mean, c.std)),
                         str(c.outliers)) for c in self.columns[:SHOWN])]  # fmt: skip
        lines += [*_aligned(rows), *_more(self.columns, "columns"), ""]
        if self.classes is not None:
            named = [(str(k), str(n), f"{100 * n / self.samples:.3g} %") for k, n in list(self.classes.items())[:SHOWN]]
            lines += [*_aligned([("class", "samples", "share"), *named]), *_more(list(self.classes), "classes"), ""]
        return "\n".join([*lines, *(f"- {line}" for line in self.findings or ("nothing worth a look",))])


def report(x: Any, y: Any = None) -> Report:
    """What data are made of and what looks wrong: NaN and Inf, ranges, constant columns, outliers, samples that occur
    more than once, classes and their balance, digests.

    x: an array (n, ...), a tuple or dict of them, any object with __len__ and __getitem__; or a DataLoader, whose data
    are taken, of a tuple of two the second as y. y: the targets (n, ...), labels, nf.OneHot or numbers. Data are gone
    through twice in chunks of 4 MiB, or single samples that are larger; it takes about 100 bytes a sample and 64 MiB,
    or several times a large sample. Columns are those of (n, c), the channels of images and series, and the mean and
    spread of each sample there; medians are of up to 2**20 elements, evenly spread. Poisoned data cannot be told for
    certain: signs of it are one x under two labels, few samples far out or with a value that nobody else has, rare
    labels, and a digest that is not that of before.
    Raises ShapeError for parts of unequal lengths, DTypeError for what is no data.

    Source of the outliers' score: Iglewicz and Hoaglin 1993.

    >>> x = np.array([[0.0, 1], [2, 1], [2, 1], [3, 1]], np.float32)
    >>> found = report(x, np.array([0, 0, 1, 1]))
    >>> for line in found.findings:
    ...     print(line)
    1 group of samples with the same x has different targets: 1, 2
    x[:, 1] is constant: 1
    >>> found.classes, found.columns[0].mean
    ({0: 2, 1: 2}, 1.75)
    """
    given = x
    if isinstance(x, DataLoader):
        expect(y is None, "report", "y", "left out where x is a DataLoader", type(y).__name__, error=DTypeError)
        x = x.data
        x, y = x if isinstance(x, tuple) and len(x) == 2 else (x, None)
    n = numobs(x, "report")
    if y is not None:
        got = numobs(y, "report")
        expect(got == n, "report", "y", f"of as many samples as x, {n}", got, error=ShapeError)
    survey = Survey(x, y, n)
    parts = [*survey.x, *survey.y]
    classes = _classes(survey)
    found = {part.path: [table.columns() for table in part.tables] for part in parts}
    labels = survey.y if classes is not None else []  # no numbers, then, but where there is NaN or Inf among them
    for part in labels:
        if not any(c.nan + c.inf for some in found[part.path] for c in some):
            del found[part.path]
    columns = tuple(c for tables in found.values() for some in tables for c in some)
    conflicts = tuple(tuple(g) for g in survey.groups if survey.y and len({bytes(survey.labels[i]) for i in g}) > 1)
    same = given if y is None or isinstance(given, DataLoader) else (x, y)
    return Report(
        n, tuple((p.path, p.shape, p.kind) for p in parts), columns, classes, tuple(map(tuple, survey.groups)),
        conflicts, digest(same), survey.sha256, tuple(_findings(survey, found, classes, conflicts)),
        {k: h for p in parts if p.path in found for table in p.tables for k, h in table.histograms().items()},
    )  # fmt: skip


def _classes(survey: Survey) -> dict[Any, int] | None:
    """Label -> count, in the order of labels; None where there are nearly as many targets as samples, or too many."""
    found = survey.classes
    if not found or len(found) > max(10, survey.n // 2):
        return None
    floats = all(isinstance(label, float) and label != int(label) for label, _ in found.values() if _number(label))
    if floats and any(_number(label) for label, _ in found.values()):
        return None
    return dict(sorted(found.values(), key=lambda pair: (not _number(pair[0]), pair[0] if _number(pair[0]) else 0,
                                                         str(pair[0]))))  # fmt: skip


def _number(label: Any) -> bool:
    return isinstance(label, int | float) and label == label and abs(label) != float("inf")


def _findings(survey: Survey, tables: dict[str, list[list[Column]]], classes: dict[Any, int] | None,
              conflicts: Sequence[Sequence[int]]) -> list[str]:  # fmt: skip
    n, groups = survey.n, survey.groups
    own = [c for some in tables.values() for c in (some[0] if some else ())]
    made = [(path, one) for path, some in tables.items() for one in some[1:]]  # numbers of samples
    columns = [*own, *(c for _, one in made for c in one)]
    lines = _each("are not finite", "{c.name} has {c.nan} NaN and {c.inf} Inf, the first in sample {c.first}",
                  [c for c in own if c.nan + c.inf])  # fmt: skip
    if conflicts:
        lines.append(_grouped(conflicts, "with the same x", "different targets"))
    if len(groups) > len(conflicts):
        copies, first = sum(map(len, groups)) - len(groups), ", ".join(map(str, groups[0][:SHOWN]))
        lines.append(f"{copies} of {n} samples are copies of others, first {first}")
    lines += _labels(n, classes)
    lines += _each("are constant", "{c.name} is constant: {c.low:.4g}", [c for c in columns if c.constant])
    lines += [f"some samples of {path} are of one value" for path, one in made if one[1].low == 0]
    words = "{c.name}: outliers, {c.outliers} of them, the farthest in sample {c.farthest}, {c.away}"
    lines += _each("have outliers", words, [c for c in columns if c.outliers])
    large = [c for c in own if c.dtype.startswith("float") and c.count and max(abs(c.low), abs(c.high)) > _limit(c)]
    words = "{c.name} reaches from {c.low:.4g} to {c.high:.4g}: squares overflow {c.dtype}"
    return lines + _each("are too large", words, large)


def _limit(column: Column) -> float:
    return float(np.sqrt(float(np.finfo(column.dtype).max)))


def _labels(n: int, classes: dict[Any, int] | None) -> list[str]:
    """What is odd about labels."""
    if classes is None:
        return []
    lines, counts = [], sorted(classes.values())
    middle = counts[len(counts) // 2]
    for label, count in classes.items():
        if len(classes) > 1 and (count == 1 or count < RARE * middle):
            lines.append(f"class {label} is rare: {count} of {n} samples")
    lines = lines if len(lines) <= NAMED else [f"{len(lines)} classes are rare, first {lines[0]}"]
    whole = [label for label in classes if isinstance(label, int) and not isinstance(label, bool)]
    if len(whole) == len(classes):
        gaps = sorted(set(range(max(whole) + 1)) - set(whole)) if max(whole) < 10 * len(whole) else []
        lines += [f"labels are negative: {min(whole)}"] * (min(whole) < 0)
        lines += [f"no sample has label {', '.join(map(str, gaps[:SHOWN]))}, the largest is {max(whole)}"] * bool(gaps)
    return lines + ["all samples have one target"] * (len(classes) == 1 and n > 1)


def _grouped(groups: Sequence[Sequence[int]], what: str, trouble: str) -> str:
    count = "1 group of samples" if len(groups) == 1 else f"{len(groups)} groups of samples"
    shown = "; ".join(", ".join(map(str, group[:SHOWN])) for group in groups[:NAMED])
    return f"{count} {what} {'has' if len(groups) == 1 else 'have'} {trouble}: {shown}"


def _each(trouble: str, words: str, columns: Sequence[Column]) -> list[str]:
    """A line a column, or one for all of them where they are many."""
    if len(columns) <= NAMED:
        return [words.format(c=c) for c in columns]
    return [f"{len(columns)} columns {trouble}; first: {words.format(c=columns[0])}"]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *(text.rjust(w) for text, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows]  # fmt: skip


def _more(things: Sequence[Any], what: str) -> list[str]:
    return [f"... and {len(things) - SHOWN} {what} more"] * (len(things) > SHOWN)
