"""Every row of docs/flux-names.txt holds: names, arguments, tests are there; nothing is left out; the page is its."""

import inspect
import itertools
import re
import types

import pytest

import numbaflux as nf
from numbaflux.activations import ACTIVATIONS
from numbaflux.checkpoint import FUNCTIONS
from tests.flux_names import ONLY, PAGE, PLANNED, SENSELESS, TABLE, arguments, page, resolve, rows
from tests.sources import ROOT

ROWS = list(rows(TABLE.read_text()))
THERE = [row for row in ROWS if not (row.planned or row.senseless)]
# What may say that it makes no sense in Python.
REASONS = ("a macro", "a Julia AD backend", "Reactant", "another vendor's GPU")
PLANNED_ROWS, RANKS = 1, "Devices and ranks (Flux)"
each_row = pytest.mark.parametrize("row", THERE, ids=lambda row: row.flux or row.names[0])


def registries():
    """Name -> what has it: all that users may name."""
    found = {f"nf.{name}": getattr(nf, name) for name in nf.__all__}
    modules = {"schedules": nf.schedules, "callbacks": nf.callbacks, "augment": nf.augment, "losses": nf.losses}
    for where, module in modules.items():
        found |= {f"nf.{where}.{name}": getattr(module, name) for name in module.__all__}
    for where, module in {"init": nf.init, "metrics": nf.metrics, "datasets": nf.datasets}.items():
        own = inspect.getmembers(module, lambda one, module=module: inspect.getmodule(one) is module)
        found |= {f"nf.{where}.{name}": one for name, one in own if callable(one) and name[0] != "_"}
    optim = (*nf.optim.RULES, *nf.optim.TRANSFORMS, *nf.optim.AROUND)
    for one in (*nf.layers.LAYERS, *nf.losses.LOSSES, *optim, *ACTIVATIONS, *FUNCTIONS):
        found[one.__qualname__] = one
    return {name: one for name, one in found.items() if callable(one) and not isinstance(one, types.ModuleType)}


def missing(table):
    """Names of the registries that no row has, whatever they are called there."""
    known = {id(resolve(name)) for row in table for name in row.names}
    return sorted(name for name, one in registries().items() if id(one) not in known)


def unproven(row):
    """What is wrong with the tests of a row: files and functions that are not there, names that none of them has."""
    texts, found = [], []
    for test in row.tests:
        path, _, function = test.partition("::")
        texts.append((ROOT / path).read_text() if (ROOT / path).is_file() else "")
        if not re.search(rf"^def {function}\b" if function else r"^def test_", texts[-1], re.MULTILINE):
            found.append(test)
    for name in row.names:
        words = (name.partition("(")[0].rpartition(".")[2].strip("_"), *arguments(name))
        found += [word for word in words if not re.search(rf"\b{word}\b", "\n".join(texts), re.IGNORECASE)]
    return found


@each_row
def test_names_and_arguments_are_there(row):
    assert row.names
    for name in row.names:
        resolve(name)


@each_row
def test_tests_are_there_and_speak_of_it(row):
    assert row.tests and unproven(row) == []


def test_nothing_is_left_out():
    assert missing(ROWS) == []


def test_each_name_of_flux_has_one_row():
    names = [row.flux for row in ROWS if row.section != ONLY]
    assert all(names) and len(set(names)) == len(names)
    assert not any(row.flux for row in ROWS if row.section == ONLY)
    sections = [section for section, _ in itertools.groupby(row.section for row in ROWS)]
    assert len(set(sections)) == len(sections)


def test_what_makes_no_sense_is_of_four_kinds():
    for row in ROWS:
        if row.senseless:
            assert row.note.removeprefix(SENSELESS).partition(";")[0] in REASONS and not row.names + row.tests
        assert SENSELESS.strip(" :") not in row.note.removeprefix(SENSELESS)


def test_what_is_planned_is_of_devices_and_ranks_alone():
    planned = [row for row in ROWS if row.planned]
    assert len(planned) == PLANNED_ROWS and {row.section for row in planned} == {RANKS}
    assert not any(row.names + row.tests for row in planned)
    assert not any(PLANNED in row.note for row in ROWS if not row.planned and row.section == RANKS)


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == page(TABLE.read_text()), "python -m tests.flux_names"


def test_the_page_counts_and_shows_all_rows():
    shown = PAGE.read_text().splitlines()
    assert sum(line.startswith("| `") for line in shown) == len(ROWS)
    senseless, only = sum(row.senseless for row in ROWS), sum(row.section == ONLY for row in ROWS)
    counts = f"Of {len(ROWS) - only} names {len(THERE) - only} are there, {PLANNED_ROWS} are planned, {senseless} make"
    assert any(line.startswith(counts) for line in shown)


# ---------------------------------------------------------------- each check is shown to fail


@pytest.mark.parametrize("name", ["nf.nothing", "nf.Conv(nothing=)", "nf.losses.mse.nothing", "nothing.at_all"])
def test_a_name_that_is_not_there_is_found(name):
    with pytest.raises((AttributeError, ImportError)):
        resolve(name)


def test_a_row_without_proof_is_found():
    lines = "f | nf.mse | | tests/test_none.py\ng | nf.Conv(pad=) | | tests/test_tree.py::test_none\n"
    first, second = rows("== Section\n\n" + lines)
    assert unproven(first) == ["tests/test_none.py", "mse"] and first.section == "Section" and first.line == 3
    assert unproven(second) == ["tests/test_tree.py::test_none", "Conv", "pad"]


def test_a_name_left_out_is_found():
    assert missing([row for row in ROWS if "nf.Bilinear" not in row.names]) == ["Bilinear", "nf.Bilinear"]


def test_a_row_of_other_cells_is_refused():
    with pytest.raises(ValueError, match="line 2: four cells are needed, not 3"):
        list(rows("a | b | c | d\na | b | c\n"))
