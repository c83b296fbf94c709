"""Optimisers: rules, chains of what changes gradients, schedules, and the state that setup makes for a model."""

from . import schedules
from .chain import (
    TRANSFORMS,
    AccumGrad,
    ClipGlobalNorm,
    ClipGrad,
    ClipNorm,
    OptimiserChain,
    SignDecay,
    Transform,
    WeightDecay,
)
from .rules import (
    RULES,
    AdaBelief,
    AdaDelta,
    AdaGrad,
    Adam,
    AdaMax,
    AdamW,
    AMSGrad,
    Descent,
    Lion,
    Momentum,
    NAdam,
    Nesterov,
    OAdam,
    RAdam,
    Record,
    RMSProp,
    Rprop,
    Rule,
)
from .state import OptState, adjust, freeze, setup, thaw, update

# fmt: off
__all__ = [
    "RULES", "TRANSFORMS", "AMSGrad", "AccumGrad", "AdaBelief", "AdaDelta", "AdaGrad", "AdaMax", "Adam", "AdamW",
    "ClipGlobalNorm", "ClipGrad", "ClipNorm", "Descent", "Lion", "Momentum", "NAdam", "Nesterov", "OAdam",
    "OptState", "OptimiserChain", "RAdam", "RMSProp", "Record", "Rprop", "Rule", "SignDecay", "Transform",
    "WeightDecay", "adjust", "freeze", "schedules", "setup", "thaw", "update",
]
