"""Weights of PyTorch and Keras models for numbaflux's: which array becomes which, and how its axes are turned."""

from .convert import convert
from .export import save_safetensors

__all__ = ["convert", "save_safetensors"]
