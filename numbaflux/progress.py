"""What training shows while it runs: a bar on a terminal, a line an epoch in a log, or nothing."""

from __future__ import annotations

import sys
from typing import Any

from .history import FIXED, History, shown


def reporter(progress: bool, epochs: int, data: Any, done: int) -> Any:
    """What reports a training, of which some batches may be done already."""
    if not progress:
        return _Silence()
    return _Bar(epochs, data, done) if sys.stderr.isatty() else _Lines(epochs)


def _words(row: dict[str, Any]) -> str:
    """The losses and metrics of a row."""
    return "  ".join(f"{k} {shown(v)}" for k, v in row.items() if k in ("loss", "validation_loss") or k not in FIXED)


class _Silence:
    """Reports nothing."""

    def batch(self, epoch: int, loss: float | None) -> None:
        pass

    def epoch(self, row: dict[str, Any]) -> None:
        pass

    def close(self, history: History) -> None:
        pass


class _Lines(_Silence):
    """One line an epoch: what a batch job's log can hold."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def epoch(self, row: dict[str, Any]) -> None:
        speed = f"{shown(row['seconds'])} s  {row['samples_per_second']:.0f} samples/s"
        print(f"epoch {row['epoch']}/{self.epochs}  {_words(row)}  {speed}", file=sys.stderr, flush=True)

    def close(self, history: History) -> None:
        if history.interrupted:
            print(f"train: interrupted in epoch {len(history) + 1}, after a whole step", file=sys.stderr, flush=True)


class _Bar(_Lines):
    """One bar over all batches of all epochs."""

    def __init__(self, epochs: int, data: Any, done: int) -> None:
        from tqdm import tqdm

        super().__init__(epochs)
        total = epochs * len(data) if hasattr(data, "__len__") else None
        self.bar = tqdm(total=total, initial=done, unit=" batches", dynamic_ncols=True, file=sys.stderr)
        self.row: dict[str, Any] = {}

    def batch(self, epoch: int, loss: float | None) -> None:
        if self.bar.update():  # true when it was drawn, a few times a second: words cost more than a small step
            self.epoch(self.row | {"epoch": epoch} | ({} if loss is None else {"loss": loss}))

    def epoch(self, row: dict[str, Any]) -> None:
        self.row = row
        self.bar.set_description_str(f"epoch {row['epoch']}/{self.epochs}", refresh=False)
        self.bar.set_postfix_str(_words(row), refresh=False)

    def close(self, history: History) -> None:
        self.bar.close()
        super().close(history)
