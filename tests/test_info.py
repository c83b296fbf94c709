"""numbaflux info: which libhdf5 works beside h5py, and whether it has known holes. (tests/test_cli.py: the rest.)"""

from types import SimpleNamespace

import h5py
import pytest

from numbaflux import device
from numbaflux.info import MENDED, facts, gpus, libhdf5
from numbaflux.op import DeviceError


@pytest.mark.parametrize("version", [(2, 2, 0), (2, 2, 1), (3, 0, 0)])
def test_a_mended_libhdf5_is_named(version):
    assert libhdf5(version) == "libhdf5 " + ".".join(map(str, version))


@pytest.mark.parametrize("version", [(1, 14, 6), (2, 0, 0), (2, 1, 9)])
def test_one_with_known_holes_is_warned_of(version):
    said = libhdf5(version)
    assert said.startswith(f"libhdf5 {'.'.join(map(str, version))}; WARNING: before 2.2.0 it has published holes: ")
    assert "open no stranger's file with h5py" in said


def test_the_page_tells_the_one_in_use():
    said, version = facts()["h5py"], h5py.version.hdf5_version
    assert said.startswith(f"{h5py.__version__}, libhdf5 {version}")
    assert ("WARNING" in said) == (h5py.version.hdf5_version_tuple < MENDED)


def test_gpus(monkeypatch):
    one = SimpleNamespace(number=0, name="NVIDIA H200", capability=(9, 0), memory=lambda: (1, 150_000_000_000))
    monkeypatch.setattr(device, "why_not", lambda: "")
    monkeypatch.setattr(device, "count", lambda: 2)
    monkeypatch.setattr(device, "gpu", lambda number: SimpleNamespace(**vars(one) | {"number": number}))
    assert gpus() == "; ".join(f"{i}: NVIDIA H200, capability 9.0, 150 GB" for i in (0, 1)) == facts()["gpus"]

    def taken(number):
        raise DeviceError("gpu: taking GPU 0 failed: CUDA_ERROR_DEVICE_UNAVAILABLE")

    monkeypatch.setattr(device, "gpu", taken)
    assert gpus() == "none: taking GPU 0 failed: CUDA_ERROR_DEVICE_UNAVAILABLE"
    monkeypatch.setattr(device, "why_not", lambda: "gpu: there is none")
    assert gpus() == "none: there is none"
