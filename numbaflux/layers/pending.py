"""AUTO: a size of a layer that follows from what the layer is given."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from ..op import PlanError, ShapeError, expect


class Auto:
    """What AUTO is."""

    def __repr__(self) -> str:
        return "AUTO"


AUTO: Any = Auto()  # stands where a type checker wants a number

# While nf.autosize runs: the layers made so far, by the Pending that stands for them.
making: ContextVar[dict[Pending, Any] | None] = ContextVar("making", default=None)


class Pending:
    """Stands for a layer with AUTO among its arguments, until nf.autosize calls it with inputs of known shapes.

    >>> import numbaflux as nf
    >>> nf.Dense(nf.AUTO, 3)
    Dense(AUTO, 3)
    """

    def __init__(self, cls: type, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.cls, self.args, self.options = cls, args, options

    def __call__(self, *inputs: Any) -> Any:
        made = making.get()
        if made is None:
            raise PlanError(f"{self!r}: AUTO must be a known size when a layer is called; nf.autosize(model, shape)")
        if self not in made:
            made[self] = self._layer([tuple(getattr(x, "shape", ())) for x in inputs])
        return made[self](*inputs)

    def _layer(self, shapes: list[tuple[int, ...]]) -> Any:
        """The layer for inputs of these shapes: AUTO is the last axis, the k-th one that of the k-th of several."""
        count = sum(x is AUTO for x in (*self.args, *self.options.values()))
        good = all(shapes) and len(shapes) in (1, count)
        expected = f"called with one array, or {count} of them" if count > 1 else "called with one array"
        expect(good, repr(self), "the layer", expected, f"shapes {shapes}", error=ShapeError)
        sizes = iter([shape[-1] for shape in shapes] * (count if len(shapes) == 1 else 1))
        args = [next(sizes) if x is AUTO else x for x in self.args]
        return self.cls(*args, **{name: next(sizes) if x is AUTO else x for name, x in self.options.items()})

    def __repr__(self) -> str:
        named = [f"{name}={value!r}" for name, value in self.options.items()]
        return f"{self.cls.__name__}({', '.join([*map(repr, self.args), *named])})"


def layer_or_pending(cls: type, *args: Any, **options: Any) -> Any:
    """__new__ of layers: with AUTO among the arguments what stands for the layer, for which __init__ is not called."""
    waits = any(x is AUTO for x in args) or any(x is AUTO for x in options.values())
    return Pending(cls, args, options) if waits else object.__new__(cls)
