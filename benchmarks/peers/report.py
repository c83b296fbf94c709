"""What a run is told as: text, the tables of README and docs/performance.md between their markers, the picture.

python -m benchmarks.peers.report writes tables and picture anew from benchmarks/results/peers.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.figures import (
    OURS,
    Row,
    behind,
    best,
    found,
    gflops,
    least,
    median,
    of_peak,
    others,
    peak,
    ratio,
)
from benchmarks.peers.machine import NAMES, told
from benchmarks.peers.picture import draw
from benchmarks.written import RESULTS, ROOT, fill

FILE = RESULTS / "peers.json"
PICTURE = Path("docs/peers.png")
EXPLAINED = """\
PyTorch is the fastest of eager and compiled, channels first and last. Memory is what 20 calls add to the imported
library. It and the first step: ours / PyTorch / JAX, the least of all ways."""
MEANT = 150  # GFLOP/s a core of the tile for which targets were set
Results = dict[str, Any]


def number(value: float | None, unit: str = "") -> str:
    """Three digits that count; nothing where there is no number."""
    if value is None:
        return ""
    size = abs(value)
    return f"{value:,.0f}{unit}" if size >= 100 else f"{value:.1f}{unit}" if size >= 10 else f"{value:.2f}{unit}"


def share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def spelt(peer: str) -> str:
    """PyTorch (compile, last) and the like."""
    library, *ways = peer.split("-")
    return NAMES.get(library, library) + (f" ({', '.join(ways)})" if ways else "")


def text_head() -> str:
    heads = ("us", "ratio", "GFLOP/s", "of peak", "MiB", "first s", "cold s")
    return f"{'case':<26}{'peer':<20}" + "".join(f"{head:>11}" for head in heads)


def text_rows(name: str, row: Row) -> list[str]:
    """A line a peer, we first; then the ones that failed."""
    lines = []
    for peer in [peer for peer in (OURS, *others(row)) if peer in row["peers"]]:
        one, rate = row["peers"][peer], of_peak(row, peer)
        cells = [number(median(row, peer)), number(ratio(row, peer)), number(gflops(row, peer)), share(rate)]
        cells += [number(one["memory"]), number(one["first"]), number(one["cold"])]
        lines.append(f"{name:<26}{peer:<20}" + "".join(f"{cell:>11}" for cell in cells))
    return lines + [f"{name:<26}{peer:<20} failed: {why}" for peer, why in row["failed"].items()]


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table; all columns but the first to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def summary(name: str, row: Row) -> list[str]:
    torch, jax = best(row, "torch"), best(row, "jax")
    cells = [median(row, peer) if peer and peer in row["peers"] else None for peer in (OURS, torch, jax)]
    values = [ratio(row, peer) for peer in (torch, jax)]
    ratios = [f"**{number(value)}**" if value is not None and value < 1 else number(value) for value in values]
    pairs = []
    for quantity in ("memory", "first"):
        pair = [number(least(row, library, quantity)) for library in (OURS, "torch", "jax")]
        pairs.append(" / ".join(cell or "-" for cell in pair))
    return [name, *map(number, cells), *ratios, *pairs]


def block(results: Results) -> str:
    """For the README: training and science, and where anyone is ahead of us in any case."""
    head = ["case", "ours, us", "PyTorch", "JAX", "PyTorch : ours", "JAX : ours", "memory, MiB", "first step, s"]
    rows = [summary(n, r) for n, r in results["rows"].items() if r["kind"] in ("training", "science")]
    late = {n: " and ".join(NAMES.get(lib, lib) for lib in behind(r)) for n, r in results["rows"].items() if behind(r)}
    ahead = ", ".join(f"{name} ({who})" for name, who in late.items())
    parts = [markdown(head, rows), "", told(results), EXPLAINED]
    parts.append(f"Of {len(results['rows'])} cases, others are faster in {len(late)}{': ' * bool(ahead)}{ahead}.")
    return "\n".join(parts) + "\n"


def quantities(rows: dict[str, Row]) -> dict[str, Callable[[Row, str], str]]:
    """The tables of a kind of cases: what stands in a cell of a case and a peer."""
    tables: dict[str, Callable[[Row, str], str]] = {
        "Microseconds a call": lambda row, peer: number(median(row, peer)),
        "Time over that of numbaflux": lambda row, peer: number(ratio(row, peer)),
        "GFLOP/s": lambda row, peer: number(gflops(row, peer)),
        "Share of the measured peak": lambda row, peer: share(of_peak(row, peer)),
        "Memory beyond the imported library, MiB": lambda row, peer: number(row["peers"][peer]["memory"]),
        "First step, seconds": lambda row, peer: number(row["peers"][peer]["first"]),
    }
    if any(one["cold"] for row in rows.values() for one in row["peers"].values()):
        tables["First step without cached kernels, seconds"] = lambda row, peer: number(row["peers"][peer]["cold"])
    return tables


def kept(results: Results) -> Results:
    """What the next run's pages tell of this one."""
    return {"date": results["date"], "processor": results["processor"], "found": found(results["rows"]),
            "peak": peak(results["rows"], results["threads"])}  # fmt: skip


def late(results: Results, runs: list[Results]) -> list[list[str]]:
    """Of each target that one of the runs missed: case, library, what was asked, what was found."""
    rows = []
    for name, row in results["rows"].items():
        for library, asked in row["targets"].items():
            values = [run["found"].get(name, {}).get(library) for run in runs]
            if any(value is not None and value < asked for value in values):
                cells = [f"**{number(v)}**" if v is not None and v < asked else number(v) for v in values]
                rows.append([name, NAMES.get(library, library), f"{asked:g}", *cells])
    return rows


def targets(results: Results) -> str:
    """How fast this run's machine was, and the one's before, and which targets were missed."""
    runs = [kept(results), *([results["before"]] if "before" in results else [])]
    rows, total = late(results, runs), sum(len(row["targets"]) for row in results["rows"].values())
    tiles = ", ".join(f"{number(run['peak'])} ({run['date']}, {run['processor']})" for run in runs)
    head = ["case", "beside", "asked", *("this run", "the run before")[: len(runs)]]
    return (
        f"The register tile makes, in GFLOP/s a core: {tiles}. Targets are set for CPUs on which it makes {MEANT}.\n"
        f"Of {total} targets {len(rows)} were missed{':' if rows else '.'}\n\n{markdown(head, rows) if rows else ''}"
    )


def page(results: Results) -> str:
    """For docs/performance.md: everything."""
    parts = [told(results), "", f"![Time of others over ours]({PICTURE.name})", ""]
    parts += ["## Targets", "", targets(results), ""]
    for kind in dict.fromkeys(row["kind"] for row in results["rows"].values()):
        rows = {name: row for name, row in results["rows"].items() if row["kind"] == kind}
        peers = list(dict.fromkeys(peer for row in rows.values() for peer in (OURS, *others(row))))
        parts += [f"## {kind.capitalize()}", ""]
        for title, cell in quantities(rows).items():
            table = [[n, *(cell(row, p) if p in row["peers"] else "" for p in peers)] for n, row in rows.items()]
            parts += [f"{title}:", "", markdown(["case", *map(spelt, peers)], table), ""]
        parts += [f"{name}, {spelt(peer)}: {why}" for name, row in rows.items() for peer, why in row["failed"].items()]
    return "\n".join(parts).rstrip() + "\n"


def save(results: Results, root: Path) -> None:
    """Write the results, and with them what the ones before were."""
    (root / FILE).parent.mkdir(exist_ok=True)
    if (root / FILE).exists():
        results = {**results, "before": kept(json.loads((root / FILE).read_text()))}
    (root / FILE).write_text(json.dumps(results, indent=1) + "\n")


def publish(root: Path) -> None:
    """Write the pages and the picture that belong to the results."""
    results = json.loads((root / FILE).read_text())
    for name, made in (("README.md", block), ("docs/performance.md", page)):
        fill(root / name, "peers", made(results))
    draw(results["rows"], root / PICTURE)


def main() -> int:
    if not (ROOT / FILE).exists():
        print(f"no {FILE}: run python -m benchmarks.peers first", file=sys.stderr)
        return 1
    publish(ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
