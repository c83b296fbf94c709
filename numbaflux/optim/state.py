"""An optimiser's state: one flat vector a dtype of parameters, gradients and each state, and the table of their
segments."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..lowering import Buf, Build, cut, elements_block, whole
from ..memory import aligned
from ..op import DTypeError, NonFiniteError, PlanError, ShapeError, expect
from ..plan import Plan, as_buf
from ..tree import PARAM, Leaf, fields, layers, leaves, put
from .rules import HYPER, Rule

ALIGN = 16  # elements: each segment starts on a cache line of its own


@dataclass
class Segment:
    """One parameter's place in the vectors. ties: other paths of the same array."""

    path: str
    start: int
    shape: tuple[int, ...]
    frozen: bool = False
    ties: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def of(self, vector: np.ndarray) -> np.ndarray:
        return vector[self.start : self.start + self.size].reshape(self.shape)


@dataclass
class Vectors:
    """The flat vectors of one dtype."""

    params: np.ndarray
    grads: np.ndarray
    states: dict[str, np.ndarray]
    segments: list[Segment]
    bufs: dict[str, Buf] = field(default_factory=dict)
    starts: dict[int, Segment] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.starts = {s.start: s for s in self.segments}
        self.bufs = {name: as_buf(v) for name, v in {"params": self.params, "grads": self.grads, **self.states}.items()}

    def buf(self, name: str, s: Segment) -> Buf:
        return self.bufs[name].part(s.start, *s.shape)

    def runs(self) -> Iterable[tuple[int, int]]:
        """Stretches of segments that are not frozen."""
        start = end = 0
        for s in self.segments:
            if s.frozen:
                if end > start:
                    yield start, end
                start = s.start + up(s.size)
            end = s.start + up(s.size)
            start = end if s.frozen else start
        if end > start:
            yield start, end


def up(n: int) -> int:
    return -(-n // ALIGN) * ALIGN


class OptState:
    """What setup returns: the rule, its numbers in memory, and the vectors that the model's parameters live in.

    >>> import numbaflux as nf
    >>> nf.setup(nf.Descent(0.5), nf.Dense(2, 1)).step
    0
    """

    def __init__(self, rule: Rule, vectors: dict[np.dtype[Any], Vectors]) -> None:
        self.rule, self.vectors = rule, vectors
        self.hyper = rule.hyper()
        self.hyper_buf = as_buf(self.hyper)
        self.version = 0  # counts what a plan depends on: frozen segments, a move to another state
        self.moved = False
        self._update: tuple[int, Plan] | None = None

    @property
    def segments(self) -> list[Segment]:
        return [s for v in self.vectors.values() for s in v.segments]

    @property
    def step(self) -> int:
        """Updates done so far."""
        return int(self.hyper[0])

    def find(self, array: Any) -> tuple[Vectors, Segment] | None:
        """Where a parameter lies, if it is one of this state's."""
        vectors = self.vectors.get(array.dtype)
        if vectors is None or array.base is None:
            return None
        at, rest = divmod(array.ctypes.data - vectors.params.ctypes.data, array.itemsize)
        found = vectors.starts.get(at) if rest == 0 else None
        return (vectors, found) if found is not None and found.shape == array.shape else None

    def lower(self, build: Build) -> None:
        """The entries of one update: each rule's pass over the stretches that are not frozen, then the count."""
        for v in self.vectors.values():
            for start, end in v.runs():
                size = end - start
                parts = [v.bufs[name].part(start, size) for name in ("params", *self.rule.states)]
                build.add(
                    self.rule.kernel, *(cut(p, write=True) for p in parts), cut(v.bufs["grads"].part(start, size)),
                    whole(self.hyper_buf), rows=size, block=elements_block(size, 1), work=0.8 * size, commits=True,
                )  # fmt: skip
        build.add("optim.tick", whole(self.hyper_buf, write=True), rows=1, block=1, commits=True)

    def run_update(self) -> None:
        """Apply the rule to the gradients that stand in the vectors."""
        if self._update is None or self._update[0] != self.version:
            build = Build()
            self.lower(build)
            self._update = self.version, Plan(build)
        self._update[1].run()

    def __repr__(self) -> str:
        size = sum(s.size for s in self.segments)
        frozen = sum(s.frozen for s in self.segments)
        counts = f"{size:_} parameters in {len(self.segments)} arrays, {frozen} frozen, step {self.step}"
        return f"OptState({self.rule}, {counts})"


def setup(rule: Rule, model: Any) -> OptState:
    """Prepare training: move the model's parameters into one flat vector and make the rule's state for them.

    >>> setup(rule=__import__("numbaflux").Adam(), model={"w": np.ones(3, np.float32)})
    OptState(Adam(eta=0.001, beta=(0.9, 0.999), eps=1e-08), 3 parameters in 1 arrays, 0 frozen, step 0)
    """
    expect(isinstance(rule, Rule), "setup", "rule", "a rule such as nf.Adam()", type(rule).__name__, error=DTypeError)
    found: dict[int, list[Leaf]] = {}
    for leaf in leaves(model):
        if leaf.kind == PARAM and leaf.array.dtype.kind == "f":
            found.setdefault(id(leaf.array), []).append(leaf)
    expect(bool(found), "setup", "model", "one with parameters to train", type(model).__name__, error=PlanError)
    for first, *_ in found.values():
        expect(first.array.dtype in (np.float32, np.float64), "setup", first.path, "float32 or float64",
               str(first.array.dtype), "nf.f32(model)", DTypeError)  # fmt: skip
        expect(first.array.size > 0, "setup", first.path, "of at least one element", f"shape {first.array.shape}",
               error=ShapeError)  # fmt: skip
        held = not isinstance(first.owner, tuple)
        expect(held, "setup", first.path, "in a layer, list or dict", "in a tuple, whose arrays cannot be moved",
               error=DTypeError)  # fmt: skip
    groups: dict[np.dtype[Any], list[list[Leaf]]] = {}
    for tied in found.values():
        groups.setdefault(tied[0].array.dtype, []).append(tied)
    state = OptState(rule, {dtype: _vectors(rule, dtype, group) for dtype, group in groups.items()})
    _hold(model, state)
    return state


def _vectors(rule: Rule, dtype: np.dtype[Any], group: list[list[Leaf]]) -> Vectors:
    """Vectors for some parameters, which become views of them."""
    segments, size = [], 0
    for first, *others in group:
        segments.append(Segment(first.path, size, first.array.shape, ties=tuple(o.path for o in others)))
        size += up(first.array.size)
    made = [aligned(size * dtype.itemsize).view(dtype) for _ in range(2 + len(rule.states))]
    vectors = Vectors(made[0], made[1], dict(zip(rule.states, made[2:], strict=True)), segments)
    for s, tied in zip(segments, group, strict=True):
        view = s.of(vectors.params)
        view[...] = tied[0].array
        for leaf in tied:
            put(leaf.owner, leaf.key, view)
    return vectors


def _hold(model: Any, state: OptState) -> None:
    """Layers know which of their fields lie in a flat vector, and whose it is."""
    for _, one in layers(model):
        before = one.__dict__.get("_holder")
        if before is not None:
            before.moved = True
            before.version += 1
        names = {n for n, kind in (fields(one) or {}).items() if kind == PARAM and getattr(one, n) is not None}
        object.__setattr__(one, "_held", names)
        object.__setattr__(one, "_holder", state)


def update(opt_state: OptState, model: Any, grads: Any) -> None:
    """One step of the rule, in place: grads as withgradient gives them for the model.

    >>> import numbaflux as nf
    >>> model = nf.Dense(2, 1)
    >>> state = nf.setup(nf.Descent(0.1), model)
    >>> nf.update(state, model, nf.gradient(lambda m: m(np.ones((1, 2), np.float32)).sum(), model))
    """
    _same_state(opt_state, "update")
    for leaf in leaves(model):
        held = leaf.kind != PARAM or leaf.array.dtype.kind != "f" or opt_state.find(leaf.array) is not None
        expect(held, "update", leaf.path, "an array that opt_state holds", "another", "call nf.setup again", PlanError)
    by_path = {leaf.path: leaf.array for leaf in leaves(grads) if leaf.kind == PARAM}
    places = [(v, s) for v in opt_state.vectors.values() for s in v.segments]
    for v, s in places:
        g = by_path.get(s.path)
        good = g is not None and g.shape == s.shape and g.dtype == v.params.dtype
        shown = "nothing" if g is None else f"{g.dtype} {g.shape}"
        expect(good, "update", f"grads.{s.path}", f"{v.params.dtype} {s.shape}", shown, error=ShapeError)
        for path in (s.path, *s.ties):
            finite = s.frozen or path not in by_path or bool(np.isfinite(by_path[path]).all())
            got = "NaN or Inf; nothing was changed"
            expect(finite, "update", f"gradient of {path}", "finite", got, error=NonFiniteError)
    for v, s in places:
        view = s.of(v.grads)
        view[...] = by_path[s.path]
        for tie in s.ties:
            if by_path.get(tie) is not None and by_path[tie] is not by_path[s.path]:
                view += by_path[tie]
    opt_state.run_update()


def _same_state(state: OptState, where: str) -> None:
    expect(not state.moved, where, "opt_state", "the last one set up for the model", "an older one",
           "use what the last nf.setup returned", PlanError)  # fmt: skip


def freeze(opt_state: OptState, what: Any) -> None:
    """Keep parameters as they are: those of a path (`0` or `body.0.weight`) or of a layer.

    >>> import numbaflux as nf
    >>> model = nf.Chain(nf.Dense(2, 3), nf.Dense(3, 1))
    >>> state = nf.setup(nf.Adam(), model)
    >>> nf.freeze(state, "0")
    >>> [s.path for s in state.segments if s.frozen]
    ['0.weight', '0.bias']
    """
    _mark(opt_state, what, True, "freeze")


def thaw(opt_state: OptState, what: Any = "") -> None:
    """Train parameters again: those of a path or layer; all unless told.

    >>> import numbaflux as nf
    >>> state = nf.setup(nf.Adam(), nf.Dense(2, 1))
    >>> nf.freeze(state, "weight")
    >>> nf.thaw(state)
    >>> any(s.frozen for s in state.segments)
    False
    """
    _mark(opt_state, what, False, "thaw")


def _mark(state: OptState, what: Any, frozen: bool, where: str) -> None:
    if isinstance(what, str):
        hit = [s for s in state.segments if not what or any(_below(p, what) for p in (s.path, *s.ties))]
    else:
        found = [state.find(leaf.array) for leaf in leaves(what) if leaf.kind == PARAM]
        hit = [pair[1] for pair in found if pair]
    expect(bool(hit), where, "what", "the path of a parameter or layer, or a layer", repr(what),
           f"paths begin with {[s.path for s in state.segments][:4]}")  # fmt: skip
    for s in hit:
        s.frozen = frozen
    state.version += 1


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root + ".")


def adjust(opt_state: OptState, **numbers: float) -> None:
    """Change numbers of the rule: adjust(opt_state, eta=1e-4). Compiled steps see it at once.

    >>> import numbaflux as nf
    >>> state = nf.setup(nf.Adam(), nf.Dense(2, 1))
    >>> nf.adjust(state, eta=1e-4)
    >>> state.rule.eta
    0.0001
    """
    name = type(opt_state.rule).__name__
    known = {f.name for f in dataclasses.fields(opt_state.rule)}  # type: ignore[arg-type]
    unknown = sorted(set(numbers) - known)
    expect(not unknown, "adjust", "numbers", f"of {name}: {sorted(known)}", str(unknown))
    rule = dataclasses.replace(opt_state.rule, **numbers)  # type: ignore[type-var]
    opt_state.rule = rule
    fresh = dict(zip(HYPER, rule.hyper(), strict=True))
    for i, key in enumerate(HYPER):
        if key not in ("step", "power1", "power2"):
            opt_state.hyper[i] = fresh[key]
