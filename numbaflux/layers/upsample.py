"""Layers that make their input larger: Upsample, PixelShuffle. None has weights."""

from __future__ import annotations

from typing import Any

from ..op import expect
from ..ranges import check
from ..resize import UPSAMPLINGS, checked, pixel_shuffle
from .layer import layer


@layer
class Upsample:
    """x (n, spatial axes, c) made larger: Upsample(2), Upsample(2, "bilinear"), Upsample(size=(32, 32)).

    mode: "nearest" repeats elements; "linear", "bilinear", "trilinear" go on straight lines between them, for one to
    three spatial axes. scale or size: a number or one an axis; integers but for the scale of the linear modes. See
    nf.upsample_nearest and so on.

    >>> import numpy as np
    >>> Upsample(2)(np.ones((1, 4, 3, 2), np.float32)).shape
    (1, 8, 6, 2)
    """

    scale: Any = None
    mode: str = "nearest"
    size: Any = None

    def __init__(self, scale: Any = None, mode: str = "nearest", *, size: Any = None) -> None:
        self.scale, self.size = checked("Upsample", mode, scale, size)
        self.mode = mode

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        right = checked("Upsample", self.mode, self.scale, self.size)
        given = self.scale, self.size
        expect(right == given, "Upsample", "scale, size", repr(right), repr(given))

    def __call__(self, x: Any) -> Any:
        return UPSAMPLINGS[self.mode](x, self.scale, self.size)

    def describe(self) -> str:
        parts = [str(self.scale)] if self.size is None else [f"size={self.size}"]
        parts += [f"mode={self.mode!r}"] if self.mode != "nearest" else []
        return f"Upsample({', '.join(parts)})"


@layer
class PixelShuffle:
    """nf.pixel_shuffle as a layer: channels become places, r times as many along each spatial axis.

    >>> import numpy as np
    >>> PixelShuffle(2)(np.ones((1, 4, 3, 8), np.float32)).shape
    (1, 8, 6, 2)
    """

    r: int

    def __init__(self, r: int) -> None:
        self.r = int(check("PixelShuffle.r", r))

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        check("PixelShuffle.r", self.r)

    def __call__(self, x: Any) -> Any:
        return pixel_shuffle(x, self.r)

    def describe(self) -> str:
        return f"PixelShuffle({self.r})"
