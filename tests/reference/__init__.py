"""Slow, obvious NumPy oracles, one function an operation, under the operation's name. They share nothing with the
library."""

from . import (
    activation,
    attention,
    conv,
    ctc,
    dense,
    elementwise,
    move,
    norm,
    pool,
    random,
    recurrent,
    reduce,
    scatter,
    softmax,
)

MODULES = (
    attention,
    conv,
    ctc,
    elementwise,
    activation,
    reduce,
    move,
    scatter,
    dense,
    pool,
    softmax,
    norm,
    recurrent,
    random,
)


def oracle(name):
    """The oracle of an operation by its name (slice_ for slice, a word that Python uses)."""
    found = [getattr(m, n) for m in MODULES for n in (name, name + "_") if hasattr(m, n)]
    if len(found) != 1:
        raise LookupError(f"{name}: {len(found)} oracles in tests/reference")
    return found[0]
