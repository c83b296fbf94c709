"""Optimisers: rules, chains of what changes gradients, schedules, and the state that setup makes for a model."""

from . import schedules
from .around import AROUND, EMA, MixedPrecision, Scheduler
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
from .layerwise import LAMB, RULES, Muon
from .rules import (
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
from .state import OptState, adjust, ema, freeze, setup, thaw, update

# fmt: off
__all__ = [
    "AROUND", "EMA", "LAMB", "RULES", "TRANSFORMS", "AMSGrad", "AccumGrad", "AdaBelief", "AdaDelta", "AdaGrad",
    "AdaMax", "Adam", "AdamW", "ClipGlobalNorm", "ClipGrad", "ClipNorm", "Descent", "Lion", "MixedPrecision",
    "Momentum", "Muon", "NAdam", "Nesterov", "OAdam", "OptState", "OptimiserChain", "RAdam", "RMSProp", "Record",
    "Rprop", "Rule", "Scheduler", "SignDecay", "Transform", "WeightDecay", "adjust", "ema", "freeze", "schedules",
    "setup", "thaw", "update",
]
