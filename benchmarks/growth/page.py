"""What was measured, as docs/growth.png and as the tables of docs/growth.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.growth.measure import OURS, Record, rows
from benchmarks.growth.series import SERIES
from benchmarks.growth.written import PAGE, save
from benchmarks.peers.machine import told
from benchmarks.written import fill
from numbaflux.plots import COLOURS, GRID, figure

PICTURE = "growth.png"
COLUMNS = 3  # panels side by side


def write(root: Path, found: dict[str, Record]) -> None:
    """The file, the picture and the page of all that was ever measured."""
    held = save(root, "growth.json", found)
    draw({name: held[name] for name in SERIES if name in held}).savefig(root / PAGE.parent / PICTURE)
    parts = [f"![Time over size, beside PyTorch]({PICTURE})"]
    parts += [markdown(name, held[name]) for name in SERIES if name in held]
    fill(root / PAGE, "growth", "\n" + "\n\n".join(parts) + "\n\n")


def markdown(name: str, record: dict[str, Any]) -> str:
    """The table of one series."""
    series = SERIES[name]
    lines = [
        f"### {series.axis[0].upper()}{series.axis[1:]}",
        "",
        told(record["machine"]),
        "",
        f"| point | us | us for {series.unit} | PyTorch us | ratio | off the trend |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows(name, record):
        off = f"**{row.off:.2f}**" if row.cliff else f"{row.off:.2f}"
        unit = f"**{row.unit:.3g}**" if row.rises else f"{row.unit:.3g}"
        lines.append(
            f"| {row.point} | {row.us:.1f} | {unit} | {row.peer_us:.1f} | {row.peer_us / row.us:.2f} | {off} |"
        )
    return "\n".join(lines)


def draw(records: dict[str, Record]) -> Any:
    """One panel a series, both axes logarithmic; what is off the trend has a ring."""
    columns = min(COLUMNS, len(records))
    lines = -(-len(records) // columns)
    fig = figure(4.6 * columns, 3.6 * lines)
    panels = fig.subplots(lines, columns, squeeze=False).ravel()
    for axes, (name, record) in zip(panels, records.items(), strict=False):
        found = rows(name, record)
        points = [row.point for row in found]
        axes.plot(points, [row.us for row in found], "o-", color=COLOURS[0], markersize=3, label=OURS)
        if found[0].peer:
            axes.plot(points, [row.peer_us for row in found], "s-", color=COLOURS[1], markersize=3, label="PyTorch")
        marked = [row for row in found if row.cliff]
        axes.plot(
            [r.point for r in marked], [r.us for r in marked], "o", color=COLOURS[3], markersize=9, fillstyle="none"
        )
        axes.set(xscale="log", yscale="log", xlabel=SERIES[name].axis, ylabel="us a training step")
        axes.grid(color=GRID)
        axes.legend(frameon=False)
    for axes in panels[len(records) :]:
        axes.remove()
    return fig
