"""How many threads there are, which layer has them, and what is left of them in other processes."""

import multiprocessing
import os

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import native
from numbaflux.native import Threads
from numbaflux.op import RangeError
from tests.child import child


def test_number_of_threads_follows_affinity_and_the_environment(monkeypatch):
    for name in ("NUMBA_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    cpus = len(os.sched_getaffinity(0))
    assert (Threads().count, Threads().limit) == (cpus, cpus)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert Threads().count == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", str(cpus + 5))
    assert Threads().count == cpus
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    assert (Threads().count, Threads().limit) == (1, 1)
    monkeypatch.setenv("NUMBA_NUM_THREADS", "")
    assert Threads().count == cpus
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 9})
    assert Threads().count == 3
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    assert (Threads().count, Threads().allowed) == (2, 3)


@pytest.mark.parametrize("text", ["many", "0", "-1", "1.5"])
def test_number_of_threads_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv("NUMBA_NUM_THREADS", text)
    with pytest.raises(RangeError, match=f"NUMBA_NUM_THREADS must be a number of threads from 1 on, got {text}"):
        Threads()


def test_set_num_threads_takes_what_the_process_has():
    pool = native.pool()
    with nf.threads(1):
        for n in range(1, pool.limit + 1):
            nf.set_num_threads(n)
            assert pool.now() == n
        for wrong in (0, pool.limit + 1, -1, 1.0, "2", None):
            with pytest.raises(RangeError, match=rf"set_num_threads: n must be in 1\.\.{pool.limit}"):
                nf.set_num_threads(wrong)
            assert pool.now() == pool.limit


def test_threads_of_a_with_statement_end_with_it():
    pool = native.pool()
    before = pool.count
    with pytest.raises(ZeroDivisionError), nf.threads(1):
        assert pool.now() == 1
        raise ZeroDivisionError
    assert pool.now() == before
    with pytest.raises(RangeError, match="^threads: n must be in"), nf.threads(0):
        raise AssertionError("not reached")
    assert pool.now() == before


FORKS = """
    import os, sys, threading, warnings
    import numpy as np, numbaflux as nf
    from numbaflux import native as N
    loader, layer = N.importlib.machinery.ExtensionFileLoader, "{layer}"

    class Only(loader):
        def exec_module(self, module):
            if layer not in self.path:
                raise ImportError("not here")
            super().exec_module(module)

    N.importlib.machinery.ExtensionFileLoader = Only
    x = np.random.default_rng(0).normal(size=(600, 300)).astype(np.float32)
    nf.set_num_threads(1)
    right = nf.tanh(x)
    nf.set_num_threads(2)
    tanh = nf.compile(nf.tanh)
    assert np.array_equal(tanh(x), right)
    plan = next(iter(tanh.programs.values())).plan
    assert plan.workers() == 2 and N.pool().layer == layer, N.pool().layer

    wrong = []
    def call():
        for _ in range(10):
            wrong.extend([] if np.array_equal(tanh(x), right) else [1])
    callers = [threading.Thread(target=call) for _ in range(4)]
    for t in callers: t.start()
    for t in callers: t.join()
    assert not wrong

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                good = all(np.array_equal(f(x), right) for f in (tanh, nf.tanh, tanh))
            said = [str(w.message) for w in heard]
            assert good and plan.workers() == 1
            assert said == ["numbaflux runs on one thread in a forked child: start workers by spawn"], said
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert np.array_equal(tanh(x), right) and plan.workers() == 2
    print("done")
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="machine: one CPU")
@pytest.mark.parametrize("layer", ["omppool", "workqueue"])
def test_forked_child_runs_serially_says_so_once_and_many_threads_may_call(layer):
    """The other layer is taken where the first cannot be loaded; it allows one region at a time."""
    assert child(FORKS.format(layer=layer)) == "done"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="machine: one CPU")
def test_child_that_is_forked_before_threads_start_has_its_own():
    child("""
        import os, warnings
        warnings.simplefilter("error")
        import numpy as np, numbaflux as nf
        from numbaflux.native import pool
        x = np.ones((600, 300), np.float32)
        pool()
        pid = os.fork()
        if pid == 0:
            try:
                nf.tanh(x)
                os._exit(0 if pool().now() == pool().limit else 3)
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
    """)


def test_spawned_child_has_threads_of_its_own():
    x = np.random.default_rng(0).normal(size=(600, 300)).astype(np.float32)
    right = nf.tanh(x)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply_async(nf.tanh, (x,)).get(60), right)


def test_affinity_reaches_the_plan():
    out = child("""
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        import numpy as np, numbaflux as nf
        from numbaflux.native import pool
        f = nf.compile(nf.tanh)
        f(np.ones((600, 300), np.float32))
        print(pool().limit, next(iter(f.programs.values())).plan.workers(), "parallel_for" in vars(pool()))
    """)
    assert out == "1 1 False"
