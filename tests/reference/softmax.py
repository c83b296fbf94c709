"""Oracles of softmax over the last axis, its logarithm, and the crossentropy of labels: row by row."""

import numpy as np


def _by_rows(f, *arrays):
    """f of each row of the arrays; an array one axis short gives a number."""
    leading = arrays[0].shape[:-1]
    rows = [f(*(x[i] for x in arrays)) for i in np.ndindex(leading)]
    return np.array(rows, arrays[0].dtype).reshape(leading + np.shape(rows[0]))


def _softmax(x):
    powers = np.exp(x - np.max(x))
    return powers / np.sum(powers)


def _logsoftmax(x):
    shifted = x - np.max(x)
    return shifted - np.log(np.sum(np.exp(shifted)))


def softmax(x):
    return _by_rows(_softmax, x)


def softmax_grad(y, dy):
    return _by_rows(lambda y, dy: y * (dy - np.sum(y * dy)), y, dy)


def logsoftmax(x):
    return _by_rows(_logsoftmax, x)


def logsoftmax_grad(y, dy):
    return _by_rows(lambda y, dy: dy - np.exp(y) * np.sum(dy), y, dy)


def crossentropy(x, labels):
    return _by_rows(lambda x, label: -_logsoftmax(x)[label], x, labels)


def crossentropy_grad(x, labels, dy):
    def row(x, label, dy):
        p = _softmax(x)
        p[label] -= 1
        return p * dy

    return _by_rows(row, x, labels, dy)
