"""Digits: files, report, and the accuracy computed once more without numbaflux."""

from unittest import mock

import numpy as np
import pytest

from tests.examples.program import imported, lines, ran, started

SEEDS = range(5)


def test_as_a_program(tmp_path):
    done = started("digits", tmp_path, "--epochs", 2, "--out", "new")
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[0] for line in done.stderr.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert list(lines(done.stdout)) == ["test accuracy", "training", "model", "files", "loaded again"]
    assert done.stdout.endswith("the same predictions bit for bit\n")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"digits.h5", "digits.png"}
    assert (tmp_path / "new" / "digits.png").read_bytes().startswith(b"\x89PNG\r\n")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folders = [tmp_path_factory.mktemp("digits") for _ in SEEDS]
    with mock.patch.object(imported("digits"), "draw"):  # which takes longer than the rest
        return [
            ran("digits", folder, "--seed", i, watch=("prepare",)) for i, folder in zip(SEEDS, folders, strict=True)
        ]


@pytest.mark.parametrize("seed", SEEDS)
def test_data_are_split_by_digit(seed, runs):
    train, validation, test = (y for _, y in runs[seed].returned["prepare"])
    assert [len(train), len(validation), len(test)] == [1258, 180, 359]
    counts = np.bincount(np.concatenate([train, validation, test]))
    assert np.abs(np.bincount(test) - 0.2 * counts).max() < 1


@pytest.mark.parametrize("seed", SEEDS)
def test_accuracy_is_that_of_the_file(seed, runs):
    run = runs[seed]
    (_, _, (x, y)), t = run.returned["prepare"], run.tensors
    x = (x - t["0.mean"]) / t["0.std"]
    for i in (1, 3):
        x = pooled(np.maximum(convolved(x, t[f"{i}.weight"]) + t[f"{i}.bias"], 0))
    x = np.maximum(x.reshape(len(x), -1) @ t["6.weight"] + t["6.bias"], 0) @ t["7.weight"] + t["7.bias"]
    accuracy = np.mean(x.argmax(1) == y)
    assert run.code == 0
    assert run.report["test accuracy"] == f"{accuracy:.2%} of 359 digits never seen in training"
    assert accuracy >= 0.96


def test_the_median_of_five_seeds(runs):
    assert np.median([float(run.report["test accuracy"].split("%")[0]) for run in runs]) >= 98


def test_statistics_are_those_of_the_training_images(runs):
    (images, _), *_ = runs[0].returned["prepare"]
    assert images.min() == 0 and images.max() == 16  # as they came
    t = runs[0].tensors
    np.testing.assert_allclose(t["0.mean"], images.mean(dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(t["0.std"], images.std(dtype=np.float64), rtol=1e-6)


def test_network_counts_its_parameters(runs):
    sizes = {name: t.size for name, t in runs[0].tensors.items() if not name.startswith("0.")}
    assert runs[0].report["model"] == f"{sum(sizes.values()):,} parameters"
    assert imported("digits").network(np.ones((1, 8, 8, 1), np.float32))[-1].weight.shape == (64, 10)


def convolved(x, w):
    """Cross-correlation (n, h, w, in) * (k, k, in, out) with zeros around, in float64."""
    k = len(w) // 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (k, k), (k, k), (0, 0))), w.shape[:2], (1, 2))
    return np.einsum("nhwcij,ijco->nhwo", windows, w)


def pooled(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))
