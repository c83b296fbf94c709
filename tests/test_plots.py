"""Pictures hold the numbers they are given, and are drawn without a display."""

import os
import subprocess
import sys

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import plots
from tests.sources import ROOT

HISTORY = nf.History(
    [{"epoch": i, "loss": 1 / i, "validation_loss": 2 / i, "accuracy": 0.5, "error": 0.1} for i in range(1, 21)]
)


def panel(width=4, height=4):
    return plots.figure(width, height).subplots()


def test_loss_curves():
    axes = panel()
    plots.loss_curves(axes, HISTORY)
    assert [line.get_label() for line in axes.lines] == ["training", "validation"]
    assert list(axes.lines[0].get_xdata()) == list(range(1, 21))
    assert list(axes.lines[0].get_ydata()) == HISTORY.column("loss")
    assert axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_losses_that_have_no_logarithm_are_drawn_on_a_linear_scale(bad):
    axes = panel()
    plots.loss_curves(axes, nf.History([{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": bad}]))
    assert axes.get_yscale() == "linear" and len(axes.lines) == 1


def test_metric_curves_name_one_or_tell_several_apart():
    axes = panel()
    plots.metric_curves(axes, HISTORY, HISTORY.metrics)
    assert [line.get_label() for line in axes.lines] == ["accuracy", "error"]
    assert axes.get_ylabel() == "metric" and axes.get_legend() is not None
    axes = panel()
    plots.metric_curves(axes, HISTORY, ["accuracy"])
    assert axes.get_ylabel() == "accuracy" and axes.get_legend() is None


def test_metrics_of_other_scales_get_panels_of_their_own():
    row = {
        "epoch": 1,
        "loss": 1.0,
        "validation_loss": 2.0,
        "accuracy": 0.5,
        "mae": 20.0,
        "f1": float("nan"),
        "r2": -3.0,
    }
    figure = nf.History([row, row]).plot()
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "metric", "mae", "r2"]
    assert [line.get_label() for line in figure.axes[1].lines] == ["accuracy", "f1"]
    width, height = figure.get_size_inches()
    assert width > height > 6  # in two rows


def test_losses_on_a_linear_scale_if_told():
    assert HISTORY.plot().axes[0].get_yscale() == "log"
    assert HISTORY.plot(log=False).axes[0].get_yscale() == "linear"


def test_numbers_that_some_epochs_lack_leave_gaps():
    history = nf.History([{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5, "validation_loss": 0.7, "eta": 3.0}])
    axes = history.plot().axes
    assert len(axes) == 2 and [len(one.lines) for one in axes] == [2, 1]
    assert np.isnan(axes[0].lines[1].get_ydata()[0]) and axes[1].get_ylabel() == "eta"


def test_confusion_shows_counts_and_shares():
    table = np.array([[8, 2, 0], [0, 5, 0], [1, 0, 3]])
    axes = panel()
    plots.confusion(axes, table, ["a", "b", "c"])
    texts = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axes.texts}
    assert texts == {(i, j): str(table[i, j]) for i, j in zip(*np.nonzero(table), strict=True)}
    shares = np.array([[0.8, 0.2, 0], [0, 1, 0], [0.25, 0, 0.75]])
    assert np.array_equal(axes.images[0].get_array(), shares)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]


def test_confusion_of_a_class_that_never_came():
    axes = panel()
    plots.confusion(axes, [[3, 0], [0, 0]])
    assert np.array_equal(axes.images[0].get_array(), [[1, 0], [0, 0]])


@pytest.mark.parametrize("table", [[1, 2], [[1, 2]], np.zeros((2, 2, 2))])
def test_confusion_refuses_what_is_not_square(table):
    with pytest.raises(nf.ShapeError, match=r"^confusion: table must be of shape \(c, c\), got shape \("):
        plots.confusion(panel(), table)


def test_images_in_rows():
    figure = plots.figure(4, 2)
    pictures = np.arange(5 * 4).reshape(5, 2, 2)
    plots.images(figure, pictures, list("abcde"), columns=3)
    assert len(figure.axes) == 6
    assert [axes.get_title() for axes in figure.axes] == [*"abcde", ""]
    assert np.array_equal(figure.axes[4].images[0].get_array(), pictures[4]) and not figure.axes[5].images


def test_no_images():
    figure = plots.figure(4, 2)
    plots.images(figure, np.zeros((0, 8, 8)), [])
    assert not any(axes.images for axes in figure.axes)


def test_images_need_a_title_each():
    with pytest.raises(nf.ShapeError, match=r"^images: pictures must be of shape \(2, h, w\), one a title, got shape"):
        plots.images(plots.figure(4, 2), np.zeros((3, 8, 8)), ["a", "b"])


def test_a_picture_is_written_without_a_display_or_pyplot(tmp_path):
    code = (
        "import sys, numbaflux as nf; assert 'matplotlib' not in sys.modules\n"
        "nf.History([{'epoch': 1, 'loss': 1.0}, {'epoch': 2, 'loss': 0.5}]).plot().savefig(sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    path = tmp_path / "curves.png"
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "MPLBACKEND", "WAYLAND_DISPLAY")}
    subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, env=environment, check=True, timeout=300)
    assert path.read_bytes().startswith(b"\x89PNG\r\n") and path.stat().st_size > 5000
