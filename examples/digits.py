"""Handwritten digits, start to end: train, test, save, load, predict.

A convolutional network in the manner of LeNet-5 (LeCun et al. 1998) learns scikit-learn's 1 797 images of 8 x 8 pixels.
Takes a few seconds, and writes digits.h5 (the model) and digits.png (learning curves, confusion matrix, the digits it
got wrong).
"""

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import numbaflux as nf
from numbaflux import plots


def loss(model, x, y):
    return nf.losses.logitcrossentropy(model(x), y)


def prepare(seed):
    """Training, validation and test data (70, 10, 20 % of every digit): images (n, 8, 8, 1) of 0 to 16, and labels."""
    pixels, labels = load_digits(return_X_y=True)
    images = pixels.astype(np.float32).reshape(-1, 8, 8, 1)
    return nf.splitobs((images, labels), at=(0.7, 0.1), shuffle=True, stratified=labels, rng=seed)


def network(images):
    """(n, 8, 8, 1) -> scores (n, 10); mean and deviation are those of the training images, and belong to the model."""
    return nf.Chain(
        nf.Normalise.fit(images),
        nf.Conv((5, 5), 1, 16, nf.relu, pad="same"),
        nf.MaxPool((2, 2)),
        nf.Conv((3, 3), 16, 32, nf.relu, pad="same"),
        nf.MaxPool((2, 2)),
        nf.flatten,
        nf.Dense(128, 64, nf.relu),
        nf.Dense(64, 10),
    )


def draw(path, history, output, test):
    """One figure: loss, accuracy and confusion matrix, and below them the digits that were predicted wrongly."""
    x, y = test
    fig = plots.figure(12.5, 6.2)
    above, below = fig.subfigures(2, 1, height_ratios=[3, 1.15])
    left, middle, right = above.subplots(1, 3)
    plots.loss_curves(left, history)
    left.set_title("Loss", loc="left")
    plots.metric_curves(middle, history, history.metrics)
    middle.set_title("Accuracy on the validation data", loc="left")
    table = nf.metrics.confusion_matrix(output, y)
    plots.confusion(right, table)
    right.set_title(f"Test: {nf.metrics.accuracy(output, y):.1%} of {len(y)} right", loc="left")
    wrong = np.flatnonzero(output.argmax(1) != y)
    shown = wrong[:12]
    some = f", {len(shown)} of them" if len(wrong) > len(shown) else ""
    plots.images(below, x[shown, ..., 0], [f"{y[i]} taken for {output[i].argmax()}" for i in shown])
    below.suptitle(f"The {len(wrong)} test digits it got wrong{some}", x=0.012, ha="left")
    fig.savefig(path)


def arguments():
    parser = argparse.ArgumentParser(description="Train on handwritten digits; writes digits.h5 and digits.png.")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where the two files go")
    options = parser.parse_args()
    if options.epochs < 1 or options.seed < 0:
        parser.error("at least 1 epoch and seed 0 are needed")
    return options


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    file, picture = options.out / "digits.h5", options.out / "digits.png"

    nf.seed(options.seed)
    train, validation, test = prepare(options.seed)
    model = network(train[0])
    opt_state = nf.setup(nf.Adam(3e-3), model)
    data = nf.DataLoader(train, batchsize=32, shuffle=True)
    rate = nf.Schedule(nf.schedules.CosAnneal(3e-3, 0.0, options.epochs * len(data)), by="batch")
    start = time.perf_counter()
    history = nf.train(
        loss, model, data, opt_state, options.epochs, validation, callbacks=[rate], metrics=[nf.metrics.accuracy]
    )
    seconds = time.perf_counter() - start

    x, y = test
    output = model(x)
    nf.save(file, model)
    again = nf.load(file)(x)
    draw(picture, history, output, test)

    print(f"test accuracy  {nf.metrics.accuracy(output, y):.2%} of {len(y)} digits never seen in training")
    print(f"training       {len(history)} epochs of {data.numobs} digits in {seconds:.1f} s")
    print(f"model          {sum(p.size for p in opt_state.segments):,} parameters")
    print(f"files          {file}, {picture}")
    same = np.array_equal(output.view(np.uint32), again.view(np.uint32))
    print(f"loaded again   the same predictions {'bit for bit' if same else 'NOT: the file or the model is damaged'}")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
