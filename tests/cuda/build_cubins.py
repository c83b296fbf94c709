"""Run by a Python that has numba-cuda: cubins as `python -m numbaflux.cubin` makes them, all generations of an entry in
one process, which then goes through its source once; kept in numbaflux's cache, where a second run finds them."""

import gc
import json
import sys

from numbaflux.cubin import build, key
from numbaflux.objects import Store, pack


def main() -> None:
    gc.disable()  # a tenth of the time: what numba makes lives on
    made, store = {}, Store()
    for i, (function, signature, threads, generation) in enumerate(json.load(sys.stdin)):
        what, capability = (function, tuple(signature), threads), tuple(generation)
        name = key(what, capability)
        kept = store.read(name)
        if kept is None or kept.keys() != {name}:
            cubin = build(*what, capability)
            kept = {name: cubin.name.encode() + b"\0" + cubin.code}
            store.write(name, kept)
        made[str(i)] = kept[name]
    sys.stdout.buffer.write(pack(made))


if __name__ == "__main__":
    main()
