"""Buffers, arguments, blocks: from shapes alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbaflux import lowering as L
from numbaflux.op import Spec

F4, F8 = np.dtype(np.float32), np.dtype(np.float64)


@given(st.integers(1, 10**7))
def test_tiles_of_samples_are_few_large_enough_and_multiples_of_eight(n):
    block = L.samples(n)
    assert 1 <= block <= 1024
    if n <= 32:
        assert block == n
    else:
        assert block % 8 == 0 and block >= 24
        assert -(-n // block) <= max(64, -(-n // 1024))


@given(st.integers(1, 10**6), st.integers(0, 10**4))
def test_tiles_of_elements_have_enough_of_them(rows, per_row):
    block = L.elements_block(rows, per_row)
    assert 1 <= block <= rows
    assert block == rows or block * max(per_row, 1) >= L.SMALL
    assert L.samples(rows) <= block or block == rows


@given(st.lists(st.integers(0, 40), max_size=5))
def test_leading_rows_are_a_product_of_first_axes(sizes):
    shape = tuple(sizes)
    products = [int(np.prod(shape[:i])) for i in range(len(shape) + 1)]
    rows = L.leading(shape)
    assert rows in products
    assert rows >= 16 or int(np.prod(shape)) <= L.SMALL or rows == int(np.prod(shape))


def test_parts_of_a_buffer_meet_where_they_share_bytes():
    b = L.Build().temp((10,), F8)
    assert (b.size, b.nbytes) == (10, 80)
    part = b.part(4, 3)
    assert (part.offset, part.shape, part.nbytes) == (32, (3,), 24)
    assert part.part(1, 2).offset == 40
    assert b.meets(part) and part.meets(b)
    assert not part.meets(b.part(7, 3)) and not part.meets(b.part(0, 4))
    assert part.meets(b.part(6, 1)) and part.meets(b.part(0, 5))
    assert not b.meets(L.Build().temp((10,), F8))


def test_arguments_know_their_code_and_stride():
    b = L.Build().temp((6, 4), F4)
    assert [a.code for a in (L.cut(b), L.cut(b, 6, 4), L.whole(b), L.Int(3), L.Block(), L.Num(1.0, F8))] == [
        "f4:1", "f4:2", "f4:2", "i", "i", "f8",
    ]  # fmt: skip
    assert L.cut(b).stride(6) == L.cut(b, 6, 4).stride(6) == 4
    assert L.whole(b).stride(6) == 0
    assert L.Array(b, (24,), per_row=5).stride(6) == 5
    assert L.whole(L.Buf(L.Storage(4), (), F4)).shape == (1,)
    assert [L.Array(L.Buf(L.Storage(9), (9,), np.dtype(t)), (9,)).code for t in ("?", "u1", "i8", "f8")] == [
        "b1:1", "u1:1", "i8:1", "f8:1",
    ]  # fmt: skip


def test_argument_has_its_number_and_what_it_must_look_like():
    a = L.argument(Spec((2, 3), F8), 5)
    assert (a.storage.kind, a.storage.number, a.storage.nbytes, a.storage.spec) == ("argument", 5, 48, Spec((2, 3), F8))


def test_build_leaves_out_entries_over_nothing_and_numbers_checks_from_one():
    b = L.Build()
    x = b.temp((4,), F4)
    b.add("move.fill", L.whole(x, write=True), rows=0, block=1)
    assert b.entries == []
    b.check("check.flags", L.whole(x), error=ValueError)
    b.add("move.fill", L.whole(x, write=True), rows=4, block=2, commits=True)
    b.check("check.flags", L.whole(x), L.Int(8), error=KeyError)
    first, fill, second = b.entries
    assert (first.check, fill.check, second.check) == (ValueError, None, KeyError)
    assert (first.args[-1], second.args[-1]) == (L.Int(1), L.Int(2))
    assert first.args[0].buf is b.status and first.args[0].write
    assert fill.commits and fill.work > 0 and fill.signature == ("f4:1",)


def test_elementwise_cuts_every_array_alike():
    b = L.Build()
    out, x = b.temp((100, 300), F4), b.temp((100, 300), F4)
    L.elementwise(b, "elementwise.affine", out, x, numbers=[L.Num(2.0, F4), L.Num(1.0, F4)])
    [e] = b.entries
    assert [a.cut for a in e.arrays] == [True, True] and [a.write for a in e.arrays] == [True, False]
    assert (e.rows, e.signature) == (100, ("f4:1", "f4:1", "f4", "f4"))
    assert e.block * 300 >= L.SMALL


@pytest.mark.parametrize(("n", "right"), [(0, 0), (1, 64), (64, 64), (65, 128)])
def test_up(n, right):
    assert L.up(n, 64) == right


def test_what_nobody_reads_is_not_made():
    b = L.Build()
    x = L.argument(Spec((8,), F4), 0)
    out = L.argument(Spec((8,), F4), 1)
    used, unused, after, kept, counted = (b.temp((8,), F4) for _ in range(5))
    kept.storage.keep = True

    def copy(target, source, **more):
        b.add("elementwise.copy", L.cut(target, write=True), L.cut(source), rows=8, block=8, **more)
        return b.entries[-1]

    wanted = [copy(used, x)]
    copy(unused, x)
    copy(after, unused)
    wanted += [copy(out, used), copy(kept, x), copy(counted, x, commits=True)]
    b.check("check.finite", L.whole(x), error=ValueError)
    assert b.needed() == [*wanted, b.entries[-1]]


def test_lanes_are_cut_by_blocks_of_16_samples():
    b = L.Build()
    t = b.temp((3, 5, 16), F4)  # 33 to 48 samples of 5 features
    array = L.Array(t, (3 * 5, 16), cut=True, lanes=16)
    assert array.stride(33) == array.stride(48) == 5
    assert [array.lead(33, block) for block in (16, 32, 33)] == [5, 10, 15]
