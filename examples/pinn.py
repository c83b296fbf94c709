"""A network as the solution of an equation: Burgers' equation, du/dt + u du/dx = nu d2u/dx2, two shocks that meet.

The network is u(x, t) itself. It sees no solution, only where the equation, the start and the two ends do not hold: the
loss has its second derivative in it. Takes some seconds, and writes pinn.h5 (the network) and pinn.png (the solution,
its error, profiles). An exact solution (Cole and Hopf) tells how far it is off.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import numbaflux as nf
from numbaflux import plots

VISCOSITY, SIDE, END = 0.05, 1.0, 1.5  # x in -SIDE..SIDE, t in 0..END
SPEEDS = (1.0, 0.0, -1.0)  # what u is on the left, between the shocks, on the right
EPOCH, POINTS, EDGE = 100, 512, 64  # steps an epoch; places a step inside, and at the start and at each end


def exact(x, t):
    """u in float64: the mean of SPEEDS, weighted; between two of them lies a shock, at x = -0.5 and 0.5 first."""
    x, t = np.asarray(x, np.float64), np.asarray(t, np.float64)
    powers = np.array([(c * c * t / 2 - c * x - abs(c) / 2) / (2 * VISCOSITY) for c in SPEEDS])
    weights = np.exp(powers - powers.max(axis=0))
    return np.tensordot(SPEEDS, weights / weights.sum(axis=0), 1)


def network(width):
    return nf.Chain(
        nf.Dense(2, width, nf.tanh), nf.Dense(width, width, nf.tanh), nf.Dense(width, width, nf.tanh),
        nf.Dense(width, 1),
    )  # fmt: skip


def at(u, x, t):
    """u at places x and times t, columns (n, 1)."""
    return u(nf.cat(x, t))


def residual(u, x, t):
    """By how much the equation does not hold. Rows do not mix, so the gradient of a sum has the derivatives of each."""

    def slope(x):
        (_, value), (dx, dt) = nf.withgradient(with_sum, x, t)
        return dx.sum(), (value, dx, dt)

    def with_sum(x, t):
        value = at(u, x, t)
        return value.sum(), value

    (_, (value, dx, dt)), dxx = nf.withgradient(slope, x)
    return dt + value * dx - VISCOSITY * dxx


def loss(u, x, t, edge_x, edge_t, edge_u):
    return (residual(u, x, t) ** 2).mean() + nf.losses.mse(at(u, edge_x, edge_t), edge_u)


def draw_points(rng):
    """Places and times inside; and at the start and the two ends, with what u is there."""
    x, t = rng.uniform(-SIDE, SIDE, (POINTS, 1)), rng.uniform(0, END, (POINTS, 1))
    edge_x, edge_t = rng.uniform(-SIDE, SIDE, (3 * EDGE, 1)), rng.uniform(0, END, (3 * EDGE, 1))
    edge_t[:EDGE], edge_x[EDGE : 2 * EDGE], edge_x[2 * EDGE :] = 0, -SIDE, SIDE
    return [part.astype(np.float32) for part in (x, t, edge_x, edge_t, exact(edge_x, edge_t))]


def fit(width, epochs, rng):
    """The network, and the seconds that its training took."""
    u = network(width)
    opt_state = nf.setup(nf.Adam(1e-2), u)
    step = nf.compile(loss, u, opt_state)
    rate = nf.schedules.CosAnneal(1e-2, 0.0, epochs * EPOCH)
    start = time.perf_counter()
    for i in range(1, epochs * EPOCH + 1):
        nf.adjust(opt_state, eta=rate(i))
        value = step(*draw_points(rng))
        if i % (10 * EPOCH) == 0:
            print(f"epoch {i // EPOCH:>3}      loss {value:.1e}", flush=True)
    return u, time.perf_counter() - start


def evaluate(u):
    """On a grid (times, places): u, the exact solution, and by how much the equation does not hold."""
    t, x = np.meshgrid(np.linspace(0, END, 61), np.linspace(-SIDE, SIDE, 129), indexing="ij")
    columns = [part.astype(np.float32).reshape(-1, 1) for part in (x, t)]
    found, left = (f(u, *columns).reshape(x.shape) for f in (at, nf.compile(residual)))
    return found, exact(x, t), left


def draw(path, found, right):
    fig = plots.figure(12, 3.8)
    maps = fig.subplots(1, 3, width_ratios=[1, 1, 1.3])
    for axes, title, field in zip(maps, ("u", "u - exact"), (found, found - right), strict=False):
        limit = np.abs(field).max()
        picture = axes.imshow(field, origin="lower", extent=(-SIDE, SIDE, 0, END), aspect="auto", cmap="RdBu_r",
                              vmin=-limit, vmax=limit)  # fmt: skip
        axes.set(xlabel="x", ylabel="t")
        axes.set_title(title, loc="left")
        fig.colorbar(picture, ax=axes)
    places = np.linspace(-SIDE, SIDE, found.shape[1])
    for row, colour in zip(range(0, len(found), 15), plots.COLOURS, strict=True):
        maps[2].plot(places, right[row], color=colour, label=f"t = {END * row / (len(found) - 1):.2f}")
        maps[2].plot(places[::4], found[row, ::4], "o", color=colour, markersize=3)
    maps[2].set(xlabel="x", ylabel="u: network (dots), exact (lines)")
    maps[2].grid(color=plots.GRID)
    maps[2].legend(frameon=False)
    fig.savefig(path)


def arguments():
    parser = argparse.ArgumentParser(description="A network that solves Burgers' equation; writes pinn.h5, pinn.png.")
    parser.add_argument("--epochs", type=int, default=60, help=f"of {EPOCH} steps")
    parser.add_argument("--width", type=int, default=24, help="of the hidden layers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where the two files go")
    options = parser.parse_args()
    if options.epochs < 1 or options.width < 1 or options.seed < 0:
        parser.error("at least 1 epoch, width 1 and seed 0 are needed")
    return options


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    file, picture = options.out / "pinn.h5", options.out / "pinn.png"

    nf.seed(options.seed)
    u, seconds = fit(options.width, options.epochs, np.random.default_rng(options.seed))
    nf.save(file, u)
    found, right, left = evaluate(u)
    draw(picture, found, right)

    size = np.sqrt(np.square(right).mean())
    error, still = (np.sqrt(np.square(field - right).mean()) / size for field in (found, right[:1]))
    steps = options.epochs * EPOCH
    print(f"solution       relative error {error:.2%}; {still:.2%} if the start is left as it is")
    print(f"worst place    off by {np.abs(found - right).max():.1e}")
    print(f"equation       off by {np.sqrt(np.square(left).mean()):.1e}, root mean square")
    print(f"training       {steps} steps of {POINTS} places in {seconds:.1f} s, {1000 * seconds / steps:.2f} ms each")
    print(f"files          {file}, {picture}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
