"""Sixteen samples side by side: (n, features) as (n / 16, features, 16), so that vectors are full whatever the number
of channels.

Samples that are not there count as zero.
"""

from ..jit import address, kernel
from ..scalar import inlined
from ..table import IMAGES
from .tile import WIDTH, make_transpose

transpose = make_transpose(WIDTH)


@inlined
def turn(t, x, features, there):
    """t(blocks * features * 16) = x(samples * features), both flat, where there; else x from t."""
    lanes, size, samples = WIDTH // t.itemsize, t.itemsize, x.size // features
    for block in range((samples + IMAGES - 1) // IMAGES):
        first, base = block * IMAGES, address(t) + size * block * features * IMAGES
        if there and samples - first < IMAGES:
            for i in range(block * features * IMAGES, (block + 1) * features * IMAGES):
                t[i] = 0
        for part in range((min(IMAGES, samples - first) + lanes - 1) // lanes):
            s = part * lanes
            plain, some = address(x) + size * (first + s) * features, min(lanes, samples - first - s)
            for strip in range((features + lanes - 1) // lanes):
                j = strip * lanes
                m, side = min(lanes, features - j), base + size * (j * IMAGES + s)
                if there:
                    transpose(t, m, some, side, IMAGES, plain + size * j, features)
                else:
                    transpose(t, some, m, plain + size * j, features, side, IMAGES)


@kernel
def to_lanes(t, x, features):
    """t(blocks * features * 16) = x(samples * features), both flat."""
    turn(t, x, features, True)


@kernel
def from_lanes(x, t, features):
    """x(samples * features) = t(blocks * features * 16), both flat."""
    turn(t, x, features, False)
