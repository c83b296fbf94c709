"""nf.gpu, nf.cpu and devices: where arrays and models are, and how they get elsewhere."""

from __future__ import annotations

import functools
import os
import warnings
from typing import Any, NamedTuple

import numpy as np

from .distributed.launcher import local_rank
from .managed import copied, gpu_of
from .op import DeviceError, DTypeError, expect
from .optim import OptState
from .tree import leaves, replaced

KINDS = "biuf"  # of dtypes that may be on a GPU
SLURM = {  # variables that say which GPUs a job was given, or how many, and what there means none
    "SLURM_JOB_GPUS": "", "SLURM_STEP_GPUS": "", "SLURM_GPUS": "0", "SLURM_GPUS_ON_NODE": "0",
    "SLURM_GPUS_PER_NODE": "0", "SLURM_GPUS_PER_TASK": "0",
}  # fmt: skip


class Device(NamedTuple):
    """The CPU or one of the GPUs; called with arrays or models, it gives copies that are there.

    >>> nf_cpu = Device("cpu")
    >>> nf_cpu, nf_cpu([np.ones(2)])
    (cpu, [array([1., 1.])])
    """

    kind: str
    number: int = 0

    def __repr__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.number}"

    def __call__(self, x: Any) -> Any:
        return moved(x, None if self.kind == "cpu" else _driver().gpu(self.number))


CPU = Device("cpu")


def _driver() -> Any:
    """numbaflux.device, when somebody asks for a GPU."""
    from . import device

    return device


def foreign(x: Any) -> bool:
    """Whether x is an array of another library, by what it offers."""
    known = hasattr(x, "__cuda_array_interface__") or hasattr(x, "__dlpack__")
    return known and not isinstance(x, np.ndarray | np.generic)


def _taken(x: Any, gpu: Any) -> np.ndarray:
    from .foreign import taken

    return taken(x, gpu)


def moved(x: Any, gpu: Any) -> Any:
    """x with each array on a GPU, or the CPU (None): those that are there already themselves, one that stands in
    several places once."""
    made: dict[int, Any] = {}
    kept: list[Any] = []  # ids stand for objects

    def leaf(path: str, kind: str, a: Any) -> Any:
        expect(not isinstance(a, OptState), "gpu", path or "x", "a model or arrays", "an optimiser state",
               "nf.setup(rule, nf.gpu(model))", DTypeError)  # fmt: skip
        if isinstance(a, np.ndarray):
            if gpu_of(a) is gpu:
                return a
            expect(gpu is None or a.dtype.kind in KINDS and a.dtype.isnative, "gpu", path or "x", "of numbers",
                   str(a.dtype), "x.astype(np.float32)", DTypeError)  # fmt: skip
        elif gpu is None or not foreign(a):
            return a
        if id(a) not in made:
            kept.append(a)
            made[id(a)] = copied(a, gpu) if isinstance(a, np.ndarray) else _taken(a, gpu)
        return made[id(a)]

    return replaced(x, leaf)


def gpu(x: Any, number: int | None = None, force: bool = False) -> Any:
    """x on a GPU: an array, or a model, tuple, list or dict with all its arrays; what is there already itself.

    number: which GPU; unless told 0, or under mpiexec or srun that of the rank: each of a node takes the next one, and
    the first again where there are fewer. An array of PyTorch or CuPy, or whatever has `__cuda_array_interface__` or
    `__dlpack__`, becomes one of numbaflux, copied. Optimiser states are made where the model is: nf.setup(rule,
    nf.gpu(model)).
    The arrays are NumPy arrays in memory that the GPU and the CPU both reach. What numbaflux computes from them is
    computed there and stays there; NumPy reads them as any others, and what it computes from them is on the CPU, and so
    are copies by copy.deepcopy and pickle.
    Without a GPU: one warning, and x itself; with force=True, or inside of a Slurm job that was given GPUs,
    DeviceError. DTypeError for arrays of objects or texts.

    >>> import warnings, numbaflux as nf
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # where there is no GPU
    ...     model, x = nf.gpu((nf.Dense(2, 1, rng=0), np.ones((4, 2), np.float32)))
    >>> model(x).shape
    (4, 1)
    """
    return gpu_device(number, force)(x)


def cpu(x: Any) -> Any:
    """x on the CPU: an array, or a model, tuple, list or dict with all its arrays; what is there already itself.

    >>> import numbaflux as nf
    >>> nf.cpu({"w": np.ones(2)})
    {'w': array([1., 1.])}
    """
    return CPU(x)


def cpu_device() -> Device:
    """The CPU: cpu_device()(x) is nf.cpu(x).

    >>> cpu_device()
    cpu
    """
    return CPU


def gpu_device(number: int | None = None, force: bool = False) -> Device:
    """One of the GPUs, that of this rank unless told: gpu_device()(x) is nf.gpu(x). Without a GPU the CPU, as nf.gpu
    says.

    Raises DeviceError for a number that no GPU has.

    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # where there is no GPU
    ...     put = gpu_device()
    >>> put([1, 2])
    [1, 2]
    """
    whole = number is None or isinstance(number, int | np.integer) and not isinstance(number, bool)
    expect(whole, "gpu", "number", "an integer", repr(number), error=DTypeError)
    device = _driver()
    why = device.why_not()
    if not why:
        rank = local_rank()
        which = int(number) if number is not None else rank and rank % device.count()
        device.gpu(which)  # raises where there is none of this number
        return Device("gpu", which)
    told = {name: os.environ.get(name, "") for name in SLURM}
    given = [f"{name}={text}" for name, text in told.items() if text not in ("", SLURM[name])]
    said = f"; Slurm gave this job GPUs ({given[0]})" if given else ""
    if force or given:
        raise DeviceError(why + said)
    _warned(why)
    return CPU


@functools.cache
def _warned(why: str) -> None:
    """Said once."""
    warnings.warn(f"numbaflux stays on the CPU: {why}", stacklevel=4)


def get_device(x: Any) -> Device:
    """Where the arrays of x are: an array, a model, a tuple, list or dict. CPU for what has none; DeviceError where
    they are not in one place.

    >>> import numbaflux as nf
    >>> nf.get_device(nf.Dense(2, 1))
    cpu
    """
    found: dict[Device, str] = {}
    for one in leaves(x):
        there = gpu_of(one.array)
        found.setdefault(CPU if there is None else Device("gpu", there.number), one.path or "x")
    said = " and ".join(f"{path} on {where}" for where, path in found.items())
    expect(len(found) < 2, "get_device", "x", "on one device", said, "nf.gpu(x) or nf.cpu(x)", DeviceError)
    return next(iter(found), CPU)


def cuda_view(x: np.ndarray) -> Any:
    """An array that is on a GPU as an object with `__cuda_array_interface__` and `__dlpack__`, for CuPy
    (cupy.asarray), PyTorch (torch.as_tensor(view, device="cuda"), torch.from_dlpack) and others: the same memory.

    NumPy's arrays cannot carry the first, and their own `__dlpack__` says that they are on the CPU. What other
    libraries have not finished when numbaflux computes with the array must be waited for (torch.cuda.synchronize()).
    The other way, nf.gpu(tensor) copies. Raises DeviceError for an array on the CPU.

    >>> import numbaflux as nf
    >>> nf.cuda_view(np.ones(2, np.float32))
    Traceback (most recent call last):
    numbaflux.op.DeviceError: cuda_view: x must be an array on a GPU, got one on cpu; nf.gpu(x)
    """
    known = isinstance(x, np.ndarray)
    expect(known, "cuda_view", "x", "an array on a GPU", type(x).__name__, error=DTypeError)
    expect(gpu_of(x) is not None, "cuda_view", "x", "an array on a GPU", "one on cpu", "nf.gpu(x)", DeviceError)
    from .foreign import View

    return View(x)
