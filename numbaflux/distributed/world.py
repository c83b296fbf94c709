"""The ranks of a job as one world: who is who, and what they agree on. Buffers alone are sent, never pickles."""

from __future__ import annotations

import atexit
import contextlib
import copy
import functools
import hashlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from ..managed import fetched, gpu_of
from ..native import pool, set_num_threads
from ..op import PlanError, RankError, RankLostError, expect
from ..rng import Generator, default
from ..tree import arrays, layers
from .node import Node
from .waiting import Watch

PIECE = 2**28  # elements a message: counts stay far below 2**31
WORDS = 12  # of a meeting: the reason and what is said
ABORTS = 2.0  # seconds that a rank which fails for another's sake leaves that one to say so


class World:
    """The ranks of a job; nf.distributed.init() makes it. Used in a with statement, it ends the whole job where one
    rank fails.

    rank, size: this process and how many there are; local_rank, local_size: the same on this node.

    >>> import numbaflux as nf
    >>> with nf.distributed.init() as world:
    ...     print(world)
    World(rank 0 of 1)
    """

    def __init__(self, comm: Any = None, MPI: Any = None, timeout: float = 600.0, survive: bool = False) -> None:
        self._comm, self._mpi, self.timeout, self.survive = comm, MPI, timeout, survive
        self.rank, self.size, self.local_rank, self.local_size = 0, 1, 0, 1
        self.node: Node | None = None  # the ranks that share memory, where each node has as many
        self.open, self.syncing, self.code = True, True, 0  # code: that of the process
        self.threads = self.spare = False  # whether threads may call MPI; whether ranks have more than a core each
        if comm is None:
            return
        self._take(comm)
        self.threads = MPI.Query_thread() == MPI.THREAD_MULTIPLE
        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = node.Get_rank(), node.Get_size()
        self._share_cores(node)
        self.node = self._on_node(node)

    def _take(self, comm: Any) -> None:
        """Be a rank of this communicator."""
        self._comm, self.rank, self.size = comm, comm.Get_rank(), comm.Get_size()
        self._watch = Watch(comm.Dup(), self._mpi, self.timeout)

    def _on_node(self, comm: Any) -> Node | None:
        """The node's ranks, where there are several, none is to die, and each node has as many."""
        sizes = self.gather([self.local_size])
        if self.survive or self.local_size == 1 or (sizes != self.local_size).any():
            return None
        across = self._comm.Split(self.local_rank, self.rank) if self.local_size < self.size else None
        return Node(comm, across, self._mpi, self.timeout)

    def _share_cores(self, node: Any) -> None:
        """Ranks of a node that may run on the same cores share them, unless the user says how many threads."""
        mask = np.zeros(8192, np.uint8)
        mask[sorted(os.sched_getaffinity(0))] = 1
        found = np.empty((self.local_size, mask.size), np.uint8)
        node.Allgather(mask, found)
        same = int((found == mask).all(1).sum())
        cores = int(mask.sum()) // same
        self.spare = cores > 1
        if not os.environ.get("NUMBA_NUM_THREADS"):
            set_num_threads(max(1, min(pool().limit, cores)))

    # ------------------------------------------------------------------------------------------- what ranks agree on

    def _do(self, start: Callable[[], Any], what: str) -> None:
        expect(self.open, "distributed", "world", "open", "closed", "init() makes a new one", PlanError)
        if self.size > 1:
            with self._survived(what):
                self._watch.wait(start(), what)

    @contextlib.contextmanager
    def _survived(self, what: str) -> Iterator[None]:
        """Where ranks may die: the error of MPI that says so is ours, and all other ranks learn of it."""
        if not self.survive:
            yield
            return
        try:
            yield
        except self._mpi.Exception as error:
            dead = self._mpi.ERR_PROC_FAILED, self._mpi.ERR_PROC_FAILED_PENDING, self._mpi.ERR_REVOKED
            if error.Get_error_class() not in dead:
                raise
            self._comm.Revoke()
            raise RankLostError(f"distributed: all {self.size} ranks must live, got one that died in {what}") from error

    def confirm(self, what: str) -> None:
        """Where ranks may die: raise RankLostError on all that live unless all do. MPI may call a sum done on one rank
        and failed on another."""
        if self.survive and self.size > 1:
            with self._survived(what):
                self._comm.Agree(1)

    def shrink(self) -> int:
        """Go on without the ranks that died: rank and size are new; returns how many are lost.

        After RankLostError on a world of init(survive=True), by all that live.
        """
        expect(self.survive, "shrink", "world", "of init(survive=True)", "another", error=PlanError)
        before = self.size
        self._take(self._comm.Shrink())
        if self.rank == 0:
            words = f"numbaflux: {before - self.size} of {before} ranks lost; {self.size} go on"
            print(words, file=sys.stderr, flush=True)
        atexit.register(self._leave)
        return before - self.size

    def _leave(self) -> None:
        """The end of a process whose world has lost ranks: MPI's own end would now and then wait for these."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self.code)

    def barrier(self, what: str = "barrier") -> None:
        """Wait for all ranks."""
        self.meet(what)

    def gather(self, numbers: Sequence[float], what: str = "gather") -> np.ndarray:
        """The same count of numbers from each rank, on all of them: float64 (size, count).

        >>> World().gather([1, 2]).tolist()
        [[1.0, 2.0]]
        """
        own = np.array(numbers, np.float64)
        found = np.empty((self.size, own.size))
        found[self.rank] = own
        self._do(lambda: self._comm.Iallgather(own, found), what)
        return found

    def meet(self, kind: str, numbers: Sequence[float] = ()) -> np.ndarray:
        """As gather, where all ranks must come for the same reason; raises RankError on all where one did not."""
        reason = int.from_bytes(hashlib.sha256(kind.encode()).digest()[:6], "little")  # exact as float64
        found = self.gather([reason, *numbers, *[0.0] * (WORDS - 1 - len(numbers))], kind)
        others = np.flatnonzero(found[:, 0] != reason).tolist()
        cure = "ranks must call the same things as often"
        expect(not others, "distributed", f"all ranks' next turn ({kind} here)", "the same", f"another on {others}",
               cure, RankError)  # fmt: skip
        return found[:, 1 : 1 + len(numbers)]

    def any(self, flag: bool) -> bool:
        """Whether any rank says so; each must ask.

        >>> World().any(True)
        True
        """
        return bool(self.meet("any", [float(flag)]).any())

    def same(self, digest: bytes, what: str, cure: str = "") -> None:
        """Raise RankError on all ranks unless they give the same digest."""
        words = np.frombuffer(hashlib.sha256(digest).digest(), "<u4").astype(float)  # exact as float64
        found = self.meet(what, words.tolist())
        differ = np.flatnonzero((found != found[0]).any(1)).tolist()
        expect(not differ, "distributed", what, "the same on all ranks", f"another than rank 0's on {_few(differ)}",
               cure, RankError)  # fmt: skip

    def share(self, text: str, root: int = 0) -> str:
        """The text of rank 0 (or root), on all ranks.

        >>> World().share("run-3.h5")
        'run-3.h5'
        """
        raw = np.frombuffer(text.encode(), np.uint8)
        size = int(self.meet("share", [raw.size])[root, 0])
        buffer = raw.copy() if self.rank == root else np.empty(size, np.uint8)
        self.broadcast(buffer, root)
        return buffer.tobytes().decode()

    def broadcast(self, array: np.ndarray, root: int = 0) -> None:
        """Let an array hold what it holds on rank 0 (or root), in place."""
        if not array.flags.c_contiguous or gpu_of(array) is not None:
            whole = np.array(array, order="C")
            self.broadcast(whole, root)
            array[...] = whole
            fetched(array)
            return
        flat = array.reshape(-1).view(np.uint8)
        for start in range(0, flat.size, PIECE):
            part = flat[start : start + PIECE]
            self._do(lambda part=part: self._comm.Ibcast(part, root), "broadcast")  # type: ignore[misc]

    def sum(self, vector: np.ndarray, what: str = "sum", there: bool = False) -> None:
        """Let a contiguous vector hold the sum over all ranks, in place. there: in a GPU's memory, which MPI reaches;
        all ranks are known to come, as they wait in MPI itself: Open MPI does not reach it by calls that do not."""
        for start in range(0, vector.size, PIECE):
            part = vector[start : start + PIECE]
            if there and self.size > 1:
                with self._survived(what):
                    self._comm.Allreduce(self._mpi.IN_PLACE, part)
            else:
                self._do(lambda part=part: self._comm.Iallreduce(self._mpi.IN_PLACE, part), what)  # type: ignore[misc]

    def exchange(self, mine: np.ndarray, theirs: np.ndarray) -> None:
        """Send each rank its equal part of mine, and put theirs together in the order of ranks."""
        if self.size == 1:
            theirs[...] = mine
        self._do(lambda: self._comm.Ialltoall(mine, theirs), "exchange")

    def collect(self, mine: np.ndarray, out: np.ndarray) -> None:
        """Put the equal parts of all ranks together, in the order of ranks, on all of them."""
        if self.size == 1:
            out[...] = mine
        self._do(lambda: self._comm.Iallgather(mine, out), "collect")

    def swap(self, mine: np.ndarray, theirs: np.ndarray, rank: int) -> None:
        """Send a vector to another rank, and take its."""
        for start in range(0, mine.size, PIECE):
            out, into = mine[start : start + PIECE], theirs[start : start + PIECE]
            sent = self._comm.Isend(out, rank)
            self._do(lambda into=into: self._comm.Irecv(into, rank), "swap")  # type: ignore[misc]
            self._do(lambda sent=sent: sent, "swap")  # type: ignore[misc]

    def scatter_sum(self, vector: np.ndarray, counts: Sequence[int]) -> None:
        """Let a contiguous vector hold the sum over all ranks in this rank's stretch, and zeros elsewhere, in place.
        Stretches: counts elements each, in the order of ranks, no rank's longer than that of one before it."""
        self._do(lambda: self._comm.Ireduce_scatter(self._mpi.IN_PLACE, vector, counts), "reduce and scatter")
        start, size = sum(counts[: self.rank]), counts[self.rank]
        if start:  # what comes from others lies in front
            vector[start : start + size] = vector[:size]
        vector[:start] = vector[start + size :] = 0

    def fill(self, vector: np.ndarray, counts: Sequence[int]) -> None:
        """Let a vector hold the stretches of all ranks, each of which has its own already, in place."""
        self._do(lambda: self._comm.Iallgatherv(self._mpi.IN_PLACE, [vector, counts]), "gather stretches")

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Steps inside add up gradients on each rank alone and change no parameter: the next step outside sums these,
        over all ranks, with its own. The loss is to be divided by the number of steps for their mean.

        >>> world = World()
        >>> with world.no_sync():
        ...     world.syncing
        False
        """
        before, self.syncing = self.syncing, False
        try:
            yield
        finally:
            self.syncing = before

    def rows(self, array: np.ndarray) -> np.ndarray:
        """The rows of all ranks' arrays, in the order of ranks, on all of them.

        >>> World().rows(np.ones((2, 3))).shape
        (2, 3)
        """
        array = np.array(array, order="C") if gpu_of(array) is not None else np.ascontiguousarray(array)
        self.same(f"{array.dtype.str} {array.shape[1:]}".encode(), "dtype and shape of a row")
        width = array[:1].nbytes if len(array) else array.dtype.itemsize * int(np.prod(array.shape[1:]))
        counts = self.gather([len(array)])[:, 0].astype(np.int64)
        out = np.empty((int(counts.sum()), *array.shape[1:]), array.dtype)
        ends = np.cumsum(counts)
        out[ends[self.rank] - len(array) : ends[self.rank]] = array
        if self.size > 1 and out.nbytes:
            row = self._mpi.BYTE.Create_contiguous(width).Commit()  # counts are of rows, and stay below 2**31
            sent, found = [array, len(array), row], [out, counts, ends - counts, row]
            self._do(lambda: self._comm.Iallgatherv(sent, found), "rows")
            row.Free()
        return out

    @functools.cached_property
    def beside(self) -> World:
        """The same ranks with a line of their own, for what plans sum while a thread sums gradients; all ranks must ask
        for it the first time.

        >>> World().beside
        World(rank 0 of 1)
        """
        other = copy.copy(self)
        if self._comm is not None:
            other._comm, other._watch = self._comm.Dup(), Watch(self._comm.Dup(), self._mpi, self.timeout)
        return other

    def __deepcopy__(self, memo: Any) -> World:
        return self  # a model's copy is of the same ranks

    # ------------------------------------------------------------------------------------------------------ a model

    def synchronize(self, model: Any, opt_state: Any = None) -> None:
        """Let all ranks have what rank 0 has: parameters, buffers, the optimiser's state, random generators.

        Names, shapes and dtypes are compared first: RankError on all ranks where they differ, and nothing is changed.

        >>> import numbaflux as nf
        >>> model = nf.Dense(2, 3)
        >>> World().synchronize(model, nf.setup(nf.Adam(), model))
        """
        named = arrays(model)
        about = [f"{path} {a.dtype.str} {a.shape}" for path, a in named.items()]
        if opt_state is not None:
            about += [repr(opt_state.rule), *(f"{s.path} {s.frozen}" for s in opt_state.segments)]
        self._compare(about)
        held = list(named.values())
        if opt_state is not None:
            # Of sharded states each rank has its own part.
            shared = [v for v in opt_state.vectors.values() if v.own == (0, v.params.size)]
            held += [opt_state.hyper, *(a for v in shared for a in v.states.values())]
        held += [g.words for g in self._generators(model)]
        for array in held:
            self.broadcast(array)

    def _compare(self, about: list[str]) -> None:
        """Raise RankError on all ranks where the lines differ, with the first that does."""
        cure = "build the same model and rule on all ranks"
        counts = self.meet("synchronize", [len(about)])[:, 0]
        differ = [i for i in range(self.size) if counts[i] != counts[0]]
        pairs = zip(about, self.share("\n".join(about)).split("\n"), strict=False)
        mine = next((f"{a!r} where rank 0 has {b!r}" for a, b in pairs if a != b), "")
        wrong = self.meet("compare", [float(bool(mine) or len(about) != counts[0])])[:, 0]
        bad = [i for i in range(self.size) if wrong[i]] or differ
        if bad:
            said = self.share(mine or f"{len(about)} arrays where rank 0 has {counts[0]:.0f}", bad[0])
            raise RankError(f"synchronize: model must be the same on all ranks, got on rank {bad[0]} {said}; {cure}")

    @staticmethod
    def _generators(model: Any) -> Iterable[Generator]:
        held = [value for _, one in layers(model) for value in vars(one).values() if isinstance(value, Generator)]
        return {id(g): g for g in [default(), *held]}.values()

    # ------------------------------------------------------------------------------------------------- begin and end

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, SystemExit):
            self.code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if self.size > 1 and self.open:
            if error is not None and not isinstance(error, SystemExit):
                self.fail(error, tb)
            try:
                self.meet("the end")
            except RankError as other:
                self.fail(other, other.__traceback__)
        self.open = False

    def fail(self, error: BaseException | None, tb: TracebackType | None) -> None:
        """Say what went wrong, and end the job on all ranks."""
        if isinstance(error, RankError):  # another rank's fault: it will say more
            time.sleep(ABORTS * (1 + self.rank / self.size))
        lines = traceback.format_exception(type(error), error, tb) if error is not None else []
        print(f"numbaflux: rank {self.rank} of {self.size} failed; the job ends\n{''.join(lines)}", file=sys.stderr,
              flush=True)  # fmt: skip
        with contextlib.suppress(ValueError):  # a closed stdout
            sys.stdout.flush()
        self._comm.Abort(1)

    def __repr__(self) -> str:
        return f"World(rank {self.rank} of {self.size})"


def _few(ranks: list[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks[:8]))}" + " ..." * (len(ranks) > 8)
