"""nf.lbfgs: a model trained on all of its data at once, by L-BFGS with a line search."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .compiled import compile as planned
from .debug import cause
from .history import History
from .op import DTypeError, NonFiniteError, PlanError, expect
from .optim import Descent, setup
from .ranges import check

ENOUGH, FLAT = 1e-4, 0.9  # strong Wolfe conditions: of the decrease, and of what is left of the slope
TRIALS = 25  # of one line search
DIGITS = 8 * sys.float_info.epsilon  # share of a loss that its last digits, which sums round, make out
EDGE = 0.1  # share of an interval at either end where no trial is made


def lbfgs(
    loss: Callable[..., Any], model: Any, *batch: Any, iterations: int = 100, memory: int = 10, tolerance: float = 1e-5
) -> History:
    """Train the model in place on one batch, all of the data, by L-BFGS; returns the history, a row an iteration.

    Nocedal and Wright 2006, algorithms 7.4 and 7.5, and for the length of each step, under the strong Wolfe conditions,
    3.5 and 3.6. loss(model, *batch) -> scalar or (scalar, anything), the same at each call: no dropout. memory: of how
    many steps the curvature is known. It ends after so many iterations, when no element of the gradient is larger than
    tolerance, or when no step makes the loss smaller, or the gradient where losses differ in their last digits alone.
    In float32 that comes soon: nf.f64(model) goes on further.
    Rows hold epoch, loss, gradient (its largest element) and step. Ctrl-C ends it too: the model is as after the last
    whole iteration. Like nf.setup it moves the parameters: an optimiser's state from before is set up anew after it.
    Raises NonFiniteError where the loss or gradient at the start is not finite; later steps to such places are made
    shorter.

    >>> import numbaflux as nf
    >>> def rosenbrock(model):
    ...     x, y = model["p"][0], model["p"][1]
    ...     return (1 - x) ** 2 + 100 * (y - x**2) ** 2
    >>> model = {"p": np.array([-1.2, 1.0])}
    >>> history = nf.lbfgs(rosenbrock, model, tolerance=1e-9)
    >>> model["p"].round(6).tolist(), len(history) < 50
    ([1.0, 1.0], True)
    """
    expect(callable(loss), "lbfgs", "loss", "a function loss(model, *batch)", type(loss).__name__, error=DTypeError)
    for name, value in (("iterations", iterations), ("memory", memory), ("tolerance", tolerance)):
        check(f"lbfgs.{name}", value)
    objective, history = Objective(loss, model, batch), History()
    try:
        point = objective.first()
    except NonFiniteError as error:
        error.args = (f"{error}{cause(loss, model, batch)}",)
        raise
    try:
        for epoch in range(1, iterations + 1):
            if point.largest <= tolerance:
                break
            found = objective.descend(point, memory)
            if found is None:
                break
            length, point = found
            history.append({"epoch": epoch, "loss": point.loss, "gradient": point.largest, "step": length})
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        objective.put(point.x)
    return history


@dataclass(frozen=True, eq=False)
class Point:
    """Parameters as one float64 vector, the loss there and its gradient."""

    x: np.ndarray
    loss: float
    gradient: np.ndarray

    @property
    def largest(self) -> float:
        return float(np.abs(self.gradient).max())


class Objective:
    """The loss as a function of one vector; and what is known of its curvature."""

    def __init__(self, loss: Callable[..., Any], model: Any, batch: tuple[Any, ...]) -> None:
        self.state = setup(Descent(0.0), model)
        self.step, self.batch = planned(loss, model, self.state), batch
        self.places = [(v, s) for v in self.state.vectors.values() for s in v.segments]
        self.pairs: deque[tuple[np.ndarray, np.ndarray]] = deque()

    def get(self, name: str) -> np.ndarray:
        """params or grads, as one vector."""
        return np.concatenate([s.of(getattr(v, name)).reshape(-1) for v, s in self.places], dtype=np.float64)

    def put(self, x: np.ndarray) -> None:
        at = 0
        for v, s in self.places:
            s.of(v.params)[...] = x[at : at + s.size].reshape(s.shape)
            at += s.size

    def here(self) -> Point:
        result = self.step(*self.batch)
        return Point(self.get("params"), float(result[0] if isinstance(result, tuple) else result), self.get("grads"))

    def first(self) -> Point:
        point, again = self.here(), self.here()
        same = point.loss == again.loss
        got = f"{point.loss:g} and {again.loss:g}"
        expect(same, "lbfgs", "loss", "the same at each call", got, "leave out what draws, as dropout", PlanError)
        return point

    def at(self, x: np.ndarray) -> Point:
        """The point x, as near as the parameters' dtype comes; the loss is infinite where it is not finite."""
        with np.errstate(over="ignore"):
            self.put(x)
        try:
            return self.here()
        except NonFiniteError:
            return Point(x, math.inf, np.full_like(x, math.nan))

    def descend(self, point: Point, memory: int) -> tuple[float, Point] | None:
        """One step down; by the gradient alone where what is known of the curvature leads nowhere."""
        found = None
        if self.pairs:
            found = search(self, point, self.direction(point.gradient), 1.0)
        if found is None:
            self.pairs.clear()
            found = search(self, point, -point.gradient, min(1.0, 1.0 / float(np.abs(point.gradient).sum())))
        if found is not None:
            moved, turned = found[1].x - point.x, found[1].gradient - point.gradient
            if moved @ turned > np.finfo(np.float64).eps * (turned @ turned):
                self.pairs.append((moved, turned))
            while len(self.pairs) > memory:
                self.pairs.popleft()
        return found

    def direction(self, gradient: np.ndarray) -> np.ndarray:
        """Minus the inverse Hessian, as the pairs know it, times the gradient."""
        q, shares = gradient.copy(), []
        for moved, turned in reversed(self.pairs):
            shares.append((moved @ q) / (moved @ turned))
            q -= shares[-1] * turned
        moved, turned = self.pairs[-1]
        q *= (moved @ turned) / (turned @ turned)
        for (moved, turned), share in zip(self.pairs, reversed(shares), strict=True):
            q += (share - (turned @ q) / (moved @ turned)) * moved
        return -q


@dataclass(frozen=True, eq=False)
class Trial:
    """A step of some length along a direction, where it leads, and the slope there."""

    length: float
    point: Point
    slope: float

    @property
    def loss(self) -> float:
        return self.point.loss


def search(
    objective: Objective, start: Point, direction: np.ndarray, length: float
) -> tuple[float, Point] | None:  # fmt: skip
    """(length, point) of a step that satisfies the strong Wolfe conditions, or at least goes down; else None."""
    slope = float(start.gradient @ direction)
    if not -math.inf < slope < 0.0:
        return None
    line = Line(objective, start, direction, slope)
    last = line.start
    for i in range(TRIALS):
        trial = line.trial(length)
        if line.good(trial):
            return trial.length, trial.point
        if not line.lower(trial) or (i > 0 and trial.loss >= last.loss):
            return line.between(last, trial)
        if trial.slope >= 0:
            return line.between(trial, last)
        last, length = trial, 2 * length
    return last.length, last.point


class Line:
    """The loss along a direction."""

    def __init__(self, objective: Objective, start: Point, direction: np.ndarray, slope: float) -> None:
        self.objective, self.direction = objective, direction
        self.start = Trial(0.0, start, slope)

    def trial(self, length: float) -> Trial:
        point = self.objective.at(self.start.point.x + length * self.direction)
        return Trial(length, point, float(point.gradient @ self.direction))

    def lower(self, trial: Trial) -> bool:
        """Whether the loss has fallen enough for that length."""
        return trial.loss <= self.start.loss + ENOUGH * trial.length * self.start.slope

    def good(self, trial: Trial) -> bool:
        """Whether the conditions hold; of losses that are equal but for their last digits, as near the lowest point,
        the gradient tells which is lower (after Hager and Zhang 2005, section 4.1)."""
        begun, point = self.start.point, trial.point
        alike = trial.loss <= begun.loss + DIGITS * abs(begun.loss) and point.largest < begun.largest
        return (self.lower(trial) or alike) and abs(trial.slope) <= -FLAT * self.start.slope

    def between(self, low: Trial, high: Trial) -> tuple[float, Point] | None:
        """A step between two; low is the lower one, and its slope points to the other."""
        for _ in range(TRIALS):
            trial = self.trial(_lowest(low, high))
            if self.good(trial):
                return trial.length, trial.point
            if not self.lower(trial) or trial.loss >= low.loss:
                high = trial
            else:
                high = low if trial.slope * (high.length - low.length) >= 0 else high
                low = trial
        return (low.length, low.point) if low.loss < self.start.loss else None


def _lowest(low: Trial, high: Trial) -> float:
    """Where a cubic through both losses and slopes is lowest, or halfway; not too near to either (equation 3.59)."""
    width = high.length - low.length
    share = 0.5
    if math.isfinite(high.loss) and math.isfinite(high.slope):
        bend = low.slope + high.slope - 3 * (high.loss - low.loss) / width
        under = bend * bend - low.slope * high.slope
        root = math.copysign(math.sqrt(max(under, 0.0)), width)
        below = high.slope - low.slope + 2 * root
        share = 1 - (high.slope + root - bend) / below if under >= 0 and below else 0.5
    return low.length + width * min(max(share, EDGE), 1 - EDGE)
