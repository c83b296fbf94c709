"""Pictures of training: learning curves, confusion matrix, images, profiles. Matplotlib is imported when the first
one is drawn.

Figures are made without pyplot: no display is needed, no window opens, nothing is kept behind the caller's back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .op import ShapeError, expect

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Figure
    from matplotlib.figure import SubFigure

    from .history import History

COLOURS = ("#0b6fa4", "#d1495b", "#2e933c", "#edae49", "#6d597a")  # told apart by colour-blind readers, and in grey
GRID = "#e4e6ea"
REST = "#9aa0a6"  # of what has no colour of its own
COLUMNS = 3  # panels side by side
BARS = 12  # entries of a profile that are drawn
LABELS = 50  # classes that have their names under their bars


def figure(width: float, height: float) -> Figure:
    """An empty figure, in inches.

    >>> figure(6, 4).get_size_inches().tolist()
    [6.0, 4.0]
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), dpi=130, layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.1))


def learning_curves(history: History, log: bool = True) -> Figure:
    """The losses of each epoch, and in panels beside them the metrics if there are any: shares together, others alone.

    >>> from numbaflux.history import History
    >>> rows = [{"epoch": i, "loss": 1 / i, "validation_loss": 1.1 / i, "accuracy": 1 - 1 / i} for i in (1, 2, 3)]
    >>> [axes.get_ylabel() for axes in learning_curves(History(rows)).axes]
    ['loss', 'accuracy']
    """
    panels = _panels(history)
    columns = min(1 + len(panels), COLUMNS)
    rows = -(-(1 + len(panels)) // columns)
    fig = figure(5.2 * columns, 3.8 * rows)
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    loss_curves(axes[0], history, log)
    for place, names in zip(axes[1:], panels, strict=False):
        metric_curves(place, history, names)
    for place in axes[1 + len(panels) :]:
        place.remove()
    return fig


def _panels(history: History) -> list[list[str]]:
    """The metrics that are drawn together: those whose values all lie in [0, 1], and each other one."""
    shares = [name for name in history.metrics if all(not (x < 0 or x > 1) for x in history.column(name))]
    return [shares] * bool(shares) + [[name] for name in history.metrics if name not in shares]


def loss_curves(axes: Axes, history: History, log: bool = True) -> None:
    """Training and validation loss of each epoch; log: on a logarithmic scale where all of them are positive."""
    curves = {"training": "loss", "validation": "validation_loss"}
    columns = {label: history.column(key) for label, key in curves.items() if key in history.columns}
    _curves(axes, history, columns, "loss")
    if log and all(value > 0 for column in columns.values() for value in column):
        axes.set_yscale("log")


def metric_curves(axes: Axes, history: History, names: Sequence[str]) -> None:
    """Metrics over the validation data, after each epoch."""
    _curves(axes, history, {n: history.column(n) for n in names}, names[0] if len(names) == 1 else "metric")


def _curves(axes: Axes, history: History, columns: dict[str, list[float]], ylabel: str) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = history.column("epoch")
    for i, (label, values) in enumerate(columns.items()):
        axes.plot(
            epochs, values, label=label, color=COLOURS[i % len(COLOURS)], linewidth=1.8,
            marker="o" if len(epochs) <= 12 else None, markersize=3.5,
        )  # fmt: skip
    axes.set(xlabel="epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    _bare(axes)
    if len(columns) > 1 or ylabel not in columns:
        axes.legend(frameon=False)


def _bare(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def confusion(axes: Axes, table: ArrayLike, names: Sequence[str] | None = None) -> None:
    """A confusion matrix (c, c), rows the true classes: shares of each row as colour, counts as text.

    names: of the classes, 0 to c - 1 unless told.

    >>> axes = figure(4, 4).subplots()
    >>> confusion(axes, [[5, 0], [1, 4]])
    >>> [text.get_text() for text in axes.texts]
    ['5', '1', '4']
    """
    counts = np.asarray(table)
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1]
    expect(square, "confusion", "table", "of shape (c, c)", f"shape {counts.shape}", error=ShapeError)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    labels = [str(i) for i in range(len(counts))] if names is None else list(names)
    ticks = range(len(counts))
    axes.set(xticks=ticks, yticks=ticks, xticklabels=labels, yticklabels=labels, xlabel="predicted", ylabel="true")
    axes.tick_params(length=0)
    for i, j in np.argwhere(counts):
        colour = "white" if shares[i, j] > 0.5 else "black" if i == j else COLOURS[1]
        weight = "normal" if i == j else "bold"
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour, fontsize=8, fontweight=weight)
    for spine in axes.spines.values():
        spine.set_visible(False)


def images(place: Figure | SubFigure, pictures: ArrayLike, titles: Sequence[str], columns: int = 12) -> None:
    """Pictures (n, h, w) in rows of so many columns, dark on white, each under its title.

    >>> fig = figure(4, 2)
    >>> images(fig, np.zeros((3, 8, 8)), ["a", "b", "c"], columns=2)
    >>> [axes.get_title() for axes in fig.axes]
    ['a', 'b', 'c', '']
    """
    shape = np.shape(pictures)
    fits = len(shape) == 3 and shape[0] == len(titles)
    expected = f"of shape ({len(titles)}, h, w), one a title"
    expect(fits, "images", "pictures", expected, f"shape {shape}", error=ShapeError)
    rows = max(1, -(-len(titles) // columns))
    grid: Any = place.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, picture, title in zip(grid.flat, np.asarray(pictures), titles, strict=False):
        axes.imshow(picture, cmap="gray_r")
        axes.set_title(title, fontsize=9, pad=3)


def data(histograms: Mapping[str, tuple[Sequence[int], float, float]], classes: Mapping[str, int]) -> Figure:
    """A histogram of each column, (counts, smallest, largest), on a logarithmic scale; and a bar for each class.

    >>> fig = data({"x": ([1, 2, 1], 0.0, 3.0)}, {"cat": 3, "dog": 1})
    >>> [len(axes.patches) for axes in fig.axes]
    [3, 2]
    """
    panels = len(histograms) + bool(classes)
    columns = max(1, min(panels, COLUMNS))
    rows = max(1, -(-panels // columns))
    fig = figure(4.2 * columns, 2.8 * rows)
    places: Any = fig.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, (counts, low, high)) in zip(places, histograms.items(), strict=False):
        width = (high - low) / len(counts)
        starts = [low + i * width for i in range(len(counts))]
        axes.bar(starts, counts, width=width or 1.0, align="edge", color=COLOURS[0])
        axes.set_yscale("log")  # else a few that are far out are not seen
        axes.set_ylim(bottom=0.5)
        axes.set_title(name, fontsize=9)
    if classes:
        places[panels - 1].bar(list(classes), list(classes.values()), color=COLOURS[2])
        places[panels - 1].set_title("samples of a class", fontsize=9)
        places[panels - 1].tick_params(axis="x", rotation=90 if len(classes) > 12 else 0)
        if len(classes) > LABELS:
            places[panels - 1].set_xticks([])
    for axes in places[:panels]:
        _bare(axes)
    for axes in places[panels:]:
        axes.remove()
    return fig


def profile(families: Mapping[str, Sequence[tuple[int, float, float]]], entries: Mapping[str, float],
            workers: Sequence[str]) -> Figure:  # fmt: skip
    """What nf.profile found: spans (number of the worker, start, length) of each family of kernels along time, with the
    names of the workers; below, the entries with most time. Microseconds.

    >>> fig = profile({"dense": [(0, 1.0, 5.0), (1, 1.5, 4.0)]}, {"dense.product 0": 9.0}, ["worker 0", "worker 1"])
    >>> [axes.get_xlabel() for axes in fig.axes]
    ['microseconds', 'microseconds of all workers together']
    """
    longest = sorted(entries, key=lambda name: -entries[name])[:BARS][::-1]
    fig = figure(9.0, 2.2 + 0.35 * len(workers) + 0.28 * len(longest))
    axes: Any = fig.subplots(2, 1, height_ratios=[0.7 + 0.35 * len(workers), 0.5 + 0.28 * len(longest)])
    order = sorted(families, key=lambda name: -sum(length for _, _, length in families[name]))
    colours = {name: COLOURS[i] if i < len(COLOURS) else REST for i, name in enumerate(order)}
    for i, name in enumerate(order):
        label = name if i < len(COLOURS) else "others" if i == len(COLOURS) else None
        for worker in range(len(workers)):
            spans = [(start, length) for at, start, length in families[name] if at == worker]
            axes[0].broken_barh(spans, (worker - 0.4, 0.8), color=colours[name], linewidth=0, label=label)
            label = None
    axes[0].set(xlabel="microseconds", yticks=range(len(workers)), yticklabels=workers)
    axes[0].invert_yaxis()
    fig.legend(frameon=False, ncols=6, loc="outside upper center")
    families_of = [colours.get(name.partition(".")[0], REST) for name in longest]
    axes[1].barh(longest, [entries[name] for name in longest], color=families_of)
    axes[1].set(xlabel="microseconds of all workers together")
    for place in axes:
        _bare(place)
    return fig
