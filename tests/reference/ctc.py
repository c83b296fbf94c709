"""Oracles of connectionist temporal classification: sample by sample, state by state, times forwards and backwards."""

import numpy as np


def _logsoftmax(x):
    top = np.max(x, -1, keepdims=True)
    return x - top - np.log(np.sum(np.exp(x - top), -1, keepdims=True))


def _states(labels, blank):
    """The labels with a blank before, between and behind."""
    states = [blank]
    for label in labels:
        states += [label, blank]
    return states


def _paths(logs, states, blank):
    """(t, s): the logarithm of the probability of all ways to be in state s at time t."""
    found = np.full((len(logs), len(states)), -np.inf, logs.dtype)
    for t, row in enumerate(logs):
        for s, state in enumerate(states):
            if t == 0:
                ways = [0.0] if s < 2 else []
            else:
                ways = list(found[t - 1, max(s - 1, 0) : s + 1])
                if s >= 2 and state != blank and state != states[s - 2]:
                    ways.append(found[t - 1, s - 2])
            found[t, s] = np.logaddexp.reduce(ways) + row[state] if ways else -np.inf
    return found


def _total(paths, states):
    if len(paths) == 0:
        return 0.0 if len(states) == 1 else -np.inf
    return np.logaddexp.reduce(paths[-1, -2:])


def ctc(x, labels, counts, times, blank):
    y = np.zeros(len(x), x.dtype)
    for i in range(len(x)):
        states = _states(labels[i, : counts[i]], blank)
        y[i] = -_total(_paths(_logsoftmax(x[i, : times[i]]), states, blank), states)
    return y


def ctc_grad(x, labels, counts, times, dy, blank):
    """A state's share at a time: the ways to it, and, of the series turned round, the ways from it."""
    dx = np.zeros_like(x)
    for i in range(len(x)):
        states = _states(labels[i, : counts[i]], blank)
        logs = _logsoftmax(x[i, : times[i]])
        to, onward = _paths(logs, states, blank), _paths(logs[::-1], states[::-1], blank)[::-1, ::-1]
        total = _total(to, states)
        if total == -np.inf:
            continue
        for t, row in enumerate(logs):
            dx[i, t] = np.exp(row)
            for s, state in enumerate(states):
                if to[t, s] > -np.inf and onward[t, s] > -np.inf or np.isnan(to[t, s] + onward[t, s]):
                    dx[i, t, state] -= np.exp(to[t, s] + onward[t, s] - row[state] - total)
        dx[i] *= dy[i]
    return dx
