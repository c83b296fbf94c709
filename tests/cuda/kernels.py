"""Which kernels a GPU has: what both proofs go by, so that none is left out of either."""

import importlib
import inspect

from numbaflux import warm
from numbaflux.build import KERNELS, Signature
from numbaflux.kernels.cuda.launch import rule, variants
from tests.cuda import simulator

# Modules, and kernels, that a GPU has no use for: what runs tiles, files, images in lanes.
WITHOUT = ("runner", "sha256", "lanes", "conv.conv_images", "conv.conv_images_grad_w")
# Alike in kernels/cpu and kernels/cuda too, but asked for by no plan.
CALLED = {
    *("check.clamped", "ctc.clamped", "move.clamped", "softmax.clamped", "conv.place", "depthwise.place"),
    *("ctc.fill_norms", "ctc.log_sum", "elementwise.reciprocal"),
    *("optim.corrections", "optim.count", "optim.joined", "optim.rectification"),
}


def asked() -> dict[str, list[Signature]]:
    """Kernels, as the registry and the rules of optimisers name them, and their arguments."""
    found: dict[str, list[Signature]] = {}
    for module, function, signature in sorted(warm.entries().values()):
        folder, _, name = module.rpartition(".")
        if folder == "cpu" and not {name, f"{name}.{function}"} & {*WITHOUT}:
            found.setdefault(f"{name}.{function}", []).append(signature)
    return found


ASKED = asked()
VARIANTS = {kernel for name, signatures in ASKED.items() for codes in signatures for kernel, _ in variants(name, codes)}


def twins() -> set[str]:
    """Functions of kernels/cuda, or of which it has variants, with the name and the arguments of one of kernels/cpu."""
    simulator.install()
    found = set()
    for path in (KERNELS / "cuda").glob("[a-z]*.py"):
        if (KERNELS / "cpu" / path.name).exists():
            here, there = (vars(importlib.import_module(f"numbaflux.kernels.{d}.{path.stem}")) for d in ("cuda", "cpu"))
            for name, twin in there.items():
                alike = [here.get(name + variant) for variant in rule(f"{path.stem}.{name}").threads]
                if hasattr(twin, "py_func") and any(f and _arguments(f) == _arguments(twin.py_func) for f in alike):
                    found.add(f"{path.stem}.{name}")
    return found


def _arguments(f: object) -> list[str]:
    return list(inspect.signature(f).parameters) if inspect.isfunction(f) else []
