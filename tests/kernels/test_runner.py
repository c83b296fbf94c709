"""The runner on tables made by hand, its entries Python functions: which tile, when, by whom, in which float mode."""

import ctypes
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numbaflux.kernels import table as T
from numbaflux.native import WORD, native, pool

ENTRY = ctypes.CFUNCTYPE(None, WORD, WORD)


class Table:
    """waves: of each its groups (entries, tiles); first: their first tile; seen: what ran."""

    def __init__(self, waves, workers, stop=(), first=0):
        self.seen, self.stop, self.workers = [], set(stop), workers
        self.status = np.zeros(2, np.int64)
        groups, starts, self.calls, rows, self.records = [], [], [], [], 0
        for w, wave in enumerate(waves):
            starts.append(len(groups))
            before = 0
            for g, (entries, tiles) in enumerate(wave):
                groups.append((len(self.calls), len(self.calls) + entries, tiles, before, first, self.records))
                self.records += entries * tiles
                before += tiles
                self.calls += [self._entry(w, g, e) for e in range(entries)]
        count = len(self.calls)
        rows = np.arange(workers * count).reshape(workers, count)  # the row's address tells the worker
        self.count = count
        arrays = {
            T.WAVES: np.array([*starts, len(groups)]), T.GROUPS: np.array(groups), T.ROWS: rows,
            T.CALLS: np.array([ctypes.cast(c, ctypes.c_void_p).value for c in self.calls], np.int64),
            T.COUNTERS: np.full(T.LINE * len(waves) * (workers + 1), 99), T.STATUS: self.status,
        }  # fmt: skip
        self.arrays = arrays
        self.head = np.zeros(T.HEAD, np.int64)
        for word, array in arrays.items():
            self.head[word] = array.ctypes.data
        self.head[T.ENTRIES], self.head[T.WORKERS], self.head[T.ONE] = count, workers, 1
        if workers > 1:
            self.head[T.REGION], self.head[T.PARALLEL_FOR] = native().runner[1], pool().parallel_for

    def _entry(self, w, g, e):
        @ENTRY
        def entry(row, tile):
            subnormal = np.float32(1e-38) * np.float32(0.01)
            self.seen.append((w, g, e, tile, row // self.count, threading.get_ident(), float(subnormal)))
            if (w, g, tile) in self.stop:
                self.status[0] = 5

        return entry

    def run(self, first=0, last=None):
        self.seen.clear()
        last = len(self.arrays[T.WAVES]) - 1 if last is None else last
        native().runner[0](self.head.ctypes.data, first, last)
        return self.seen


WAVES = [[(2, 3), (1, 1)], [(1, 5)], [(3, 2), (1, 4), (2, 1)]]


def places(waves, chosen=None):
    """(wave, group, entry, tile) of all that must run."""
    return sorted(
        (w, g, e, t)
        for w, wave in enumerate(waves) if chosen is None or w in chosen
        for g, (entries, tiles) in enumerate(wave) for e in range(entries) for t in range(tiles)
    )  # fmt: skip


tables = st.lists(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 9)), min_size=1, max_size=3), min_size=1, max_size=4
)


@settings(max_examples=40)
@given(tables, st.integers(1, 5))
def test_every_tile_runs_once_through_its_groups_entries_in_order_wave_after_wave(waves, workers):
    table = Table(waves, workers)
    for _ in range(2):
        seen = table.run()
        assert sorted(s[:4] for s in seen) == places(waves)
        assert [s[0] for s in seen] == sorted(s[0] for s in seen)
        for w, wave in enumerate(waves):
            for g, (entries, tiles) in enumerate(wave):
                for tile in range(tiles):
                    mine = [s for s in seen if s[:2] == (w, g) and s[3] == tile]
                    assert [s[2] for s in mine] == list(range(entries))
                    assert len({s[4:6] for s in mine}) == 1, (
                        "one worker and one thread from the first entry to the last"
                    )
        assert all(0 <= s[4] < workers for s in seen)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_group_may_begin_with_a_later_tile(workers):
    seen = Table(WAVES, workers, first=100).run()
    assert sorted(s[:4] for s in seen) == [(w, g, e, t + 100) for w, g, e, t in places(WAVES)]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_some_waves_of_a_plan_run_by_themselves(workers):
    table = Table(WAVES, workers)
    assert sorted(s[:4] for s in table.run(0, 1)) == places(WAVES, {0})
    assert sorted(s[:4] for s in table.run(1, 3)) == places(WAVES, {1, 2})
    assert table.run(3, 3) == []


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_status_stops_the_waves_that_follow_and_a_call_from_the_start_clears_it(workers):
    table = Table(WAVES, workers, stop=[(1, 0, 2)])
    assert sorted(s[:4] for s in table.run()) == places(WAVES, {0, 1})
    assert table.status[0] == 5
    assert table.run(2, 3) == []
    table.stop.clear()
    assert sorted(s[:4] for s in table.run()) == places(WAVES)
    assert table.status[0] == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_entries_flush_subnormals_and_the_callers_mode_comes_back(workers):
    subnormal = lambda: float(np.float32(1e-38) * np.float32(0.01))  # noqa: E731
    assert subnormal() > 0
    seen = Table([[(1, 64)], [(1, 64)]], workers).run()
    assert {s[6] for s in seen} == {0.0}
    assert subnormal() > 0


def test_pointers_follow_the_arguments_of_the_call():
    table = Table([[(1, 1)]], 1)
    words, arguments = np.zeros(3, np.int64), np.array([1000, 2000])
    patches = np.array([(words.ctypes.data, 1, 8), (words.ctypes.data + 16, 0, 0)])
    table.head[T.PATCHES], table.head[T.PATCH], table.head[T.ARGUMENTS] = 2, patches.ctypes.data, arguments.ctypes.data
    table.run()
    assert words.tolist() == [2008, 0, 1000]
    arguments += 5
    table.run(1, 1)
    assert words.tolist() == [2008, 0, 1000]
    table.run()
    assert words.tolist() == [2013, 0, 1005]


@pytest.mark.parametrize("workers", [1, 2])
def test_each_tile_of_each_entry_is_recorded(workers):
    if workers > pool().limit:
        pytest.skip("machine: one thread")
    table = Table(WAVES, workers)
    records = np.zeros((table.records, T.RECORD_WORDS), np.int64)
    table.head[T.RECORDS] = records.ctypes.data
    before = time.monotonic_ns()
    seen = table.run()
    after = time.monotonic_ns()
    start, end, worker = records.T
    assert before <= start.min() and end.max() <= after and (start <= end).all()
    ends = {w: max(end[i] for i, place in enumerate(order(WAVES)) if place[0] == w) for w in range(len(WAVES))}
    for i, (w, g, e, t) in enumerate(order(WAVES)):
        assert worker[i] == next(s[4] for s in seen if s[:4] == (w, g, e, t))
        assert w == 0 or start[i] >= ends[w - 1]
        assert e == 0 or start[i] >= end[i - 1]


def order(waves):
    """(wave, group, entry, tile) as they are recorded: the entries of a tile beside each other."""
    return [
        (w, g, e, t)
        for w, wave in enumerate(waves) for g, (entries, tiles) in enumerate(wave)
        for t in range(tiles) for e in range(entries)
    ]  # fmt: skip


def test_words_of_the_head_are_distinct():
    others = {"HEAD", "GROUP_WORDS", "PATCH_WORDS", "RECORD_WORDS", "LINE", "IMAGES"}
    assert sorted(number for name, number in vars(T).items() if name.isupper() and name not in others) == list(
        range(T.HEAD)
    )
