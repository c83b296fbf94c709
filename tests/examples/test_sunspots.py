"""Sunspots: the autoregression by statsmodels' own forecasts, a network by NumPy from its file, no look ahead."""

import numpy as np
import pytest
from statsmodels.tsa.ar_model import AutoReg

import numbaflux as nf
from tests.examples.program import imported, ran

sunspots = imported("sunspots")
YEARS, ROOTS = sunspots.series()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return ran("sunspots", tmp_path_factory.mktemp("sunspots"), watch=("walk",))


def rmse(a, b):
    return np.sqrt(np.mean((np.asarray(a, np.float64) - b) ** 2))


def test_report_and_files(run):
    assert run.code == 0
    assert list(run.report) == ["years", "1 ahead", "2 ahead", "5 ahead", "11 ahead", "training", "files"]
    assert run.report["years"].startswith("1765 to 2008, ")
    assert {path.name for path in run.folder.iterdir()} == {"sunspots.h5", "sunspots.png"}


def test_errors_are_as_reported(run):
    truth, forecasts, _ = run.returned["walk"]
    numbers = ROOTS.astype(np.float64) ** 2
    np.testing.assert_allclose(truth, numbers[-244:], rtol=1e-5)
    for ahead in (1, 2, 5, 11):
        found = {name: rmse(rows[ahead - 1], numbers[-244:]) for name, rows in forecasts.items()}
        assert run.report[f"{ahead} ahead"] == ", ".join(f"{name} {error:.1f}" for name, error in found.items())
        still = rmse(numbers[-244 - ahead : -ahead], numbers[-244:])
        assert found["persistence"] == pytest.approx(still, rel=1e-4)


def test_networks_are_as_good_as_an_autoregression(run):
    truth, forecasts, _ = run.returned["walk"]
    error = {name: rmse(rows[0], truth) for name, rows in forecasts.items()}
    assert error["networks"] < 1.03 * error["autoregression"]
    assert error["networks"] < 0.7 * error["persistence"]


def test_autoregression_is_that_of_statsmodels(run):
    _, forecasts, _ = run.returned["walk"]
    known = len(ROOTS) - 61  # what the last part's models have seen
    roots = ROOTS.astype(np.float64)
    fitted = AutoReg(roots[:known], lags=9).fit()
    one = fitted.append(roots[known:]).predict(known, len(roots) - 1)
    np.testing.assert_allclose(forecasts["autoregression"][0, -61:], np.maximum(one, 0) ** 2, rtol=1e-4, atol=1e-3)
    path = fitted.append(roots[known : known + 20]).forecast(11)
    found = [forecasts["autoregression"][h, known + 20 + h - len(ROOTS)] for h in range(11)]
    np.testing.assert_allclose(found, np.maximum(path, 0) ** 2, rtol=1e-4, atol=1e-3)


def by_numpy(t, number, roots):
    """The forecast of the year after roots (length,) by one network of the file: convolutions with two taps."""
    x = ((roots - t["scale.mean"]) / t["scale.std"]).reshape(-1, 1)
    for i, far in enumerate((1, 2, 4)):
        w, b = t[f"networks.{number}.{i}.weight"], t[f"networks.{number}.{i}.bias"]
        before = np.concatenate([np.zeros((far, x.shape[1])), x[:-far]])
        x = np.maximum(before @ w[0] + x @ w[1] + b, 0)
    last = x[-1] @ t[f"networks.{number}.3.weight"][0] + t[f"networks.{number}.3.bias"]
    return (last * t["scale.std"] + t["scale.mean"]).item()


def test_file_holds_the_last_networks(run):
    _, forecasts, _ = run.returned["walk"]
    t, roots = run.tensors, ROOTS.astype(np.float64)
    for year in (0, 17, 60):
        past = roots[len(roots) - 61 + year - 16 : len(roots) - 61 + year]
        expected = np.mean([by_numpy(t, number, past) for number in range(5)])
        assert forecasts["networks"][0, year - 61] == pytest.approx(max(expected, 0) ** 2, rel=1e-4, abs=1e-3)
    ensemble = nf.load(run.folder / "sunspots.h5")
    step = sunspots.by_network(ensemble["networks"][2], ensemble["scale"])
    assert step(ROOTS[None, -16:]).item() == pytest.approx(by_numpy(t, 2, roots[-16:]), rel=1e-4)


def test_network_sees_eight_years_and_none_ahead():
    nf.seed(0)
    model = sunspots.network()
    x = np.random.default_rng(0).normal(size=(1, 30, 1)).astype(np.float32)
    for year in (3, 20):
        changed = x.copy()
        changed[0, year] += 1
        seen = np.flatnonzero(model(changed)[0, :, 0] != model(x)[0, :, 0])
        assert set(seen) <= set(range(year, year + 8)) and year in seen


def test_parts_are_forecast_by_their_past():
    assert [(past[-1] + 1, part[0]) for past, part in nf.timeseries_kfolds(len(ROOTS), k=4)] == [
        (65, 65), (126, 126), (187, 187), (248, 248)
    ]  # fmt: skip


def test_forecast_goes_on_from_its_own_years():
    pasts = np.arange(32.0).reshape(2, 16)
    paths = sunspots.forecast(lambda past: past[:, -1:] + past[:, -16:-15], pasts, 3)
    assert paths.tolist() == [[15, 16, 18], [47, 64, 82]]
