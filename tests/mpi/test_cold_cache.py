"""Four ranks that find no kernel: one compiles, and all run."""

import re

PROGRAM = """
    import numpy as np
    import numbaflux as nf

    with nf.distributed.init() as world:
        built = []
        nf.native.native().store.listeners.append(lambda event, name: built.append(name) if event == "built" else None)
        model = nf.Dense(3, 2, nf.tanh, rng=0)
        state = nf.setup(nf.DistributedOptimizer(nf.Descent(0.1), world), model)
        step = nf.compile(lambda m, x: (m(x) ** 2).mean(), model, state)
        loss = step(np.ones((4, 3), np.float32))
        print(f"{len(built)} {loss:.6f};", end="", flush=True)
"""


def test_one_compiles_for_all(mpi, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    done = mpi.run(PROGRAM, 4, seconds=400, NUMBAFLUX_CACHE_DIR=str(cache), NUMBAFLUX_CACHE_PATH="")
    assert done.rc == 0, done.err
    counts, losses = zip(*(one.split() for one in done.out.split(";")[:4]), strict=True)
    kept = len([path for path in cache.glob("*.nfo") if not path.name.startswith("bundle")])
    assert sum(map(int, counts)) == kept > 5 and len(set(losses)) == 1
    assert len(re.findall("compiling", done.err)) <= 2, done.err
    again = mpi.run(PROGRAM, 4, NUMBAFLUX_CACHE_DIR=str(cache), NUMBAFLUX_CACHE_PATH="")
    assert re.findall(r"(\d+) ", again.out) == ["0"] * 4


def test_a_cache_that_cannot_be_written_is_read(mpi, tmp_path):
    """As a site's: nothing is compiled where all that is needed is there."""
    from numbaflux.native import native

    site = native().store.folder
    closed = tmp_path / "closed"
    closed.write_text("a file, so that no folder can be made")
    done = mpi.run(PROGRAM, 2, NUMBAFLUX_CACHE_DIR=str(closed / "x"), NUMBAFLUX_CACHE_PATH=str(site))
    assert done.rc == 0, done.err
    assert re.findall(r"(\d+) ", done.out) == ["0"] * 2
