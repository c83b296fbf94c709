"""Callbacks of nf.train: each a small object with some of on_start, on_batch, on_epoch, on_end; any function is one."""

from .checkpoint import Checkpoint
from .logs import CSVLog, JSONLog
from .monitor import EarlyStopping, Plateau
from .rate import Schedule
from .tensorboard import TensorBoard
from .triggers import early_stopping, patience, plateau, throttle

__all__ = [
    "CSVLog",
    "Checkpoint",
    "EarlyStopping",
    "JSONLog",
    "Plateau",
    "Schedule",
    "TensorBoard",
    "early_stopping",
    "patience",
    "plateau",
    "throttle",
]
