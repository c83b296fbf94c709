"""Kernels become entries: what is refused, how arguments are cut, under which name the object file is kept."""

import ctypes
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbaflux import build
from numbaflux.interpreter import arguments
from numbaflux.native import WORD, Native
from numbaflux.objects import Store
from numbaflux.op import PlanError


def kernels_that_must_not_be():
    """Kernel -> its arguments' types."""
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

    return {
        raises: ("f8:1",),
        indexes_a_tuple: ("f8:1", "i"),
        divides: ("f8:1",),
        prints: ("f8:1",),
        allocates: ("f8:1",),
    }


def test_kernel_that_could_raise_print_or_allocate_is_refused_when_it_is_built():
    """Nobody would see what it raises."""
    for one, signature in kernels_that_must_not_be().items():
        with pytest.raises(PlanError, match=f"{one.__name__}: kernel must be unable to raise"):
            build.entry(one, signature)


def test_kernel_may_divide_by_zero_and_call_nothing_of_a_library():
    from numbaflux.kernels.jit import kernel

    @kernel
    def good(x):
        x[0] = x[0] / x[1] + x.size // int(x[2])

    @kernel
    def calls(x):
        x[0] = math.erf(x[0])

    x = np.array([1.0, 0.0, 0.0])
    row = np.array([x.ctypes.data, 0, 3, 0], np.int64)
    _run(build._emit(build.entry(good, ("f8:1",)), "good", build.SYMBOLS), "good", row, 0)
    assert x[0] == np.inf
    with pytest.raises(PlanError, match=r"free of calls .* got \['erf'\]"):
        build._emit(build.entry(calls, ("f8:1",)), "calls", build.SYMBOLS)


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


def test_a_compiler_process_takes_no_module_from_where_it_is_started(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('a stranger\\'s file ran')")
    monkeypatch.chdir(tmp_path)
    what = "cpu.elementwise", "sqrt", ("f4:1", "f4:1")
    [(name, code)] = build.build_all({build.key(*what): what}, 1)
    assert name == build.key(*what) and code


def test_a_process_has_entries_of_one_kind(monkeypatch):
    """Those whose loops work on several vectors at once, or the others."""
    modules = "cpu.activation", "cpu.dense", "cpu.softmax", "cpu.recurrent", "cpu.elementwise"
    wanted = {f"{module}.{i}": (module, f"f{i}", ("f4:1",)) for module in modules for i in range(7)}
    shares = []
    monkeypatch.setattr(build, "_in_child", lambda share: shares.append(share) or dict.fromkeys(share, b"code"))
    assert dict(build.build_all(wanted, 2)).keys() == wanted.keys()
    assert all(len({module in build.ABREAST for module, *_ in share.values()}) == 1 for share in shares)
    assert len(shares) == 4 and all(len(share) <= build.BATCH for share in shares)
    assert {name for share in shares for name in share} == wanted.keys()
