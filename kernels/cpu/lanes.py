"""Sixteen samples side by side: (n, features) as (n / 16, features, 16), so that vectors are full whatever the number
of channels.

Samples that are not there count as zero.
"""

from ..jit import LANES, address, kernel
from ..table import IMAGES
from .tile import make_transpose

WIDTH = 4 * LANES  # bytes of a vector register
transpose = make_transpose(WIDTH)


@kernel
def to_lanes(t, x, features):
    """t(blocks * features * 16) = x(samples * features), both flat."""
    lanes, size, samples = WIDTH // t.itemsize, t.itemsize, x.size // features
    for block in range((samples + IMAGES - 1) // IMAGES):
        first, base = block * IMAGES, address(t) + size * block * features * IMAGES
        if samples - first < IMAGES:
            for i in range(block * features * IMAGES, (block + 1) * features * IMAGES):
                t[i] = 0
        for part in range((min(IMAGES, samples - first) + lanes - 1) // lanes):
            s = part * lanes
            source, some = address(x) + size * (first + s) * features, min(lanes, samples - first - s)
            for strip in range((features + lanes - 1) // lanes):
                j = strip * lanes
                m = min(lanes, features - j)
                transpose(t, m, some, base + size * (j * IMAGES + s), IMAGES, source + size * j, features)


@kernel
def from_lanes(y, t, features):
    """y(samples * features) = t(blocks * features * 16), both flat."""
    lanes, size, samples = WIDTH // y.itemsize, y.itemsize, y.size // features
    for block in range((samples + IMAGES - 1) // IMAGES):
        first, base = block * IMAGES, address(t) + size * block * features * IMAGES
        for part in range((min(IMAGES, samples - first) + lanes - 1) // lanes):
            s = part * lanes
            target, some = address(y) + size * (first + s) * features, min(lanes, samples - first - s)
            for strip in range((features + lanes - 1) // lanes):
                j = strip * lanes
                m = min(lanes, features - j)
                transpose(y, some, m, target + size * j, features, base + size * (j * IMAGES + s), IMAGES)
