"""A layer, two operations and a loss of one's own: the velocity of a flow from measurements, many of them wrong.

A network of sines (Sitzmann et al. 2020) learns the field by a loss that forgives outliers, and by least squares for
comparison; its derivatives give the vorticity. Takes some seconds, and writes custom.h5 (the network) and custom.png
(measurements, both fields, the vorticity).
"""

import argparse
import math
import time
from pathlib import Path

import numba
import numpy as np

import numbaflux as nf
from numbaflux import plots

SIDE = 50.0  # mm: places lie in a square of twice that
SPREAD = 0.05  # mm/s: standard deviation of the noise in a velocity; what differs by much more is an outlier

# --------------------------------------------------------------------------------------------------------- operations
# A kernel fills its first argument from the others. It gets a part of each array, whatever the number of threads;
# it must not allocate, raise or print.


@numba.njit(error_model="numpy")
def sine_kernel(y, x):
    for i in range(y.size):
        y[i] = math.sin(x[i])


@numba.njit(error_model="numpy")
def sine_grad_kernel(dx, x, dy):
    for i in range(dx.size):
        dx[i] = math.cos(x[i]) * dy[i]


@numba.njit(error_model="numpy")
def distance_kernel(y, a, b):
    """y (n, 1), a and b (n, d): a row at a time."""
    for i in range(y.shape[0]):
        total = y.dtype.type(0)
        for k in range(a.shape[1]):
            total += (a[i, k] - b[i, k]) * (a[i, k] - b[i, k])
        y[i, 0] = total


@numba.njit(error_model="numpy")
def distance_grad_kernel(da, a, b, dy):
    for i in range(da.shape[0]):
        for k in range(da.shape[1]):
            da[i, k] = 2 * (a[i, k] - b[i, k]) * dy[i, 0]


def pair(a, b, *rest):
    """What comes out where two matrices of one shape go in: a column."""
    if a.shape != b.shape or len(a.shape) != 2:
        raise nf.ShapeError(f"distance: a and b must be of one shape (n, d), got {a.shape} and {b.shape}")
    return nf.Spec((a.shape[0], 1), a.dtype)


# An operation: its name, the rule for its result's shape and dtype, its kernel with how arrays are cut (anywhere:
# elements; between rows: rows), and for each input how its gradient is made of operations. The derivative of a sine's
# gradient is again made of sines, so that gradients of gradients work.
SINE_GRAD = nf.Op(
    "sine_grad",
    lambda x, dy: x,
    nf.lowering.elements(sine_grad_kernel),
    (lambda c, g: -g * c.inputs[1] * c.apply(SINE, c.x), lambda c, g: c.apply(SINE_GRAD, c.x, g)),
)
SINE = nf.Op("sine", lambda x: x, nf.lowering.elements(sine_kernel), (lambda c, dy: c.apply(SINE_GRAD, c.x, dy),))
DISTANCE_GRAD = nf.Op(
    "distance_grad", lambda a, b, dy: a, nf.lowering.rows(distance_grad_kernel), None, "first derivatives are enough"
)
DISTANCE = nf.Op(
    "distance",
    pair,
    nf.lowering.rows(distance_kernel),
    (lambda c, dy: c.apply(DISTANCE_GRAD, *c.inputs, dy), lambda c, dy: -c.apply(DISTANCE_GRAD, *c.inputs, dy)),
)


def sine(x):
    return nf.apply(SINE, x)


# ------------------------------------------------------------------------------------------------------ layer and loss


@nf.layer
class Waves:
    """sin((x / unit) weight + bias): weight and bias are trained, the unit belongs to the model but is not."""

    weight: np.ndarray = nf.param()
    bias: np.ndarray = nf.param()
    unit: np.ndarray = nf.buffer()

    def __init__(self, n_in, n_out, unit):
        self.weight, self.bias = nf.init.glorot_uniform((n_in, n_out)), np.zeros(n_out, np.float32)
        self.unit = np.array([unit], np.float32)

    def __call__(self, x):
        return sine(x / self.unit @ self.weight + self.bias)


def forgiving_loss(model, x, y):
    """The negative log likelihood of a Cauchy distribution, without its constant: far outliers hardly count."""
    return np.log(1 + nf.apply(DISTANCE, model(x), y) / SPREAD**2).mean()


def least_squares(model, x, y):
    return nf.losses.mse(model(x), y)


def check():
    """Raise unless the gradients of operations, layer and loss are what differences say."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    nf.check_gradients(lambda x: sine(x).sum(), x)
    nf.check_gradients(lambda x: nf.gradient(lambda x: sine(x).sum(), x).sum(), x)
    nf.check_gradients(lambda a, b: nf.apply(DISTANCE, a, b).sum(), x, y)
    nf.check_gradients(forgiving_loss, nf.Chain(Waves(2, 3, 2.0), nf.Dense(3, 2, sine)), x, y)


# ------------------------------------------------------------------------------------------------------------ the flow


def flow(x):
    """Velocities (n, 2) in mm/s and vorticity (n, 1) in 1/s at places x (n, 2) in mm: vortices side by side."""
    a, b = np.pi * x[:, :1] / SIDE, np.pi * x[:, 1:] / SIDE
    velocity = np.concatenate([-np.cos(a) * np.sin(b), np.sin(a) * np.cos(b)], axis=1)
    return velocity, 2 * np.pi / SIDE * np.cos(a) * np.cos(b)


def measure(n, wrong, rng):
    """Places, velocities with noise, and which of them are wrong: those point anywhere."""
    x = rng.uniform(-SIDE, SIDE, (n, 2))
    y = flow(x)[0] + rng.normal(scale=SPREAD, size=(n, 2))
    outlier = rng.random(n) < wrong
    y[outlier] = rng.uniform(-2, 2, (outlier.sum(), 2))
    return x.astype(np.float32), y.astype(np.float32), outlier


def fit(loss, x, y, epochs):
    model = nf.Chain(Waves(2, 32, SIDE), nf.Dense(32, 32, sine), nf.Dense(32, 2))
    opt_state = nf.setup(nf.Adam(1e-2), model)
    data = nf.DataLoader((x, y), batchsize=100, shuffle=True)
    rate = nf.Schedule(nf.schedules.CosAnneal(1e-2, 0.0, epochs * len(data)), by="batch")
    nf.train(loss, model, data, opt_state, epochs, callbacks=[rate], progress=False)
    return model


def vorticity(model, x):
    """dv/dx - du/dy (n, 1) of the network's velocities (u, v); one gradient has all rows, since rows do not mix."""
    du, dv = (nf.gradient(lambda x, i=i: model(x)[:, i].sum(), x) for i in (0, 1))
    return dv[:, :1] - du[:, 1:]


def draw(path, x, y, outlier, place, fields, turning):
    """fields: name -> velocities at the places; turning: name -> vorticity there."""
    fig = plots.figure(12.5, 7)
    grid = fig.subplots(2, 3)
    blue, red = plots.COLOURS[:2]
    right = ~outlier
    grid[0, 0].quiver(*x[right].T, *y[right].T, color=blue, scale=25, width=0.004)
    grid[0, 0].quiver(*x[outlier].T, *y[outlier].T, color=red, scale=25, width=0.004)
    grid[0, 0].set_title("Measured velocities, wrong ones in red", loc="left")
    for axes, (name, field) in zip(grid[0, 1:], fields.items(), strict=True):
        axes.quiver(*place[::3].T, *field[::3].T, color=blue, scale=25, width=0.004)
        axes.set_title(f"Network, {name}", loc="left")
    extent, side = (-SIDE, SIDE, -SIDE, SIDE), math.isqrt(len(place))
    for axes, (name, field) in zip(grid[1], turning.items(), strict=True):
        shown = {"extent": extent, "origin": "lower", "cmap": "RdBu_r", "vmin": -0.15, "vmax": 0.15}
        picture = axes.imshow(field.reshape(side, side), **shown)
        axes.set_title(f"Vorticity, {name}", loc="left")
    fig.colorbar(picture, ax=grid[1], label="1/s")
    for axes in grid.flat:
        axes.set(aspect="equal", xlim=(-SIDE, SIDE), ylim=(-SIDE, SIDE))
    fig.savefig(path)


def errors(fields, truth):
    return ", ".join(f"{nf.metrics.rmse(field, truth):.4f} by {name}" for name, field in fields.items())


def arguments():
    parser = argparse.ArgumentParser(description="Layer, operations, loss of one's own; writes custom.h5, custom.png.")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--wrong", type=float, default=0.25, help="share of the measurements that are outliers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where the two files go")
    options = parser.parse_args()
    if options.epochs < 1 or not 0 <= options.wrong <= 1 or options.seed < 0:
        parser.error("at least 1 epoch, a share from 0 to 1 and seed 0 are needed")
    return options


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    file, picture = options.out / "custom.h5", options.out / "custom.png"

    check()
    nf.seed(options.seed)
    x, y, outlier = measure(1000, options.wrong, np.random.default_rng(options.seed))
    start = time.perf_counter()
    losses = {"forgiving loss": forgiving_loss, "least squares": least_squares}
    models = {name: fit(loss, x, y, options.epochs) for name, loss in losses.items()}
    seconds = time.perf_counter() - start

    line = np.linspace(-SIDE, SIDE, 40, dtype=np.float32)
    place = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    velocity, turning = flow(place)
    fields = {name: model(place) for name, model in models.items()}
    vorticities = {name: vorticity(model, place) for name, model in models.items()}
    model, output = models["forgiving loss"], fields["forgiving loss"]
    nf.save(file, model)
    again = nf.load(file, layers=[Waves], functions=[sine])(place)
    draw(picture, x, y, outlier, place, fields, {"true": turning} | vorticities)

    print("gradients      as differences say: of both operations, the layer and the loss")
    print(f"velocity       RMSE in mm/s: {errors(fields, velocity)}")
    print(f"vorticity      RMSE in 1/s: {errors(vorticities, turning)}")
    print(f"training       2 networks in {seconds:.1f} s, {outlier.sum()} of {len(x)} measurements wrong")
    print(f"files          {file}, {picture}")
    same = np.array_equal(output.view(np.uint32), again.view(np.uint32))
    print(f"loaded again   the same predictions {'bit for bit' if same else 'NOT: the file or the model is damaged'}")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
