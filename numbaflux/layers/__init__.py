"""Layers, and how to make one's own. All built-in ones stand in LAYERS."""

from .basic import Chain, Dense, flatten
from .layer import buffer, layer, param

LAYERS = (Chain, Dense)  # what nf.load can build without being told

__all__ = ["LAYERS", "Chain", "Dense", "buffer", "flatten", "layer", "param"]
