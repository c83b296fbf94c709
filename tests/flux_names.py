"""The table of Flux.jl's names: docs/flux-names.txt as rows, and the page made of them: python -m tests.flux_names."""

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.sources import ROOT

TABLE, PAGE = ROOT / "docs" / "flux-names.txt", ROOT / "docs" / "flux.md"
PLANNED, SENSELESS = "planned", "makes no sense in Python: "
ONLY = "Only in numbaflux"  # the section of names that Flux.jl does not have
HEAD = """# The names of Flux.jl, one by one

A row for each public name of Flux, NNlib, Optimisers, ParameterSchedulers, MLUtils, OneHotArrays, Functors and Zygote.
Made of [flux-names.txt](flux-names.txt) by `python -m tests.flux_names`; [a test](../tests/test_flux_names.py) looks
up every name, argument and test in it, and that no layer, rule, loss or other public name of numbaflux is left out.

Of {flux} names {there} are there, {planned} are planned, {senseless} make no sense in Python; {only} rows are of names
that numbaflux has besides.

Rows do not repeat what holds throughout: batch first, features last, so Flux.jl's first axis is the last one here;
axes, indices and labels from 0; `in => out` is `in, out`; `dims` is mostly `axis`; texts for symbols.
[coming-from.md](coming-from.md) has what matters most.
"""


class Row(NamedTuple):
    line: int  # of the table's file, from 1
    section: str
    flux: str
    names: tuple[str, ...]  # nf.Conv, or nf.Conv(pad=) for an argument of it
    note: str  # what differs and why
    tests: tuple[str, ...]  # tests/test_x.py, or tests/test_x.py::test_y

    @property
    def planned(self) -> bool:
        return self.note == PLANNED

    @property
    def senseless(self) -> bool:
        return self.note.startswith(SENSELESS)


def rows(text: str) -> Iterator[Row]:
    """The rows of a table: lines `Flux name | names | note | tests`, several names or tests by a semicolon, below
    lines `== section`."""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("== "):
            section = line[3:].strip()
        elif line.strip():
            cells = [cell.strip() for cell in line.split("|")]
            if len(cells) != 4:
                raise ValueError(f"line {number}: four cells are needed, not {len(cells)}")
            flux, names, note, tests = cells
            yield Row(number, section, flux, several(names), note, several(tests))


def several(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(";") if part.strip())


def arguments(name: str) -> tuple[str, ...]:
    """The arguments a name speaks of: nf.Conv(pad=, stride=) -> pad, stride."""
    return tuple(re.findall(r"(\w+)=", name.partition("(")[2]))


def resolve(name: str) -> object:
    """What a name stands for; raises AttributeError or ImportError where there is none, or no such argument."""
    root, *parts = name.partition("(")[0].split(".")
    where = {"nf": "numbaflux"}.get(root, root)
    found = importlib.import_module(where)
    for part in parts:
        where = f"{where}.{part}"
        found = getattr(found, part) if hasattr(found, part) else importlib.import_module(where)
    if wanted := arguments(name):
        known = inspect.signature(found.__init__ if isinstance(found, type) else found).parameters
        if missing := [one for one in wanted if one not in known]:
            raise AttributeError(f"{name}: no argument {', '.join(missing)}")
    return found


def page(text: str) -> str:
    """The page of a table."""
    table = list(rows(text))
    only = [row for row in table if row.section == ONLY]
    planned, senseless = (sum(getattr(row, kind) for row in table) for kind in ("planned", "senseless"))
    flux = len(table) - len(only)
    counts = {"flux": flux, "there": flux - planned - senseless, "only": len(only)}
    lines = [HEAD.format(**counts, planned=planned, senseless=senseless)]
    for i, row in enumerate(table):
        if i == 0 or row.section != table[i - 1].section:
            heads = "| numbaflux | what it is |" if row.section == ONLY else "| Flux.jl | numbaflux | what differs |"
            lines += ["", f"## {row.section}", "", f"{heads} test |", "|---" * heads.count("|") + "|"]
        names = ", ".join(f"`{name}`" for name in row.names)
        first = () if row.section == ONLY else (f"`{row.flux}`",)
        lines.append(f"| {' | '.join((*first, names, row.note, ', '.join(map(link, row.tests))))} |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def link(test: str) -> str:
    path, _, function = test.partition("::")
    return f"[{function or path.rpartition('/')[2]}](../{path})"


if __name__ == "__main__":
    PAGE.write_text(page(TABLE.read_text()))
