"""Trainings whose losses and scores are told beforehand."""

import numpy as np

import numbaflux as nf

ONE = np.ones((1, 1), np.float32)


class Told:
    """One batch an epoch, of the loss that the epoch is to have."""

    def __init__(self, values):
        self.values, self.epoch = list(values), 0

    def __iter__(self):
        self.epoch += 1
        yield ONE * np.float32(self.values[self.epoch - 1])


def loss(model, x, *_):
    return x.mean() + 0 * model(x).sum()


def fresh(rule=None):
    """A model and its optimiser state."""
    model = nf.Dense(1, 1)
    return model, nf.setup(rule or nf.Descent(0.5), model)


def train(values, callbacks, training=None, scores=None, data=None, **options):
    """The history of a training with such losses, and such scores of a metric named score."""
    model, state = training or fresh()
    if scores is not None:
        left = iter(scores)

        def score(output, y):
            return next(left)

        options |= {"validation": [(ONE, ONE)], "metrics": [score]}
    options = {"epochs": len(values)} | options
    return nf.train(loss, model, data or Told(values), state, callbacks=callbacks, progress=False, **options)
