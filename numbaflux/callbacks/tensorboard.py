"""The history for TensorBoard, written by tensorboardX: `pip install numbaflux[tensorboard]`."""

from __future__ import annotations

import os
from typing import Any

from ..events import Event


class TensorBoard:
    """Writes the numbers of each epoch, and the rule's eta, into a folder for TensorBoard to show.

    A training that is resumed goes on in the same folder: what was written after the checkpoint is hidden. Raises
    ImportError where tensorboardX is missing; it needs neither TensorFlow nor PyTorch.

    >>> import tempfile, numpy as np, numbaflux as nf
    >>> model, data = nf.Dense(1, 1), [np.zeros((4, 1), np.float32)]
    >>> _ = nf.train(lambda m, x: (m(x) ** 2).mean(), model, data, nf.setup(nf.Adam(), model), epochs=2,
    ...              callbacks=[TensorBoard(tempfile.mkdtemp())], progress=False)
    """

    first_rank_only = True  # in a world one process writes

    def __init__(self, logdir: str | os.PathLike[str]) -> None:
        self.logdir = os.fspath(logdir)
        self.writer: Any = None
        _writer()

    def on_start(self, event: Event) -> None:
        self.writer = _writer()(self.logdir, purge_step=event.epoch + 1 if event.epoch else None)

    def on_epoch(self, event: Event) -> None:
        numbers = {name: value for name, value in event.history[-1].items() if name != "epoch"}
        eta = getattr(event.opt_state.rule, "eta", None)
        for name, value in (numbers if eta is None else numbers | {"eta": eta}).items():
            self.writer.add_scalar(name, value, event.epoch)
        self.writer.flush()

    def on_end(self, event: Event) -> None:
        self.writer.close()

    def __repr__(self) -> str:
        return f"TensorBoard({self.logdir!r})"


def _writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        cure = "pip install numbaflux[tensorboard]"
        raise ImportError(f"TensorBoard: tensorboardX must be installed, got none; {cure}") from None
    return SummaryWriter
