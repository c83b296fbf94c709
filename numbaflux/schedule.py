"""Entries -> groups that run tile by tile -> waves that wait for each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .lowering import Array, Entry

Pairs = list[tuple[Array, Array]]


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
            if block < self.rows and not (near and self.near):
                return False
            self.block, self.fixed = block, self.fixed or e.fixed
        self.near = self.near and near
        self.entries.append(e)
        return True


def conflicts(first: Entry, then: Entry) -> Pairs:
    """The pairs of arguments through which the order of two entries matters."""
    return [
        (a, b) for a in first.arrays for b in then.arrays
        if (a.write or b.write) and a.buf.meets(b.buf)
    ]  # fmt: skip


def tilewise(a: Array, b: Array, rows: int) -> bool:
    """Whether a tile of b touches only what the same tile of a does."""
    same = a.stride(rows) * a.buf.dtype.itemsize == b.stride(rows) * b.buf.dtype.itemsize
    return a.cut and b.cut and same and a.buf.offset == b.buf.offset


class Order:
    """Which entries must follow which."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        touched: dict[int, list[Entry]] = {}
        before: list[Entry] = []  # all that must have gone well before anything is changed for good
        self.earlier: dict[int, list[tuple[Entry, Pairs]]] = {}
        self.barrier: dict[int, list[Entry]] = {}
        self.later: dict[int, list[tuple[Entry, Pairs]]] = {id(e): [] for e in entries}
        for e in entries:
            close = {id(p): p for a in e.arrays for p in touched.get(id(a.buf.storage), ())}
            self.earlier[id(e)] = [(p, pairs) for p in close.values() if (pairs := conflicts(p, e))]
            for p, pairs in self.earlier[id(e)]:
                self.later[id(p)].append((e, pairs))
            self.barrier[id(e)] = list(before) if e.commits else []
            for a in e.arrays:
                touched.setdefault(id(a.buf.storage), []).append(e)
            if not e.commits:
                before.append(e)

    def first(self, e: Entry) -> bool:
        """Whether an entry needs nothing and no group with what needs it is possible: so it may run before all."""
        after = self.later[id(e)]
        apart = all(t.rows != e.rows or not all(tilewise(a, b, e.rows) for a, b in pairs) for t, pairs in after)
        return not self.earlier[id(e)] and not e.commits and bool(after) and apart

    def before(self, e: Entry) -> list[Entry]:
        return [p for p, _ in self.earlier[id(e)]] + self.barrier[id(e)]


def schedule(entries: Sequence[Entry]) -> list[Group]:
    """Groups in an order that respects every dependence, each with its wave; a group takes what fits into its tiles."""
    order = Order(entries)
    home: dict[int, Group] = {}
    groups: list[Group] = []
    left = sorted(entries, key=lambda e: not order.first(e))
    while left:
        first = next(e for e in left if all(id(p) in home for p in order.before(e)))
        group = Group(first.rows, first.block, first.fixed)
        for e in left:
            if _ready(e, group, home, order) and group.join(e, _near(e, group, home, order)):
                home[id(e)] = group
        left = [e for e in left if id(e) not in home]
        needs = [home[id(p)] for e in group.entries for p in order.before(e) if home[id(p)] is not group]
        group.wave = 1 + max((g.wave for g in needs), default=-1)
        groups.append(group)
    return sorted(groups, key=lambda g: g.wave)


def _ready(e: Entry, group: Group, home: dict[int, Group], order: Order) -> bool:
    """Whether all that an entry needs ran in earlier groups or stands in this one; the status is looked at between
    waves."""
    if any(home.get(id(p)) in (None, group) for p in order.barrier[id(e)]):
        return False
    return all(id(p) in home and not (home[id(p)] is group and p.check is not None) for p, _ in order.earlier[id(e)])


def _near(e: Entry, group: Group, home: dict[int, Group], order: Order) -> bool:
    """Whether a tile of the entry needs of this group only what the same tile made."""
    inside = [pairs for p, pairs in order.earlier[id(e)] if home[id(p)] is group]
    return all(tilewise(a, b, group.rows) for pairs in inside for a, b in pairs)
