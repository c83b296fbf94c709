"""Diabetes: calibration and errors by SciPy and scikit-learn, the ensemble by NumPy from its file."""

import re

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import r2_score, root_mean_squared_error

import numbaflux as nf
from tests.examples.program import imported, ran

diabetes = imported("diabetes")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return ran("diabetes", tmp_path_factory.mktemp("diabetes"), watch=("cross_validate",))


def test_report_and_files(run):
    assert run.code == 0
    assert list(run.report) == ["error", "explained", "90 % interval", "uncertainty", "training", "files"]
    assert {path.name for path in run.folder.iterdir()} == {"diabetes.h5", "diabetes.png"}


def test_intervals_are_calibrated(run):
    truth, mean, noise, doubt, _ = run.returned["cross_validate"]
    low, high = norm.interval(0.9, loc=mean, scale=np.sqrt(noise + doubt))
    held = np.mean((low <= truth) & (truth <= high))
    assert 0.80 <= held <= 0.98
    assert run.report["90 % interval"] == f"holds {held:.1%} of 442 patients when unseen"


def test_errors_are_those_of_scikit_learn(run):
    truth, mean, _, _, ridge = run.returned["cross_validate"]
    ours, theirs = (root_mean_squared_error(truth, prediction) for prediction in (mean, ridge))
    assert run.report["error"] == f"RMSE {ours:.2f}, ridge regression {theirs:.2f}"
    explained = [f"{r2_score(truth, prediction):.3f}" for prediction in (mean, ridge)]
    assert run.report["explained"] == "r2 {}, ridge regression {}".format(*explained)
    assert ours < 1.03 * theirs < 60


def test_every_patient_is_predicted_once(run):
    truth, *_ = run.returned["cross_validate"]
    assert truth.shape == (442, 1)
    np.testing.assert_array_equal(np.sort(truth, axis=0), np.sort(diabetes.patients()[1], axis=0))


def test_the_ensemble_is_sure_where_it_is_right(run):
    truth, mean, noise, doubt, _ = run.returned["cross_validate"]
    order = np.argsort((noise + doubt).ravel())
    error = np.abs(truth - mean).ravel()[order]
    assert error[:147].mean() < 0.8 * error[-147:].mean()


def test_file_holds_the_ensemble(run):
    x, _ = diabetes.patients()
    t, means, noises = run.tensors, [], []
    assert run.report["training"].startswith("30 networks")
    for i in range(5):
        z = (x.astype(np.float64) - t[f"networks.{i}.0.mean"]) / t[f"networks.{i}.0.std"]
        for j in (1, 2):
            z = z @ t[f"networks.{i}.{j}.weight"] + t[f"networks.{i}.{j}.bias"]
            z = np.maximum(z, 0) if j == 1 else z
        means.append(z[:, :1])
        noises.append(np.logaddexp(0, z[:, 1:]) + 1e-3)
    scale, shift = t["target.std"], t["target.mean"]
    expected = np.mean(means, 0) * scale + shift, np.mean(noises, 0) * scale**2, np.var(means, 0) * scale**2
    ensemble = nf.load(run.folder / "diabetes.h5", functions=[diabetes.mean_and_variance])
    for found, wanted in zip(diabetes.predict(ensemble, x), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=0.05)


def test_loss_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    g = np.random.default_rng(0)
    output, y = g.normal(size=(7, 2)), g.normal(size=(7, 1))
    mean, variance = diabetes.mean_and_variance(output)
    expected = torch.nn.functional.gaussian_nll_loss(*map(torch.from_numpy, (mean, y, variance)), eps=0.0)
    assert float(diabetes.loss(diabetes.mean_and_variance, output, y)) == pytest.approx(float(expected), rel=1e-12)
    nf.check_gradients(lambda output: diabetes.loss(diabetes.mean_and_variance, output, y), output)


def test_the_same_seed_gives_the_same_report(tmp_path):
    short = ("--epochs", 3, "--members", 2)
    one, again, other = (ran("diabetes", tmp_path / str(i), *short, "--seed", seed) for i, seed in enumerate((3, 3, 4)))
    assert one.report["error"] == again.report["error"] != other.report["error"]
    assert re.fullmatch(r"12 networks in \d+\.\d s", one.report["training"])
