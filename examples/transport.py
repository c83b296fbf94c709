"""A network in place of a solver, trained from a file that no rank could hold: du/dt + c · grad u = nu Δu.

How fields on a periodic square look after a time, where wind c and diffusivity nu differ from sample to sample. `python
transport.py` runs it alone, `mpiexec -n 4 python transport.py` on four ranks, `srun` under Slurm: the first rank makes
a file of samples, piece by piece, and all of them read it by slabs of rows, each its own, within a budget of memory.
Stopped by a time limit (USR1 or TERM) and started again, it goes on. Takes some seconds, and writes transport.h5 (the
network), transport.png (truth, prediction, error) and transport-data.h5 (the samples). On a square the exact solution
is two FFTs away, which take no longer than the network: surrogates pay where a solver is dear.
"""

import argparse
import timeit
from pathlib import Path

import h5py
import numpy as np

import numbaflux as nf
from numbaflux import plots

GRID, TIME = 32, 1.0  # cells along a side of length 1; from a field to the one that is learned
LOW, HIGH = np.array([1e-3, -0.05, -0.05]), np.array([5e-3, 0.05, 0.05])  # of nu and the two parts of c
WAVES = 2 * np.pi * np.fft.fftfreq(GRID, 1 / GRID)
SMOOTH = np.exp(-(WAVES[:, None] ** 2 + WAVES**2) / (2 * (2 * np.pi * 2) ** 2))  # fields of about two periods

SLAB, BATCH, AHEAD = 4, 16, 2  # samples read at once, samples of a batch of all ranks, batches read ahead
PART, UNIT = 128, 16 * BATCH  # samples made at once; the file has a multiple of UNIT
ROW = 5 * 4 * GRID**2  # bytes of a sample
MIB = 2**20


def solve(u, constants):
    """Fields (n, GRID, GRID) after TIME, with constants (n, 3), which are nu and c: each wave fades and moves."""
    nu, cx, cy = constants.T[..., None, None]
    kx, ky = WAVES[:, None], WAVES
    rate = nu * (kx**2 + ky**2) + 1j * (kx * cx + ky * cy)
    return np.fft.ifft2(np.fft.fft2(u) * np.exp(-rate * TIME)).real


def samples(n, rng):
    """Inputs (n, GRID, GRID, 4), smooth random fields and their constants as channels; targets (n, GRID, GRID, 1)."""
    u = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, GRID, GRID))) * SMOOTH).real
    u -= u.mean(axis=(1, 2), keepdims=True)
    u /= u.std(axis=(1, 2), keepdims=True)
    constants = rng.uniform(LOW, HIGH, (n, 3))
    planes = np.broadcast_to(constants[:, None, None], (n, GRID, GRID, 3))
    x, y = np.concatenate([u[..., None], planes], axis=-1), solve(u, constants)[..., None]
    return x.astype(np.float32), y.astype(np.float32)


def write(path, n, seed):
    """A file of n samples, never more than PART of them in memory: whole, or not there."""
    rng, part = np.random.default_rng(seed), path.with_suffix(".part")
    with h5py.File(part, "w") as file:
        file.attrs["seed"] = seed
        x, y = (file.create_dataset(name, (n, GRID, GRID, c), np.float32) for name, c in (("x", 4), ("y", 1)))
        for i in range(0, n, PART):
            x[i : i + PART], y[i : i + PART] = samples(PART, rng)
    part.replace(path)


def opened(path):
    """The file, to read: without a lock, which file systems of clusters may not have, and nobody writes here."""
    return h5py.File(path, "r", locking=False)


def left(stopped, path, n, seed):
    """Whether these samples are there, from a training that was stopped."""
    if not (stopped.exists() and path.exists()):
        return False
    with opened(path) as file:
        return file.attrs["seed"] == seed and len(file["x"]) == n


class Slabs:
    """Some rows of the file, SLAB of them a sample: what a DataLoader shuffles, shares out, and reads when needed."""

    def __init__(self, file, rows):
        self.file, self.starts = file, rows[::SLAB]

    def __len__(self):
        return len(self.starts)

    def __getitem__(self, i):
        start = self.starts[i]
        return self.file["x"][start : start + SLAB], self.file["y"][start : start + SLAB]


def joined(slabs):
    return tuple(np.concatenate(part) for part in zip(*slabs, strict=True))


def loaders(file, world, seed):
    """Of training, validation and test: 14, 1 and 1 of 16 parts of the file."""
    held = len(file["x"]) // 16
    slabs = -(-BATCH // SLAB // world.size)  # of a rank, as many for each
    training, validation, test = (Slabs(file, range(i * held, j * held)) for i, j in ((0, 14), (14, 15), (15, 16)))
    options = {"collate": joined, "prefetch": AHEAD, "world": world}
    data = nf.DataLoader(training, slabs * world.size, shuffle=True, rng=seed, **options)
    return data, *(nf.DataLoader(part, world.size, **options) for part in (validation, test))  # a slab of each rank


def periodic(k, n_in, n_out):
    return nf.Conv((k, k), n_in, n_out, pad=k // 2, pad_mode="circular", bias=False)


def field(x):
    return x[..., :1]


def constants(x):
    """(n, 1, 1, 3): they are the same in all cells."""
    return x[:, :1, :1, 1:]


def network(x, channels):
    """Linear in the field, as the solution is: windows on it, each weighed by what the constants say; sees five cells
    in each direction."""
    weights = nf.Chain(constants, nf.Dense(3, 32, nf.gelu), nf.Dense(32, channels))
    return nf.Chain(
        nf.Normalise.fit(x),
        nf.Parallel(nf.mul, nf.Chain(field, periodic(7, 1, channels)), weights),
        periodic(5, channels, 1),
    )


def loss(model, x, y):
    return nf.losses.mse(model(x), y)


def errors(u, truth):
    """Of each field: the root mean square of u - truth over that of truth, whose mean is 0."""
    return np.sqrt(np.square(u - truth).mean(axis=(1, 2, 3)) / np.square(truth).mean(axis=(1, 2, 3)))


def relative_error(u, truth):
    return errors(u, truth).mean()


def peak():
    """The most memory this process has held, in MiB."""
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


class Budget:
    """Ends a training that has taken more memory than so many MiB; each rank asks after each batch and epoch."""

    def __init__(self, limit):
        self.limit, self.before = limit, peak()

    def took(self):
        return peak() - self.before

    def on_batch(self, event):
        if self.took() > self.limit:
            raise SystemExit(f"transport.py: error: training took {self.took():.1f} MiB where --budget is {self.limit}")

    on_epoch = on_batch


def fit(data, validation, stopped, options, world, budget):
    """The network and its history. All ranks do the same, each on its slabs of every batch."""
    model = network(data.data.file["x"][:PART], options.channels)
    opt_state = nf.setup(nf.DistributedOptimizer(nf.Adam(1e-2), world), model)
    world.synchronize(model, opt_state)
    rate = nf.Schedule(nf.schedules.CosAnneal(1e-2, 0.0, options.epochs * len(data)), by="batch")
    callbacks = [rate, nf.Checkpoint(stopped), budget]
    history = nf.train(
        loss, model, data, opt_state, options.epochs, validation, callbacks, metrics=[relative_error], resume="auto"
    )
    return model, history


def test(step, data, world):
    """Mean errors, over the fields of all ranks, of the network, the field as it is, and mean constants."""
    found = []
    for x, y in data.stretch():
        u = x[..., :1]
        mean = solve(u[..., 0], np.tile((LOW + HIGH) / 2, (len(u), 1)))[..., None]
        found.append([errors(guess, y) for guess in (step(x), u, mean)])
    every = np.concatenate(found, axis=1)
    total = world.gather([every.shape[1], *every.sum(axis=1)]).sum(axis=0)
    return total[1:] / total[0]


def draw(path, fields, predicted, truth):
    rows = {"before": fields, "after": truth, "network": predicted, "network - after": predicted - truth}
    n = len(fields)
    fig = plots.figure(2.1 * n + 0.9, 7.6)
    grid = fig.subplots(len(rows), n)
    for axes, (name, row) in zip(grid, rows.items(), strict=True):
        limit = np.abs(row).max()
        for place, field in zip(axes, row, strict=True):
            picture = place.imshow(field[..., 0], cmap="RdBu_r", vmin=-limit, vmax=limit)
            place.set(xticks=[], yticks=[])
        axes[0].set_ylabel(name)
        fig.colorbar(picture, ax=axes, shrink=0.8)
    fig.savefig(path)


def milliseconds(f, *args):
    return 1000 * min(timeit.repeat(lambda: f(*args), number=3, repeat=5)) / 3


def report(history, samples, found, ranks):
    seconds, (network, still, mean) = sum(history.column("seconds")), found
    many = f"{ranks} rank{'s' * (ranks > 1)}"
    print(f"training       {len(history)} epochs of {samples} samples in {seconds:.1f} s, {many}")
    print(f"validation     relative error {history[-1]['relative_error']:.2%}")
    others = f"{still:.2%} if the field is left as it is, {mean:.2%} by the solver with mean constants"
    print(f"test           relative error {network:.2%}; {others}")


def report_speed(step, x):
    for title, n in (("speed", 1), ("", BATCH)):
        u, constants = x[:n, ..., 0], x[:n, 0, 0, 1:]
        ours, exact = milliseconds(step, x[:n]), milliseconds(solve, u, constants)
        print(f"{title:<13}  {n} at once: {ours:.2f} ms, {exact:.2f} ms by FFT, {exact / ours:.2f} times as fast")


def run(options, world):
    """Rank 0 makes the file, prints and writes."""
    path, stopped = options.out / "transport-data.h5", options.out / "transport-run.h5"
    budget = Budget(options.budget)
    if world.rank == 0 and not left(stopped, path, options.samples, options.seed):
        stopped.unlink(missing_ok=True)  # it has seen other samples
        write(path, options.samples, options.seed)
    world.barrier("the file of samples")
    nf.seed(options.seed)
    with opened(path) as file:
        data, validation, held = loaders(file, world, options.seed)
        model, history = fit(data, validation, stopped, options, world, budget)
        step = nf.compile(model)
        found = test(step, held, world)
        took = world.gather([budget.took()]).max()
        x, y = file["x"][-BATCH:], file["y"][-BATCH:]
    if world.rank == 0:
        nf.save(options.out / "transport.h5", model)
        draw(options.out / "transport.png", x[:4, ..., :1], step(x[:4]), y[:4])
        stopped.unlink()
        size = path.stat().st_size / MIB
        print(f"data           {options.samples} samples of {ROW / 1024:.0f} KiB, read {SLAB} at once: {size:.1f} MiB")
        print(f"memory         training took {took:.1f} MiB of a rank at most, within {options.budget}")
        report(history, len(data.data) * SLAB, found, world.size)
        report_speed(step, x)
        print(f"files          {options.out / 'transport.h5'}, {options.out / 'transport.png'}, {path}")


def arguments():
    written = "writes transport.h5, transport.png, transport-data.h5."
    parser = argparse.ArgumentParser(description=f"A network for winds and diffusion, from a file; {written}")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--samples", type=int, default=18 * UNIT, help=f"of the file, a multiple of {UNIT}")
    parser.add_argument("--budget", type=int, default=64, metavar="MIB", help="of memory, for training, of each rank")
    parser.add_argument("--channels", type=int, default=12, help="of the windows on the field")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where the files go")
    options = parser.parse_args()
    if min(options.epochs, options.channels, options.budget) < 1 or options.seed < 0:
        parser.error("at least 1 epoch, 1 channel, 1 MiB and seed 0 are needed")
    if options.samples < UNIT or options.samples % UNIT:
        parser.error(f"a multiple of {UNIT} samples is needed")
    return options


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    with nf.distributed.init() as world:
        run(options, world)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
