"""Regression that knows how unsure it is: how diabetes goes on in a year, from ten numbers measured of a patient.

An ensemble of networks, each of which predicts a mean and a variance, learns scikit-learn's 442 patients. Five-fold
cross-validation predicts each of them unseen. Takes a few seconds, and writes diabetes.h5 (the ensemble, trained on all
patients) and diabetes.png (predictions with error bars, calibration, error against predicted error).
"""

import argparse
import time
from pathlib import Path
from statistics import NormalDist

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import numbaflux as nf
from numbaflux import plots

LEVELS = np.arange(0.05, 1.0, 0.05)  # shares of patients that intervals are asked to hold


def patients():
    """Ten measurements (442, 10) and the progression of the disease one year later (442, 1)."""
    x, y = load_diabetes(return_X_y=True, scaled=False)
    return x.astype(np.float32), y.astype(np.float32).reshape(-1, 1)


def mean_and_variance(output):
    return output[:, :1], nf.softplus(output[:, 1:]) + 1e-3


def loss(model, x, y):
    """Mean negative log likelihood of normal distributions, without its constant (Nix and Weigend 1994, equation 5)."""
    mean, variance = model(x)
    return (np.log(variance) + (y - mean) ** 2 / variance).mean() / 2


def fit(x, y, members, epochs):
    """An ensemble (Lakshminarayanan et al. 2017); each network leaves out another part of the data and stops by it."""
    target = nf.Normalise.fit(y)
    networks = []
    for (x_in, y_in), (x_out, y_out) in nf.kfolds((x, y), members, shuffle=True):
        network = nf.Chain(nf.Normalise.fit(x_in), nf.Dense(10, 32, nf.relu), nf.Dense(32, 2), mean_and_variance)
        stop = nf.EarlyStopping(patience=10, restore_best=True)
        opt_state = nf.setup(nf.AdamW(1e-2, decay=1e-2), network)
        data = nf.DataLoader((x_in, target(y_in)), batchsize=32, shuffle=True)
        left_out = (x_out, target(y_out))
        nf.train(loss, network, data, opt_state, epochs, validation=left_out, callbacks=[stop], progress=False)
        networks.append(network)
    return {"networks": networks, "target": target}


def predict(ensemble, x):
    """Mean and two variances (n, 1), in the units of y: of the data's noise, and of the networks' own doubt."""
    means, noises = map(np.stack, zip(*[network(x) for network in ensemble["networks"]], strict=True))
    shift, scale = ensemble["target"].mean, ensemble["target"].std
    return means.mean(0) * scale + shift, noises.mean(0) * scale**2, means.var(0) * scale**2


def cross_validate(x, y, members, epochs):
    """Truth, mean, two variances and the prediction of ridge regression, (442, 1) each, of patients when unseen."""
    parts = []
    for (x_in, y_in), (x_out, y_out) in nf.kfolds((x, y), 5, shuffle=True):
        ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 30))).fit(x_in, y_in.ravel())
        ensemble = fit(x_in, y_in, members, epochs)
        parts.append((y_out, *predict(ensemble, x_out), ridge.predict(x_out).reshape(-1, 1)))
    return tuple(map(np.concatenate, zip(*parts, strict=True)))


def coverage(error, deviation, level):
    """The share of errors inside the interval that should hold `level` of them."""
    return float(np.mean(np.abs(error) <= NormalDist().inv_cdf((1 + level) / 2) * deviation))


def draw(path, truth, mean, deviation):
    fig = plots.figure(14, 4.6)
    left, middle, right = fig.subplots(1, 3)
    for axes in (left, middle, right):
        axes.grid(color=plots.GRID)
        axes.set_axisbelow(True)
    blue, red = plots.COLOURS[:2]
    some = (truth[:120, 0], mean[:120, 0], 1.645 * deviation[:120, 0])
    left.errorbar(*some, fmt="o", color=blue, ecolor=f"{blue}44", markersize=3)
    left.axline((150, 150), slope=1, color=red, linewidth=1)
    left.set(xlabel="progression", ylabel="predicted, with 90 % interval")
    left.set_title("120 patients, when unseen", loc="left")
    held = [coverage(mean - truth, deviation, level) for level in LEVELS]
    middle.plot(LEVELS, held, "o-", color=blue, markersize=4)
    middle.axline((0, 0), slope=1, color=red, linewidth=1)
    middle.set(xlabel="share an interval should hold", ylabel="share it held")
    middle.set_title("Calibration", loc="left")
    groups = np.array_split(np.argsort(deviation.ravel()), 6)  # from the surest to the least sure
    foreseen = [float(np.sqrt((deviation[g] ** 2).mean())) for g in groups]
    right.plot(foreseen, [nf.metrics.rmse(mean[g], truth[g]) for g in groups], "o", color=blue)
    right.axline((50, 50), slope=1, color=red, linewidth=1)
    right.set(xlabel="error foreseen", ylabel="error found (RMSE)")
    right.set_title("Patients in six groups, by how sure the ensemble is", loc="left")
    fig.savefig(path)


def arguments():
    parser = argparse.ArgumentParser(description="Regression with uncertainty; writes diabetes.h5 and diabetes.png.")
    parser.add_argument("--epochs", type=int, default=200, help="at most; training stops where it gains nothing")
    parser.add_argument("--members", type=int, default=5, help="networks of an ensemble")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where the two files go")
    options = parser.parse_args()
    if options.epochs < 1 or options.members < 2 or options.seed < 0:
        parser.error("at least 1 epoch, 2 members and seed 0 are needed")
    return options


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    file, picture = options.out / "diabetes.h5", options.out / "diabetes.png"

    nf.seed(options.seed)
    x, y = patients()
    start = time.perf_counter()
    truth, mean, noise, doubt, ridge = cross_validate(x, y, options.members, options.epochs)
    nf.save(file, fit(x, y, options.members, options.epochs))
    seconds = time.perf_counter() - start
    deviation = np.sqrt(noise + doubt)
    draw(picture, truth, mean, deviation)

    rmse, r2 = nf.metrics.rmse, nf.metrics.r2
    print(f"error          RMSE {rmse(mean, truth):.2f}, ridge regression {rmse(ridge, truth):.2f}")
    print(f"explained      r2 {r2(mean, truth):.3f}, ridge regression {r2(ridge, truth):.3f}")
    print(f"90 % interval  holds {coverage(mean - truth, deviation, 0.9):.1%} of {len(truth)} patients when unseen")
    print(f"uncertainty    {np.sqrt(noise.mean()):.1f} of the data, {np.sqrt(doubt.mean()):.1f} of the networks")
    print(f"training       {6 * options.members} networks in {seconds:.1f} s")
    print(f"files          {file}, {picture}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
