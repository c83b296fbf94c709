"""nf.compile: a function traced on abstract values, planned, and run as one native call."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from . import managed
from .ahead import Sent
from .constants import without_constants
from .finite import check_finite
from .fixed import fixed as as_fixed
from .grad import backward, differentiable, scalar_loss
from .instance import STAGED, Instance
from .kernels.cuda.launch import FLOAT32, PRODUCTS
from .lowering import CPU, GPU, Buf, Num, Storage, Target, argument, cut
from .op import DTypeError, PlanError, Spec, expect
from .optim.state import OptState
from .program import Program, abstract, arguments, changed, flat_results, gpu_for, lifted, plan_for, same_tape
from .run import array_of
from .session import Session
from .trace import Value, new_level, tape
from .tree import BUFFER, PARAM, Moves, replaced

KEPT = 16  # plans a compiled function keeps, by the shapes of its arguments


class Compiled:
    """A function with its plans, by the shapes of its arguments."""

    target = CPU

    def __init__(self, f: Callable[..., Any], fixed: bool = False, products: str = FLOAT32) -> None:
        self.f, self.fixed, self.products = f, fixed, products
        self.programs: OrderedDict[Any, Any] = OrderedDict()
        self.last: Any = None
        self.moves = Moves.count
        self.lock = threading.RLock()
        self.alone = threading.Lock()  # of plans that draw or change buffers

    def __call__(self, *args: Any) -> Any:
        last = self.last if self.moves == Moves.count else None
        if last is not None and last.takes(args):
            return last(args)
        program, arrays = self.program(args)
        self.last = program if program.plain else None
        return program(arrays)

    def program(self, args: tuple[Any, ...]) -> tuple[Any, list[np.ndarray]]:
        """The plan for such arguments with what calls it, made unless it is there; and their arrays."""
        if self.moves != Moves.count:
            self._forget()
        arrays, key = arguments(args)
        if managed.used:
            key = key, tuple(map(managed.gpu_of, arrays))
        return self._program(args, arrays, key), arrays

    def runs_on(self, gpu: Any) -> Target:
        """What a plan is made for."""
        return (self.target if gpu is None else GPU).rounding(self.products)

    def _forget(self) -> None:
        """Plans read arrays where these were when they were made."""
        with self.lock:
            self.moves, self.last = Moves.count, None
            self.programs.clear()

    def _program(self, args: tuple[Any, ...], arrays: list[np.ndarray], key: Any) -> Any:
        with self.lock:
            if key in self.programs:
                self.programs.move_to_end(key)
                return self.programs[key]
            for i, a in enumerate(arrays):
                array_of(a, f"argument {i}")
                empty = a.ndim > 0 and a.shape[0] == 0
                expect(
                    not empty, "compile", f"argument {i}", "of at least one sample", f"shape {a.shape}", error=PlanError
                )
            program = self.programs[key] = self.trace(args, arrays)
            while len(self.programs) > KEPT:
                self.programs.popitem(last=False)
            return program

    def trace(self, args: tuple[Any, ...], arrays: list[np.ndarray]) -> Any:
        return Predictor(self, args, arrays)

    @property
    def memory(self) -> int:
        """Bytes of the largest plan made so far."""
        return max((p.plan.memory for p in self.programs.values()), default=0)

    def __repr__(self) -> str:
        name = getattr(self.f, "__name__", type(self.f).__name__)
        return f"{type(self).__name__}({name}, {len(self.programs)} plans)"


class Planned:
    """A plan for arguments of certain shapes, on the CPU or a GPU."""

    gpu: Any
    new: Callable[..., np.ndarray]  # (shape, dtype) -> an array for a result
    specs: list[Spec]

    def __init__(self, args: tuple[Any, ...], arrays: list[np.ndarray]) -> None:
        self.plain = all(a is b for a, b in zip(args, arrays, strict=False)) and len(args) == len(arrays)
        self.wanted = [(a.shape, a.dtype, a.nbytes > STAGED) for a in arrays]  # small ones are copied anyway
        self.places = [managed.gpu_of(a) for a in arrays]

    def made(self) -> list[np.ndarray]:
        """New arrays for results."""
        return [self.new(s.shape, s.dtype) for s in self.specs] if self.specs else []

    def takes(self, args: tuple[Any, ...]) -> bool:
        """Whether this plan runs these arguments as they are: the quick way from one call to the next."""
        if len(args) != len(self.wanted):
            return False
        for i, (shape, dtype, large) in enumerate(self.wanted):  # zip(strict=) takes as long as all of this
            a = args[i]
            if type(a) is not np.ndarray or a.shape != shape or a.dtype is not dtype:
                return False
            if large and not a.flags.c_contiguous:
                return False
        return not managed.used or self.places == [managed.gpu_of(a) for a in args]


class Predictor(Planned):
    """The program of a pure function: results are new arrays; many threads may call it."""

    def __init__(self, owner: Compiled, args: tuple[Any, ...], arrays: list[np.ndarray]) -> None:
        super().__init__(args, arrays)
        (self.result, session), (again, other) = (self._traced(owner, args) for _ in range(2))
        outs = flat_results(self.result)
        expect(bool(outs), "compile", "f", "a function whose result depends on its arguments", repr(self.result)[:80],
               error=PlanError)  # fmt: skip
        one, two = tape(outs + changed(session)), tape(flat_results(again) + changed(other))
        differs = same_tape(one, two)
        expect(not differs, "compile", "f", "the same at each call", f"a change in {differs}",
               "use nf.Scalar for a number that changes, an argument for an array", PlanError)  # fmt: skip
        self.gpu, fresh = gpu_for(owner.f, session, one, two, arrays)
        self.new = np.empty if self.gpu is None else partial(managed.empty, gpu=self.gpu)
        program = Program(owner.runs_on(self.gpu))
        self.specs = [v.spec for v in outs]
        targets = [argument(s, len(arrays) + i) for i, s in enumerate(self.specs)]
        program.results(list(zip(outs, targets, strict=True)), session)
        program.commit(session)
        program.constants(fresh)
        self.alone = owner.alone if session.changes or session.draws else None
        self.keep = program
        self.plan = plan_for(self.gpu, without_constants(program.build, self.gpu) if owner.fixed else program.build)
        self.single = isinstance(self.result, Value)

    @staticmethod
    def _traced(owner: Compiled, args: tuple[Any, ...]) -> tuple[Any, Session]:
        with Session(training=False, planned=True) as session:
            return lifted(owner.f)(*abstract(args, 0)), session

    def __call__(self, arrays: Sequence[np.ndarray]) -> Any:
        outs = self.made()
        if self.alone is None:
            self.plan.run(*arrays, *outs)
        else:
            with self.alone:
                self.plan.run(*arrays, *outs)
        if self.single:
            return outs[0] if outs[0].ndim else outs[0][()]
        rest = iter(outs)
        return replaced(self.result, lambda path, kind, x: next(rest) if isinstance(x, Value) else x)


class Step(Compiled):
    """A training step: step(*batch) -> loss or (loss, aux), with the parameters updated in the same native call."""

    def __init__(self, loss: Callable[..., Any], model: Any, opt_state: OptState, products: str = FLOAT32) -> None:
        super().__init__(loss, products=products)
        self.model, self.opt_state = model, opt_state
        self.running = threading.Lock()
        self.meanwhile: list[Callable[[], None]] = []  # what is called while a GPU is at work

    @property
    def gpu(self) -> Any:
        """The GPU that it trains on; None: the CPU."""
        return managed.gpu_of(next(iter(self.opt_state.vectors.values())).params)

    def ahead(self, args: tuple[Any, ...]) -> None:
        """Of a step on a GPU: begin to take there what the next call will be given, unless it takes that in parts."""
        spread = self.opt_state.spread
        if spread is None or spread.part(args) is args:
            program, arrays = self.program(args)
            program.sent.send(arrays)

    def _forget(self) -> None:
        expect(not self.opt_state.moved, "step", "opt_state", "the last one set up for the model", "an older one",
               "compile again with what the last nf.setup returned", PlanError)  # fmt: skip
        super()._forget()

    def trace(self, args: tuple[Any, ...], arrays: list[np.ndarray]) -> Any:
        spread = self.opt_state.spread
        return StepProgram(self, args if spread is None else spread.part(args), arrays)

    def gradients(self) -> dict[str, np.ndarray]:
        """The gradients of the last step by path: views of the flat vector."""
        return {s.path: s.of(v.grads) for v in self.opt_state.vectors.values() for s in v.segments}


class StepProgram(Planned):
    """The program of a training step for some shapes."""

    def __init__(self, owner: Step, args: tuple[Any, ...], arrays: list[np.ndarray]) -> None:
        super().__init__(args, arrays)
        self.state, self.running = owner.opt_state, owner.running
        level = new_level()
        (loss, aux, params, session), other = (self._traced(owner, args, level) for _ in range(2))
        self.aux = aux
        outs = flat_results(aux)
        one = tape([loss, *outs, *changed(session)])
        again = tape([other[0], *flat_results(other[1]), *changed(other[3])])
        differs = same_tape(one, again)
        expect(not differs, "compile", "loss", "the same at each call", f"a change in {differs}",
               "use nf.Scalar for a number that changes, an argument for an array", PlanError)  # fmt: skip
        self.gpu, fresh = gpu_for(owner.model, session, one, again, arrays)
        self.new = np.empty if self.gpu is None else partial(managed.empty, gpu=self.gpu)
        program = self.keep = Program(owner.runs_on(self.gpu))
        trained = [(v, s, leaf) for v, s, leaf in params if not s.frozen]
        share = 1.0 if self.state.spread is None else self.state.spread.share
        seed = np.full(loss.shape, share, loss.dtype)
        found = backward([(loss, seed)], [leaf for _, _, leaf in trained], level)
        self.loss = Buf(Storage(loss.dtype.itemsize), loss.shape, loss.dtype)
        self.loss.storage.keep = True
        self.specs = [v.spec for v in outs]
        targets = [argument(s, len(arrays) + i) for i, s in enumerate(self.specs)]
        pairs: list[tuple[Any, Buf]] = [(loss, self.loss), *zip(outs, targets, strict=True)]
        pairs += self._gradients(program, [(v, s, g) for (v, s, _), g in zip(trained, found, strict=True)])
        program.results(pairs, session)
        self.once = self._spread(program, session, len(arrays[0]) if arrays and arrays[0].ndim else 1)
        check_finite(program.build, self.loss, self.state.vectors.values())
        program.commit(session)
        self.state.lower(program.build)
        program.constants(fresh)
        self.plan = plan_for(self.gpu, program.build, (self.loss,))
        self.instance: Instance | None = None
        self.sent = Sent(self.plan, self.made, owner.meanwhile)  # of a GPU

    @staticmethod
    def _gradients(program: Program, found: list[tuple[Any, Any, Any]]) -> Iterator[tuple[Any, Buf]]:
        """Each gradient with its place; where there is none, zeros."""
        for v, s, g in found:
            target, rows = v.buf("grads", s), max(s.size, 1)
            if g is not None:
                yield g, target
                continue
            program.build.add("elementwise.fill", cut(target, s.size, write=True), Num(0.0, v.params.dtype), rows=rows,
                              block=rows)  # fmt: skip

    def _spread(self, program: Program, session: Session, samples: int) -> Callable[..., Any]:
        """What runs the plan once: of a training on many ranks they have their turns in it."""
        spread = self.state.spread
        if spread is None:
            return self._once
        spread.accept(session)
        spread.before_checks(program.build, self.loss, samples)
        return partial(spread.run, self._once, generators=[generator for generator, _ in session.draws.values()])

    def _traced(
        self, owner: Step, args: tuple[Any, ...], level: int
    ) -> tuple[Value, Any, list[tuple[Any, Any, Value]], Session]:
        """Loss, aux, the parameters' leaves and the session, of one run of the function on abstract values."""
        params: dict[int, tuple[Any, Any, Value]] = {}

        def leaf(path: str, kind: str, x: Any) -> Any:
            if kind == BUFFER and isinstance(x, np.ndarray):
                return Value(Spec(x.shape, x.dtype), memory=x)
            if kind != PARAM or not differentiable(x) or isinstance(x, float):
                return x
            if id(x) not in params:
                place = self.state.find(x)
                expect(place is not None, "compile", path, "a parameter of opt_state", "an array that it does not hold",
                       "call nf.setup(rule, model) for this model", PlanError)  # fmt: skip
                v, s = place  # type: ignore[misc]
                value = Value(Spec(s.shape, x.dtype), levels=frozenset({level}), memory=v.buf("params", s))
                params[id(x)] = (v, s, value)
            return params[id(x)][2]

        with Session(training=True, planned=True) as session:
            loss, aux = scalar_loss(owner.f(replaced(owner.model, leaf), *abstract(args, 0)), "compile")
        expect(level in loss.levels, "compile", "loss", "computed from the model", "one that does not depend on it",
               error=PlanError)  # fmt: skip
        left = {id(s) for _, s, _ in params.values()}
        other = [s.path for s in self.state.segments if id(s) not in left]
        expect(not other, "compile", "model", "the one that opt_state was set up for", f"one without {other[:3]}",
               error=PlanError)  # fmt: skip
        return loss, aux, list(params.values()), session

    def __call__(self, arrays: Sequence[np.ndarray]) -> Any:
        if not self.running.acquire(False):
            raise PlanError("step: a training step must not be called while it runs, got a second call")
        try:
            outs = self.once(arrays)
            loss = self.value[()]
            self.state.advance()
        finally:
            self.running.release()
        if self.aux is None:
            return loss
        rest = iter(outs)
        return loss, replaced(self.aux, lambda path, kind, x: next(rest) if isinstance(x, Value) else x)

    def _once(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the plan; what it gives beside the loss."""
        if self.gpu is not None:
            outs = self.sent.run(arrays)
            self.value = self.plan.values[0].reshape(())
            return outs
        instance = self.instance
        if instance is None or instance.workers != self.plan.workers():
            instance = self.instance = Instance(self.plan, self.plan.workers())
            self.value = instance.view(self.loss).reshape(())
        outs = self.made()
        instance.run(*arrays, *outs)
        return outs


def compile(
    f: Callable[..., Any], model: Any = None, opt_state: OptState | None = None, fixed: bool = False,
    products: str = FLOAT32,
) -> Any:  # fmt: skip
    """f as one native call: compile(f) for any pure function or model; compile(loss, model, opt_state) for a
    training step.

    loss(model, *batch) -> scalar or (scalar, aux). Plans are made at the first call with new shapes; arrays that the
    function uses are read where they are, so changes in place are seen.
    fixed: f is a model, and stays as it is now: what depends on its arrays alone is made once, and a BatchNorm behind a
    Dense or Conv becomes a part of it. For inference; faster, and rounded otherwise than the model itself.
    products: what a GPU may round factors of products of float32 matrices to, where these are large enough for its
    tensor cores: "float32", not at all; "tf32", to 11 bits, by up to 5e-4 of a number; "bf16", to 8 bits, by up to
    2e-3. Sums are float32. Convolutions, attention and float64 stay exact. Or "cublas": not rounded, and made by
    NVIDIA's cuBLAS. Raises RangeError for other names, PlanError on a CPU, for "tf32" and "bf16" on a GPU before
    compute capability 8.0, DeviceError where there is no cuBLAS.

    >>> double = compile(lambda x: x + x)
    >>> double(np.ones(3, np.float32)).tolist()
    [2.0, 2.0, 2.0]
    """
    expect(callable(f), "compile", "f", "a function or model", type(f).__name__, error=DTypeError)
    known = " or ".join(map(repr, PRODUCTS))
    expect(products in PRODUCTS, "compile", "products", known, repr(products))
    if model is None and opt_state is None:
        return Compiled(as_fixed(f) if fixed else f, fixed, products)
    expect(not fixed, "compile", "fixed", "False for a training step", "True")
    good = isinstance(opt_state, OptState) and model is not None
    expect(
        good, "compile", "opt_state", "what nf.setup returned for the model", type(opt_state).__name__, error=DTypeError
    )
    return Step(f, model, opt_state, products)  # type: ignore[arg-type]
