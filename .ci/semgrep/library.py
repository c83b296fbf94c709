"""What the rules of library.yml find, and what looks like it and is fine; never run."""

import builtins
import importlib
import importlib.machinery
import importlib.util
import os
import runpy
import shutil
import subprocess
import tarfile
import tempfile

# ruleid: pickle
import joblib

# ruleid: pickle
import pickle

import h5py
import numba
import numpy as np
import torch
import yaml
from mpi4py import MPI

# ruleid: pickle
from marshal import loads

# ruleid: hdf5-elsewhere, hdf5-reads
h5py.File("model.h5")
# ruleid: hdf5-elsewhere, hdf5-reads
h5py.File("model.h5", "r")
# ruleid: hdf5-elsewhere, hdf5-reads
h5py.h5f.open(b"model.h5")
# ruleid: hdf5-elsewhere
h5py.File("model.h5", "w", libver="v110")
# ok: hdf5-elsewhere
h5py.h5t.py_create(np.dtype("f4"))

# ruleid: mpi-pickles
MPI.COMM_WORLD.bcast(1)
# ruleid: mpi-pickles
self._comm.allreduce(1)
# ruleid: mpi-pickles
comm.isend(1, dest=0)
# ruleid: mpi-pickles
node.across.gather(1)
# ok: mpi-pickles
MPI.COMM_WORLD.Bcast(np.ones(3))
# ok: mpi-pickles
world.gather([1])
# ok: mpi-pickles
command.send(1)

# ruleid: pickle
torch.load("weights.pt")
# ok: pickle
torch.save({}, "weights.pt")

# ruleid: numpy-pickles
np.load("x.npy", allow_pickle=True)
# ruleid: numpy-pickles
np.load("x.npy")
# ruleid: numpy-pickles
np.lib.format.read_array(file, allow_pickle=asked)
# ruleid: numpy-pickles
options = {"allow_pickle": True}
# ok: numpy-pickles
np.load("x.npy", allow_pickle=False)

# ruleid: fastmath
numba.njit(fastmath=True)
# ruleid: fastmath
numba.njit(fastmath={"nsz", "nnan"})
# ruleid: fastmath
options = {"fastmath": True, "cache": True}
# ok: fastmath
numba.njit(fastmath={"contract", "nsz"})
# ok: fastmath
numba.njit(fastmath=False)

# ruleid: runs-text
eval("1")
# ruleid: runs-text
builtins.exec("1")
# ruleid: runs-text
compile("1", "name", "exec")
# ruleid: runs-text
__import__("os")
# ruleid: runs-text
runpy.run_path("x.py")
# ok: runs-text
model.eval()
# ok: runs-text
compile(step)

# ruleid: imports-by-name
importlib.import_module(name)
# ruleid: imports-by-name
importlib.import_module(f"numbaflux.{name}")
# ruleid: imports-by-name
importlib.util.module_from_spec(spec)
# ruleid: imports-by-name
importlib.machinery.SourceFileLoader("x", "x.py")
# ok: imports-by-name
importlib.import_module(f"numbaflux.kernels.cpu.{name}")
# ok: imports-by-name
importlib.import_module(".zoo", __name__)
# ok: imports-by-name
importlib.util.find_spec("numba")

# ruleid: unpacks
archive.extractall("folder")
# ruleid: unpacks
shutil.unpack_archive("x.zip")
# ruleid: unpacks
tarfile.open("x.tar")
# ok: unpacks
archive.read("x.npy")

# ruleid: shell
os.system("ls")
# ruleid: shell
subprocess.run("ls", shell=True)
# ruleid: shell
tempfile.mktemp()
# ruleid: shell
yaml.load(text, Loader=yaml.Loader)
# ok: shell
subprocess.run(["ls"], check=True)
# ok: shell
yaml.safe_load(text)
