"""Cases from science: a segmented volume, an equation's solution, a part of a solver, a forecast."""

from benchmarks.peers.cases import Program, Training
from benchmarks.peers.science import pinn, series, surrogate, unet

SCIENCE: dict[str, Program | Training] = {**unet.CASES, **pinn.CASES, **surrogate.CASES, **series.CASES}
