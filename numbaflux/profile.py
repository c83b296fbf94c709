"""nf.profile: when each tile of each entry of a plan ran and on which worker, or each launch on a GPU, as a table, a
picture, a Chrome trace."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import plots
from .compiled import Compiled, Step
from .files import check_folder, replacing
from .flops import flops, touched
from .lowering import Buf, Entry
from .managed import fetched
from .native import native
from .op import DTypeError, PlanError, expect
from .ranges import check
from .tree import arrays
from .watch import GPUWatch, Spans, Watch

if TYPE_CHECKING:
    from .plots import Figure

WARM = 3  # calls before those that are measured
SMALL = 0.01  # of the time in waves: what takes less is summed up in the table
COLUMNS = ("share", "us", "tiles", "GFLOP/s", "GB/s", "kernel", "operation", "of", "shape")


@dataclass(frozen=True, eq=False)
class Profile:
    """What nf.profile measured; prints itself as a table, whose smallest rows are summed up.

    us, native_us: microseconds of a call, and of those the ones in native code: medians over repeats calls. What is
    between them is Python's. workers: the threads of a call. device: "cpu", or "gpu:0"; there native_us are those from
    the first launch's begin to the last one's end, a launch is one tile of the trace, and there is one worker.
    waves: a dict a wave, what runs between two waits: wave; us, from its first start to its last end; idle_us, of all
    workers together in that time.
    rows: a dict an entry, in the order in which they run: wave; kernel; operation, which it is a part of; of, the
    layers whose parameters it reads, or `d` and the parameter whose gradient it makes; shape, of the result; tiles;
    us, of all workers together; share of that sum; gflop_s, where what it computes is a product; gb_s, by its arrays,
    each counted once. Both rates are those of one worker.

    >>> import numbaflux as nf
    >>> found = nf.profile(nf.Chain(nf.Dense(8, 4)), np.ones((2, 8), np.float32), repeats=3)
    >>> [(row["kernel"], row["of"], row["shape"]) for row in found.rows]
    [('dense.product', '0', (2, 4))]
    """

    name: str
    workers: int
    repeats: int
    us: float
    native_us: float
    waves: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    events: np.ndarray  # of the call of median length: (entry, tile, worker, start, end), nanoseconds from its start
    calls: Spans  # of the same: all of it, then each stay in native code, or on the GPU
    lines: list[str]  # who works: "worker 0", "worker 1", or the GPU
    device: str

    def trace(self, path: str | os.PathLike[str]) -> None:
        """Write the call of median length as a Chrome trace, for ui.perfetto.dev or chrome://tracing: a line a worker,
        and one of Python. An old file is replaced when the new one is whole.

        >>> import tempfile, numbaflux as nf
        >>> path = os.path.join(tempfile.mkdtemp(), "trace.json")
        >>> nf.profile(nf.Dense(8, 4), np.ones((2, 8), np.float32), repeats=3).trace(path)
        >>> with open(path) as file:
        ...     [event["name"] for event in json.load(file)["traceEvents"] if event["ph"] == "X"]
        ['call', 'native code', 'dense.product weight, bias']
        """
        target = check_folder("trace", "path", path)
        lines = ["Python", *self.lines]
        inside = "native code" if self.device == "cpu" else self.device
        found: list[dict[str, Any]] = [
            {"name": "thread_name", "ph": "M", "pid": 0, "tid": i, "args": {"name": line}}
            for i, line in enumerate(lines)
        ]
        found += [_event(inside if i else "call", 0, *span) for i, span in enumerate(self.calls)]
        for entry, tile, worker, start, end in self.events.tolist():
            row = self.rows[entry]
            told = {name: row[name] for name in ("wave", "operation", "shape")}
            event = _event(f"{row['kernel']} {row['of']}".strip(), 1 + worker, start, end)
            event["args"] = told | {"entry": entry, "tile": tile}
            found.append(event | {"cat": row["kernel"].partition(".")[0]})
        with replacing(target) as file:
            file.write(json.dumps({"displayTimeUnit": "ns", "traceEvents": found}).encode())

    def plot(self) -> Figure:
        """The call of median length as a Matplotlib figure: what each worker did when, and the entries with most time.

        `.savefig("profile.png")` writes it, a notebook shows it; no display is needed.

        >>> import numbaflux as nf
        >>> figure = nf.profile(nf.Dense(8, 4), np.ones((2, 8), np.float32), repeats=3).plot()
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['microseconds', 'microseconds of all workers together']
        """
        families: dict[str, list[tuple[int, float, float]]] = {}
        for entry, _, worker, start, end in self.events.tolist():
            family = self.rows[entry]["kernel"].partition(".")[0]
            families.setdefault(family, []).append((worker, start / 1e3, (end - start) / 1e3))
        entries: dict[str, float] = {}
        for row in self.rows:
            name = f"{row['kernel']} {row['of']}".strip()
            entries[name] = entries.get(name, 0.0) + row["us"]
        return plots.profile(families, entries, self.lines)

    def __repr__(self) -> str:
        here = self.device == "cpu"
        where = f"in native code; {self.workers} worker{'s' * (self.workers > 1)}" if here else f"on {self.device}"
        head = f"{self.name}: {_shown(self.us)} us a call (median of {self.repeats}), {_shown(self.native_us)} of them "
        total = math.fsum(wave["us"] for wave in self.waves)
        table, left = [list(COLUMNS)], []
        for wave in self.waves:
            rows = [row for row in self.rows if row["wave"] == wave["wave"]]
            large = [row for row in rows if row["share"] >= SMALL]
            if wave["us"] < SMALL * total and not large:
                left.append(wave["us"])
                continue
            idle = wave["idle_us"] / max(wave["us"] * self.workers, 1e-9)
            waits = f", workers idle {idle:.0%}" if here else ""
            table.append([f"wave {wave['wave']}: {_shown(wave['us'])} us{waits}"])
            table += map(_cells, large)
            table += [_rest([row for row in rows if row["share"] < SMALL])] if len(large) < len(rows) else []
        table += [[f"other waves ({len(left)}): {_shown(sum(left))} us"]] if left else []
        return "\n".join([head + where, *_aligned(table)])


def profile(f: Any, *args: Any, repeats: int = 20) -> Profile:
    """How long each entry of a compiled function takes: f(*args) a few times to warm up, then repeats times measured.

    f: a step or function from nf.compile, or any model or function that it takes, with the arguments of a call. The
    plan is made anew, on the threads that are set now, which do not rest where the machine is busy.
    A training step trains: model, buffers, optimiser state and random numbers are put back to where they were, to the
    bit, whatever happens; f itself is not called, and must not be by others meanwhile.
    Measuring adds some 50 ns to a tile of an entry. On a GPU marks between the launches of the plan's graph tell the
    times: some microseconds of a short launch are its mark's. Raises what f raises; PlanError where plans of the CPU
    are interpreted (NUMBAFLUX_NATIVE=0).

    >>> import numbaflux as nf
    >>> model = nf.Chain(nf.Dense(64, 128, nf.relu), nf.Dense(128, 10))
    >>> step = nf.compile(lambda m, x: (m(x) ** 2).mean(), model, nf.setup(nf.Adam(), model))
    >>> found = nf.profile(step, np.ones((256, 64), np.float32), repeats=5)
    >>> max(found.rows, key=lambda row: row["gflop_s"] or 0)["kernel"]
    'dense.product'
    """
    count = int(check("profile.repeats", repeats))
    fresh = _fresh(f)
    program, _ = fresh.program(args)
    with _kept(fresh, program.plan.launches.entries if program.gpu is not None else program.plan.entries):
        watch = _watch(program, lambda: fresh(*args))
        calls = [watch.call(lambda: fresh(*args)) for _ in range(count)]
    return _summary(_name(f), fresh, watch, calls)


def _watch(program: Any, call: Callable[[], Any]) -> Watch | GPUWatch:
    """What has seen nothing yet of a program that is warm."""
    plan = program.plan
    if program.gpu is not None:
        watch = GPUWatch(plan)
        for _ in range(WARM):
            call()
        return watch
    expect(native().works, "profile", "kernels", "native", "interpreted ones", "unset NUMBAFLUX_NATIVE", PlanError)
    plan.pace.limit = math.inf
    for _ in range(WARM):
        call()
    return Watch(plan.idle[-1] if plan.idle else program.instance)


def _fresh(f: Any) -> Compiled:
    """The same function, with no plans yet."""
    expect(callable(f), "profile", "f", "a function, model or step", type(f).__name__, error=DTypeError)
    if isinstance(f, Step):
        return Step(f.f, f.model, f.opt_state, f.products)
    return Compiled(f.f, f.fixed, f.products) if isinstance(f, Compiled) else Compiled(f)


def _name(f: Any) -> str:
    own = f.f if isinstance(f, Compiled) else f
    name = getattr(own, "__name__", type(own).__name__)
    return f"step of {name}" if isinstance(f, Step) else str(name)


@contextmanager
def _kept(fresh: Compiled, entries: list[Entry]) -> Iterator[None]:
    """What a plan and the step around it change is as before at the end."""
    storages = [a.buf.storage for e in entries for a in e.arrays if a.write and a.buf.storage.kind == "array"]
    written = {id(s): s.array for s in storages}
    state = fresh.opt_state if isinstance(fresh, Step) else None
    if state is not None:
        rule = state.rule
        written[id(state.hyper)] = state.hyper
    before = [(array, array.copy()) for array in written.values()]
    try:
        yield
    finally:
        for array, old in before:
            array[...] = old
            fetched(array)
        if state is not None:
            state.rule = rule


def _summary(name: str, fresh: Compiled, watch: Watch | GPUWatch, calls: list[tuple[Spans, np.ndarray]]) -> Profile:
    entry, tile = watch.places.T
    spans = np.array([[sum(b - a for a, b in part) / 1e3 for part in (c[:1], c[1:])] for c, _ in calls])
    sums = [np.bincount(entry, (r[:, 1] - r[:, 0]) / 1e3, len(watch.entries)) for _, r in calls]
    times = np.median(sums, axis=0)
    wave_of, workers = np.array(watch.waves, np.int64), len(watch.lines)
    waves = []
    for wave in dict.fromkeys(wave_of.tolist()):  # others are turns of Python, of which there are no records
        own = wave_of[entry] == wave
        long = [(r[own, 1].max() - r[own, 0].min()) / 1e3 for _, r in calls]
        busy = [one[wave_of == wave].sum() for one in sums]
        idle = [workers * a - b for a, b in zip(long, busy, strict=True)]
        waves.append({"wave": wave, "us": float(np.median(long)), "idle_us": float(np.median(idle))})
    order = np.argsort(spans[:, 0], kind="stable")
    middle, records = calls[int(order[(len(calls) - 1) // 2])]
    start = middle[0][0]
    events = np.column_stack([entry, tile, records[:, 2], records[:, :2] - start])
    rows = [row | {"wave": int(w)} for row, w in zip(_rows(fresh, watch, times), wave_of, strict=True)]
    outer, inner = np.median(spans, axis=0).tolist()
    return Profile(name, workers, len(calls), outer, inner, waves, rows, events,
                   [(a - start, b - start) for a, b in middle], watch.lines, watch.device)  # fmt: skip


def _rows(fresh: Compiled, watch: Watch | GPUWatch, times: np.ndarray) -> Iterator[dict[str, Any]]:
    """What is told of each entry."""
    known = _paths(fresh)
    total = max(float(times.sum()), 1e-9)
    counts = flops(watch.entries, watch.gpu)
    columns = watch.entries, watch.kernels, watch.tiles, counts, times.tolist()
    for e, kernel, n, count, us in zip(*columns, strict=True):
        shape = e.origin.outs[0].shape if e.origin else e.arrays[0].shape
        yield {
            "wave": 0, "kernel": kernel,
            "operation": e.origin.op if e.origin else "", "of": _of(e, known), "shape": shape, "tiles": n, "us": us,
            "share": us / total, "gflop_s": count / us / 1e3 if count and us else None,
            "gb_s": touched(e, n) / us / 1e3 if us else None,
        }  # fmt: skip


def _paths(fresh: Compiled) -> dict[tuple[int, int], str]:
    """Addresses and bytes of arrays and gradients of the model, and what the table calls them."""
    model = fresh.model if isinstance(fresh, Step) else fresh.f
    known = {(a.ctypes.data, a.nbytes): path.rpartition(".")[0] or path for path, a in arrays(model).items()}
    for v in fresh.opt_state.vectors.values() if isinstance(fresh, Step) else ():
        views = {s.path: s.of(v.grads) for s in v.segments}
        known |= {(g.ctypes.data, g.nbytes): f"d {path}" for path, g in views.items()}
    return known


def _of(e: Entry, known: dict[tuple[int, int], str]) -> str:
    """The layers that an entry's operation reads, or the gradients that it makes; those of an entry alone."""

    def path(b: Buf | None) -> str:
        if b is None or b.storage.kind != "array":
            return ""
        return known.get((b.storage.array.ctypes.data + b.offset, b.nbytes), "")

    made = [path(b) for b in e.origin.outs] if e.origin else []
    read = [path(b) for b in e.origin.inputs] if e.origin else [path(a.buf) for a in e.arrays]
    return ", ".join(dict.fromkeys(p for p in (made if any(made) else read) if p))


# ---------------------------------------------------------------------------------------------------- as text


def _event(name: str, line: int, start: int, end: int) -> dict[str, Any]:
    """A span of a Chrome trace, in microseconds."""
    return {"name": name, "ph": "X", "pid": 0, "tid": line, "ts": start / 1e3, "dur": (end - start) / 1e3}


def _shown(x: float | None) -> str:
    return "" if x is None else f"{x:.0f}" if abs(x) >= 99.5 else f"{x:.3g}"


def _cells(row: dict[str, Any]) -> list[str]:
    numbers = f"{row['share']:.1%}", _shown(row["us"]), str(row["tiles"]), _shown(row["gflop_s"]), _shown(row["gb_s"])
    return [*numbers, row["kernel"], row["operation"], row["of"], str(row["shape"])]


def _rest(rows: list[dict[str, Any]]) -> list[str]:
    """The small entries of a wave in one line."""
    us, share = (math.fsum(row[name] for row in rows) for name in ("us", "share"))
    return [f"{share:.1%}", _shown(us), "", "", "", f"{len(rows)} others", "", "", ""]


def _aligned(table: list[list[str]]) -> list[str]:
    """Numbers to the right, words to the left; a line of one cell goes across."""
    widths = [max(map(len, column)) for column in zip(*(row for row in table if len(row) > 1), strict=True)]
    sides = [str.rjust] * 5 + [str.ljust] * 4
    cells = [[side(x, w) for side, x, w in zip(sides, row, widths, strict=len(row) > 1)] for row in table]
    return [row[0] if len(row) == 1 else "  ".join(line).rstrip() for row, line in zip(table, cells, strict=True)]
