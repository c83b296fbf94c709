"""Optimisers: rules, and the state that setup makes for a model."""

from .rules import RULES, Adam, AdamW, Descent, Momentum, Rule
from .state import OptState, adjust, freeze, setup, thaw, update

__all__ = [
    "RULES",
    "Adam",
    "AdamW",
    "Descent",
    "Momentum",
    "OptState",
    "Rule",
    "adjust",
    "freeze",
    "setup",
    "thaw",
    "update",
]
