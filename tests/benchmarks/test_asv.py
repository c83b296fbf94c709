"""Every benchmark for asv is found, also where there is no other library, and runs on the first of its parameters."""

import importlib
import inspect
import itertools
import math
import re
import subprocess
import sys

import pytest
from asv_runner.benchmarks.mark import SkipNotImplemented

import numbaflux as nf
from benchmarks.bench_compile_and_import import LINES, run
from benchmarks.bench_train_step import Digits
from benchmarks.peers.cases import TRAINING
from benchmarks.timed import NETWORKS, on_threads
from numbaflux import compiled, native
from tests.sources import ROOT

FILES = sorted(path.stem for path in (ROOT / "benchmarks").glob("bench_*.py"))
KINDS = ("time", "track", "peakmem")
# What numbaflux does not need must not be needed by its benchmarks: asv imports all that it finds.
DISCOVER = """
import sys
sys.modules.update(dict.fromkeys(("torch", "jax", "equinox", "optax", "onnx", "onnxruntime", "matplotlib", "sklearn")))
from asv_runner.discovery import list_benchmarks
list_benchmarks("benchmarks", sys.stdout)
"""


def classes():
    for file in FILES:
        module = importlib.import_module(f"benchmarks.{file}")
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__module__ == module.__name__:
                yield cls


def combinations(cls):
    """Every choice of parameters, as asv makes them."""
    params = getattr(cls, "params", ())
    several = params and isinstance(params[0], list)
    return list(itertools.product(*(params if several else [params][: len(params)])))


def methods(cls):
    return [name for name in dir(cls) if name.split("_")[0] in KINDS and callable(getattr(cls, name))]


FOUND = [(cls, name) for cls in classes() for name in methods(cls)]
NAMES = {f"{cls.__module__.removeprefix('benchmarks.')}.{cls.__name__}.{name}": cls for cls, name in FOUND}


@pytest.fixture(autouse=True)
def threads():
    with nf.threads(native.pool().count):
        yield


def test_asv_finds_every_benchmark_without_other_libraries():
    done = subprocess.run([sys.executable, "-c", DISCOVER], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.findall(r'"name": "(bench_[\w.]+)"', done.stdout)
    assert sorted(found) == sorted(NAMES)
    topics = ("compile_and_import", "files", "kernels", "layers", "memory", "mpi", "train_step")
    assert [f"bench_{topic}" for topic in topics] == FILES == sorted({name.split(".")[0] for name in found})


def test_every_class_says_what_it_measures():
    assert [cls for cls, _ in FOUND if not cls.__doc__ or len(cls.__doc__) > 120] == []
    assert [cls for cls, name in FOUND if name.startswith("track") and cls.unit == "unit"] == []


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        pytest.param(cls, name, marks=pytest.mark.long) if cls.__name__ == "EmptyCache" else (cls, name)
        for cls, name in FOUND
    ],
    ids=list(NAMES),
)
def test_runs_once(cls, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    benchmark, first = cls(), combinations(cls)[0]
    if hasattr(benchmark, "setup"):
        benchmark.setup(*first)
    result = getattr(benchmark, name)(*first)
    assert math.isfinite(result) and result > 0 if name.startswith("track") else result is None


def test_digits_are_learnt():
    assert 90 < Digits().track_accuracy() <= 100


def test_programs_of_fresh_processes_run_to_the_end():
    run(list(LINES)[-1])
    with pytest.raises(subprocess.CalledProcessError):
        run("import", PYTHONPATH="", PYTHONHOME="nowhere")


def test_new_shapes_have_no_plan():
    """More sizes take turns than a step keeps plans."""
    assert min(len(TRAINING[name].data()[0]) for name in NETWORKS) - 1 > compiled.KEPT


def test_too_many_threads_leave_a_benchmark_out():
    with pytest.raises(SkipNotImplemented, match="n must be in 1.."):
        on_threads(10**6)


def test_make_bench_check_runs_some_of_each_class():
    """The pattern of the Makefile is matched against names as asv writes them."""
    pattern = re.search(r"^CHECKED = (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    shown = {
        (cls, f"{name}({', '.join(map(repr, choice))})" if choice else name)
        for name, cls in NAMES.items()
        for choice in combinations(cls)
    }
    assert {cls for cls, name in shown if re.search(pattern, name)} == {cls for cls, _ in FOUND}
