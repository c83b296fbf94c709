"""Data: mini-batches and splits."""

from .loader import DataLoader, numobs
from .split import ObsView, shuffleobs, splitobs

__all__ = ["DataLoader", "ObsView", "numobs", "shuffleobs", "splitobs"]
