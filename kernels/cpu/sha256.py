"""SHA-256 (FIPS 180-4) of leaves of 64 KiB, several at once: one leaf alone is a chain of instructions, each of which
waits for the one before."""

from ..jit import FEATURES, LANES, address, kernel
from .sha256_lanes import hash_lanes
from .sha256_pair import PAIR, hash_pair
from .sha256_words import LEAF

HAS_SHA = bool(FEATURES.get("sha"))
TOGETHER, hash_together = (PAIR, hash_pair) if HAS_SHA else (LANES, hash_lanes)


@kernel
def leaves(out, data):
    """out(n, 8) = the SHA-256 of each 64 KiB of data(n * 65536); n is a multiple of TOGETHER."""
    for first in range(0, out.shape[0], TOGETHER):
        hash_together(address(out) + 32 * first, address(data) + LEAF * first)
