"""The history of a training: rows, columns, the table it shows, its plot."""

import copy
import json
import math

import pytest

import numbaflux as nf

ROWS = [
    {"epoch": i, "loss": 1.5 / i, "validation_loss": 2.0 / i, "accuracy": 1 - 0.5 / i, "seconds": 0.25,
     "samples_per_second": 40_000.4}
    for i in range(1, 31)
]  # fmt: skip


def test_it_is_a_list_of_plain_rows():
    history = nf.History(ROWS)
    assert history == ROWS and history[-1]["epoch"] == 30
    assert json.loads(json.dumps(history)) == ROWS
    assert history.column("loss") == [row["loss"] for row in ROWS]
    assert history.metrics == ["accuracy"]
    assert copy.deepcopy(history) == history and isinstance(copy.deepcopy(history), nf.History)


def test_table():
    assert repr(nf.History(ROWS[:2])) == (
        "epoch     loss  validation_loss  accuracy  seconds  samples_per_second\n"
        "    1      1.5                2       0.5     0.25               40000\n"
        "    2     0.75                1      0.75     0.25               40000"
    )


def test_long_table_shows_both_ends():
    lines = repr(nf.History(ROWS)).splitlines()
    assert len(lines) == 1 + 8 + 1 + 8
    assert [line.split()[0] for line in lines[1:]] == [*"12345678", "...", *map(str, range(23, 31))]
    assert len(repr(nf.History(ROWS[:16])).splitlines()) == 17
    assert len({len(line) for line in lines}) == 1


def test_what_is_not_finite_is_shown():
    row = {"epoch": 1, "loss": 0.5, "validation_loss": float("nan"), "accuracy": float("inf")}
    assert repr(nf.History([row])).splitlines()[1].split() == ["1", "0.5", "nan", "inf"]


def test_without_epochs():
    history = nf.History()
    assert repr(history) == "History of no epochs"
    assert history.column("loss") == [] and history.metrics == []
    with pytest.raises(nf.RangeError, match="^history: plot must be asked for after an epoch or more, got none$"):
        history.plot()


def test_interrupted_is_said():
    assert repr(nf.History(ROWS[:2], interrupted=True)).splitlines()[-1] == "interrupted in epoch 3"
    assert repr(nf.History(interrupted=True)) == "History of no epochs\ninterrupted in epoch 1"


def test_unknown_column():
    with pytest.raises(nf.RangeError, match=r"^history: column must be one of \['epoch', 'loss', .*\], got 'los'$"):
        nf.History(ROWS).column("los")


def test_plot_is_a_figure_of_losses_and_metrics():
    figure = nf.History(ROWS).plot()
    losses, metrics = figure.axes
    assert [line.get_label() for line in losses.lines] == ["training", "validation"]
    assert list(losses.lines[1].get_ydata()) == [row["validation_loss"] for row in ROWS]
    assert list(metrics.lines[0].get_ydata()) == [row["accuracy"] for row in ROWS]


def test_numbers_that_some_rows_lack():
    history = nf.History([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "eta": 0.5}])
    assert history.columns == ["epoch", "loss", "eta"] and history.metrics == ["eta"]
    assert math.isnan(history.column("eta")[0]) and history.column("eta")[1] == 0.5
    assert [line.split() for line in repr(history).splitlines()] == [
        ["epoch", "loss", "eta"], ["1", "2"], ["2", "1", "0.5"],
    ]  # fmt: skip
