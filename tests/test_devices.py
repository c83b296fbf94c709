"""nf.gpu and nf.gpu_device where there is no GPU: a warning, the CPU, errors where a GPU was asked for."""

import warnings

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import device, devices

WHY = "gpu: there is none"


@pytest.fixture(autouse=True)
def none(monkeypatch):
    monkeypatch.setattr(device, "why_not", lambda: WHY)
    for name in devices.SLURM:
        monkeypatch.delenv(name, raising=False)
    devices._warned.cache_clear()


def test_one_warning_and_the_cpu():
    x = np.ones(3)
    with pytest.warns(UserWarning, match=rf"^numbaflux stays on the CPU: {WHY}$") as said:
        assert nf.gpu(x) is x
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nf.gpu(x, 1) is x and nf.gpu_device() == nf.gpu_device(3) == nf.cpu_device()
        assert nf.get_device(nf.gpu({"a": x})) == nf.cpu_device()


def test_force():
    with pytest.raises(nf.DeviceError, match=rf"^{WHY}$"):
        nf.gpu(np.ones(3), force=True)
    with pytest.raises(nf.DeviceError, match=rf"^{WHY}$"):
        nf.gpu_device(1, force=True)


@pytest.mark.parametrize("name", devices.SLURM)
def test_inside_of_a_slurm_job_with_gpus(name, monkeypatch):
    monkeypatch.setenv(name, "2")
    with pytest.raises(nf.DeviceError, match=rf"^{WHY}; Slurm gave this job GPUs \({name}=2\)$"):
        nf.gpu(np.ones(3))
    assert devices.SLURM[name] == ("" if name in ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS") else "0")  # 0 is a GPU's name
    for nothing in {"", devices.SLURM[name]}:
        monkeypatch.setenv(name, nothing)
        devices._warned.cache_clear()
        with pytest.warns(UserWarning, match="stays on the CPU"):
            nf.gpu_device()


@pytest.mark.parametrize("number", ["0", 1.0, True])
def test_a_number_that_is_none(number):
    with pytest.raises(nf.DTypeError, match="^gpu: number must be an integer, got "):
        nf.gpu_device(number)


def test_no_view_of_the_cpus_arrays():
    with pytest.raises(nf.DeviceError, match=r"^cuda_view: x must be an array on a GPU, got one on cpu; nf.gpu\(x\)"):
        nf.cuda_view(np.ones(2))
    with pytest.raises(nf.DTypeError, match="^cuda_view: x must be an array on a GPU, got list"):
        nf.cuda_view([1])
