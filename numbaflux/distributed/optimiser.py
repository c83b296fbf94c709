"""DistributedOptimizer: a rule whose gradients are the mean over all ranks."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..lowering import Buf, Build, whole
from ..memory import Maker, aligned
from ..op import DTypeError, Error, NonFiniteError, PlanError, RankError, expect
from ..optim import OptState, Rule
from ..optim.chain import Norm
from ..optim.layerwise import LAMB, Muon
from ..optim.rules import kind
from ..optim.spread import Spread
from ..optim.vectors import Vectors, up
from ..ranges import check
from ..rng import Generator
from ..session import Session
from ..tree import Moves
from .join import WIRES, Tree, sum_by_tree, sum_packed
from .kept import Kept
from .node import Shared
from .overlap import Courier, bucket
from .shards import part_of, seed_of
from .staging import staged
from .world import World

LEFT_OUT = -1  # in the status of a plan: no update this time
WHOLE = (Norm, LAMB, Muon)  # what needs more of a gradient than the element
BAD = "step: gradients must be finite, got NaN or Inf; nothing was changed"
TOGETHER = 2**18  # bytes of a vector from which shared memory pays


class DistributedOptimizer(Spread):
    """A rule for all ranks of a world: nf.setup(DistributedOptimizer(nf.Adam(1e-3), world), model).

    A step's loss and gradients are the means over the batches of all ranks, which must be of one size; so every rank
    makes the same update, and a NaN, a wrong label or another failure of one rank raises on all of them.

    accumulate: steps whose gradients are added up before one update (their mean; nf.train ends an epoch with an update
    of what there is). Until then a step returns the loss of this rank. overlap: whether a thread sums them
    while the backward pass runs; None: where MPI lets threads call it and ranks have a core to spare. bucket: MiB of
    gradients that are summed at a time; less where overlap would have few parts of them to hide.
    wire: "float16" or "bfloat16" sends 16 bits an element (float32 models).
    sharded: each rank keeps the optimiser's vectors for its share of the parameters alone, and updates that (ZeRO-1:
    Rajbhandari et al. 2020); for rules that see an element at a time.
    deterministic: the global batch is cut into so many shards, whose gradients are added by a fixed tree: the same bits
    on any number of ranks that divides shards, all powers of 2. A random draw is then that of a shard, and layers that
    keep running statistics are refused.
    compare: updates between two comparisons of the parameters of all ranks; 0: never.

    >>> import numbaflux as nf
    >>> with nf.distributed.init() as world:
    ...     model = nf.Dense(2, 1)
    ...     state = nf.setup(DistributedOptimizer(nf.Adam(1e-3), world), model)
    >>> state.world
    World(rank 0 of 1)
    """

    def __init__(
        self, rule: Rule, world: World, accumulate: int = 1, bucket: float = 8.0, overlap: bool | None = None,
        wire: str | None = None, sharded: bool = False, deterministic: bool = False, shards: int = 8,
        compare: int = 1000,
    ) -> None:  # fmt: skip
        where = "DistributedOptimizer"
        expect(isinstance(rule, Rule), where, "rule", "a rule such as nf.Adam()", kind(rule), error=DTypeError)
        expect(isinstance(world, World), where, "world", "what nf.distributed.init() returned", kind(world),
               error=DTypeError)  # fmt: skip
        expect(wire is None or wire in WIRES, where, "wire", f"None, {' or '.join(map(repr, WIRES))}", repr(wire))
        self.rule, self.world, self.wire, self.sharded = rule, world, wire, bool(sharded)
        self.accumulate = int(check(f"{where}.accumulate", accumulate))
        self.compare = int(check(f"{where}.compare", compare))
        self.bucket = int(check(f"{where}.bucket", bucket) * 2**20)
        self.fixed, self.shards = bool(deterministic), int(check(f"{where}.shards", shards))
        self._check_together()
        self.fit()
        self.overlap = (world.threads and world.spare) if overlap is None else bool(overlap)
        self.overlap = self.overlap and world.size > 1 and not (self.fixed or self.sharded)
        self.shared: dict[int, Shared] = {}  # vectors that ranks of a node see, by their addresses
        self.closing, self.kept = False, 0  # whether gradients that wait are used as they are; of how many steps
        self.collecting, self.at = False, 0  # whether this run only adds up gradients; which part of the batch it is of
        self.losses: list[float] = []

    def _check_together(self) -> None:
        where = "DistributedOptimizer"
        others = {"wire": self.wire, "sharded": self.sharded, "accumulate": self.accumulate > 1}
        beside = [name for name, on in others.items() if on]
        expect(not (self.fixed and beside), where, "deterministic", f"without {', '.join(beside)}", "with")
        expect(not (self.sharded and self.wire), where, "wire", "None where sharded=True", repr(self.wire))
        good = not (self.sharded and self.world.survive)
        expect(good, where, "sharded", "False where ranks may die: their share would be lost", "True")
        good = self.accumulate == 1 or not self.world.survive
        expect(good, where, "accumulate", "1 where ranks may die: their gradients would be lost", self.accumulate)
        seen = [type(m).__name__ for m in self.rule.members if isinstance(m, WHOLE)]
        good = not (self.sharded and seen)
        expect(good, where, "sharded", "False for rules that need whole gradients", f"True with {seen}")

    def fit(self) -> None:
        """Follow the size of the world: now, and after some of its ranks were lost."""
        size = self.world.size
        good = not self.fixed or (self.shards % size == 0 and math.log2(self.shards) % 1 == 0 == math.log2(size) % 1)
        expected = f"a power of 2 and a multiple of {size} ranks, these a power of 2 too"
        expect(good, "DistributedOptimizer", "shards", expected, self.shards)
        self.parts = self.shards // size if self.fixed else 1
        Moves.count += 1  # plans hold the share of a rank

    def __repr__(self) -> str:
        return f"DistributedOptimizer({self.rule}, {self.world})"

    # ---------------------------------------------------------------------------------------------- what setup asks

    @property
    def share(self) -> float:
        return 1.0 / (self.world.size * self.parts * self.accumulate)

    def own(self, size: int) -> tuple[int, int]:
        if not self.sharded:
            return 0, size
        counts = self._counts(size)
        start = sum(counts[: self.world.rank])
        return start, start + counts[self.world.rank]

    def _counts(self, size: int) -> list[int]:
        """Elements of a vector that each rank updates, where they are shared out."""
        each = up(-(-size // self.world.size))
        return [max(0, min(each, size - rank * each)) for rank in range(self.world.size)]

    def memory(self, size: int, dtype: np.dtype[Any], name: str, own: Maker = aligned) -> np.ndarray:
        """Of large vectors that ranks of a node add up or bring together, memory that they share; else own(bytes)."""
        node = self.world.node
        here = node is not None and not self.fixed and self.wire is None
        wanted = node is not None and node.size == self.world.size if self.sharded else name == "grads"
        if node is None or not (here and wanted) or size * dtype.itemsize < TOGETHER:
            return own(size * dtype.itemsize).view(dtype)
        found = self.world.meet("nf.setup", [size])
        expect(bool((found == size).all()), "setup", "model", "of one size on all ranks", found[:, 0].tolist(),
               "build the same model on all ranks", RankError)  # fmt: skip
        shared = Shared(node, node.vectors(size, dtype), serial=self.overlap)
        self.shared[shared.own.ctypes.data] = shared
        return shared.own

    def bind(self, state: OptState) -> None:
        self.state, self.vectors = state, list(state.vectors.values())
        self.sums: Kept | None = None  # of gradients that wait
        self.tree, self.courier = Tree(), Courier()
        self.staged = staged(self.vectors, self.world, bool(self.wire or self.fixed or self.sharded), self.memory)
        self.arrays = [self.staged[id(v)].array for v in self.vectors]
        good = self.wire is None or all(v.params.dtype == np.float32 for v in self.vectors)
        expect(good, "DistributedOptimizer", "wire", "None for a model that is not float32", repr(self.wire))

    def gathered(self, v: Vectors, name: str) -> np.ndarray:
        if not self.sharded:
            return v.states[name]
        out = np.zeros_like(v.params)
        out[slice(*v.own)] = v.states[name]
        self.world.fill(out, self._counts(out.size))
        return out

    # ----------------------------------------------------------------------------------------- what a plan is made of

    def part(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return part_of(args, 0, self.parts)

    def accept(self, session: Session) -> None:
        good = not (self.fixed and session.changes)
        expect(good, "DistributedOptimizer", "model", "without running statistics where deterministic is on",
               "one with a BatchNorm or the like", "use nf.GroupNorm or nf.LayerNorm", PlanError)  # fmt: skip

    def before_checks(self, build: Build, loss: Buf, samples: int) -> None:
        value, grads = whole(loss, write=True), [whole(v.bufs["grads"], write=True) for v in self.vectors]
        if self.overlap:
            build.host(lambda instance: self._begin(instance, loss, samples), value)
            for i, (v, start, end) in enumerate(self.stretches()):
                part = whole(v.bufs["grads"].part(start, end - start), write=True)
                build.host(partial(self._ready, i), whole(loss), part)
        build.host(lambda instance: self._join(instance, loss, samples), value, *grads)

    def before_update(self, build: Build) -> None:
        build.after = len(build.entries)
        names = ("grads", "scratch", "params")
        written = [v.bufs[name] for v in self.vectors for name in names if v.bufs[name].size]
        build.host(self._keep, *(whole(b, write=True) for b in (self.state.numbers, *written)), commits=True)
        build.after = 0

    def after_update(self, build: Build) -> None:
        if self.sharded:
            build.after = len(build.entries)
            written = [whole(v.bufs["params"], write=True) for v in self.vectors]
            build.host(self._spread_out, *written, commits=True)
            build.after = 0

    # ------------------------------------------------------------------------------------------- while a plan runs

    def run(self, once: Callable[..., Any], arrays: Sequence[np.ndarray], generators: Sequence[Generator]) -> Any:
        before = [g.state for g in generators]
        outs = None
        try:
            for at in range(self.parts):
                self._next(at)
                for g, (seed, counter) in zip(generators, before, strict=True):
                    g.state = self._seed(seed), counter
                try:
                    outs = once(part_of(arrays, at, self.parts))
                except Error as error:
                    if self.collecting and self.fixed:  # the others will meet behind their last part
                        self._meet(0.0, len(arrays[0]), error)
                    raise
        finally:
            self.at, self.losses = 0, []
            self.tree.clear()
            for g, (seed, _) in zip(generators, before, strict=True):
                g.words[0] = seed
        self._compare()
        return outs

    def _seed(self, seed: int) -> int:
        """Of what this rank, or shard, draws; the first rank's own is that of a process alone."""
        shard = self.world.rank * self.parts + self.at
        return seed_of(seed, shard) if self.fixed or shard else seed

    def _next(self, at: int) -> None:
        """Before each run: which part of the batch it is of, and whether it only adds up gradients."""
        self.at = at
        waits = not self.closing and (not self.world.syncing or self.kept + 1 < self.accumulate)
        self.collecting = at + 1 < self.parts if self.fixed else waits

    def stretches(self) -> list[tuple[Vectors, int, int]]:
        """Stretches of the gradients in the order in which they are summed: those of the last layers first."""
        found = []
        for v in self.vectors:
            each = bucket(v.grads.nbytes, self.bucket, self.overlap) // v.grads.itemsize
            ends = range(v.grads.size, 0, -max(1, each))
            found += [(v, max(0, end - each), end) for end in ends]
        return found

    def _begin(self, instance: Any, loss: Buf, samples: int) -> None:
        """The loss is known: the thread may begin to talk."""
        self.sending = not self.collecting
        if self.sending:
            value = float(instance.view(loss).reshape(())[()])
            sums = [partial(self._sum, *one, known=False) for one in self.stretches()]
            self.courier.begin([partial(self._meet, value, samples, instance.error()), *sums])
            self.courier.release(0)

    def _ready(self, i: int, instance: Any) -> None:
        """A bucket's gradients are there."""
        if self.sending:
            self._add_kept(i)
            self.courier.release(1 + i)

    def _join(self, instance: Any, loss: Buf, samples: int) -> None:
        """Gradients and loss become those of all ranks."""
        value = instance.view(loss).reshape(())
        self.losses.append(float(value[()]))
        if self.collecting:
            return
        if self.overlap:
            self.courier.finish()
        else:
            self._fetch()
            self._meet(math.fsum(self.losses) / self.parts, samples, instance.error())
            self._sum_all()
        self.world.confirm("a training step")
        value[...] = self.mean

    def _meet(self, loss: float, samples: int, error: BaseException | None) -> None:
        """All ranks are at the same step, with batches of one size, and none has failed."""
        found = self.world.meet("a training step", [float(error is not None), samples, loss])
        failed = np.flatnonzero(found[:, 0])
        if failed.size:
            first = int(failed[0])
            text = self.world.share(str(error or ""), first)
            raise error or RankError(f"step: rank {first} failed: {text}")
        uneven = np.flatnonzero(found[:, 1] != found[0, 1]).tolist()
        first, other = (0, uneven[0]) if uneven else (0, 0)
        got = f"{found[first, 1]:.0f} samples on rank 0 and {found[other, 1]:.0f} on rank {other}"
        cure = "nf.DataLoader(..., world=world)"
        expect(not uneven, "step", "batches of all ranks", "of one size", got, cure, RankError)
        self.mean = math.fsum(found[:, 2].tolist()) / self.world.size

    def _sum(self, v: Vectors, start: int, end: int, known: bool) -> None:
        """Of a bucket; known: whether all ranks have it where it is added up; else it goes there, and comes back."""
        staging = self.staged[id(v)]
        shared, part = self.shared.get(staging.array.ctypes.data), staging.array[start:end]
        if not known:
            staging.fetch(v.grads, start, end)
        if shared is not None:
            shared.sum(start, end, known)
        elif self.wire is None:
            self.world.sum(part, "gradients", there=staging.reached)
        else:
            sum_packed(self.world, part, self.wire)
        if not known:
            staging.give(v.grads, start, end)

    def _sum_all(self) -> None:
        if self.fixed:
            self.tree.add(self.arrays)
            for array, total in zip(self.arrays, self.tree.total(), strict=True):
                array[...] = total
                sum_by_tree(self.world, array)
        for one in () if self.fixed or self.sharded else self.stretches():
            self._sum(*one, known=True)
        finite = math.isfinite(self.mean)  # else the check of the loss says so, on all ranks
        for array in self.arrays if self.sharded and finite else ():
            shared = self.shared.get(array.ctypes.data)
            if shared is not None:
                shared.reduce(shared.shares(0, array.size))
            else:
                self.world.scatter_sum(array, self._counts(array.size))
        for v in self.vectors:
            self.staged[id(v)].give(v.grads)

    def _fetch(self) -> None:
        """Before others may read them: gradients with those that were kept, where ranks add them up."""
        for i in range(len(self.stretches())):
            self._add_kept(i)
        for v in self.vectors:
            self.staged[id(v)].fetch(v.grads)

    def _add_kept(self, i: int) -> None:
        if self.kept and self.sums is not None:
            self.sums.give(i)

    def _keep(self, instance: Any) -> None:
        """Where gradients are only added up: no update this time. Of shared-out ones a rank sees its own alone."""
        if self.sharded and not self.collecting and self.world.any(instance.status[0] != 0):
            raise instance.error() or NonFiniteError(BAD)
        if instance.status[0]:
            return
        if not self.collecting:
            self.kept = 0
            return
        if self.fixed:
            self._fetch()
            self.tree.add(self.arrays)
        else:
            self.sums = self.sums or Kept(self.stretches())
            self.sums.keep(first=self.kept == 0)
            self.kept += 1
        instance.status[0] = LEFT_OUT

    def _spread_out(self, instance: Any) -> None:
        """Each rank's parameters for all."""
        for v in () if instance.status[0] else self.vectors:
            staging = self.staged[id(v)]
            array = staging.of(v.params)
            staging.fetch(v.params, *v.own)
            shared = self.shared.get(array.ctypes.data)
            if shared is not None:
                shared.node.barrier("parameters")
                shared.bring(shared.shares(0, array.size))
            else:
                self.world.fill(array, self._counts(array.size))
            staging.give(v.params)
            if shared is not None and staging.apart:
                shared.node.barrier("parameters of all")  # gradients come to the same place

    def update(self) -> None:
        cure = "nf.compile(loss, model, opt_state)"
        expect(not self.fixed, "update", "deterministic", "False", "True", cure, PlanError)
        self._next(0)
        for v in self.vectors:
            v.grads *= self.share
        if self.collecting:
            return
        self._fetch()
        self._meet(0.0, 0, None)
        self._sum_all()
        self.world.confirm("an update")
        if self.closing:
            for v in self.vectors:
                v.grads *= self.accumulate / self.kept
        bad = not all(np.isfinite(v.grads[slice(*v.own)]).all() for v in self.vectors)
        bad = self.world.any(bad) if self.sharded else bad
        expect(not bad, "update", "gradients", "finite", "NaN or Inf; nothing was changed", error=NonFiniteError)

    def flush(self) -> None:
        if not self.kept:
            return
        for v in self.vectors:
            v.grads[...] = 0
        self.closing = True
        try:
            self.state.run_update()
        finally:
            self.closing = False

    def _compare(self) -> None:
        """Now and then: ranks that do not have the same parameters any more are no training."""
        step = self.state.step
        if self.compare and self.world.size > 1 and step % self.compare == 0 and not self.kept:
            crc = [zlib.crc32(v.params) for v in self.vectors]
            self.world.same(repr(crc).encode(), f"parameters after step {step}")
