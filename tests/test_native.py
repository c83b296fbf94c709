"""Object files and their cache, warm processes, the fallback without native code."""

import ctypes
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import build, native
from numbaflux.native import WORD, Native
from numbaflux.objects import SUFFIX, Store, pack
from numbaflux.warm import warm
from tests.child import child, said, start

TICK = ("optim.tick", ("f8:1",))


@pytest.fixture(scope="module")
def cache():
    """Every kernel compiled."""
    for _ in warm():
        pass


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


def test_compiling_many_kernels_is_said_once(fresh, capsys):
    wanted = dict(native.named(f"elementwise.{name}", ("f4:1", "f4:1")) for name in "neg abs exp log tanh".split())
    some = dict(list(wanted.items())[:4])
    list(fresh.objects(some, native.MANY))
    assert capsys.readouterr().err == ""
    list(fresh.objects(wanted, native.MANY))
    assert capsys.readouterr().err == "", "four of them are in the cache by now"
    for path in fresh.store.folder.iterdir():
        path.unlink()
    list(fresh.objects(wanted, native.MANY))
    assert capsys.readouterr().err.startswith("numbaflux: compiling 5 kernels, once for this machine")


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


# ---------------------------------------------------------------- kernels of users


def test_users_kernel_is_compiled_in_process_and_never_written():
    from numba import njit

    from numbaflux.lowering import elementwise

    @njit(error_model="numpy")
    def halve(y, x):
        for i in range(x.size):
            y[i] = x[i] * np.float32(0.5)

    op = nf.Op("halve", lambda x: x, lambda b, out, x: elementwise(b, halve, out, x), None, "a test")
    assert native.native().works
    events = []
    native.native().store.listeners.append(lambda *event: events.append(event))
    try:
        for shape in ((), (1,), (300, 40)):
            x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
            np.testing.assert_array_equal(nf.apply(op, x), x / 2)
    finally:
        native.native().store.listeners.pop()
    assert not events


def test_threads_that_ask_first_together_get_the_same():
    """Code that one of two had loaded would be freed with it, while the other's callers still run it."""
    together, made = threading.Barrier(4), []

    @native.once
    def one():
        time.sleep(0.05)  # long enough for the others to come
        made.append(object())
        return made[-1]

    def ask(_):
        together.wait()
        return one()

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(ask, range(4))) == set(made) and len(made) == 1
