"""A network in place of a solver: Burgers' equation in two dimensions, du/dt + d(u u / 2)/dx + d(u u / 2)/dy = nu Δu.

A finite-difference solver on a periodic grid makes the data; a convolutional network learns what 16 of its steps do,
and keeps the mass. Takes some seconds, and writes surrogate.h5 (the network) and surrogate.png (truth, prediction,
error). The solver is NumPy; one as simple as this, compiled, would be faster than the network: surrogates pay where
steps are dear.
"""

import argparse
import timeit
from pathlib import Path

import numpy as np

import numbaflux as nf
from numbaflux import plots

GRID, VISCOSITY, DT, STRIDE = 32, 1e-2, 4e-3, 16  # cells along a side of length 1; STRIDE: solver steps a network step
FRAMES = 30  # network steps of a test


def solve(u, steps):
    """Fields (n, h, w, 1) after explicit steps: what leaves a cell enters the next one, so that mass is kept."""
    for _ in range(steps):
        change = np.zeros_like(u)
        for axis in (1, 2):
            after = np.roll(u, -1, axis)
            flux = (u * u + after * after) / 4 - VISCOSITY * GRID * (after - u)  # through the face between the two
            change += np.roll(flux, 1, axis) - flux
        u = u + DT * GRID * change
    return u


def start(n, rng):
    """Smooth random fields (n, GRID, GRID, 1): waves of up to three periods, of amplitudes up to 1, and a mean."""
    place = 2 * np.pi * np.arange(GRID) / GRID
    waves = [(a, b) for a in range(-3, 4) for b in range(-3, 4) if (a, b) > (0, 0)]
    angles = np.array([a * place[:, None] + b * place for a, b in waves])
    sizes = rng.normal(size=(2, n, len(waves))) / [1 + a * a + b * b for a, b in waves]
    u = np.einsum("tnk,tkij->nij", sizes, np.array([np.cos(angles), np.sin(angles)]))
    u *= rng.uniform(0.5, 1.0, (n, 1, 1)) / np.abs(u).max(axis=(1, 2), keepdims=True)
    return (u + rng.uniform(-0.3, 0.3, (n, 1, 1)))[..., None]


def trajectories(n, frames, rng):
    """(frames + 1, n, GRID, GRID, 1), STRIDE solver steps from one frame to the next."""
    frame = start(n, rng)
    found = [frame]
    for _ in range(frames):
        found.append(solve(found[-1], STRIDE))
    return np.array(found, np.float32)


def wrap(x):
    """One more cell on each side: the one from the side across."""
    x = nf.concatenate([x[:, -1:], x, x[:, :1]], axis=1)
    return nf.concatenate([x[:, :, -1:], x, x[:, :, :1]], axis=2)


def keep_mass(change):
    return change - change.mean(axis=(1, 2), keepdims=True)


def network(channels):
    """The field plus a change that is learned; a cell sees four cells in each direction."""
    return nf.SkipConnection(
        nf.Chain(
            wrap, nf.Conv((3, 3), 1, channels, nf.gelu),
            wrap, nf.Conv((3, 3), channels, channels, nf.gelu),
            wrap, nf.Conv((3, 3), channels, channels, nf.gelu),
            wrap, nf.Conv((3, 3), channels, 1),
            keep_mass,
        ),
        nf.add,
    )  # fmt: skip


def loss(model, x, y):
    return nf.losses.mse(model(x), y)


def rollout(step, u, frames):
    """(frames + 1, n, GRID, GRID, 1): every frame from the one before."""
    found = [u]
    for _ in range(frames):
        found.append(step(found[-1]))
    return np.array(found)


def relative_error(u, truth):
    """Of each frame: the root mean square of u - truth over that of truth without its mean, averaged over fields."""
    wrong = np.sqrt(np.square(u - truth).mean(axis=(2, 3, 4)))
    return (wrong / truth.std(axis=(2, 3, 4))).mean(axis=1)


def fit(frames, channels, epochs):
    """A network that takes each frame (frames, n, GRID, GRID, 1) to the next one; and its history."""
    x, y = (part.reshape(-1, GRID, GRID, 1) for part in (frames[:-1], frames[1:]))
    model = network(channels)
    opt_state = nf.setup(nf.Adam(1e-2), model)
    data = nf.DataLoader((x, y), batchsize=4, shuffle=True)
    rate = nf.Schedule(nf.schedules.CosAnneal(1e-2, 0.0, epochs * len(data)), by="batch")
    return model, nf.train(loss, model, data, opt_state, epochs, callbacks=[rate])


def draw(path, truth, predicted, errors):
    fig = plots.figure(12.5, 5.4)
    left, right = fig.subfigures(1, 2, width_ratios=[2.2, 1])
    frames = np.linspace(0, FRAMES, 5).astype(int)
    rows = {"solver": truth, "network": predicted, "network - solver": predicted - truth}
    grid = left.subplots(3, len(frames))
    for axes, (name, fields) in zip(grid, rows.items(), strict=True):
        limit = np.abs(fields[:, 0]).max()
        for place, frame in zip(axes, frames, strict=True):
            picture = place.imshow(fields[frame, 0, ..., 0], cmap="RdBu_r", vmin=-limit, vmax=limit)
            place.set(xticks=[], yticks=[])
        axes[0].set_ylabel(name)
        left.colorbar(picture, ax=axes, shrink=0.8)
    for place, frame in zip(grid[0], frames, strict=True):
        place.set_title(f"t = {frame * STRIDE * DT:.2f}", fontsize=10)
    axes = right.subplots()
    axes.plot(np.arange(1, FRAMES + 1) * STRIDE * DT, errors[1:], color=plots.COLOURS[0])
    axes.set(xlabel="t", ylabel="relative error, mean of the test fields", ylim=(0, None))
    axes.grid(color=plots.GRID)
    axes.set_title("Roll-out", loc="left")
    fig.savefig(path)


def milliseconds(f, u):
    return 1000 * min(timeit.repeat(lambda: f(u), number=3, repeat=5)) / 3


def arguments():
    parser = argparse.ArgumentParser(description="A network for Burgers' equation; writes surrogate.h5, surrogate.png.")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--channels", type=int, default=12, help="of the hidden layers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where the two files go")
    options = parser.parse_args()
    if options.epochs < 1 or options.channels < 1 or options.seed < 0:
        parser.error("at least 1 epoch, 1 channel and seed 0 are needed")
    return options


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    file, picture = options.out / "surrogate.h5", options.out / "surrogate.png"

    nf.seed(options.seed)
    rng = np.random.default_rng(options.seed)
    training, truth = trajectories(40, 10, rng), trajectories(16, FRAMES, rng)
    model, history = fit(training, options.channels, options.epochs)
    nf.save(file, model)

    step = nf.compile(model)
    predicted = rollout(step, truth[0], FRAMES)
    errors = relative_error(predicted, truth)
    still = relative_error(truth[:1], truth[1:2])[0]
    mass = np.abs(predicted.mean(axis=(2, 3, 4), dtype=np.float64) - truth[0].mean(axis=(1, 2, 3), dtype=np.float64))
    draw(picture, truth, predicted, errors)

    print(f"one step       relative error {errors[1]:.2%}; {still:.2%} if the field is left as it is")
    print(f"roll-out       relative error {errors[-1]:.2%} after {FRAMES} steps, {FRAMES * STRIDE} of the solver")
    print(f"mass           changes by {mass.max():.1e} at most in the roll-out")
    for title, n in (("speed", 1), ("", 16)):
        ours, theirs = milliseconds(step, truth[0, :n]), milliseconds(lambda u: solve(u, STRIDE), truth[0, :n])
        ratio = f"{theirs / ours:.1f} times as fast"
        print(f"{title:<13}  {n} at once: {ours:.2f} ms, {theirs:.2f} ms by the solver, {ratio}")
    seconds, pairs = sum(history.column("seconds")), training[1:].size // GRID**2
    print(f"training       {len(history)} epochs of {pairs} pairs of frames in {seconds:.1f} s")
    print(f"files          {file}, {picture}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
