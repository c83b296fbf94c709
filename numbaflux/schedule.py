"""Entries -> groups that run tile by tile -> waves that wait for each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any

from .lowering import Array, Entry

Pairs = list[tuple[Array, Array]]
Host = Callable[[Any], None]


@dataclass(eq=False)
class Group:
    """Entries that run one after another on each tile. near: each needs of the others its own tile only;
    mixed: over different rows, so all in one tile."""

    rows: int
    block: int
    fixed: bool
    entries: list[Entry] = field(default_factory=list)
    near: bool = True
    mixed: bool = False
    wave: int = 0

    @property
    def tiles(self) -> int:
        return -(-self.rows // self.block)

    @property
    def host(self) -> Host | None:
        """What Python calls, where that is all there is to this group."""
        return self.entries[0].host if self.entries else None

    def join(self, e: Entry, near: bool) -> bool:
        """Take an entry, if the tiles allow it. The block is a fixed one's, else that of the entry with most work."""
        if self.mixed or e.rows != self.rows:
            if e.block < e.rows or any(one.block < one.rows for one in self.entries):
                return False
            self.mixed = True
        else:
            if e.fixed and self.fixed and e.block != self.block:
                return False
            heaviest = max([*self.entries, e], key=lambda one: one.work)
            block = e.block if e.fixed else self.block if self.fixed else heaviest.block
            if block > heaviest.block:  # larger tiles than suit most of the work
                return False
            if block < self.rows and not (near and self.near):
                return False
            self.block, self.fixed = block, self.fixed or e.fixed
        self.near = self.near and near
        self.entries.append(e)
        return True


def tilewise(a: Array, b: Array, rows: int) -> bool:
    """Whether a tile of b touches only what the same tile of a does."""
    same = a.stride(rows) * a.buf.dtype.itemsize == b.stride(rows) * b.buf.dtype.itemsize
    return a.cut and b.cut and same and a.buf.offset == b.buf.offset


class Order:
    """Which entries must follow which. Those that change something for good follow all that do not, besides."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        written: dict[int, list[tuple[Entry, Array]]] = {}
        read: dict[int, list[tuple[Entry, Array]]] = {}
        self.earlier: dict[int, list[tuple[Entry, Pairs]]] = {}
        self.later: dict[int, list[tuple[Entry, Pairs]]] = {id(e): [] for e in entries}
        ends: dict[int, list[Entry]] = {0: []}
        for e in entries:
            met: dict[int, tuple[Entry, Pairs]] = {}
            arrays = [(id(a.buf.storage), a) for a in e.arrays]
            for key, a in arrays:
                for p, other in [*written.get(key, ()), *(read.get(key, ()) if a.write else ())]:
                    if other.buf.meets(a.buf):
                        met.setdefault(id(p), (p, []))[1].append((other, a))
            if e.after not in ends:
                ends[e.after] = self._ends(entries, e.after)
            for p in ends[e.after]:
                met.setdefault(id(p), (p, []))
            self.earlier[id(e)] = list(met.values())
            for p, pairs in met.values():
                self.later[id(p)].append((e, pairs))
            for key, a in arrays:
                (written if a.write else read).setdefault(key, []).append((e, a))

    def _ends(self, entries: Sequence[Entry], count: int) -> list[Entry]:
        """Of the first so many entries those that none of them follows: when they are done, all are."""
        some = [e for e in entries if e.number < count]
        return [e for e in some if all(t.number >= count for t, _ in self.later[id(e)])]

    def first(self, e: Entry) -> bool:
        """Whether an entry needs nothing and no group with what needs it is possible: so it may run before all."""
        after = self.later[id(e)]
        apart = all(t.rows != e.rows or not all(tilewise(a, b, e.rows) for a, b in pairs) for t, pairs in after)
        return not self.earlier[id(e)] and not e.commits and bool(after) and apart


class Ready:
    """The entries whose needs are placed, in their order; a heap of places in it."""

    def __init__(self, entries: Sequence[Entry], order: Order) -> None:
        self.entries = sorted(entries, key=lambda e: not order.first(e))
        self.order = order
        self.place = {id(e): i for i, e in enumerate(self.entries)}
        self.missing = {id(e): len(order.earlier[id(e)]) for e in entries}
        self.open = sum(not e.commits for e in entries)  # entries not placed that change nothing for good
        self.heap: list[int] = []
        self.held: list[int] = []  # what changes something for good, until all else is placed
        self.free = False
        for e in self.entries:
            self._offer(e)
        self.release()

    def _offer(self, e: Entry) -> None:
        if self.missing[id(e)] == 0:
            if e.commits and not self.free:
                self.held.append(self.place[id(e)])
            else:
                heappush(self.heap, self.place[id(e)])

    def placed(self, e: Entry) -> None:
        """What follows may be ready now."""
        self.open -= not e.commits
        for after, _ in self.order.later[id(e)]:
            self.missing[id(after)] -= 1
            self._offer(after)

    def release(self) -> None:
        """A group is done; the status is looked at between waves, so only now what was held may follow."""
        if not self.open and not self.free:
            self.free = True
            self.heap += self.held
        heapify(self.heap)


def schedule(entries: Sequence[Entry]) -> list[Group]:
    """Groups in an order that respects every dependence, each with its wave; a group takes what fits into its tiles."""
    order = Order(entries)
    ready = Ready(entries, order)
    home: dict[int, Group] = {}
    groups: list[Group] = []
    last = -1  # wave of what changes nothing for good
    while ready.heap:
        first = ready.entries[ready.heap[0]]
        group = Group(first.rows, first.block, first.fixed)
        refused: list[int] = []
        while ready.heap:
            e = ready.entries[heappop(ready.heap)]
            if _fits(e, group, home, order) and group.join(e, _near(e, group, home, order)):
                home[id(e)] = group
                ready.placed(e)
            else:
                refused.append(ready.place[id(e)])
        ready.heap = refused
        ready.release()
        needs = [home[id(p)].wave for e in group.entries for p, _ in order.earlier[id(e)] if home[id(p)] is not group]
        group.wave = 1 + max([*needs, last if first.commits else -1], default=-1)
        last = last if first.commits else max(last, group.wave)
        groups.append(group)
    groups.sort(key=lambda g: g.wave)
    _sink(groups, home, order)
    return [g for g in groups if g.entries]


def _sink(groups: list[Group], home: dict[int, Group], order: Order) -> None:
    """Move entries whose results one later group alone takes, tile by tile, into that group: there the results stay in
    the core's cache. Only where what they read is kept until then anyway."""
    kept: dict[int, int] = {}  # the last wave that a storage is used in
    for g in groups:
        kept |= {id(a.buf.storage): g.wave for e in g.entries for a in e.arrays}
    for g in reversed(groups):
        for e in g.entries[::-1]:
            later = _user(e, g, home, order)
            read = [a.buf.storage for a in e.arrays if not a.write]
            if later is not None and all(s.kind != "temp" or kept[id(s)] >= later.wave for s in read):
                g.entries.remove(e)
                later.entries.insert(0, e)
                home[id(e)] = later


def _user(e: Entry, group: Group, home: dict[int, Group], order: Order) -> Group | None:
    """The group of the same tiles that an entry could stand in as well: before all that follow it."""
    after = order.later[id(e)]
    if e.check is not None or e.host is not None or e.commits or not after:
        return None
    first = min((home[id(t)] for t, _ in after), key=lambda g: g.wave)
    if first.wave <= group.wave or first.host is not None or first.mixed or first.rows != e.rows:
        return None
    if e.fixed and e.block != first.block:
        return None
    for t, pairs in after:
        inside = home[id(t)] is first
        good = (
            bool(pairs) and all(tilewise(a, b, e.rows) for a, b in pairs) if inside else home[id(t)].wave > first.wave
        )
        if not good:
            return None
    return first


def _fits(e: Entry, group: Group, home: dict[int, Group], order: Order) -> bool:
    """Whether an entry may stand in a group: none of its checks there, unless it is one, nothing that must be done
    before it, nothing for good beside what is not, and Python's turn alone."""
    if group.entries and (e.host or group.host or group.entries[0].commits != e.commits):
        return False
    inside = [p for p, _ in order.earlier[id(e)] if home[id(p)] is group]
    return not any((p.check and not e.check) or p.number < e.after for p in inside)


def _near(e: Entry, group: Group, home: dict[int, Group], order: Order) -> bool:
    """Whether a tile of the entry needs of this group only what the same tile made."""
    inside = [pairs for p, pairs in order.earlier[id(e)] if home[id(p)] is group]
    return all(tilewise(a, b, group.rows) for pairs in inside for a, b in pairs)
