"""The peers do the same work: equal losses after 20 steps, equal outputs; flops are counted right; the command runs,
leaves out what is not installed, and says what it missed."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import __main__ as command
from benchmarks.peers.cases import CONVOLUTIONS, INFERENCE, PRODUCTS, TRAINING
from benchmarks.peers.catalogue import CASES, KINDS, peers
from benchmarks.peers.peer import Failed, Peer
from benchmarks.peers.worker import make, value


def few(case):
    """The same model on few samples, of few steps."""
    shape = (6, case.shape[1]) if len(case.shape) == 2 else case.shape
    return replace(case, shape=shape, batch=min(case.batch, 8))


SMALL = {name: few(case) for name, case in TRAINING.items()}
MODELS = ("mlp_small_b32", "lenet_b128", "cnn_cifar_b64", "lstm_s64_b32", "gru_s64_b32", "rnn_s64_b32")


@pytest.fixture(autouse=True)
def one_thread():
    """PyTorch's threads wait for each other, for long where tests run side by side."""
    torch = pytest.importorskip("torch")
    from benchmarks.peers import with_torch  # noqa: F401  which sets their number

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def torch_ways(case):
    return ("torch", "torch-last") if len(case.shape) == 3 else ("torch",)


@pytest.mark.parametrize("name", SMALL)
def test_losses_after_20_steps_agree(name):
    calls = [make(peer, SMALL[name]) for peer in ("numbaflux", *torch_ways(SMALL[name]))]
    losses = np.array([[float(call()) for _ in range(20)] for call in calls])
    np.testing.assert_allclose(losses[1:], losses[[0] * (len(calls) - 1)], rtol=1e-3, atol=1e-3 * losses[0][0])
    assert losses[0][-1] < losses[0][0]


@pytest.mark.parametrize("name", MODELS)
def test_outputs_of_models_agree(name):
    case = replace(INFERENCE[f"infer_{name}"], model=SMALL[name])
    ours, *others = (np.asarray(make(peer, case)()) for peer in ("numbaflux", *torch_ways(SMALL[name])))
    for other in others:
        np.testing.assert_allclose(ours, other, rtol=1e-3, atol=1e-5)


def test_products_agree():
    case = replace(PRODUCTS["dense_512"], size=65)
    ours, *others = (np.asarray(make(peer, case)()) for peer in ("numbaflux", "torch", "numpy"))
    for other in others:
        np.testing.assert_allclose(ours, other, rtol=1e-3, atol=1e-3)


def test_convolutions_agree():
    case = replace(CONVOLUTIONS["conv_3x3_64"], batch=2, channels=5)
    ours, *others = (np.asarray(make(peer, case)()) for peer in ("numbaflux", "torch", "torch-last"))
    for other in others:
        np.testing.assert_allclose(ours, other.transpose(0, 2, 3, 1), rtol=1e-3, atol=1e-4)


def test_flops_are_those_counted_by_hand():
    mlp = 2 * 32 * (8 * 32 + 32 * 32 + 32 * 1)
    assert INFERENCE["infer_mlp_small_b32"].flops == mlp
    assert TRAINING["mlp_small_b32"].flops == 3 * mlp - 2 * 32 * 8 * 32
    first, second = 24 * 24 * 25 * 1 * 6, 8 * 8 * 25 * 6 * 16
    lenet = 2 * 128 * (first + second + 256 * 120 + 120 * 84 + 84 * 10)
    assert INFERENCE["infer_lenet_b128"].flops == lenet
    assert TRAINING["lenet_b128"].flops == 3 * lenet - 2 * 128 * first
    inputs, states, dense = 2 * 32 * 64 * 32 * 512, 2 * 32 * 64 * 128 * 512, 2 * 32 * 128 * 10
    assert TRAINING["lstm_s64_b32"].flops == 3 * (inputs + states + dense) - inputs
    blocks = 32 * 32 * 9 * (3 * 32 + 32 * 32) + 16 * 16 * 9 * (32 * 64 + 64 * 64)
    assert INFERENCE["infer_cnn_cifar_b64"].flops == 2 * 64 * (blocks + 4096 * 10)
    assert PRODUCTS["dense_512"].flops == 2 * 512**3
    assert CONVOLUTIONS["conv_3x3_64"].flops == 2 * 64 * 16 * 16 * 9 * 64 * 64


@pytest.mark.parametrize("name", TRAINING)
def test_weights_and_data_are_finite_and_the_same_every_time(name):
    case = TRAINING[name]
    for channels_first in (False, True):
        arrays = [w for layer in case.weights(channels_first) for w in layer] + [*case.data(channels_first)]
        again = [w for layer in case.weights(channels_first) for w in layer] + [*case.data(channels_first)]
        assert all(np.isfinite(array).all() and array.flags.c_contiguous for array in arrays[-2:])
        assert all(np.isfinite(array).all() and np.abs(array).max() > 0 for array in arrays)
        assert {array.dtype for array in arrays[:-1]} == {np.dtype(np.float32)}
        for one, other in zip(arrays, again, strict=True):
            np.testing.assert_array_equal(one, other)


def test_every_case_has_peers_targets_and_work():
    assert set(CASES) == {name for cases in KINDS.values() for name in cases}
    for name, case in CASES.items():
        names = peers(case)
        assert names[0] == "numbaflux" and "torch" in names and names[-1] == "peak", name
        assert set(case.targets) <= {"torch", "jax", "numpy", "onnxruntime", "peak"}
        assert case.flops > 0 and min(case.targets.values()) > 0


def test_values_are_losses_or_the_mean_size_of_elements():
    assert value(np.float32(-2)) == -2.0
    assert value(np.array([[1.0, -3.0]])) == 2.0
    assert value(None) == 0.0


@pytest.mark.parametrize("name, early", [("numpy", False), ("nothing", True)])
def test_a_worker_that_ends_says_why(name, early):
    peer = Peer(name, 1)
    try:
        assert not early or peer.process.wait() == 1
        with pytest.raises(Failed, match="KeyError: 'nothing'"):
            peer.begin("nothing")
    finally:
        peer.close()


def test_a_peer_is_stopped_until_it_is_asked():
    peer = Peer("numpy", 1)
    try:
        for line in ("dense_512", 0.01):
            peer.ask(line)
            state = Path(f"/proc/{peer.process.pid}/stat")
            assert any(state.read_text().split(") ")[1][0] == "T" or time.sleep(0.01) for _ in range(500))
    finally:
        peer.close()
    assert peer.process.returncode == 0


def test_other_work_is_seen():
    ours, other = (Peer("numpy", 1) for _ in range(2))
    try:
        for loss, differs in ((1.0005, False), (1.002, True), (float("nan"), True)):
            ours.loss, other.loss = 1.0, loss
            assert other.differs(ours) is differs
    finally:
        ours.close()
        other.close()


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["peers", *arguments])
    return command.main()


def test_command_prints_rows_leaves_out_what_is_absent_and_fails_on_a_missed_target(monkeypatch, capsys):
    name = "infer_mlp_small_b32"
    monkeypatch.setattr(command, "installed", lambda library: library != "jax")
    monkeypatch.setitem(CASES, name, replace(CASES[name], target=1e9))
    quick = (name, "--peers", "torch", "jax", "--rounds", "1", "--seconds", "0.02", "--threads", "1", "--check")
    assert run(monkeypatch, *quick) == 1
    told = capsys.readouterr()
    assert "jax is not installed, and left out" in told.err
    head, ours, torch, *_, missed = told.out.splitlines()
    assert head.split()[:3] == ["case", "peer", "us"]
    assert ours.split()[:2] == [name, "numbaflux"] and torch.split()[:2] == [name, "torch"]
    assert all(float(row.split()[2].replace(",", "")) > 0 for row in (ours, torch))
    assert missed.startswith(f"target missed: {name}: ") and "of 1e+09 against torch" in missed


def test_a_run_of_everything_writes_results_pages_and_picture(monkeypatch, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "docs").mkdir()
    for page in ("README.md", "docs/performance.md"):
        (tmp_path / page).write_text("<!-- peers -->\n<!-- /peers -->\n")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "CASES", {name: CASES[name] for name in ("mlp_small_b32", "dense_512")})
    monkeypatch.setattr(command, "peers", lambda case: ["numbaflux", "numpy", "peak"])
    # NumPy has no training step: told, and the run goes on.
    assert run(monkeypatch, "--rounds", "2", "--seconds", "0.02", "--threads", "1") == 1
    rows = json.loads((tmp_path / "benchmarks/results/peers.json").read_text())["rows"]
    assert {name: set(row["peers"]) for name, row in rows.items()} == {
        "mlp_small_b32": {"numbaflux", "peak"},
        "dense_512": {"numbaflux", "numpy", "peak"},
    }
    assert list(rows["mlp_small_b32"]["failed"]) == ["numpy"]
    assert all(len(one["times"]) == 2 for row in rows.values() for one in row["peers"].values())
    assert 0 < rows["dense_512"]["peers"]["peak"]["times"][0] < 1e6
    assert "| mlp_small_b32 |" in (tmp_path / "README.md").read_text()
    assert "| dense_512 |" in (tmp_path / "docs/performance.md").read_text()
    assert (tmp_path / "docs/peers.png").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nothing"], "no case nothing"),
        (["--peers", "nothing"], "no peer nothing"),
        (["--threads", "0"], "--threads must be in 1.."),
    ],
)
def test_wrong_arguments_are_told(monkeypatch, capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
