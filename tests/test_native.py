"""Entries, their cache, the fallback without it, threads, forks."""

import ctypes
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux import build, native
from numbaflux.interpreter import arguments
from numbaflux.native import WORD, Native, Threads
from numbaflux.objects import SUFFIX, Store, pack
from numbaflux.op import PlanError, RangeError
from numbaflux.warm import warm
from tests.child import child, said, start

TICK = ("optim.tick", ("f8:1",))


@pytest.fixture(scope="module")
def cache():
    """Every kernel compiled."""
    for _ in warm():
        pass


# ---------------------------------------------------------------- what may be compiled


def test_kernel_that_could_raise_print_allocate_or_call_is_refused_when_it_is_built():
    import math

    from numba import njit

    from numbaflux.kernels.jit import kernel

    @kernel
    def raises(x):
        if x[0] < 0:
            raise ValueError("negative")
        x[0] = 1

    @kernel
    def indexes_a_tuple(x, i):
        x[0] = (1, 2, 3)[i]

    @njit
    def divides(x):
        x[0] = 1 / x[0]

    @kernel
    def prints(x):
        print(x[0])

    @njit
    def allocates(x):
        x[:] = np.zeros(x.size)

    @kernel
    def calls(x):
        x[0] = math.erf(x[0])

    refused = {raises: 1, indexes_a_tuple: 2, divides: 1, prints: 1, allocates: 1}
    for one, arity in refused.items():
        with pytest.raises(PlanError, match=f"{one.__name__}: kernel must be unable to raise"):
            build.entry(one, ("f8:1", "i")[:arity])
    with pytest.raises(PlanError, match=r"free of calls .* got \['erf'\]"):
        build._emit(build.entry(calls, ("f8:1",)), "calls", build.SYMBOLS)

    @kernel
    def good(x):
        x[0] = x[0] / x[1] + x.size // int(x[2])

    x = np.array([1.0, 0.0, 0.0])
    row = np.array([x.ctypes.data, 0, 3, 0], np.int64)
    _run(build._emit(build.entry(good, ("f8:1",)), "good", build.SYMBOLS), "good", row, 0)
    assert x[0] == np.inf


def _run(code, name, row, tile):
    """Call an object file's entry."""
    one = Native(Store(None, []))
    one._load({name: code})
    ctypes.CFUNCTYPE(None, WORD, WORD)(one.addresses[name])(row.ctypes.data, tile)


@pytest.fixture(scope="module")
def probe():
    """An entry that writes down what it is given."""
    from numbaflux.kernels.jit import address, bits32, bits64, kernel

    @kernel
    def look(seen, a, b, c, d, n, x, y):
        seen[0], seen[1], seen[2], seen[3], seen[4] = address(a), a.shape[0], a.shape[1], a.strides[0], a.strides[1]
        seen[5], seen[6], seen[7] = address(b), b.shape[0], b.strides[0]
        seen[8], seen[9], seen[10], seen[11] = address(c), c.shape[0], c.shape[1], c.shape[2]
        seen[12], seen[13], seen[14] = c.strides[0], c.strides[1], c.strides[2]
        seen[15], seen[16] = address(d), d.shape[0]
        seen[17], seen[18], seen[19] = n, bits32(x), bits64(y)

    signature = ("i8:1", "f4:2", "u1:1", "f8:3", "b1:1", "i", "f4", "f8")
    compiled = build.entry(look, signature)
    yield lambda row, tile: ctypes.CFUNCTYPE(None, WORD, WORD)(compiled.address)(row, tile), signature
    assert compiled


word = st.integers(-(2**40), 2**40)
sizes = st.tuples(st.integers(0, 500), st.integers(0, 70))  # rows in all, rows a tile (0: not cut)


@given(
    st.tuples(sizes, sizes, sizes, sizes), st.lists(st.integers(0, 9), min_size=3, max_size=3),
    st.tuples(word, word), st.floats(width=32), st.floats(), st.integers(0, 9), st.lists(word, min_size=8, max_size=8),
)  # fmt: skip
def test_entry_cuts_arguments_as_the_interpreter_does(probe, leads, inner, start_step, x, y, tile, places):
    entry, signature = probe
    seen = np.zeros(20, np.int64)
    row = [seen.ctypes.data, 0, 20, 0]
    held = np.zeros(1 << 16, np.uint8)  # so that the interpreter may make arrays: they are never read
    for (total, block), at, more in zip(leads, places[::2], ((inner[0],), (), tuple(inner[1:]), ()), strict=True):
        row += [held.ctypes.data + 64 * (at % 99), 64 * (at % 7), total, block, *more]
    number = np.array([np.float32(x)]).view(np.int32)[0], np.array([y]).view(np.int64)[0]
    row += [*start_step, int(number[0]), int(number[1])]
    words = np.array(row, np.int64)
    entry(words.ctypes.data, tile)
    _, a, b, c, d, n, x32, y64 = arguments(signature, row, tile)
    for array, at in ((a, 0), (b, 5), (c, 8), (d, 15)):
        assert tuple(seen[at + 1 : at + 1 + array.ndim]) == array.shape
        if array.size:
            assert seen[at] == array.ctypes.data
    if a.size:
        assert tuple(seen[3:5]) == a.strides
    if c.size:
        assert tuple(seen[12:15]) == c.strides
    assert n == seen[17] == start_step[0] + tile * start_step[1]
    assert (x32.view(np.int32), y64.view(np.int64)) == (seen[18], seen[19])


# ---------------------------------------------------------------- the cache


@pytest.fixture(scope="module")
def tick():
    """An object file, its name, and what it is built from."""
    name, what = native.named(*TICK)
    [code] = dict(Native().objects({name: what})).values()
    return name, what, code


@pytest.fixture
def fresh(tmp_path, monkeypatch, tick):
    """What has loaded nothing, over an empty cache; .built lists what it compiles."""
    name, _, code = tick
    tmp_path.chmod(0o700)
    one = Native(Store(tmp_path, []))
    one.built = []
    one.store.listeners.append(lambda event, name: one.built.append(event))
    monkeypatch.setattr(native, "build_all", lambda wanted, jobs: [(n, code) for n in wanted])
    return one


def _ticks(one):
    numbers = np.array([1, 0.5, 0.25, 0.5, 0.25, 0, 0, 0, 0])
    row = np.array([numbers.ctypes.data, 0, 9, 0], np.int64)
    ctypes.CFUNCTYPE(None, WORD, WORD)(one.find([TICK])[0])(row.ctypes.data, 0)
    return numbers[:3].tolist() == [2, 0.25, 0.0625]


def broken_files():
    whole = pack({"entry": bytes(range(256)) * 8})
    flipped = bytearray(whole)
    flipped[-99] ^= 4
    return {"empty": b"", "random": os.urandom(4096), "torn": whole[: len(whole) // 2], "flipped": bytes(flipped),
            "bare": bytes(range(256)), "another's": whole, "nothing in it": pack({})}  # fmt: skip


@pytest.mark.parametrize("how", broken_files())
def test_object_file_that_is_not_whole_is_rebuilt_and_never_loaded(fresh, tick, how):
    name, _, code = tick
    path = fresh.store.folder / (name + SUFFIX)
    path.write_bytes(broken_files()[how])
    assert _ticks(fresh)
    assert fresh.built[-1] == "built"
    assert ("rejected" in fresh.built) == (how not in ("another's", "nothing in it"))
    assert path.read_bytes() == pack({name: code})
    again = Native(Store(fresh.store.folder, []))
    again.store.listeners.append(lambda event, name: again.kept.append(event))
    assert _ticks(again)
    assert "hit" in again.kept and "built" not in again.kept


def test_torn_bundle_is_made_anew_from_its_parts(fresh, tick, monkeypatch):
    name, what, code = tick
    other = build.build("cpu.check", "finite", ("i8:1", "f8:1"))
    codes = {name: code, native.named("check.finite", ("i8:1", "f8:1"))[0]: other}
    monkeypatch.setattr(native, "build_all", lambda wanted, jobs: [(n, codes[n]) for n in wanted])
    wanted = [TICK, ("check.finite", ("i8:1", "f8:1"))]
    fresh.find(wanted)
    [bundle] = [f for f in fresh.store.files() if f.name.startswith("bundle-")]
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[:-7])
    again = Native(Store(fresh.store.folder, []))
    events = []
    again.store.listeners.append(lambda *event: events.append(event))
    assert len(again.find(wanted)) == 2 and _ticks(again)
    assert ("rejected", bundle.name.removesuffix(SUFFIX)) in events
    assert [e for e, _ in events].count("hit") == 2 and bundle.read_bytes() == whole


def test_site_cache_is_used_and_a_home_that_cannot_be_written_works_in_memory(fresh, tick, tmp_path):
    name, _, code = tick
    (tmp_path / "file").write_text("")
    one = Native(Store(tmp_path / "file" / "cache", []))
    assert one.store.folder is None and _ticks(one)
    site = Store(tmp_path / "site", [])
    site.write(name, {name: code})
    one = Native(Store(tmp_path / "file" / "cache", [site.folder]))
    events = []
    one.store.listeners.append(lambda *event: events.append(event))
    assert _ticks(one) and events == [("hit", name)]


def test_key_follows_sources_versions_features_and_signature(tmp_path, monkeypatch):
    def key(module="cpu.rows", function="sum", signature=("f4:1",)):
        for one in (build.sources, build.key):
            one.cache_clear()
        return build.key(module, function, signature)

    own, copy = build.KERNELS, tmp_path / "kernels"
    for path in [*own.glob("*.py"), *own.glob("cpu/*.py")]:
        to = copy / path.relative_to(own)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes())
    monkeypatch.setattr(build, "KERNELS", copy)
    before = key()
    assert key() == before
    assert len({before, key(function="max"), key(signature=("f8:1",)), key("cpu.optim")}) == 4
    for name in ("cpu/rows.py", "cpu/reduce.py", "scalar.py", "jit.py"):  # itself, and what it imports at any distance
        text = (copy / name).read_text()
        (copy / name).write_text(text + "\nX = 1\n")
        assert key() != before, name
        (copy / name).write_text(text)
    (copy / "cpu" / "optim.py").write_text("X = 1")
    assert key() == before  # it does not import that
    for name in ("features", "versions"):
        monkeypatch.setattr(build, name, lambda: "another")
        assert key() != before, name
        monkeypatch.undo()
        monkeypatch.setattr(build, "KERNELS", copy)
    monkeypatch.undo()
    key()


# ---------------------------------------------------------------- a warm process

ARCHITECTURE = """
    import random, sys
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.randrange(10**9)
    print(seed)
    draw = random.Random(seed)
    import numpy as np
    import numbaflux as nf
    from numbaflux.native import native

    def model(inside, outside):
        widths = [inside, *(draw.randint(1, 70) for _ in range(draw.randint(0, 4))), outside]
        acts = (nf.tanh, nf.relu, nf.sigmoid, nf.functions.identity)
        dense = [nf.Dense(a, b, draw.choice(acts), bias=draw.random() < 0.8) for a, b in zip(widths, widths[1:])]
        return nf.Chain(*dense)

    def steps(dtype):
        inside, outside = draw.randint(1, 40), draw.randint(2, 40)
        m = model(inside, outside)
        m = nf.f64(m) if dtype == "f8" else m
        state = nf.setup(draw.choice((nf.Adam(), nf.AdamW(), nf.Descent(), nf.Momentum())), m)
        loss = draw.choice((nf.losses.mse, nf.losses.logitcrossentropy))
        step = nf.compile(lambda m, x, y: loss(m(x), y), m, state)
        predict = nf.compile(m)
        rng = np.random.default_rng(seed)
        for n in (draw.randint(1, 400), draw.randint(1, 40)):
            x = rng.normal(size=(n, inside)).astype(dtype)
            y = rng.random((n, outside)).astype(dtype)
            if loss is nf.losses.logitcrossentropy and draw.random() < 0.6:
                y = rng.integers(0, outside, n)
            step(x, y), predict(x), m(x)
"""
LOOKS = """
    events = []
    native().store.listeners.append(lambda event, name: events.append(event))
    sys.addaudithook(lambda event, args: events.append(event) if event == "subprocess.Popen" else None)
    steps("f4")
    steps("f8")
    assert "numba" not in sys.modules, "numba was imported"
    assert "built" not in events and "subprocess.Popen" not in events, events
    from numba.core import event

    class Listener(event.Listener):
        def on_start(self, event): events.append(event.kind)
        def on_end(self, event): pass

    event.register("numba:compile", Listener())
    steps("f4")
    assert "numba:compile" not in events, events
"""


def test_process_on_a_warm_cache_compiles_nothing_whatever_the_architecture(cache):
    seed = child(ARCHITECTURE + LOOKS)
    assert int(seed) >= 0


def test_listener_of_the_test_above_hears_a_compilation():
    child("""
        from numba import njit
        from numba.core import event
        heard = []

        class Listener(event.Listener):
            def on_start(self, event): heard.append(event.kind)
            def on_end(self, event): pass

        event.register("numba:compile", Listener())
        njit(lambda x: x + 1)(1)
        assert heard, "deaf"
    """)


def test_one_file_is_read_for_a_plan_in_the_next_process(cache):
    code = """
        import sys
        opened, plans = [], []
        sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
        import numpy as np, numbaflux as nf
        from numbaflux import plan
        from numbaflux.native import native
        assert native().works
        print(sum(p.endswith(".nfo") for p in opened))
        init = plan.Plan.__init__
        plan.Plan.__init__ = lambda self, build: (plans.append(self), init(self, build))[1]
        m = nf.Chain(nf.Dense(3, 5, nf.tanh), nf.Dense(5, 2))
        step = nf.compile(lambda m, x, y: nf.losses.mse(m(x), y), m, nf.setup(nf.Adam(), m))
        step(np.ones((4, 3), np.float32), np.ones((4, 2), np.float32))
        entries = len({(e.kernel, e.signature) for p in plans for e in p.entries})
        print(sum(p.endswith(".nfo") for p in opened), len(plans), entries > 5)
    """
    child(code)
    alone, after = child(code).splitlines()
    opened, plans, many = after.split()
    assert alone == "2"  # the self-test's entry, and the runner
    assert many == "True" and int(opened) <= 2 + int(plans) <= 6  # few plans: constants are folded while tracing


# ---------------------------------------------------------------- without native code

DIGEST = """
    import hashlib, warnings
    import numpy as np
    import numbaflux as nf
    from numbaflux import native as N
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        {fault}
        x = np.random.default_rng(0).normal(size=(601, 300)).astype(np.float32)
        f = nf.compile(lambda x: nf.tanh(x) * x)
        y = f(x) + nf.tanh(x)
    workers = next(iter(f.programs.values())).plan.workers()
    print(hashlib.sha256(y.tobytes()).hexdigest(), workers, [str(w.message)[:99] for w in heard])
"""
FAULT = """
        def gone(*args, **kwargs): raise AttributeError("a private part is gone")
        N.machine = gone
"""
WRONG = """
        idle = N.ctypes.CFUNCTYPE(None, N.WORD, N.WORD)(lambda row, tile: None)
        where = N.ctypes.cast(idle, N.ctypes.c_void_p).value
        N.Native._load = lambda self, objects: self.addresses.update(dict.fromkeys(objects, where))
"""


def test_without_native_code_plans_are_interpreted_with_the_same_bits():
    processes = {
        "native": start(DIGEST.format(fault="")),
        "told": start(DIGEST.format(fault=""), NUMBAFLUX_NATIVE="0"),
        "broken": start(DIGEST.format(fault=FAULT.strip())),
        "wrong": start(DIGEST.format(fault=WRONG.strip())),
    }
    found = {name: said(p).split(" ", 2) for name, p in processes.items()}
    assert len({digest for digest, _, _ in found.values()}) == 1
    assert [found[name][1] for name in ("told", "broken", "wrong")] == ["1"] * 3
    assert found["native"][2] == found["told"][2] == "[]"
    assert found["broken"][2].startswith("['numbaflux runs slowly: native kernels do not work here (AttributeError: a")
    assert found["wrong"][2].startswith("['numbaflux runs slowly: native kernels do not work here (the self-test gave")


# ---------------------------------------------------------------- threads


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
    threads = native.threads()
    before = threads.count
    try:
        for n in range(1, threads.limit + 1):
            nf.set_num_threads(n)
            assert threads.now() == n
        for wrong in (0, threads.limit + 1, -1, 1.0, "2", None):
            with pytest.raises(RangeError, match=rf"set_num_threads: n must be in 1\.\.{threads.limit}"):
                nf.set_num_threads(wrong)
            assert threads.now() == threads.limit
    finally:
        threads.count = before


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="machine: one CPU")
@pytest.mark.parametrize("layer", ["omppool", "workqueue"])
def test_forked_child_runs_serially_says_so_once_and_many_threads_may_call(layer):
    """The other layer is taken where the first cannot be loaded; it allows one region at a time."""
    out = child(
        """
        import os, sys, threading, warnings
        import numpy as np, numbaflux as nf
        from numbaflux import native as N
        loader, layer = N.importlib.machinery.ExtensionFileLoader, sys.argv[1]

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
        assert plan.workers() == 2 and N.threads().layer == layer, N.threads().layer

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
        """.replace("sys.argv[1]", repr(layer))
    )
    assert out == "done"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="machine: one CPU")
def test_child_that_is_forked_before_threads_start_has_its_own():
    child("""
        import os, warnings
        warnings.simplefilter("error")
        import numpy as np, numbaflux as nf
        from numbaflux.native import threads
        x = np.ones((600, 300), np.float32)
        threads()
        pid = os.fork()
        if pid == 0:
            try:
                nf.tanh(x)
                os._exit(0 if threads().now() == threads().limit else 3)
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
    """)


def test_spawned_child_has_threads_of_its_own():
    import multiprocessing

    x = np.random.default_rng(0).normal(size=(600, 300)).astype(np.float32)
    right = nf.tanh(x)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply_async(nf.tanh, (x,)).get(60), right)


def test_affinity_reaches_the_plan():
    out = child("""
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        import numpy as np, numbaflux as nf
        from numbaflux.native import threads
        f = nf.compile(nf.tanh)
        f(np.ones((600, 300), np.float32))
        print(threads().limit, next(iter(f.programs.values())).plan.workers(), "parallel_for" in vars(threads()))
    """)
    assert out == "1 1 False"


def test_users_kernel_is_compiled_in_process_and_never_written():
    from numba import njit

    from numbaflux.lowering import elementwise

    @njit(error_model="numpy")
    def halve(y, x):
        for i in range(x.size):
            y[i] = x[i] * np.float32(0.5)

    op = nf.Op("halve", lambda x: x, lambda b, out, x: elementwise(b, halve, out, x), None, "a test")
    events = []
    native.native().store.listeners.append(lambda *event: events.append(event))
    try:
        for shape in ((), (1,), (300, 40)):
            x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
            np.testing.assert_array_equal(nf.apply(op, x), x / 2)
    finally:
        native.native().store.listeners.pop()
    assert not events
