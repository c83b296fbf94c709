"""Memory of plans: cache lines, and fences that end a process whose kernel reaches too far."""

import mmap
import signal

import numpy as np
import pytest

from numbaflux.lowering import Storage
from numbaflux.memory import Arena, Fence, address_of, aligned, before_fence, fenced
from tests.child import said, start


@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 10_000])
def test_aligned_bytes_are_zero_and_start_on_a_cache_line(nbytes):
    for _ in range(20):
        x = aligned(nbytes)
        assert x.nbytes == nbytes and (nbytes == 0 or x.ctypes.data % 64 == 0)
        assert not x.any()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i8", "u1", "?"])
def test_address_of_arrays_that_may_be_written_and_not(dtype):
    for x in (np.zeros((), dtype), np.zeros((3, 5), dtype)[1:], np.zeros((1, 4), dtype)):
        start = x.__array_interface__["data"][0]
        assert address_of(x) == start
        x.flags.writeable = False
        assert address_of(x) == start


def test_arena_keeps_what_is_shared_and_each_workers_own_apart():
    shared, own = Storage(100), Storage(40)
    arena = Arena({id(shared): 64}, 256, {id(own): 128}, 192, 3)
    base = arena.base
    assert [arena.address(shared, w) - base for w in range(3)] == [64] * 3
    assert [arena.address(own, w) - base for w in range(3)] == [256 + 128 + 192 * w for w in range(3)]
    assert arena.bytes.nbytes == 256 + 3 * 192 and base % 64 == 0


@pytest.mark.parametrize("nbytes", [0, 1, 4, 4096, 4097, 100_000])
def test_bytes_before_a_fence_end_at_a_page(nbytes):
    x = before_fence(nbytes)
    assert x.nbytes == nbytes
    assert nbytes == 0 or (x.ctypes.data + nbytes) % mmap.PAGESIZE == 0
    x[:] = 7
    assert (x == 7).all()


@pytest.mark.parametrize("code", ["ctypes.c_char.from_address(end).value", "ctypes.memset(end, 1, 1)"])
def test_byte_after_a_fence_can_be_neither_read_nor_written(code):
    process = start(f"""
        import ctypes
        from numbaflux.memory import before_fence
        x = before_fence(100)
        x[99] = 1
        end = x.ctypes.data + 100
        print("alive", flush=True)
        {code}
        print("still alive")
    """)
    out, _ = process.communicate(timeout=60)
    assert out == "alive\n" and process.returncode == -signal.SIGSEGV


def test_fence_fills_all_but_what_lasts_before_each_run():
    keeps, temp, own = Storage(8), Storage(12), Storage(16)
    keeps.keep = True
    fence = Fence({id(keeps): 0, id(temp): 64}, 128, {id(own): 0}, 64, 2)
    addresses = [fence.address(s, w) for s, w in ((keeps, 0), (temp, 0), (temp, 1), (own, 0), (own, 1))]
    assert addresses[1] == addresses[2] and len(set(addresses)) == 4
    for place in fence.held.values():
        place[...] = 0
    fence.begin()
    assert not fence.held[id(keeps), 0].any()
    assert np.isnan(fence.held[id(temp), 0].view(np.float32)).all()
    assert np.isnan(fence.held[id(own), 1].view(np.float64)).all()


def test_fences_are_for_those_who_ask(monkeypatch):
    monkeypatch.delenv("NUMBAFLUX_FENCE", raising=False)
    assert not fenced()
    monkeypatch.setenv("NUMBAFLUX_FENCE", "1")
    assert fenced()


FAR = """
    import numpy as np, numbaflux as nf
    from numba import njit
    from numbaflux.lowering import whole

    @njit(error_model="numpy")
    def reaches(y, x, past):
        y[0] = x[x.size - 1 + past]

    from numbaflux.lowering import Int
    def lower(b, out, x):
        b.add(reaches, whole(out, 1, write=True), whole(x, x.size), Int({past}), rows=1, block=1)

    op = nf.Op("reaches", lambda x: nf.Spec((), x.dtype), lower, None, "a test")
    print(nf.apply(op, np.arange(1000, dtype=np.float32)), flush=True)
"""


def test_kernel_that_reads_past_the_end_ends_a_fenced_process():
    near = start(FAR.format(past=0), NUMBAFLUX_FENCE="1")
    far = start(FAR.format(past=1), NUMBAFLUX_FENCE="1")
    unseen = start(FAR.format(past=1))
    assert said(near) == "999.0"
    assert far.communicate(timeout=60)[0] == "" and far.returncode == -signal.SIGSEGV
    assert said(unseen)  # without fences nobody notices
