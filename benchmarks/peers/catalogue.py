"""Every case by name, and the peers that have it."""

from __future__ import annotations

from benchmarks.peers.cases import CONVOLUTIONS, INFERENCE, PRODUCTS, TRAINING, Case, Inference, Product, Program
from benchmarks.peers.science import SCIENCE

KINDS: dict[str, dict[str, Case]] = {
    "training": {**TRAINING},
    "science": {**SCIENCE},
    "inference": {**INFERENCE},
    "products and convolutions": {**PRODUCTS, **CONVOLUTIONS},
}
CASES: dict[str, Case] = {name: case for cases in KINDS.values() for name, case in cases.items()}


def peers(case: Case) -> list[str]:
    """Who takes turns in a case: we first. A name is a library, or a library and a way to use it.

    -last: images with the channels last in memory. peak: our register tile alone, the most that the machine does.
    """
    if isinstance(case, Program):
        return [*case.makers, "peak"]
    if isinstance(case, Product):
        return ["numbaflux", "torch", "numpy", "jax", "peak"]
    model = case.model if isinstance(case, Inference) else case
    images = len(getattr(model, "shape", (0, 0, 0))) == 3
    ways = ["", "-last"] if images else [""]
    torch = [f"torch{compiled}{way}" for compiled in ("", "-compile") for way in ways]
    onnx = ["onnxruntime"] if isinstance(case, Inference) else []
    return ["numbaflux", *torch, "jax", *onnx, "peak"]
