"""The tables and pictures of docs/scaling.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.growth.written import save
from benchmarks.peers.machine import told
from benchmarks.ranks.measure import DRAWN, LINKS, Record
from benchmarks.ranks.predict import AT, ENDS, GLOBAL, NETWORKS, RANKS, WAYS, ends
from benchmarks.ranks.timeline import draw as timeline
from benchmarks.written import fill
from numbaflux.plots import COLOURS, GRID, figure

PAGE = Path("docs/scaling.md")
FILE = "ranks.json"
PICTURES = {"model": "scaling.png", "hidden": "hidden.png"}
SHOWN = RANKS[::3]  # in tables


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """In Markdown."""
    names, *lines = (f"| {' | '.join(line)} |" for line in (head, *rows))
    return "\n".join([names, "|---" * names.count(" | ") + "|---|", *lines])


def ms(us: float) -> str:
    return f"{us / 1e3:.1f}"


def targets(record: Record) -> str:
    """Two ranks beside two threads."""
    head = ("step", "1 rank x 2 threads, ms", "2 ranks x 1 thread, ms", "ratio", "target", "ranks that do not talk, ms")
    rows = []
    for name, case in record["cases"].items():
        threads, ranks, alone = (ms(case["us"][way]) for way in ("threads", "ranks", "alone"))
        target = f"{case['target']:.2f}" if case["target"] else ""
        rows.append((name, threads, ranks, f"{case['ratio']:.2f}", target, alone))
    return table(head, rows)


def model(record: Record) -> str:
    """The model beside measurements; efficiencies; ways to more of them."""
    checks = [
        (place, name, *(f"{us / 1e3:.2f}" for us in (*one["model"], sum(one["model"]), one["measured"])),
         f"{sum(one['model']) / one['measured']:.2f}")
        for place, cases in record["checks"].items() for name, one in cases.items()
    ]  # fmt: skip
    head = ("ranks", "step", "compute, ms", "communication", "waiting", "model", "measured", "model/measured")
    parts = [table(head, checks)]
    for kind, words in (("weak", "the same samples on each rank"), ("strong", f"{GLOBAL} samples in all")):
        rows = [
            (label, name, *(f"{found[label][kind][RANKS.index(n)]:.2f}" for n in SHOWN), said(ends(found[label][kind])))
            for label in NETWORKS for name, found in record["predictions"].items()
        ]  # fmt: skip
        head = ("network", "step", *(f"{n} ranks" for n in SHOWN), f"{ENDS} up to")
        parts.append(f"Efficiency, {words}:\n\n{table(head, rows)}")
    rows = [
        (label, name, *(f"{found[label]['ways'][way]:.2f}" for way in WAYS))
        for label in NETWORKS for name, found in record["predictions"].items()
    ]  # fmt: skip
    parts.append(f"Efficiency on {AT} ranks:\n\n{table(('network', 'step', *WAYS), rows)}")
    return "\n\n".join(parts)


def said(ranks: int) -> str:
    return f"{ranks} ranks" if ranks else f"less than {RANKS[0]}"


def hidden(record: Record) -> str:
    """What sums add on a slow cable."""
    head = ("cable", "samples", "MB", "step alone, ms", "together", "transfer", "backward", "added", "allowed")
    rows = []
    for rate, one in record["links"].items():
        times = [ms(one["us"][way]) for way in ("alone", "together", "transfer", "backward")]
        size = f"{one['bytes'] / 1e6:.1f}"
        rows.append((rate, str(LINKS[rate]), size, *times, ms(one["added"]), ms(one["allowed"])))
    return table(head, rows)


BLOCKS: dict[str, Callable[[Record], str]] = {"targets": targets, "model": model, "hidden": hidden}


def missed(found: dict[str, Record]) -> list[str]:
    """What --check refuses."""
    cases, links = (found.get(part, {}).get(key, {}) for part, key in (("targets", "cases"), ("hidden", "links")))
    return [name for name, case in cases.items() if case["ratio"] < case["target"]] + [
        f"hidden {rate}" for rate, one in links.items() if one["added"] > one["allowed"]
    ]


def draw(predictions: dict[str, Any]) -> Any:
    """Efficiency over ranks: a panel a network, weak above strong."""
    fig = figure(4.2 * len(NETWORKS), 6)
    for row, kind in zip(fig.subplots(2, len(NETWORKS), sharex=True, sharey=True), ("weak", "strong"), strict=True):
        for axes, label in zip(row, NETWORKS, strict=True):
            for colour, (name, found) in zip(COLOURS, predictions.items(), strict=False):
                axes.plot(RANKS, found[label][kind], "o-", color=colour, markersize=3, label=name)
            axes.set(xscale="log", ylim=(0, 1.05), title=f"{label}, {kind}", xlabel="ranks", ylabel="efficiency")
            axes.set_xticks(RANKS[::3], map(str, RANKS[::3]))
            axes.set_xticks([], minor=True)
            axes.axhline(ENDS, color="black", linewidth=0.6)
            axes.grid(color=GRID)
    row[0].legend(frameon=False)
    return fig


def write(root: Path, found: dict[str, Record]) -> None:
    """The file, the pictures and the page."""
    held = save(root, FILE, found)
    drawn = {
        "model": lambda r: draw(r["predictions"]),
        "hidden": lambda r: timeline(r["links"][DRAWN]["spans"]),
    }
    for part, record in held.items():
        made = [told(record["machine"]), BLOCKS[part](record)]
        if part in PICTURES:
            drawn[part](record).savefig(root / PAGE.parent / PICTURES[part])
            words = {"model": "Efficiency over ranks", "hidden": "A step on two hosts, with the slower cable"}[part]
            made.append(f"![{words}]({PICTURES[part]})")
        fill(root / PAGE, part, "\n" + "\n\n".join(made) + "\n\n")
