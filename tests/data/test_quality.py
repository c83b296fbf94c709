"""nf.data.report: numbers beside NumPy's, what is broken or poisoned is named, memory is bounded."""

import hashlib
import tracemalloc

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.data import report, survey
from numbaflux.record import record

RNG = np.random.default_rng(0)
X = RNG.standard_normal((500, 4)).astype(np.float32)
LABELS = np.arange(500) % 5
IMAGES = RNG.uniform(0, 1, (60, 6, 5, 3)).astype(np.float32)


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def column(found, name):
    return next(c for c in found.columns if c.name == name)


@pytest.mark.parametrize("chunk", [999, survey.CHUNK])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8, bool])
def test_numbers_of_columns_are_numpys(chunk, dtype, monkeypatch):
    monkeypatch.setattr(survey, "CHUNK", chunk)
    x = (100 * abs(X) + 7).astype(dtype)
    if np.dtype(dtype).kind == "f":
        x[3, 1], x[5, 1], x[9, 2] = np.nan, np.inf, -np.inf
    found = report(x)
    assert found.samples == 500 and found.parts == (("x", (500, 4), str(np.dtype(dtype))),)
    for j, c in enumerate(found.columns):
        own = x[:, j].astype(np.float64)
        good = own[np.isfinite(own)]
        assert (c.name, c.nan, c.inf) == (f"x[:, {j}]", np.isnan(own).sum(), np.isinf(own).sum())
        assert (c.low, c.high, c.count) == (good.min(), good.max(), good.size)
        np.testing.assert_allclose([c.mean, c.std], [good.mean(), good.std()], rtol=1e-12, atol=1e-14)
        counts = np.histogram(good, survey.BINS)[0]
        if c.name in found.histograms:
            assert abs(np.subtract(found.histograms[c.name][0], counts)).sum() <= 4  # of rounding at edges
    assert [c.first for c in found.columns] == ([None, 3, 9, None] if np.dtype(dtype).kind == "f" else [None] * 4)


def test_channels_of_images_and_numbers_of_samples():
    found = report(changed(IMAGES, (7, 0, 0, 1), np.nan), LABELS[:60])
    assert [c.name for c in found.columns] == [*(f"x[..., {j}]" for j in range(3)),
                                               "x: mean of a sample", "x: spread of a sample"]  # fmt: skip
    np.testing.assert_allclose(column(found, "x[..., 2]").mean, IMAGES[..., 2].mean(dtype=float), rtol=1e-12)
    assert column(found, "x[..., 1]").first == 7 and column(found, "x[..., 1]").nan == 1
    spread = np.delete(IMAGES, 7, 0).reshape(59, -1).astype(float).std(1)
    np.testing.assert_allclose(column(found, "x: spread of a sample").mean, spread.mean(), rtol=1e-12)
    assert found.findings == ("x[..., 1] has 1 NaN and 0 Inf, the first in sample 7",)
    grey = report(IMAGES[..., 0])
    assert [c.name for c in grey.columns][:2] == [f"x[..., {j}]" for j in range(2)]
    assert [c.name for c in report(np.zeros((3, 40, 40))).columns][0] == "x"


def test_outliers_by_robust_deviations():
    found = report(changed(X, (17, 2), 40))
    middle = np.median(X[:, 2].astype(float))
    scale = 1.4826 * np.median(abs(changed(X, (17, 2), 40)[:, 2] - middle))
    c = column(found, "x[:, 2]")
    assert (c.outliers, c.farthest) == (1, 17)
    np.testing.assert_allclose(c.score, (40 - middle) / scale, rtol=0.01)
    assert [c.outliers for c in found.columns] == [0, 0, 1, 0]
    assert found.findings[0].startswith("x[:, 2]: outliers, 1 of them, the farthest in sample 17, ")
    dark = report(changed(IMAGES, 31, IMAGES[31] / 100))
    assert column(dark, "x: mean of a sample").farthest == 31
    assert any(line.startswith("x: spread of a sample: outliers, 1") for line in dark.findings)


def test_few_with_a_value_that_nobody_else_has():
    """A trigger in a place that is else the same in all samples."""
    x = np.zeros((500, 2), np.float32)
    x[:, 0] = X[:, 0]
    assert report(x).findings == ("x[:, 1] is constant: 0",)
    x[[5, 8], 1] = 1
    found = report(x)
    assert column(found, "x[:, 1]").outliers == 2
    text = "x[:, 1]: outliers, 2 of them, the farthest in sample 5, where most have one value"
    assert found.findings == (text,)
    x[:200, 1] = 1
    assert report(x).findings == ()


def test_samples_that_occur_more_than_once():
    x, y = np.concatenate([X, X[[3, 3, 9]]]), np.concatenate([LABELS, LABELS[[3, 3, 9]]])
    found = report(x, y)
    assert found.duplicates == ((3, 500, 501), (9, 502)) and found.conflicts == ()
    assert found.findings == ("3 of 503 samples are copies of others, first 3, 500, 501",)
    y[501] += 1
    found = report(x, y)
    assert found.conflicts == ((3, 500, 501),)
    assert found.findings[0] == "1 group of samples with the same x has different targets: 3, 500, 501"
    y[502] = 0
    assert report(x, y).findings == ("2 groups of samples with the same x have different targets: 3, 500, 501; 9, 502",)
    assert report((x, np.arange(503)), y).duplicates == ()


@pytest.mark.parametrize("kind", ["labels", "column", "OneHot", "one-hot", "texts", "floats"])
def test_classes(kind):
    labels = np.repeat([0, 1, 2], [100, 60, 4])
    y = {
        "labels": labels, "column": labels[:, None], "OneHot": nf.OneHot(labels, 3), "one-hot": np.eye(3)[labels],
        "texts": np.array(["cat", "dog", "emu"])[labels], "floats": labels.astype(np.float32),
    }[kind]  # fmt: skip
    found = report(X[:164], y)
    named = ["cat", "dog", "emu"] if kind == "texts" else [0, 1, 2]
    assert list(found.classes.items()) == list(zip(named, [100, 60, 4], strict=True))
    assert found.findings == (f"class {'emu' if kind == 'texts' else '2.0' if kind == 'floats' else 2} is rare: "
                              "4 of 164 samples",)  # fmt: skip
    assert [c.name for c in found.columns] == [f"x[:, {j}]" for j in range(4)]


def test_odd_labels():
    assert report(X[:6], [0, 0, -1, -1, 2, 2]).findings == ("labels are negative: -1",
                                                            "no sample has label 1, the largest is 2")  # fmt: skip
    assert report(X[:6], [1] * 6).findings == ("no sample has label 0, the largest is 1", "all samples have one target")
    found = report(X[:6], [0.0, 0, 1, 1, np.nan, 0])
    assert found.findings[0] == "y has 1 NaN and 0 Inf, the first in sample 4"
    many = report(X, np.concatenate([np.zeros(491, int), np.arange(9) + 1]))
    assert many.findings[0] == "9 classes are rare, first class 1 is rare: 1 of 500 samples"


def test_numbers_as_targets_are_columns():
    found = report(X, changed(X[:, :1], (4, 0), np.inf))
    assert found.classes is None and column(found, "y[:, 0]").first == 4
    assert report(X, X).classes is None and report(X, X[:, :, None]).classes is None


def test_large_numbers():
    found = report(X.astype(np.float64) * 1e30)
    assert found.findings == ()
    found = report(X * np.float32([1, 1e30, 1, 1]))
    assert found.findings[0].startswith("x[:, 1] reaches from ") and found.findings[0].endswith("overflow float32")
    huge = report(np.array([-1e308, 1e308, 1e308, 0])[:, None])
    assert sum(huge.histograms["x[:, 0]"][0]) == 4


def test_troubles_of_many_columns_are_one_line():
    found = report(np.zeros((5, 30)), np.arange(5))
    assert "30 columns are constant; first: x[:, 0] is constant: 0" in found.findings
    assert "... and 18 columns more" in repr(found)


def test_digests():
    loader = nf.DataLoader((X, LABELS), batchsize=32)
    trained = record(nf.setup(nf.Adam(), nf.Dense(4, 5)), loader)["data"]
    found = report(loader)
    assert found.digest == trained and found.classes is not None
    hidden = changed(IMAGES, (3, 5, 4, 2), 0)
    assert report(IMAGES).sha256 != report(hidden).sha256 == report(hidden.copy()).sha256
    right = hashlib.sha256(b"x (500, 4) float32" + X.tobytes()).digest()
    assert report(X).sha256 == hashlib.sha256(right).hexdigest()


def test_what_counts_as_data():
    assert report({"a": X, "b": (LABELS, X)}).parts[1:] == (
        ("x['b'][0]", (500,), "int64"),
        ("x['b'][1]", (500, 4), "float32"),
    )
    listed = report([row for row in X], list(LABELS))
    assert listed.classes == report(X, LABELS).classes and listed.columns == report(X).columns
    assert report(np.array(["a", "b"], object)).columns == ()
    assert report(nf.obsview(X, slice(3, 9))).samples == 6
    assert report(X[:, ::2]).columns == report(X[:, ::2].copy()).columns
    assert report(np.zeros((2, 0))).duplicates == ((0, 1),)


def test_as_text():
    lines = repr(report(changed(X, (0, 0), np.nan), LABELS)).splitlines()
    assert lines[0] == "500 samples: x (500, 4) float32, y (500,) int64" and lines[1].startswith("sha256 ")
    assert lines[3].split() == ["column", "NaN", "Inf", "min", "max", "mean", "std", "outliers"]
    assert lines[4].split()[:4] == ["x[:,", "0]", "1", "0"]
    assert lines[10].split() == ["0", "100", "20", "%"]
    assert lines[-1] == "- x[:, 0] has 1 NaN and 0 Inf, the first in sample 0"
    assert repr(report(X)).splitlines()[-1] == "- nothing worth a look"


def test_as_a_picture(tmp_path):
    found = report(RNG.standard_normal((50, 9)), np.arange(50) % 3)
    figure = found.plot(tmp_path / "data.png")
    assert (tmp_path / "data.png").read_bytes()[:4] == b"\x89PNG"
    assert [axes.get_title() for axes in figure.axes] == [*(f"x[:, {j}]" for j in range(6)), "samples of a class"]
    assert [bar.get_height() for bar in figure.axes[-1].patches] == [17, 17, 16]
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 50
    assert len(report(X[:200], np.arange(200) // 2).plot().axes[-1].get_xticks()) == 0  # no room for 100 names
    assert len(report(X[:, 0]).plot().axes) == 1 and len(report(["a", "b"]).plot().axes) == 0


class Made:
    """Samples that are made when they are asked for."""

    def __len__(self):
        return 4000

    def __getitem__(self, i):
        return np.full(2048, i % 1000, np.float64)  # 16 KiB


def test_memory_is_bounded():
    tracemalloc.start()
    found = report(Made())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.duplicates) == 1000 and found.columns[0].high == 999
    assert peak < 64 * 2**20 + 100 * 4000  # the data are 65 MB


def test_nothing_is_changed_and_wrong_arguments():
    x = X.copy()
    x.flags.writeable = False
    report(x, LABELS)
    with pytest.raises(nf.ShapeError, match="^report: y must be of as many samples as x, 500, got 499$"):
        report(X, LABELS[1:])
    with pytest.raises(nf.DTypeError, match="^report: y must be left out where x is a DataLoader, got ndarray$"):
        report(nf.DataLoader(X), LABELS)
    with pytest.raises(nf.DTypeError, match="^report: data must be an array, "):
        report(3)
    with pytest.raises(nf.ShapeError, match="^report: data must be of one sample or more, got 0 in data$"):
        report(X[:0])
    with pytest.raises(nf.ShapeError, match="^report: samples must be of one shape"):
        report([X[0], X[0, :2]])
