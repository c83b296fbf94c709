"""FGSM: files and report; the attack beside finite differences, PyTorch, and what accuracy must do."""

from unittest import mock

import numpy as np
import pytest

import numbaflux as nf
from tests.examples.program import called, imported, lines, ran, started


def test_as_a_program(tmp_path):
    done = started("fgsm", tmp_path, "--adversarial", "--epochs", 2, "--out", "new")
    assert done.returncode == 0, done.stderr
    titles = ["test images", "eps", "plain", "adversarial", "by chance", "training", "files"]
    assert list(lines(done.stdout)) == titles
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"fgsm.h5", "fgsm.png"}
    assert (tmp_path / "new" / "fgsm.png").read_bytes().startswith(b"\x89PNG\r\n")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with mock.patch.object(imported("fgsm"), "draw"):
        return ran("fgsm", tmp_path_factory.mktemp("fgsm"), "--adversarial", watch=("prepare",))


@pytest.fixture(scope="module")
def networks(run):
    return nf.load(run.folder / "fgsm.h5")


@pytest.fixture(scope="module")
def data(run):
    return run.returned["prepare"][1]


def curve(run, name):
    return [float(share.rstrip("%")) / 100 for share in run.report[name].split()]


def test_accuracy_falls_with_eps(run):
    for name in ("plain", "adversarial"):
        found = np.array(curve(run, name))
        assert np.all(np.diff(found) <= 0.006), name  # two images of 359
    assert curve(run, "plain")[0] >= 0.96 and curve(run, "plain")[-1] < 0.3


def test_it_is_the_direction_not_the_size(run):
    assert curve(run, "by chance")[-1] > 0.85
    assert curve(run, "plain")[-2] < curve(run, "by chance")[-2] - 0.3


def test_training_against_it_helps_and_costs_little(run):
    plain, hardened = (np.array(curve(run, name)) for name in ("plain", "adversarial"))
    assert np.all(hardened[4:] > plain[4:] + 0.1)
    assert hardened[0] > plain[0] - 0.02


def test_reported_accuracies_are_those_of_the_file(run, networks, data):
    module, (x, y) = imported("fgsm"), data
    for name, model in networks.items():
        found = [np.mean(model(module.moved(model, x, y, eps)).argmax(1) == y) for eps in module.EPS]
        np.testing.assert_allclose(curve(run, name), found, atol=0.0006)


def test_pixels_move_by_eps_and_stay_pixels(networks, data):
    module, (x, y) = imported("fgsm"), data
    z = module.moved(networks["plain"], x, y, 1.5)
    assert z.dtype == np.float32 and z.min() >= 0 and z.max() <= 16
    assert np.abs(z - x).max() == 1.5
    inside = (x >= 1.5) & (x <= 14.5)
    assert np.mean(np.abs(z - x)[inside] == 1.5) > 0.99  # but where the gradient is 0
    assert np.array_equal(module.moved(networks["plain"], x, y, 0.0), x)


def test_signs_are_those_of_differences(networks, data):
    """In float64: the loss at x + h and x - h of each pixel of some images, by no gradient at all."""
    module, (x, y) = imported("fgsm"), data
    model, h = nf.f64(networks["plain"]), 1e-4
    for image, label in zip(x[:6].astype(np.float64), y[:6], strict=True):
        labels = np.full(64, label)
        steps = h * np.eye(64).reshape(64, 8, 8, 1)
        up, down = (each_loss(model(image + side * steps), labels) for side in (1, -1))
        slope = ((up - down) / (2 * h)).reshape(8, 8, 1)
        clear = np.abs(slope) > 1e-9 * np.abs(slope).max()
        moves = module.moved(model, image[None], np.array([label]), 0.5)[0] - image
        expected = np.clip(image + 0.5 * np.sign(slope), 0, 16) - image
        assert clear.sum() > 40
        assert np.mean(np.abs(moves - expected)[clear] < 1e-9) > 0.98  # a difference across a kink may lie


def each_loss(logits, labels):
    """Cross-entropy of each sample, in float64."""
    top = logits - logits.max(1, keepdims=True)
    return np.log(np.exp(top).sum(1)) - top[np.arange(len(top)), labels]


def test_pytorch_moves_the_same_pixels(networks, data):
    torch = pytest.importorskip("torch")
    module, (x, y) = imported("fgsm"), data
    model = nf.f64(networks["plain"])
    z = torch.tensor(x.astype(np.float64), requires_grad=True)
    normalise = model[0]
    h = ((z - torch.tensor(normalise.mean)) / torch.tensor(normalise.std)).permute(0, 3, 1, 2)
    for conv in (model[1], model[3]):
        w = torch.tensor(conv.weight).permute(3, 2, 0, 1)
        h = torch.nn.functional.conv2d(h, w, torch.tensor(conv.bias), padding="same").relu()
        h = torch.nn.functional.max_pool2d(h, 2)
    h = h.permute(0, 2, 3, 1).flatten(1)
    h = (h @ torch.tensor(model[6].weight) + torch.tensor(model[6].bias)).relu()
    h = h @ torch.tensor(model[7].weight) + torch.tensor(model[7].bias)
    torch.nn.functional.cross_entropy(h, torch.tensor(y)).backward()
    expected = (z + 1.5 * z.grad.sign()).clamp(0, 16).detach().numpy()
    found = module.moved(model, x.astype(np.float64), y, 1.5)
    assert np.mean(found == expected) > 0.999  # of some gradients that are 0 but for rounding, signs differ
    np.testing.assert_allclose(found.mean(), expected.mean(), rtol=1e-4)


def test_the_same_seed_gives_the_same_file(run, tmp_path):
    with mock.patch.object(imported("fgsm"), "draw"):
        again = ran("fgsm", tmp_path, "--adversarial")
    assert (tmp_path / "fgsm.h5").read_bytes() == (run.folder / "fgsm.h5").read_bytes()
    assert again.report["plain"] == run.report["plain"]


@pytest.mark.parametrize("eps", [0, -1, 17, "nan"])
def test_wrong_sizes_are_refused(eps, tmp_path, capsys):
    assert called("fgsm", "--train-eps", eps, "--out", tmp_path / "new") == (2, "")
    assert "are needed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
