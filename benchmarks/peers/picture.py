"""The picture of a run: how many times our time others take, a bar a library in every case."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.figures import PEAK, Row, ratios

COLOURS = {"torch": "#c44e52", "jax": "#4c72b0", "onnxruntime": "#8172b3", "numpy": "#937860"}
LABELS = {"torch": "PyTorch, the fastest way", "jax": "JAX", "onnxruntime": "ONNX Runtime", "numpy": "NumPy"}


def draw(rows: dict[str, Row], path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    found = {name: {lib: r for lib, r in ratios(row).items() if lib != PEAK} for name, row in rows.items()}
    heights = [max(1, len(bars)) + 0.8 for bars in found.values()]
    figure = Figure(figsize=(9, 1.2 + 0.17 * sum(heights)), layout="constrained")
    axes, top, places = figure.subplots(), 0.0, []
    for bars, height in zip(found.values(), heights, strict=True):
        for number, (library, value) in enumerate(bars.items()):
            y = top + number
            axes.barh(y, value - 1, height=0.9, left=1, color=COLOURS[library])
            # Behind its end, where ever that lies.
            axes.annotate(
                f"{value:.3g}", (value, y), (3 if value >= 1 else -3, 0), textcoords="offset points",
                ha="left" if value >= 1 else "right", va="center", fontsize=6,
            )  # fmt: skip
        places.append(top + (max(1, len(bars)) - 1) / 2)
        top += height
    axes.axvline(1, color="black", linewidth=1)
    axes.set(xscale="log", xlabel="time over that of numbaflux (left of 1: faster than numbaflux)")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(places, list(found), fontsize=8)
    axes.set_ylim(top - 0.3, -1)
    axes.margins(x=0.08)
    axes.grid(axis="x", which="major", alpha=0.4)
    axes.set_axisbelow(True)
    shown = [library for library in COLOURS if any(library in bars for bars in found.values())]
    handles = [axes.barh([0], [0], color=COLOURS[library], label=LABELS[library]) for library in shown]
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=max(1, len(shown)), frameon=False)
    figure.savefig(path, dpi=150)
