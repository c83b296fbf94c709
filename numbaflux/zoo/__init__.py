"""Zoos of models: a folder or an address with an index of names, versions, files, digests, cards and signatures.

zoo.list, fetch and verify take models out of one, zoo.add and sign put them into one, zoo.scan looks at a model,
zoo.keys holds whom this user trusts. Levels of trust, from the least: local, digest, signed, trusted (zoo.LEVELS).
"""

from . import keys
from .fetch import Found, fetch
from .index import Entry
from .levels import LEVELS, Refused
from .publish import add, sign
from .scan import Scan, scan
from .source import listed as list
from .verify import verify

__all__ = ["LEVELS", "Entry", "Found", "Refused", "Scan", "add", "fetch", "keys", "list", "scan", "sign", "verify"]
