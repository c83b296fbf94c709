"""A forecast of a series: the next value, from a window of those before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.peers.cases import Layer, Training

WINDOW = 48


@dataclass(frozen=True)
class Forecast(Training):
    """Training on windows of a series of two periods and noise."""

    def data(self, channels_first: bool = False) -> tuple[np.ndarray, np.ndarray]:
        rng, times = np.random.default_rng(self.seed + 1), np.arange(self.batch + WINDOW)
        series = np.sin(times / 4) + np.sin(times / 11) + 0.1 * rng.standard_normal(len(times))
        windows = np.lib.stride_tricks.sliding_window_view(series.astype(np.float32), WINDOW + 1)
        return windows[:, :-1, None].copy(), windows[:, -1:].copy()


LAYERS: tuple[Layer, ...] = (("lstm", 1, 64), ("last",), ("dense", 64, 1))
CASES = {"series_lstm": Forecast(LAYERS, (WINDOW, 1), batch=64, loss="mse", target=2.0)}
