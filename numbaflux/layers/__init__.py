"""Layers, and how to make one's own."""

from .basic import Chain, Dense, flatten
from .layer import buffer, layer, param

__all__ = ["Chain", "Dense", "buffer", "flatten", "layer", "param"]
