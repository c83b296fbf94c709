"""What stands between the gradients of one process and an update that many make together: what the steps ask of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..lowering import Buf, Build
from ..session import Session
from .rules import Rule
from .vectors import Vectors


class Spread(ABC):
    """A rule for the ranks of a world, as nf.DistributedOptimizer makes it."""

    rule: Rule
    world: Any

    @property
    @abstractmethod
    def share(self) -> float:
        """What the gradient of a loss begins with in place of 1, so that sums over all are means."""

    @abstractmethod
    def own(self, size: int) -> tuple[int, int]:
        """The stretch of a flat vector of that size whose parameters this process updates."""

    @abstractmethod
    def memory(self, size: int, dtype: np.dtype[Any], name: str) -> np.ndarray:
        """Zeroed memory for a vector of that name."""

    @abstractmethod
    def gathered(self, v: Vectors, name: str) -> np.ndarray:
        """A state vector of that name, whole, on all ranks, each of which must ask."""

    @abstractmethod
    def bind(self, state: Any) -> None:
        """Take the state that it spreads; called once, by setup."""

    @abstractmethod
    def part(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """What of a batch one run of a plan gets."""

    @abstractmethod
    def fit(self) -> None:
        """Follow the size of the world after some of its ranks were lost."""

    @abstractmethod
    def accept(self, session: Session) -> None:
        """Raise PlanError where a step changes what ranks could not change alike."""

    @abstractmethod
    def before_checks(self, build: Build, loss: Buf, samples: int) -> None:
        """Entries between gradients and their checks."""

    @abstractmethod
    def before_update(self, build: Build) -> None:
        """Entries between the checks, with what they let happen, and the update."""

    @abstractmethod
    def after_update(self, build: Build) -> None:
        """Entries behind the update."""

    @abstractmethod
    def run(self, once: Callable[..., Any], arrays: Sequence[np.ndarray], generators: Sequence[Any]) -> Any:
        """Run a step's plan, once for each part of the batch; returns what the last run does."""

    kept: int  # steps whose gradients wait for an update

    @abstractmethod
    def flush(self) -> None:
        """Make an update of the mean of the gradients that wait, if any do."""

    @abstractmethod
    def update(self) -> None:
        """Make the gradients that stand in the vectors those of all: for nf.update."""
