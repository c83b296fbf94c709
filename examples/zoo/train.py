"""A zoo of two models: handwritten digits by a convolutional network, and the number of sunspots by an LSTM.

From the top folder: python -m examples.zoo.train --out zoo. Takes some seconds. Writes the folder zoo: index.json, and
each model with its card (what it was trained on, how good it is); signed, if --key names a private key.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import numbaflux as nf
from examples import digits, sunspots

YEARS = 40  # the last ones, which are forecast


def train_digits(epochs, seed):
    """The network of examples/digits.py, and its card."""
    train, validation, test = digits.prepare(seed)
    model = digits.network(train[0])
    data = nf.DataLoader(train, batchsize=32, shuffle=True)
    opt_state = nf.setup(nf.Adam(3e-3), model)
    rate = nf.Schedule(nf.schedules.CosAnneal(3e-3, 0.0, epochs * len(data)), by="batch")
    nf.train(digits.loss, model, data, opt_state, epochs, validation, callbacks=[rate], progress=False)
    x, y = test
    return model, {
        "summary": "A digit from an image of 8 x 8 pixels of 0 to 16: (n, 8, 8, 1) to scores (n, 10).",
        "data": f"scikit-learn's load_digits, 1 797 images: {len(train[1])} trained on, {len(y)} tested; CC BY 4.0.",
        "metrics": {"test accuracy": round(float(nf.metrics.accuracy(model(x), y)), 4)},
        "licence": "MIT",
    }


def forecaster(roots):
    """(n, years, 1) roots of sunspots -> (n, years, 1): at each year the root of the next."""
    return nf.Chain(nf.Normalise.fit(roots.reshape(-1, 1)), nf.LSTM(1, 16), nf.Dense(16, 1))


def loss(model, x, y):
    return nf.losses.mse(model(x)[:, 4:], y[:, 4:])  # the first years lack their past


def train_sunspots(epochs, seed):
    """An LSTM that reads a series year by year, and its card."""
    years, roots = sunspots.series()
    past = roots[:-YEARS]
    model = forecaster(past)
    windows = np.lib.stride_tricks.sliding_window_view(past, 33)[..., None]
    data = nf.DataLoader((windows[:, :-1], windows[:, 1:]), batchsize=32, shuffle=True, rng=seed)
    nf.train(loss, model, data, nf.setup(nf.Adam(1e-2), model), epochs, progress=False)
    found = np.maximum(model(roots[None, :-1, None])[0, -YEARS:, 0], 0) ** 2
    truth, before = roots[-YEARS:] ** 2, roots[-YEARS - 1 : -1] ** 2
    return model, {
        "summary": "The number of sunspots of the next year: square roots (n, years, 1) to those one year on.",
        "data": f"statsmodels' sunspots, {years[0]} to {years[-YEARS - 1]}; tested on {years[-YEARS]} to {years[-1]}.",
        "metrics": {
            "test RMSE": round(float(nf.metrics.rmse(found, truth)), 2),
            "test RMSE of persistence": round(float(nf.metrics.rmse(before, truth)), 2),
        },
        "licence": "MIT",
    }


MODELS = {"digits-cnn": (train_digits, 20), "sunspots-lstm": (train_sunspots, 60)}  # name: how, epochs


def arguments():
    parser = argparse.ArgumentParser(prog="train.py", description="Train two models and put them into a new zoo.")
    parser.add_argument("--epochs", type=int, help="of each model: as many as it needs unless told")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--version", default="1.0.0", help="of both: 1.0.0 unless told")
    parser.add_argument("--key", metavar="FILE", help="a private key to sign with: numbaflux zoo keys new FILE")
    parser.add_argument("--out", type=Path, default=Path("zoo"), metavar="DIR", help="the folder of the zoo")
    options = parser.parse_args()
    if (options.epochs is not None and options.epochs < 1) or options.seed < 0:
        parser.error("at least 1 epoch and seed 0 are needed")
    return options


def main():
    options = arguments()
    for name, (train, epochs) in MODELS.items():
        nf.seed(options.seed)
        model, card = train(options.epochs or epochs, options.seed)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "model.h5")
            nf.save(file, model)
            entry = nf.zoo.add(options.out, file, card, name=name, version=options.version)
        if options.key is not None:
            entry = nf.zoo.sign(options.out, name, options.key, options.version)
        told = ", ".join(f"{metric} {value}" for metric, value in card["metrics"].items())
        print(f"{name:<13}  {entry.version}, {entry.trust}: {told}")
    print(f"{'verified':<13}  {len(nf.zoo.verify(options.out))} models in {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
