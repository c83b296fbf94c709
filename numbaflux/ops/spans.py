"""What the convolution kernel computes along each axis, in the words of kernels/dims.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..lowering import Array, constant, whole
from .window import Axis


@dataclass(frozen=True)
class Span:
    """One axis of what the kernel computes (kernels/dims.py): output i lies at first + i * step of full; its tap t sees
    element start + i * up + t * tap of size."""

    out: int
    first: int
    step: int
    full: int
    size: int
    start: int
    up: int
    tap: int
    taps: int

    @property
    def before(self) -> int:
        """Elements of padding that are looked at before the first."""
        return max(0, -self.start) if self.taps else 0

    @property
    def behind(self) -> int:
        last = self.start + (self.out - 1) * self.up + (self.taps - 1) * self.tap
        return max(0, last - self.size + 1) if self.taps else 0

    def padded(self, before: int, behind: int) -> Span:
        """The same over an input with padding in memory."""
        return replace(self, size=self.size + before + behind, start=self.start + before)


Spans = tuple[Span, Span, Span]


def forward_spans(found: Sequence[Axis]) -> Spans:
    """The spans of a convolution."""
    return tuple(Span(a.out, 0, 1, a.out, a.size, -a.low, a.stride, a.dilation, a.window) for a in found)  # type: ignore[return-value]


def phases(a: Axis) -> list[tuple[Span, Span]]:
    """Along one axis, dx as convolutions of dy: one for each remainder of dx's place by the stride.

    Each with the span of its weights: which tap of w the taps of the flipped weights are. dx[r] takes
    dy[(r + low - t dilation) / stride] w[t] for the taps t for which that is a whole number.
    """
    common = math.gcd(a.dilation, a.stride)
    every = a.stride // common  # taps from one that fits to the next
    found = []
    for phase in range(min(a.stride, a.size)):
        fitting = [t for t in range(min(every, a.window)) if (phase + a.low - t * a.dilation) % a.stride == 0]
        t0 = fitting[0] if fitting else 0
        taps = -(-(a.window - t0) // every) if fitting else 0
        step, last = a.dilation // common, t0 + (taps - 1) * every
        start = (phase + a.low - last * a.dilation) // a.stride if taps else 0
        out = -(-(a.size - phase) // a.stride)
        places = Span(out, phase, a.stride, a.size, a.out, start, 1, step, taps)
        found.append((places, Span(taps, 0, 1, a.window, a.window, last, -every, 1, taps)))
    return found


def sizes_of(spans: Spans, c: int, o: int, groups: int, lines: int) -> Array:
    """The kernel's vector of sizes."""
    numbers = [v for s in spans for v in (s.out, s.first, s.step, s.full, s.size, s.start, s.up, s.tap, s.taps)]
    return whole(constant([*numbers, c, o, groups, lines]))
