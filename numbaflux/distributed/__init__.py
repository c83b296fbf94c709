"""Many processes as one training: nf.distributed.init() and nf.DistributedOptimizer."""

from .batchnorm import sync_batchnorm
from .optimiser import DistributedOptimizer
from .start import init
from .world import World

__all__ = ["DistributedOptimizer", "World", "init", "sync_batchnorm"]
