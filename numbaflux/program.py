"""The parts of compile: what a traced function becomes, and its arguments as arrays or as abstract leaves."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from . import managed
from .hook import HOOK
from .lowering import CPU, Buf, Build, Int, Origin, Target, argument, as_buf, cut, elements_block, leading, whole
from .onehot import OneHot
from .op import Spec
from .ops.elementwise import RELU
from .ops.move import COPY, RESHAPE, STOP
from .plan import Plan
from .recompute import CHECKPOINT, LATE
from .run import array_of
from .session import Session
from .trace import Call, Value, tape
from .tree import STATIC, arrays, replaced

ALIASES = {CHECKPOINT, COPY, HOOK, LATE, RESHAPE, STOP}


def gpu_for(
    f: Any, session: Session, one: list[Call], two: list[Call], given: list[np.ndarray]
) -> tuple[Any, set[int]]:
    """The GPU (None: the CPU) of a function that was traced twice, and ids of the arrays that it makes anew each time.

    f: the function, or its model. Where it keeps floating arrays they say it, and arguments are taken there; else
    arguments do. Raises DeviceError where they are not on one device.
    """
    if not managed.used:
        return None, set()
    kept = {f"a buffer of shape {array.shape}": array for array, _ in session.changes.values()} | arrays(f)
    first, second = ({id(a): a for a in _held(calls)} for calls in (one, two))
    fresh = first.keys() - second.keys()
    paths = {id(a): path for path, a in kept.items()}
    lasting = {key: a for key, a in first.items() if key not in fresh} | {id(a): a for a in kept.values()}
    names = {key: paths.get(key, f"an array of shape {a.shape} that the function uses") for key, a in lasting.items()}
    arguments = [(f"argument {i}", a) for i, a in enumerate(given)]
    own = [(names[key], a) for key, a in lasting.items()]
    if managed.common("compile", own) is not None:
        arguments = [(name, a) for name, a in arguments if managed.gpu_of(a) is not None]
    return managed.common("compile", own + arguments), fresh


def _held(calls: list[Call]) -> list[np.ndarray]:
    """The arrays that calls take."""
    held = [x.memory if isinstance(x, Value) else x for call in calls for x in call.inputs]
    return [a for a in held if isinstance(a, np.ndarray)]


def plan_for(gpu: Any, build: Build, reads: tuple[Buf, ...] = ()) -> Any:
    """What runs some entries: a Plan of the CPU, or launches on a GPU, whose results `values` has of reads."""
    if gpu is None:
        return Plan(build)
    from .bound import Bound
    from .launches import Launches

    return Bound(gpu, Launches(build), reads)


class Program:
    """The plan of a function for some shapes: which buffer each Value is, where results go."""

    def __init__(self, target: Target = CPU) -> None:
        self.build = Build(target)
        self.bufs: dict[int, Buf] = {}
        self.memory: dict[int, Buf] = {}
        self.placed: set[int] = set()
        self.late: dict[int, int] = {}  # Value -> how many entries come before all that reads it
        self.alive: list[Any] = []  # ids stand for objects: keep them

    def source(self, x: Any) -> Buf:
        """The buffer of a call's input."""
        if isinstance(x, Value) and x.memory is None:
            return self.bufs[id(x)]
        held = x.memory if isinstance(x, Value) else x
        if isinstance(held, Buf):
            return held
        if isinstance(held, int):
            return self.memory.setdefault(-1 - held, argument(x.spec, held))
        if id(held) not in self.memory:
            self.alive.append(held)
            self.memory[id(held)] = as_buf(held)
        return self.memory[id(held)]

    def place(self, result: Value, target: Buf) -> bool:
        """Let a result be computed in the target; False where it must be copied there."""
        while isinstance(result, Value) and result.call is not None and result.call.op in ALIASES:
            result = result.call.inputs[result.index]
        if not isinstance(result, Value) or result.call is None or id(result) in self.placed:
            return False
        self.placed.add(id(result))
        self.bufs[id(result)] = target.part(0, *result.shape)
        return True

    def lower(self, results: list[Any]) -> None:
        """Entries of every call behind some results; a relu of what nobody else reads is left to what makes that."""
        calls = tape(results)
        reads = Counter(map(id, [*results, *(x for call in calls for x in call.inputs)]))
        for call in calls:
            ins = [None if x is None else self.source(x) for x in call.inputs]
            after = max(self.late.get(id(x), 0) for x in call.inputs)
            if call.op in ALIASES:
                for out, x in zip(call.outs, ins, strict=False):
                    self.bufs[id(out)] = x.part(0, *out.shape)  # type: ignore[union-attr]
                    self.late[id(out)] = len(self.build.entries) if call.op is LATE else after
                continue
            self.build.after = after
            outs = [self.bufs.get(id(v)) or self.build.temp(v.shape, v.dtype) for v in call.outs]
            self.bufs.update({id(v): b for v, b in zip(call.outs, outs, strict=True)})
            if call.op is RELU and self._alone(call.inputs[0], reads) and self.build.bounded(*ins, *outs):  # type: ignore[arg-type]
                continue
            self.build.origin = Origin(call.op.name, tuple(ins), tuple(outs), call.attrs)
            call.op.lower(self.build, outs[0] if len(outs) == 1 else outs, *ins, **call.attrs)
        self.build.after, self.build.origin = 0, None

    def _alone(self, x: Any, reads: Counter[int]) -> bool:
        """Whether a value has memory of its own, which is read once."""
        made = x.call if isinstance(x, Value) else None
        return made is not None and made.op not in ALIASES and reads[id(x)] == 1 and id(x) not in self.placed

    def copy(self, result: Any, target: Buf, commits: bool = False) -> None:
        """Put a result that is an argument, a constant or another result's memory into the target."""
        rows, n = leading(target.shape), target.size
        self.build.add("elementwise.copy", cut(target, n, write=True), cut(self.source(result), n), rows=rows,
                       block=elements_block(rows, n // max(rows, 1)), commits=commits)  # fmt: skip

    def constants(self, ids: set[int]) -> None:
        """These arrays, that were made while the function was traced, nobody changes."""
        for key in ids & self.memory.keys():
            self.memory[key].storage.once = True

    def commit(self, session: Session) -> None:
        """Last of all: buffers take their new values, generators count their draws."""
        for array, value in session.changes.values():
            self.copy(value, as_buf(array), commits=True)
        for generator, count in session.draws.values():
            words = whole(as_buf(generator.words), write=True)
            self.build.add("random.advance", words, Int(count), rows=1, block=1, commits=True)

    def results(self, pairs: list[tuple[Any, Buf]], session: Session) -> None:
        """Lower the tape behind some results, each into its target, and behind what a session will change."""
        ready = [isinstance(v, Value) and self.place(v, target) for v, target in pairs]
        self.lower([v for v, _ in pairs] + changed(session))
        for (v, target), done in zip(pairs, ready, strict=True):
            if not done:
                self.copy(v, target)


def changed(session: Session) -> list[Any]:
    """The new values of the buffers that a session will change."""
    return [value for _, value in session.changes.values()]


def same_tape(one: list[Call], two: list[Call]) -> str:
    """What differs between two traces of a function; empty if nothing does."""
    if [c.op for c in one] != [c.op for c in two]:
        return "the operations"
    made = [{id(v): i for i, v in enumerate(v for c in calls for v in c.outs)} for calls in (one, two)]
    for a, b in zip(one, two, strict=True):
        if repr(a.attrs) != repr(b.attrs):  # in words, NaN equals itself
            name = next(k for k in a.attrs if repr(a.attrs[k]) != repr(b.attrs.get(k)))
            return f"{a.op.name}: the number {name}, {a.attrs[name]} then {b.attrs.get(name)}"
        for x, y in zip(a.inputs, b.inputs, strict=True):
            if not _same(_source(x, made[0]), _source(y, made[1])):
                return f"{a.op.name}: an array of shape {getattr(x, 'shape', None)}"
    return ""


def _source(x: Any, made: dict[int, int]) -> Any:
    """Where a call's input comes from: an earlier call, an argument, a parameter; or the array that it is."""
    if isinstance(x, Value) and x.memory is None:
        return "call", made[id(x)]
    held = x.memory if isinstance(x, Value) else x
    return (held.storage, held.offset) if isinstance(held, Buf) else held


def _same(x: Any, y: Any) -> bool:
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
        return x is y or np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
    return type(x) is type(y) and x == y


def arguments(args: tuple[Any, ...]) -> tuple[list[np.ndarray], Any]:
    """The arrays of the arguments, contiguous, and what a plan depends on: shapes, dtypes, and where they stand."""
    flat = [a.indices if type(a) is OneHot else a for a in args]
    if all([type(a) is np.ndarray and a.flags.c_contiguous for a in flat]):
        pairs = zip(flat, args, strict=True)
        return flat, tuple([(a.shape, a.dtype if a is b else b.classes) for a, b in pairs])
    arrays: list[np.ndarray] = []
    places: list[Any] = []

    def collect(path: str, kind: str, x: Any) -> Any:
        if _varies(kind, x):
            arrays.append(_batch(x, path))
            places.append((path, arrays[-1].shape, arrays[-1].dtype))
        else:
            places.append((path, x))
        return x

    replaced(args, collect)
    return arrays, tuple(places)


def _varies(kind: str, x: Any) -> bool:
    """Whether a leaf of an argument may be another at each call; settings of layers are what a plan depends on."""
    return isinstance(x, np.ndarray) or (isinstance(x, np.generic | float) and kind != STATIC)


def _batch(x: Any, path: str) -> np.ndarray:
    weak = isinstance(x, float) and not isinstance(x, np.generic)
    return array_of(np.asarray(x, np.float32 if weak else None), f"argument {path}")


def abstract(args: tuple[Any, ...], first: int) -> tuple[Any, ...]:
    """The arguments with each array an abstract leaf, numbered from first on."""
    count = iter(range(first, 1 << 30))

    def leaf(path: str, kind: str, x: Any) -> Any:
        if not _varies(kind, x):
            return x
        a = _batch(x, path)
        return Value(Spec(a.shape, a.dtype), memory=next(count))

    return tuple(replaced(arg, leaf, str(i)) for i, arg in enumerate(args))


def lifted(f: Any) -> Any:
    """A model with its arrays as abstract leaves, so that nothing is computed from them yet; a function as it is."""

    def leaf(path: str, kind: str, x: Any) -> Any:
        if not isinstance(x, np.ndarray) or kind == STATIC:
            return x
        array_of(x, path)  # refuses a dtype that kernels do not know
        return Value(Spec(x.shape, x.dtype), memory=x)

    return replaced(f, leaf)


def flat_results(tree: Any) -> list[Any]:
    """The Values of a result, in order."""
    found: list[Any] = []

    def collect(path: str, kind: str, x: Any) -> Any:
        if isinstance(x, Value):
            found.append(x)
        return x

    replaced(tree, collect)
    return found
