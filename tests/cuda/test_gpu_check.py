"""benchmarks/gpu/check.py in short: on a GPU that is not there, without one, and with families that end badly."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import numbaflux as nf
from benchmarks.gpu import check, devices, speed, values
from numbaflux import device
from tests.cuda import fake_cublas, simulator
from tests.cuda.fake_driver import FakeGPU
from tests.sources import ROOT

simulator.install()


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(speed, "LEAST", 0.0)
    monkeypatch.setattr(speed, "ROUNDS", 1)
    monkeypatch.setattr(speed, "torch_here", lambda: False)
    monkeypatch.setattr(speed.cublas, "product", lambda *args: (_ for _ in ()).throw(nf.DeviceError("none")))


def here(family, quick, limit):
    return check.found_on(FakeGPU(), family, quick)


def test_table_and_json(short, tmp_path, capsys):
    path = tmp_path / "found.json"
    families = ["prepare", "training", "speed", "elementwise", "dense", "softmax"]
    code = check.main(["--quick", "--out", str(path), "--only", *families], FakeGPU(), here)
    said, found = capsys.readouterr().out, json.loads(path.read_text())
    bad = [one for one in found["checks"] if not one["good"]]
    assert code == 0, bad
    assert {one["family"] for one in found["checks"]} == set(families)
    assert (found["gpu"], found["capability"]) == ("a GPU that is not there", [9, 0])
    assert found["versions"]["driver"] == "000.00" and "numba" in found["versions"]
    assert any(one["check"].endswith("gradient float64") for one in found["checks"])
    assert "0.0e+00" not in said.partition("largest error of a result")[2][:30]
    names = [one["check"] for one in found["checks"] if one["family"] == "speed"]
    assert names == [
        "product 40 float32", "product 40 float64", "product 40 tf32", "product 40 bf16", "product 40 tf32, its error",
        "product 40 bf16, its error", "tanh", "add", "layer norm", "adam", "conv 3 x 3, 4 to 4, 2 x 6 x 6",
        "LSTM forward, 4 units, 3 steps, 2 samples", "step of mlp_small",
    ]  # fmt: skip
    beside = {one["check"]: list(one["beside"]) for one in found["checks"] if "beside" in one}
    assert beside["product 40 float32"] == beside["product 40 float64"] == ["cuBLAS"] and not beside["product 40 tf32"]
    assert beside["step of mlp_small"] == ["with cuBLAS"] and said.count(" GFLOP/s in ") == 6
    assert all(name in said for name in names) and "LSTM   " in said and "checks are good" in said


def test_without_cublas_the_rest_is_timed(short, monkeypatch):
    gpu = FakeGPU()
    monkeypatch.setattr(fake_cublas, "library", lambda *args: device.cublas())
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", None)
    assert "must be installed" in speed.cublas.why_not(gpu)
    assert list(speed.whole_seconds(gpu, 4, "float32")) == [""]
    monkeypatch.setattr(fake_cublas, "library", lambda *args: SimpleNamespace())
    with pytest.raises(nf.DeviceError, match="version 12"):
        speed.cublas.why_not(gpu)


def test_what_users_do(gpus):
    found = {one["check"]: one for one in check.found_on(gpus[0], "devices", True)}
    assert list(found) == list(devices.CHECKS) and not [one for one in found.values() if not one["good"]]
    gemms = [name for name, *_ in gpus[0].library.state.calls if "gemm" in name]
    assert len(gemms) > 20 and not found["training steps, products cublas"]["said"]
    assert {found[f"arrays of {name}"]["said"] for name in devices.TENSORS} <= {"not installed", "finds no GPU"}


def test_what_is_wrong_for_users_is_found_and_the_rest_goes_on(gpus, monkeypatch):
    true, last = devices.off, "training steps, products bf16"
    monkeypatch.setattr(devices, "off", lambda found, wanted: true(found * 1.2, wanted))
    monkeypatch.setattr(
        devices, "CHECKS", {name: devices.CHECKS[name] for name in ("products by cuBLAS", last, "errors")}
    )
    one, two, three = devices.checks(gpus[0], "devices", True)
    assert "off by 0.2" in one["said"] and "off by 0.2" in two["said"] and not one["good"] and three["good"]


def test_tasks_for_real_gpus():
    for task in devices.tasks(quick=False).values():
        assert task.make()(task.x).shape == (len(task.y), 3)


def test_a_wrong_result_is_found(monkeypatch, tmp_path, capsys):
    true = values.run
    monkeypatch.setattr(values, "run", lambda *args: [y * np.float32(1.01) for y in true(*args)])
    code = check.main(["--quick", "--out", str(tmp_path / "f.json"), "--only", "dense"], FakeGPU(), here)
    assert code == 1
    assert "FAILED dense: " in capsys.readouterr().out


def test_errors_are_findings(monkeypatch):
    monkeypatch.setattr(values, "run", lambda *args: 1 / 0)
    found = list(here("dense", True, 1.0))
    assert found and all("ZeroDivisionError" in one["said"] and not one["good"] for one in found)
    monkeypatch.setitem(check.FAMILIES, "dense", lambda *args: 1 / 0)
    [one] = here("dense", True, 1.0)
    assert (one["check"], one["good"]) == ("all of it", False)


def test_a_process_that_ends_badly_or_late(monkeypatch, tmp_path):
    script = tmp_path / "child.py"
    monkeypatch.setattr(check, "__file__", str(script))
    line = json.dumps(check.record("dense", "one", True))
    script.write_text(f"print({line!r}, flush=True)\nimport os\nos.abort()\n")
    one, two = check.in_child("dense", True, 60.0)
    assert one["good"] and two["said"] == "code -6"
    script.write_text(f"print({line!r}, flush=True)\nimport time\ntime.sleep(60)\n")
    one, two = check.in_child("dense", True, 2.0)
    assert one["good"] and two["said"] == "stopped after 2 s"


def test_no_time_left(monkeypatch):
    monkeypatch.setattr(check, "BUDGET", 1.0)
    [one] = check.all_found(["dense"], True, here, print)
    assert one["said"] == "not begun: no time left"


def test_without_a_gpu_one_line_and_code_2():
    if device.count():
        pytest.skip("machine: it has a GPU")
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu" / "check.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("no GPU to check: gpu: ") and done.stdout == ""


def test_larger_shapes_and_errors():
    ops = {op.name: op for some in values.FAMILIES.values() for op in some}
    from numbaflux import REGISTRY

    assert ops.keys() == {op.name for op in REGISTRY}
    grown = [name for name, op in ops.items() if any(values.larger(op, e) for e in op.examples)]
    assert len(grown) > 0.8 * len(ops), sorted(ops.keys() - set(grown))
    one = np.array([1.0, np.nan])
    assert values.off(one, one) == 0.0
    assert values.off(np.array([1.0, 2.0]), one) == np.inf
    assert values.off(np.array([1, 2]), np.array([1, 3])) == np.inf
    assert values.off(np.array([1.0, 2.5]), np.array([1.0, 2.0])) == 0.25
