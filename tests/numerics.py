"""The tables of docs/numerics.md, read from the code and from what the suite tries: python -m tests.numerics."""

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

import numbaflux as nf
from numbaflux.activations import ACTIVATIONS
from tests import stability
from tests.sources import ROOT
from tests.test_stability import EDGES
from tests.test_stability_training import GRADS, INIT_GAINS, LARGE

PAGE = ROOT / "docs" / "numerics.md"
START, END = "<!-- tables of tests/numerics.py -->", "<!-- end of the tables -->"
EPS = "2^-23 or 2^-52"  # what None is, in float32 and float64


def own(module: Any) -> list[Any]:
    """The public functions of a module."""
    found = inspect.getmembers(module, inspect.isfunction)
    return [f for name, f in found if f.__module__ == module.__name__ and name[0] != "_"]


def defaults(thing: Any) -> dict[str, Any]:
    """The arguments that have a number, several numbers, or None for an eps, as their default."""
    found = {}
    for name, parameter in inspect.signature(thing.__init__ if inspect.isclass(thing) else thing).parameters.items():
        value = parameter.default
        several = isinstance(value, tuple) and value and all(isinstance(v, float) for v in value)
        if isinstance(value, float) or several or (name == "eps" and value is None):
            found[name] = value
    return found


def told(value: Any) -> str:
    if value is None:
        return EPS
    return f"({', '.join(map(told, value))})" if isinstance(value, tuple) else f"{value:.10g}"


def extremes(values: Any) -> str:
    """Numbers of the suite, from small to large, once each; both signs as one."""
    flat: set[Any] = set()
    for v in values:
        flat |= set(extremes_in(v))
    sizes = sorted({abs(v) for v in flat if v != stability.SUB})
    signs = {size: "±" if {size, -size} <= flat and size else "-" if -size in flat and size else "" for size in sizes}
    shown = [f"{signs[size]}{size:g}" for size in sizes]
    return ", ".join([*shown[: 0 in sizes], *(["subnormal"] * (stability.SUB in flat)), *shown[0 in sizes :]])


def extremes_in(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for v in value:
            yield from extremes_in(v)
    else:
        yield value


def groups() -> dict[str, tuple[list[Any], str]]:
    """Title -> what has numbers as defaults, and at which extremes it was tried; of losses that stands in the table."""
    large = f"{LARGE[np.float32]:g} in float32, {LARGE[np.float64]:g} in float64"
    norms = [f for f in nf.layers.LAYERS if f.__name__.endswith("Norm") and f is not nf.WeightNorm]
    return {
        "Losses": ([*nf.losses.LOSSES], "One sample, one class, and beside NaN and Inf"),
        "Norms": (
            [*norms, nf.normalise], f"0, subnormal, ±1e-30, 1e6, {large}, beyond; NaN, Inf; all equal; one sample"),
        "Activations": ([f for f in ACTIVATIONS if f is not nf.rrelu], f"{extremes(EDGES)}, NaN, Inf"),
        "Rules": ([*nf.optim.RULES], f"Gradients of {extremes(GRADS)}, NaN, Inf"),
        "What changes gradients": ([*nf.optim.TRANSFORMS], f"Gradients of {extremes(GRADS)}"),
        "Initial weights": (
            [f for f in own(nf.init) if "gain" in defaults(f)], f"Gains of {extremes(INIT_GAINS)}"),
    }  # fmt: skip


def tables() -> str:
    parts = []
    for title, (things, tried) in groups().items():
        rows = []
        for thing in things:
            numbers = ", ".join(f"{name}={told(value)}" for name, value in defaults(thing).items())
            one = stability.LOSSES.get(thing.__name__)
            where = f" {extremes(one.samples) if one else 'logits of 0, ±1e+30'} |" if title == "Losses" else ""
            rows += [f"| `{thing.__name__}` | {numbers} |{where}"] if numbers or title == "Losses" else []
        columns = ["", "defaults", *(["tried at"] * (title == "Losses"))]
        head = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"
        parts.append("\n".join([f"### {title}", "", f"Tried at: {tried[0].lower()}{tried[1:]}.", "", head, *rows]))
    return "\n\n".join(parts)


def page(text: str) -> str:
    """The page with its tables made anew."""
    before, _, rest = text.partition(START)
    return f"{before}{START}\n\n{tables()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
