"""An optimiser's state: one flat vector a dtype of parameters, gradients and each state, and the table of their
segments."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..lowering import CPU, GPU, Build, as_buf
from ..managed import beside, common, copied, copy, fetched, gpu_of
from ..memory import aligned
from ..op import DTypeError, NonFiniteError, PlanError, ShapeError, expect
from ..plan import Plan
from ..tree import PARAM, Leaf, Moves, fields, layers, leaves, put, replaced
from .around import Average, Scheduler, changed
from .chain import AccumGrad, Transform
from .rules import HYPER, START, Record, Rule, kind
from .spread import Spread
from .vectors import Segment, Stage, Vectors, up

WORDS = len(HYPER)


class OptState:
    """What setup returns: the rule, its numbers in memory, and the vectors that the model's parameters live in.

    >>> import numbaflux as nf
    >>> nf.setup(nf.Descent(0.5), nf.Dense(2, 1)).step
    0
    """

    def __init__(self, rule: Rule, vectors: dict[np.dtype[Any], Vectors], spread: Spread | None = None) -> None:
        self.rule, self.vectors, self.spread = rule, vectors, spread
        self.world: Any = None if spread is None else spread.world  # the ranks that take part
        self.given = repr(rule)  # what training began with, whatever schedules and nf.adjust make of it
        self.hyper = np.concatenate([m.hyper() for m in rule.members])  # one after another, WORDS numbers each
        self.numbers = as_buf(self.hyper)
        self.version = 0  # counts what a plan depends on: frozen segments
        self.moved = False
        self._update: tuple[int, Any] | None = None

    @property
    def segments(self) -> list[Segment]:
        return [s for v in self.vectors.values() for s in v.segments]

    @property
    def waiting(self) -> bool:
        """Whether gradients of earlier steps wait for an update: they are not in files."""
        return self.spread is not None and self.spread.kept > 0

    @property
    def step(self) -> int:
        """Updates done so far."""
        return int(self.hyper[HYPER.index("step") - WORDS])

    def find(self, array: Any) -> tuple[Vectors, Segment] | None:
        """Where a parameter lies, if it is one of this state's."""
        vectors = self.vectors.get(array.dtype)
        if vectors is None or array.base is None:
            return None
        at, rest = divmod(array.ctypes.data - vectors.params.ctypes.data, array.itemsize)
        found = vectors.starts.get(at) if rest == 0 else None
        return (vectors, found) if found is not None and found.shape == array.shape else None

    def lower(self, build: Build) -> None:
        """The entries of one update: in a chain, first a copy of the gradients for its members to change."""
        if self.spread is not None:
            self.spread.before_update(build)
        self._lower_rule(build)
        if self.spread is not None:
            self.spread.after_update(build)

    def _lower_rule(self, build: Build) -> None:
        numbers, members, vectors = self.numbers, self.rule.members, list(self.vectors.values())
        gradient = "scratch" if _changes_gradients(self.rule) else "grads"
        for i, member in enumerate(members):
            own = numbers.part(i * WORDS, WORDS)
            later = numbers.part((i + 1) * WORDS, len(members) - i - 1, WORDS)
            stage = Stage(build, vectors, own, later, gradient, _prefix(self.rule, i))
            if i == 0 and gradient == "scratch":
                stage.passes("elementwise.copy", ("scratch",), ("grads",), numbers=False)
            member.lower(stage)

    def run_update(self) -> None:
        """Apply the rule to the gradients that stand in the vectors."""
        if self.spread is not None:
            self.spread.update()
        if self._update is None or self._update[0] != self.version:
            self._update = self.version, self._planned()
        self._update[1].run()
        self.advance()

    def _planned(self) -> Any:
        """What runs an update: a Plan, or launches on a GPU."""
        gpu = gpu_of(next(iter(self.vectors.values())).params)
        build = Build(CPU if gpu is None else GPU)
        self.lower(build)
        if gpu is None:
            return Plan(build)
        from ..bound import Bound
        from ..launches import Launches

        return Bound(gpu, Launches(build))

    def advance(self) -> None:
        """After a step: numbers that follow a schedule are those of the next one."""
        if self.rule.scheduled and isinstance(self.rule, Scheduler):  # nearly no rule is: asked the quick way first
            self.change(self.rule.of(self.rule.at(self.step + 1).members))

    def change(self, rule: Rule) -> None:
        """Other numbers, in memory too; what steps count stays."""
        self.rule = rule
        given = [name not in START for name in HYPER]
        for row, member in zip(self.hyper.reshape(-1, WORDS), rule.members, strict=True):
            row[given] = member.hyper()[given]

    def __repr__(self) -> str:
        size = sum(s.size for s in self.segments)
        frozen = sum(s.frozen for s in self.segments)
        counts = f"{size:_} parameters in {len(self.segments)} arrays, {frozen} frozen, step {self.step}"
        return f"OptState({self.rule}, {counts})"


def setup(rule: Rule | Spread, model: Any) -> OptState:
    """Prepare training: move the model's parameters into one flat vector and make the rule's state for them.

    rule: nf.Adam() and the like, or nf.DistributedOptimizer(nf.Adam(), world).

    >>> setup(rule=__import__("numbaflux").Adam(), model={"w": np.ones(3, np.float32)})
    OptState(Adam(eta=0.001, beta=(0.9, 0.999), eps=1e-08), 3 parameters in 1 arrays, 0 frozen, step 0)
    """
    spread, rule = (rule, rule.rule) if isinstance(rule, Spread) else (None, rule)
    got = kind(rule)
    cure = f"nf.OptimiserChain(nf.{got}(...), nf.Descent(...))" if isinstance(rule, Record) else ""
    expect(isinstance(rule, Rule), "setup", "rule", "a rule such as nf.Adam()", got, cure, DTypeError)
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
    common("setup", [(first.path, first.array) for first, *_ in found.values()])
    groups: dict[np.dtype[Any], list[list[Leaf]]] = {}
    for tied in found.values():
        groups.setdefault(tied[0].array.dtype, []).append(tied)
    vectors = {dtype: _vectors(rule, dtype, group, spread) for dtype, group in groups.items()}
    state = OptState(rule, vectors, spread)
    _hold(model, state)
    if spread is not None:
        spread.bind(state)
    return state


def _vectors(rule: Rule, dtype: np.dtype[Any], group: list[list[Leaf]], spread: Spread | None) -> Vectors:
    """Vectors for some parameters, which become views of them."""
    segments, size = [], 0
    for first, *others in group:
        segments.append(Segment(first.path, size, first.array.shape, ties=tuple(o.path for o in others)))
        size += up(first.array.size)

    gpu = gpu_of(group[0][0].array)

    def vector(length: int = size) -> np.ndarray:
        made = aligned(length * dtype.itemsize).view(dtype)
        return made if gpu is None else copied(made, gpu)

    own = (0, size) if spread is None else spread.own(size)
    states = {}
    for i, member in enumerate(rule.members):
        for name in member.states:
            state = states[_prefix(rule, i) + name] = vector(own[1] - own[0])
            start = member.start(name)
            for s in segments if start else ():  # what lies between them stays 0
                state[max(0, s.start - own[0]) : max(0, s.start + s.size - own[0])] = start
    scratch = vector(size if _changes_gradients(rule) else 0)
    names = "params", "grads"
    shared = None if gpu is not None or spread is None else spread.memory
    params, grads = (vector() if shared is None else shared(size, dtype, name) for name in names)
    vectors = Vectors(params, grads, scratch, states, segments, own)
    for s, tied in zip(segments, group, strict=True):
        view = s.of(vectors.params)
        view[...] = tied[0].array
        for leaf in tied:
            put(leaf.owner, leaf.key, view)
    for one in (params, *states.values()):
        fetched(one)
    return vectors


def _changes_gradients(rule: Rule) -> bool:
    return any(isinstance(member, Transform) for member in rule.members)


def _prefix(rule: Rule, i: int) -> str:
    """Of the state vectors' names of member i: a chain's members may keep vectors of one name."""
    return f"{i}." if len(rule.members) > 1 else ""


def _hold(model: Any, state: OptState) -> None:
    """Layers know which of their fields lie in a flat vector, and whose it is."""
    for _, one in layers(model):
        before = one.__dict__.get("_holder")
        if before is not None:
            before.moved = True
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
    sums = [f"{i}.sum" for i, member in enumerate(state.rule.members) if isinstance(member, AccumGrad)]
    for v in state.vectors.values():
        for s in [s for s in v.segments if s in hit and s.frozen != frozen]:
            s.frozen = frozen
            for name in sums:  # of gradients from before: a parameter takes part from now on
                s.of(v.states[name])[...] = 0
    state.version += 1
    Moves.count += 1


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root + ".")


def adjust(opt_state: OptState, **numbers: float) -> None:
    """Change numbers of the rule: adjust(opt_state, eta=1e-4). Compiled steps see it at once.

    In a chain each member that has the number changes.

    >>> import numbaflux as nf
    >>> state = nf.setup(nf.Adam(), nf.Dense(2, 1))
    >>> nf.adjust(state, eta=1e-4)
    >>> state.rule.eta
    0.0001
    """
    rule = opt_state.rule
    known = {name for member in rule.members for name in member.adjustable} - {*rule.scheduled}
    unknown = sorted(set(numbers) - known)
    cure = f"{rule.scheduled} follow schedules" if set(unknown) & {*rule.scheduled} else ""
    expect(not unknown, "adjust", "numbers", f"of {type(rule).__name__}: {sorted(known)}", str(unknown), cure)
    opt_state.change(changed(rule, **numbers))


def ema(opt_state: OptState, model: Any) -> Any:
    """The model with the averages of its weights that nf.EMA keeps: new arrays; buffers and the rest are shared.

    Before the first step the weights themselves. Raises where the state is not that of the model, or has no EMA.

    >>> import numbaflux as nf
    >>> model = nf.Dense(2, 1)
    >>> state = nf.setup(nf.EMA(nf.Adam(), decay=0.99), model)
    >>> nf.update(state, model, nf.gradient(lambda m: m(np.ones((1, 2), np.float32)).sum(), model))
    >>> average = nf.ema(state, model)
    >>> bool(np.allclose(average.weight, model.weight)), average.weight is model.weight
    (True, False)
    """
    _same_state(opt_state, "ema")
    rule = opt_state.rule
    found = [i for i, member in enumerate(rule.members) if isinstance(member, Average)]
    cure = "nf.setup(nf.EMA(rule), model)"
    expect(bool(found), "ema", "opt_state", "of a rule nf.EMA(...)", repr(rule), cure, PlanError)
    name = f"{found[-1]}.mean"
    share = 1.0 - opt_state.hyper[found[-1] * WORDS + HYPER.index("power1")]
    made: dict[int, np.ndarray] = {}  # tied arrays stay one

    def averaged(path: str, kind: str, x: Any) -> Any:
        if kind != PARAM or not isinstance(x, np.ndarray) or x.dtype.kind != "f":
            return x
        place = opt_state.find(x)
        expect(place is not None, "ema", path, "an array that opt_state holds", "another", "call nf.setup again",
               PlanError)  # fmt: skip
        v, s = place  # type: ignore[misc]
        return made.setdefault(id(s), beside(x, (s.of(v.states[name]) / share).astype(x.dtype)) if share else copy(x))

    return replaced(model, averaged)
