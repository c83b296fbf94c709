"""Transport: the solver against closed forms, the file against the solver, memory, the network by PyTorch, ranks."""

import re
import signal
import subprocess
import sys
from unittest import mock

import h5py
import numpy as np
import pytest

import numbaflux as nf
from tests.examples.program import FOLDER, Ran, called, imported, lines, started
from tests.mpi.launch import mpich

transport = imported("transport")
SHORT = ("--samples", 256, "--epochs", 2)  # 14 batches an epoch


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """As a program, half as long as unless told."""
    folder = tmp_path_factory.mktemp("transport")
    done = started("transport", folder, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    yield Ran("transport", done.returncode, lines(done.stdout), folder, {})
    (folder / "transport-data.h5").unlink()


@pytest.fixture(scope="module")
def data(run):
    """The whole file."""
    with h5py.File(run.folder / "transport-data.h5") as file:
        return file["x"][:], file["y"][:]


def shares(text):
    return [float(share) / 100 for share in re.findall(r"([\d.]+)%", text)]


# ----------------------------------------------------------------------------------------------------------- the solver


def test_a_wave_fades_and_moves():
    place = np.arange(transport.GRID) / transport.GRID
    nu, cx, cy = np.array([[2e-3, 0.03, -0.04], [5e-3, 0.0, 0.05]]).T[..., None, None]
    kx, ky = 2 * np.pi * 3, 2 * np.pi * -2

    def wave(t):
        phase = kx * (place[:, None] - cx * t) + ky * (place - cy * t)
        return np.exp(-nu * (kx**2 + ky**2) * t) * np.cos(phase)

    found = transport.solve(wave(0), np.concatenate([nu, cx, cy], axis=2)[:, 0])
    np.testing.assert_allclose(found, wave(transport.TIME), atol=1e-12)


def test_a_bump_spreads_as_heat_does():
    place, images = np.arange(transport.GRID) / transport.GRID, np.arange(-4, 5)
    nu, c, width = 4e-3, (0.05, -0.02), 0.1

    def bump(t):
        variance, u = width**2 + 2 * nu * t, 1.0
        for axis, middle in enumerate((0.3, 0.6)):
            far = place[:, None] - (middle + c[axis] * t) - images
            part = width / np.sqrt(variance) * np.exp(-(far**2) / (2 * variance)).sum(axis=1)
            u = u * (part[:, None] if axis == 0 else part)
        return u[None]

    found = transport.solve(bump(0), np.array([[nu, *c]]))
    assert np.abs(bump(transport.TIME) - bump(0)).max() > 0.3
    np.testing.assert_allclose(found, bump(transport.TIME), atol=1e-6)


# ------------------------------------------------------------------------------------------------------------- the file


def test_file_holds_fields_and_what_becomes_of_them(data):
    x, y = data
    assert (x.shape, y.shape) == ((4608, 32, 32, 4), (4608, 32, 32, 1)) and x.dtype == y.dtype == np.float32
    constants = x[:, 0, 0, 1:]
    assert (x[..., 1:] == constants[:, None, None]).all()
    assert (constants >= np.float32(transport.LOW)).all() and (constants <= np.float32(transport.HIGH)).all()
    assert (np.ptp(constants, axis=0) > 0.98 * (transport.HIGH - transport.LOW)).all()
    u = x[..., 0].astype(np.float64)
    np.testing.assert_allclose(u.mean(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(u.std(axis=(1, 2)), 1, atol=1e-6)
    assert len(np.unique(u[:, 0, 0])) > 4600  # none is there twice
    some = slice(None, None, 37)
    np.testing.assert_allclose(y[some, ..., 0], transport.solve(u[some], constants[some]), atol=2e-6)


def test_file_is_whole_or_not_there(tmp_path):
    path, made = tmp_path / "data.h5", []

    def fails(n, rng):
        made.append(n)
        if len(made) == 2:
            raise OSError("disk full")
        return samples(n, rng)

    samples = transport.samples
    with mock.patch.object(transport, "samples", fails), pytest.raises(OSError, match="disk full"):
        transport.write(path, 512, 0)
    assert made == [transport.PART, transport.PART] and not path.exists()
    transport.write(path, 256, 0)
    assert [one.name for one in tmp_path.iterdir()] == ["data.h5"]
    with transport.opened(path) as file, pytest.raises((OSError, ValueError)):
        file["x"][0] = 0


class Rank(nf.distributed.World):
    """One of several that all agree."""

    def __init__(self, rank, size):
        super().__init__()
        self.rank, self.size = rank, size

    def same(self, digest, what, cure=""):
        pass


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_share_the_batches_of_one_process(tmp_path, size):
    transport.write(tmp_path / "data.h5", 256, 0)
    with transport.opened(tmp_path / "data.h5") as file:
        alone, *held = transport.loaders(file, Rank(0, 1), 5)
        ranks = [transport.loaders(file, Rank(rank, size), 5) for rank in range(size)]
        x = file["x"][:]
        for _ in range(2):
            whole = [batch[0] for batch in alone]
            assert [len(batch) for batch in whole] == [transport.BATCH] * 14
            parts = zip(*([batch[0] for batch in loaders[0]] for loaders in ranks), strict=True)
            np.testing.assert_array_equal(whole, [np.concatenate(part) for part in parts])
            np.testing.assert_array_equal(np.sort(np.concatenate(whole)[:, 0, 0, 1]), np.sort(x[:224, 0, 0, 1]))
        for i, rows in ((0, x[224:240]), (1, x[240:])):
            np.testing.assert_array_equal(np.concatenate([batch[0] for batch in held[i].stretch()]), rows)
            stretches = [batch[0] for loaders in ranks for batch in loaders[1 + i].stretch()]
            np.testing.assert_array_equal(np.concatenate(stretches), rows)


# ----------------------------------------------------------------------------------------------------------- the report


def test_report_and_files(run):
    assert list(run.report) == ["data", "memory", "training", "validation", "test", "speed", "files"]
    assert {path.name for path in run.folder.iterdir()} == {"transport.h5", "transport.png", "transport-data.h5"}
    assert re.fullmatch(r"1 epochs of 4032 samples in [\d.]+ s, 1 rank", run.report["training"])
    speed = r"1 at once: .* ms by FFT, [\d.]+ times as fast\n16 at once: .* ms by FFT, [\d.]+ times as fast"
    assert re.fullmatch(speed, run.report["speed"])


def test_memory_is_below_the_budget_and_that_below_the_file(run):
    took, budget = map(float, re.findall(r"[\d.]+", run.report["memory"]))
    size = (run.folder / "transport-data.h5").stat().st_size / 2**20
    assert run.report["data"].endswith(f": {size:.1f} MiB")
    assert 5 < took < budget == 64 < size


MEASURE = """
import numpy as np, transport
budget = transport.Budget(50)
budget.on_batch(None)
before = budget.took()
np.ones((40, 2**17))
print(before, budget.took())
np.ones((60, 2**17))
budget.on_epoch(None)
"""


def test_what_was_held_for_a_moment_counts():
    done = subprocess.run([sys.executable, "-c", MEASURE], cwd=FOLDER, capture_output=True, text=True, timeout=60)
    before, took = map(float, done.stdout.split())
    assert before < 5 and 39 < took < 46
    assert done.returncode == 1
    told = re.fullmatch(r"transport\.py: error: training took (.*) MiB where --budget is 50\n", done.stderr)
    assert 59 < float(told[1]) < 66


def test_more_than_the_budget_is_refused(tmp_path):
    done = started("transport", tmp_path, *SHORT, "--budget", 4)
    assert (done.returncode, done.stdout) == (1, "") and "where --budget is 4\n" in done.stderr
    assert not (tmp_path / "transport.h5").exists()


def test_wrong_options_of_its_own_are_refused(tmp_path, capsys):
    for words in (("--samples", 128), ("--samples", 0), ("--budget", 0), ("--channels", 0)):
        assert called("transport", *words, "--out", tmp_path / "new") == (2, "")
        assert "needed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------------------- the network


def by_torch(t, x):
    """The network of the file in float64."""
    torch = pytest.importorskip("torch")

    def periodic(u, name):
        w = torch.from_numpy(t[f"{name}.weight"].transpose(3, 2, 0, 1).copy())
        k = w.shape[-1] // 2
        u = torch.nn.functional.pad(u, (k, k, k, k), mode="circular")
        return torch.nn.functional.conv2d(u, w)

    x = (x - t["0.mean"]) / t["0.std"]
    u, constants = torch.from_numpy(x[..., :1].transpose(0, 3, 1, 2).copy()), torch.from_numpy(x[:, 0, 0, 1:].copy())
    w = {name: torch.from_numpy(t[f"1.1.{name}"]) for name in ("1.weight", "1.bias", "2.weight", "2.bias")}
    weights = torch.nn.functional.gelu(constants @ w["1.weight"] + w["1.bias"], approximate="tanh")
    weights = weights @ w["2.weight"] + w["2.bias"]
    return periodic(periodic(u, "1.0.1") * weights[:, :, None, None], "2").numpy().transpose(0, 2, 3, 1)


def relative(u, y):
    return np.mean([np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(u, y, strict=True)])


def test_errors_are_those_of_the_file(run, data):
    x, y = (part.astype(np.float64) for part in data)
    held, test = slice(4032, 4320), slice(4320, None)
    (found,) = shares(run.report["validation"])
    assert found == pytest.approx(relative(by_torch(run.tensors, x[held]), y[held]), abs=6e-5)
    network, still, mean = shares(run.report["test"])
    assert network == pytest.approx(relative(by_torch(run.tensors, x[test]), y[test]), abs=6e-5)
    assert still == pytest.approx(relative(x[test, ..., :1], y[test]), abs=6e-5)
    guess = transport.solve(x[test, ..., 0], np.tile([3e-3, 0, 0], (288, 1)))
    assert mean == pytest.approx(relative(guess[..., None], y[test]), abs=6e-5)
    assert network < 0.08 < 0.25 < mean < still


def test_file_is_loaded_again(run, data):
    model = nf.load(run.folder / "transport.h5", functions=[transport.field, transport.constants])
    x = data[0][:8]
    np.testing.assert_allclose(nf.compile(model)(x), by_torch(run.tensors, x.astype(np.float64)), atol=1e-4)


def test_network_is_linear_and_moves_with_the_field():
    nf.seed(0)
    x, _ = transport.samples(transport.PART, np.random.default_rng(1))
    model = nf.f64(transport.network(x, 4))
    x = x[:4].astype(np.float64)
    double, moved = x * [2, 1, 1, 1], np.roll(x, (5, -3), (1, 2))
    np.testing.assert_allclose(model(double), 2 * model(x), atol=1e-6)
    np.testing.assert_allclose(model(moved), np.roll(model(x), (5, -3), (1, 2)), atol=1e-12)


def test_gradient_goes_through_the_edges():
    nf.seed(0)
    x, y = transport.samples(1, np.random.default_rng(2))
    x, y = (part[:, ::8, ::8].astype(np.float64) for part in (x, y))
    nf.check_gradients(lambda model, x: transport.loss(model, x, y), nf.f64(transport.network(x, 2)), x)


# ------------------------------------------------------------------------------------------- stopped, on more ranks


def test_stopped_and_started_again_it_ends_as_if_nothing_had_happened(tmp_path, capsys):
    def stop(self, event):
        if event.batches == 20:
            signal.raise_signal(signal.SIGUSR1)

    once, twice = tmp_path / "once", tmp_path / "twice"
    code, text = called("transport", *SHORT, "--out", once)
    assert code == 0
    with mock.patch.object(transport.Budget, "on_batch", stop):
        assert called("transport", *SHORT, "--out", twice) == (75, "")
    assert {path.name for path in twice.iterdir()} == {"transport-data.h5", "transport-run.h5"}
    with mock.patch.object(transport, "write", side_effect=AssertionError("the file is there")):
        code, again = called("transport", *SHORT, "--out", twice)
    assert code == 0 and "2 epochs" in again
    same = ("data", "validation", "test")
    assert [lines(again)[title] for title in same] == [lines(text)[title] for title in same]
    a, b = (Ran("transport", 0, {}, folder, {}).tensors for folder in (once, twice))
    assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
    capsys.readouterr()


def test_what_was_stopped_with_another_seed_begins_anew(tmp_path):
    path, stopped = tmp_path / "data.h5", tmp_path / "run.h5"
    transport.write(path, 128, 3)
    assert not transport.left(stopped, path, 128, 3)
    stopped.touch()
    assert transport.left(stopped, path, 128, 3)
    assert not transport.left(stopped, path, 128, 4) and not transport.left(stopped, path, 256, 3)
    path.unlink()
    assert not transport.left(stopped, path, 128, 3)


def test_two_ranks_come_to_the_same(run, tmp_path):
    with mpich(tmp_path).start(FOLDER / "transport.py", 2, "--epochs", "1") as job:
        done = job.finish(seconds=240)
        assert done.rc == 0, done.err
        found = Ran("transport", 0, lines(done.out), job.folder, {})
        tensors = found.tensors
        (job.folder / "transport-data.h5").unlink()
    assert done.out.count("\n") == 8 and list(found.report) == list(run.report)
    assert done.err.startswith("epoch 1/1  ") and done.err.count("\n") == 1
    assert found.report["data"] == run.report["data"] and found.report["training"].endswith(", 2 ranks")
    for title in ("validation", "test"):
        np.testing.assert_allclose(shares(found.report[title]), shares(run.report[title]), atol=1.5e-4)
    took, budget = map(float, re.findall(r"[\d.]+", found.report["memory"]))
    assert 5 < took < budget == 64
    for name, array in run.tensors.items():
        np.testing.assert_allclose(tensors[name], array, rtol=1e-3, atol=1e-3, err_msg=name)
