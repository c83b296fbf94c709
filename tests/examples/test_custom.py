"""Custom: operations, layer and loss against NumPy, the network from its file, what nf.load must be given."""

import numpy as np
import pytest

import numbaflux as nf
from tests.examples.program import Ran, imported, lines, ran, started

custom = imported("custom")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """As a program, half as long as unless told."""
    folder = tmp_path_factory.mktemp("custom")
    done = started("custom", folder, "--epochs", 75)
    assert (done.returncode, done.stderr) == (0, "")
    return Ran("custom", done.returncode, lines(done.stdout), folder, {})


def test_report_and_files(run):
    assert list(run.report) == ["gradients", "velocity", "vorticity", "training", "files", "loaded again"]
    assert run.report["loaded again"] == "the same predictions bit for bit"
    assert {path.name for path in run.folder.iterdir()} == {"custom.h5", "custom.png"}


def by_numpy(t, x):
    """The network of the file in float64."""
    x = np.sin(x / t["0.unit"] @ t["0.weight"] + t["0.bias"])
    return np.sin(x @ t["1.weight"] + t["1.bias"]) @ t["2.weight"] + t["2.bias"]


def test_errors_are_those_of_the_file(run):
    line = np.linspace(-50, 50, 40)
    place = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    velocity = np.stack([-np.cos(a := np.pi * place[:, 0] / 50) * np.sin(b := np.pi * place[:, 1] / 50),
                         np.sin(a) * np.cos(b)], axis=1)  # fmt: skip
    t, h = run.tensors, 1e-4
    wrong = np.sqrt(np.mean((by_numpy(t, place) - velocity) ** 2))
    along, up = ((by_numpy(t, place + step) - by_numpy(t, place - step)) / (2 * h) for step in ([h, 0], [0, h]))
    turning = along[:, 1] - up[:, 0]
    assert run.report["velocity"].startswith(f"RMSE in mm/s: {wrong:.4f} by forgiving loss, ")
    off = np.sqrt(np.mean((turning - 2 * np.pi / 50 * np.cos(a) * np.cos(b)) ** 2))
    assert run.report["vorticity"].startswith(f"RMSE in 1/s: {off:.4f} by forgiving loss, ")
    assert wrong < 0.04
    assert wrong < float(run.report["velocity"].split(", ")[1].split()[0]) / 3


def test_file_names_what_must_be_given_to_load(tmp_path):
    kept = ran("custom", tmp_path, "--epochs", 1, watch=("check",))
    path = kept.folder / "custom.h5"
    assert "check" in kept.returned  # gradients were looked at
    with pytest.raises(nf.FileFormatError, match="Waves"):
        nf.load(path)
    with pytest.raises(nf.FileFormatError, match="sine"):
        nf.load(path, layers=[custom.Waves])
    model = nf.load(path, layers=[custom.Waves], functions=[custom.sine])
    assert model[0].unit.tolist() == [50.0]
    assert "0.unit" not in dict(nf.trainables(model, path=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 63, 5000])
def test_operations_against_numpy(dtype, n):
    rng = np.random.default_rng(n)
    x, a, b, dy = (rng.normal(size=size).astype(dtype) for size in ((n, 3), (n, 3), (n, 3), (n, 1)))
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype is np.float32 else {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(custom.sine(x), np.sin(x), **close)
    np.testing.assert_allclose(nf.apply(custom.SINE_GRAD, x, a), np.cos(x) * a, **close)
    np.testing.assert_allclose(nf.apply(custom.DISTANCE, a, b), ((a - b) ** 2).sum(1, keepdims=True), **close)
    np.testing.assert_allclose(nf.apply(custom.DISTANCE_GRAD, a, b, dy), 2 * (a - b) * dy, **close)
    both = nf.compile(lambda a, b: nf.apply(custom.DISTANCE, custom.sine(a), b))
    np.testing.assert_array_equal(both(a, b), nf.apply(custom.DISTANCE, custom.sine(a), b))


def test_matrices_of_two_shapes_are_refused():
    for shapes in (((2, 3), (3, 3)), ((2,), (2,))):
        with pytest.raises(nf.ShapeError, match="distance: a and b must be of one shape"):
            nf.apply(custom.DISTANCE, *(np.ones(shape, np.float32) for shape in shapes))


def test_loss_forgives():
    y = np.array([[0.0, 0.0], [3.0, 4.0]], np.float32)
    found = custom.forgiving_loss(lambda x: 0 * x, y, y)
    assert float(found) == pytest.approx(np.log(1 + 25 / custom.SPREAD**2) / 2, rel=1e-5)


def test_wrong_gradient_would_be_seen(monkeypatch):
    wrong = nf.Op("sine", lambda x: x, nf.lowering.elements(custom.sine_kernel), (lambda c, dy: dy,))
    monkeypatch.setattr(custom, "SINE", wrong)
    with pytest.raises(nf.GradientError):
        custom.check()


def test_vorticity_is_the_derivative_of_the_flow():
    x = np.random.default_rng(0).uniform(-50, 50, (20, 2))
    h = 1e-5
    u, v = (
        [(custom.flow(x + s)[0] - custom.flow(x - s)[0])[:, i] / (2 * h) for s in ([h, 0.0], [0.0, h])] for i in (0, 1)
    )
    np.testing.assert_allclose(custom.flow(x)[1][:, 0], v[0] - u[1], atol=1e-9)
    found = custom.vorticity(lambda x: nf.concatenate([x[:, 1:] ** 2, x[:, :1] * x[:, 1:]], axis=1), x)
    np.testing.assert_allclose(found, x[:, 1:] - 2 * x[:, 1:], rtol=1e-12)
