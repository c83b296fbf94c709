"""How little it takes to fool a classifier, and how much training against it helps: the fast gradient sign method.

Each pixel of a test image moves by eps, up or down as makes the loss larger (Goodfellow et al. 2015, arXiv 1412.6572),
beside moves of the same size by chance. With --adversarial a second network learns from moved images as well. Takes a
few seconds, and writes fgsm.h5 (the networks) and fgsm.png (accuracy over eps, images before and after).
"""

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import numbaflux as nf
from numbaflux import plots

LEVELS = 16.0  # pixels are 0 to 16
EPS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)  # in levels


def prepare(seed):
    """Training and test data (80, 20 % of every digit): images (n, 8, 8, 1) of 0 to 16, and labels."""
    pixels, labels = load_digits(return_X_y=True)
    images = pixels.astype(np.float32).reshape(-1, 8, 8, 1)
    return nf.splitobs((images, labels), at=0.8, shuffle=True, stratified=labels, rng=seed)


def network(images):
    return nf.Chain(
        nf.Normalise.fit(images),
        nf.Conv((3, 3), 1, 16, nf.relu, pad="same"),
        nf.MaxPool((2, 2)),
        nf.Conv((3, 3), 16, 32, nf.relu, pad="same"),
        nf.MaxPool((2, 2)),
        nf.flatten,
        nf.Dense(128, 64, nf.relu),
        nf.Dense(64, 10),
    )


def loss(model, x, y):
    return nf.losses.logitcrossentropy(model(x), y)


def moved(model, x, y, eps):
    """x + eps sign(dloss/dx), pixels kept in their range. Samples do not mix, so that each moves by its own gradient.

    A layer that trains otherwise than it predicts (Dropout, BatchNorm) would ask for nf.testmode(model) here.
    """
    slope = nf.gradient(lambda x: loss(model, x, y), x)
    return nf.stop_gradient(np.minimum(np.maximum(x + eps * np.sign(slope), 0.0), LEVELS))


def adversarial_loss(eps):
    """Half of the images as they are, half moved by eps, against the network as it is at this step (section 6)."""

    def mixed(model, x, y):
        return (loss(model, x, y) + loss(model, moved(model, x, y, eps), y)) / 2

    return mixed


def fit(objective, train, epochs):
    model = network(train[0])
    data = nf.DataLoader(train, batchsize=32, shuffle=True)
    rate = nf.Schedule(nf.schedules.CosAnneal(3e-3, 0.0, epochs * len(data)), by="batch")
    nf.train(objective, model, data, nf.setup(nf.Adam(3e-3), model), epochs, callbacks=[rate])
    return model


def attack(model, test):
    """The test images, moved by each of EPS."""
    return [moved(model, *test, eps) for eps in EPS]


def by_chance(test, seed):
    """The same sizes, signs drawn."""
    x, _ = test
    signs = np.random.default_rng(seed).choice(np.float32([-1, 1]), x.shape)
    return [np.clip(x + np.float32(eps) * signs, 0, np.float32(LEVELS)) for eps in EPS]


def accuracies(model, attacks, labels):
    return [nf.metrics.accuracy(model(x), labels) for x in attacks]


def draw(path, curves, model, attacked, test):
    """Accuracy over eps; below, images that the plain network reads rightly, and what it takes them for once moved."""
    x, y = test
    fig = plots.figure(9, 6.4)
    above, below = fig.subfigures(2, 1, height_ratios=[2.2, 1])
    axes = above.subplots()
    for (name, curve), colour in zip(curves.items(), plots.COLOURS, strict=False):
        axes.plot(EPS, curve, "o-", color=colour, markersize=4, label=name)
    axes.axhline(0.1, color=plots.REST, linewidth=1, label="guessing")
    axes.set(xlabel=f"eps, of {LEVELS:.0f} levels of grey", ylim=(0, 1.02))
    axes.set_title("Accuracy on test images moved by eps", loc="left")
    axes.grid(color=plots.GRID)
    axes.legend(frameon=False)
    level = EPS.index(1.5)
    right, now = model(x).argmax(1), model(attacked[level]).argmax(1)
    shown = np.flatnonzero((right == y) & (now != y))[:9]
    titles = [str(y[i]) for i in shown] + [f"taken for {now[i]}" for i in shown]
    pictures = np.concatenate([x[shown, ..., 0], attacked[level][shown, ..., 0]])
    plots.images(below, pictures, titles, columns=max(len(shown), 1))
    below.suptitle(f"Before, and moved by {EPS[level]}", x=0.012, ha="left")
    fig.savefig(path)


def arguments():
    parser = argparse.ArgumentParser(description="Fool a classifier of digits; writes fgsm.h5 and fgsm.png.")
    parser.add_argument("--adversarial", action="store_true", help="train a second network against the method")
    parser.add_argument("--train-eps", type=float, default=2.0, metavar="EPS", help="by how much its images move")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where the two files go")
    options = parser.parse_args()
    if options.epochs < 1 or options.seed < 0 or not 0 < options.train_eps <= LEVELS:
        parser.error(f"at least 1 epoch, seed 0, and a --train-eps above 0 and at most {LEVELS:.0f} are needed")
    return options


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    file, picture = options.out / "fgsm.h5", options.out / "fgsm.png"

    nf.seed(options.seed)
    train, test = prepare(options.seed)
    start = time.perf_counter()
    networks = {"plain": fit(loss, train, options.epochs)}
    if options.adversarial:
        networks["adversarial"] = fit(adversarial_loss(options.train_eps), train, options.epochs)
    seconds = time.perf_counter() - start
    nf.save(file, networks)

    attacked = attack(networks["plain"], test)
    curves = {name: accuracies(model, attack(model, test), test[1]) for name, model in networks.items()}
    curves["by chance"] = accuracies(networks["plain"], by_chance(test, options.seed), test[1])
    draw(picture, curves, networks["plain"], attacked, test)

    print(f"test images    {len(test[1])}; each pixel, 0 to {LEVELS:.0f}, moved by eps against the reading network")
    print(f"eps            {' '.join(f'{eps:6.2f}' for eps in EPS)}")
    for name, curve in curves.items():
        print(f"{name:<13}  {' '.join(f'{share:6.1%}' for share in curve)}")
    print(f"training       {len(networks)} networks, {options.epochs} epochs in {seconds:.1f} s")
    print(f"files          {file}, {picture}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
