"""Disks that cannot be written to: checkpoints are told of and left out, kernels are those that others keep."""

from numbaflux.native import native
from tests.mpi.launch import Launcher
from tests.mpi.test_cold_cache import PROGRAM as KERNELS
from tests.needs import program
from tests.read_only import read_only

# The folder is a mount, which the first rank makes read-only after so many steps, and writable again later.
TRAIN = """
    import subprocess, sys
    import numpy as np
    import numbaflux as nf

    folder = sys.argv[1]

    class Disk:
        first_rank_only = True
        def on_batch(self, event):
            change = {{3: "ro", 7: "rw"}}.get(event.batches)
            if change:
                subprocess.run([{mount!r}, "-o", f"remount,bind,{{change}}", folder], check=True)

    with nf.distributed.init(timeout=60) as world:
        model = nf.Dense(3, 1, rng=0)
        state = nf.setup(nf.DistributedOptimizer(nf.Descent(0.1), world), model)
        data = nf.DataLoader(np.ones((20, 3), np.float32), 2, world=world)
        save = nf.Checkpoint(folder + "/run-{{batches}}.h5", by="batch", every=2)
        nf.train(lambda m, x: (m(x) ** 2).mean(), model, data, state, 1, callbacks=[save, Disk()], progress=False)
        print(f"well {{world.rank}} {{state.step}};", end="", flush=True)
"""
BIND = 'mount --bind "$0" "$0" && exec "$@"'


def inside(mpi: Launcher, *words: str) -> Launcher:
    """With these words before mpiexec."""
    return Launcher((*words, *mpi.words), mpi.folder, mpi.env)


def test_a_disk_that_turns_read_only_is_told_at_each_try_and_training_goes_on(mpi, tmp_path):
    read_only(tmp_path)  # skips where nobody can mount
    folder = tmp_path / "files"
    folder.mkdir()
    there = inside(mpi, program("unshare"), "--mount", "sh", "-c", BIND, str(folder))
    done = there.run(TRAIN.format(mount=program("mount")), 2, str(folder))
    assert done.rc == 0, done.err
    assert sorted(done.out.split(";")) == ["", "well 0 10", "well 1 10"]
    told = "({}); the last file stays, the next turn tries again".format("[Errno 30] Read-only file system")
    lines = [f"Checkpoint: {folder}/run-{batches}.h5 could not be written {told}" for batches in (4, 6)]
    assert done.err.splitlines() == lines
    assert sorted(path.name for path in folder.iterdir()) == ["run-10.h5", "run-2.h5", "run-8.h5"]


def test_a_disk_that_is_read_only_from_the_beginning_ends_all_ranks(mpi, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    done = inside(mpi, *read_only(folder)).run(TRAIN.format(mount="mount"), 2, str(folder))
    assert done.rc != 0 and "well" not in done.out and done.seconds < 30  # mpiexec may speak of the rank it ends
    assert f"Checkpoint: path must be in a folder that can be written to, got {str(folder)!r}"[:-1] in done.err
    assert list(folder.iterdir()) == []


def test_kernels_are_those_of_the_site_where_home_is_read_only(mpi, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    env = {"HOME": str(home), "XDG_CACHE_HOME": "", "NUMBAFLUX_CACHE_DIR": ""}
    done = inside(mpi, *read_only(home)).run(KERNELS, 2, **env, NUMBAFLUX_CACHE_PATH=str(native().store.folder))
    assert (done.rc, done.err) == (0, ""), done.err
    assert [count.split()[0] for count in done.out.split(";")[:2]] == ["0", "0"] and list(home.iterdir()) == []
