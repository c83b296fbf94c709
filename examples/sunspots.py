"""Forecasts of a series: the yearly number of sunspots, 1700 to 2008, by causal convolutions that see eight years.

Walks forward: networks learn the past of a period and forecast its years, one to eleven years ahead, four times; beside
them the same by persistence and by an autoregression. Takes some seconds, and writes sunspots.h5 (the last networks)
and sunspots.png (forecasts, and how their error grows with the years ahead).
"""

import argparse
import time
from pathlib import Path

import numpy as np
from statsmodels.datasets import sunspots
from statsmodels.tsa.ar_model import AutoReg

import numbaflux as nf
from numbaflux import plots

PAST, AHEAD, LAGS = 16, 11, 9  # years that a network is given, years that are forecast, lags of the autoregression


def series():
    """Years (309,) and square roots of the number of sunspots (309,): of these the noise is alike in all years."""
    data = sunspots.load_pandas().data
    return data["YEAR"].to_numpy().astype(int), np.sqrt(data["SUNACTIVITY"].to_numpy()).astype(np.float32)


def network():
    """(n, years, 1) -> (n, years, 1): at each year a forecast of the next, from it and the seven years before."""

    def causal(n_in, n_out, dilation):
        return nf.Conv((2,), n_in, n_out, nf.relu, dilation=dilation, pad=(dilation, 0))

    return nf.Chain(causal(1, 16, 1), causal(16, 16, 2), causal(16, 16, 4), nf.Conv((1,), 16, 1))


def loss(model, x, y):
    return nf.losses.mse(model(x)[:, 7:], y[:, 7:])  # the first seven years lack some of their past


def fit(past, members, epochs):
    """Networks that differ in their first weights and the order of their data; and the scale of their numbers."""
    scale = nf.Normalise.fit(past.reshape(-1, 1))
    windows = np.lib.stride_tricks.sliding_window_view(scale(past), PAST + 1)[..., None]
    networks = []
    for _ in range(members):
        data = nf.DataLoader((windows[:, :-1], windows[:, 1:]), batchsize=32, shuffle=True)
        model = network()
        opt_state = nf.setup(nf.AdamW(3e-3, decay=1e-2), model)
        rate = nf.Schedule(nf.schedules.CosAnneal(3e-3, 0.0, epochs * len(data)), by="batch")
        nf.train(loss, model, data, opt_state, epochs, callbacks=[rate], progress=False)
        networks.append(model)
    return {"networks": networks, "scale": scale}


def forecast(step, past, years):
    """Roots (n, years) after the pasts (n, PAST): step gives the next year, which becomes the past of the one after."""
    for _ in range(years):
        past = np.concatenate([past, step(past[:, -PAST:])], axis=1)
    return past[:, -years:]


def by_network(model, scale):
    predict = nf.compile(model)
    return lambda past: predict(scale(past)[..., None])[:, -1] * scale.std + scale.mean


def by_autoregression(past):
    constant, *weights = AutoReg(past.astype(np.float64), lags=LAGS).fit().params
    return lambda past: (constant + past[:, : -LAGS - 1 : -1] @ np.array(weights))[:, None]


def walk(roots, members, epochs):
    """Truth (n,), and by name forecasts (AHEAD, n) of sunspots 1, 2, ... years ahead; the last networks with scale."""
    found = {"networks": [], "autoregression": [], "persistence": []}
    for past, part in nf.timeseries_kfolds(len(roots), k=4):
        ensemble, first = fit(roots[past], members, epochs), part[0]
        steps = {
            "networks": [by_network(model, ensemble["scale"]) for model in ensemble["networks"]],
            "autoregression": [by_autoregression(roots[past])],
            "persistence": [lambda past: past[:, -1:]],
        }
        # Of all pasts that end AHEAD years or less before a year of this part, the forecasts that are for the part.
        pasts = np.stack([roots[end - PAST : end] for end in range(first - AHEAD + 1, part[-1] + 1)])
        for name, several in steps.items():
            paths = np.mean([forecast(step, pasts, AHEAD) for step in several], axis=0)
            found[name].append([paths[AHEAD - h : AHEAD - h + len(part), h - 1] for h in range(1, AHEAD + 1)])
    forecasts = {name: np.maximum(np.concatenate(parts, axis=1), 0) ** 2 for name, parts in found.items()}
    return roots[-forecasts["networks"].shape[1] :] ** 2, forecasts, ensemble


def draw(path, years, roots, truth, forecasts, ensemble):
    fig = plots.figure(13, 6.4)
    above, left, right = fig.subplot_mosaic("AA;BC").values()
    for axes in (above, left, right):
        axes.grid(color=plots.GRID)
        axes.set_axisbelow(True)
    blue, red, green = plots.COLOURS[:3]
    above.plot(years, roots**2, color="black", linewidth=1, label="sunspots")
    above.plot(
        years[-len(truth) :], forecasts["networks"][0], color=blue, linewidth=1.5, label="forecast a year before"
    )
    above.set_title("One year ahead, by networks that know the years before each of four periods", loc="left")
    above.legend(frameon=False, ncols=2)
    start = len(roots) - 22
    steps = [by_network(model, ensemble["scale"]) for model in ensemble["networks"]]
    paths = np.concatenate([forecast(step, roots[None, start - PAST : start], 22) for step in steps])
    paths = np.maximum(paths, 0) ** 2
    left.plot(years[start - 22 :], roots[start - 22 :] ** 2, color="black", linewidth=1, label="sunspots")
    left.plot(years[start:], paths.mean(0), color=blue, label="forecast, mean of the networks")
    left.fill_between(years[start:], paths.min(0), paths.max(0), color=blue, alpha=0.2, label="lowest and highest")
    left.set_title(f"22 years ahead, from the end of {years[start - 1]}", loc="left")
    left.legend(frameon=False, fontsize=8)
    ahead = range(1, AHEAD + 1)
    for (name, found), colour in zip(forecasts.items(), (blue, green, red), strict=True):
        right.plot(
            ahead, [nf.metrics.rmse(row, truth) for row in found], "o-", color=colour, markersize=3.5, label=name
        )
    right.set(xlabel="years ahead", ylabel="RMSE")
    right.set_title("Error", loc="left")
    right.legend(frameon=False, fontsize=8)
    fig.savefig(path)


def arguments():
    parser = argparse.ArgumentParser(description="Forecast sunspots; writes sunspots.h5 and sunspots.png.")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--members", type=int, default=5, help="networks that are averaged")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where the two files go")
    options = parser.parse_args()
    if options.epochs < 1 or options.members < 1 or options.seed < 0:
        parser.error("at least 1 epoch, 1 member and seed 0 are needed")
    return options


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    file, picture = options.out / "sunspots.h5", options.out / "sunspots.png"

    nf.seed(options.seed)
    years, roots = series()
    start = time.perf_counter()
    truth, forecasts, ensemble = walk(roots, options.members, options.epochs)
    seconds = time.perf_counter() - start
    nf.save(file, ensemble)
    draw(picture, years, roots, truth, forecasts, ensemble)

    print(f"years          {years[-len(truth)]} to {years[-1]}, forecast by what was known before; RMSE in sunspots")
    for ahead in (1, 2, 5, 11):
        errors = ", ".join(
            f"{name} {nf.metrics.rmse(found[ahead - 1], truth):.1f}" for name, found in forecasts.items()
        )
        print(f"{f'{ahead} ahead':<13}  {errors}")
    print(f"training       {4 * options.members} networks in {seconds:.1f} s")
    print(f"files          {file}, {picture}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
