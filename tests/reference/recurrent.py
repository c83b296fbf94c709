"""Oracles of recurrent layers: one sample after another, one step after another; gradients by hand, backwards."""

import numpy as np

GATES = {"rnn": 1, "rnn_relu": 1, "lstm": 4, "gru": 3, "gru_v3": 3}
SAVED = {"rnn": 0, "rnn_relu": 0, "lstm": 4, "gru": 4, "gru_v3": 3}


def logistic(x):
    return 1 / (1 + np.exp(-x))


def order(steps, length, reverse):
    """The steps of a sequence as they are taken; behind its end there is none."""
    taken = range(min(steps, length))
    return reversed(taken) if reverse else taken


def step(kind, a, w, state_bias, h, c):
    """New h and c, the gates, what is kept beside them; a is the inputs' part of the sums."""
    n = len(h)
    u = np.zeros_like(a) if state_bias is None else state_bias
    part = [slice(k * n, k * n + n) for k in range(GATES[kind])]
    if kind == "rnn":
        return np.tanh(a + h @ w), c, [], []
    if kind == "rnn_relu":
        return np.maximum(a + h @ w, 0), c, [], []
    if kind == "lstm":
        s = a + h @ w
        i, f, g, o = logistic(s[part[0]]), logistic(s[part[1]]), np.tanh(s[part[2]]), logistic(s[part[3]])
        c = f * c + i * g
        return o * np.tanh(c), c, [i, f, g, o], c
    r, z = (logistic(a[p] + h @ w[:, p] + u[p]) for p in part[:2])
    if kind == "gru":
        q = h @ w[:, part[2]] + u[part[2]]
        new = np.tanh(a[part[2]] + r * q)
        return (1 - z) * new + z * h, c, [r, z, q, new], []
    new = np.tanh(a[part[2]] + (r * h) @ w[:, part[2]])
    return (1 - z) * new + z * h, c, [r, z, new], r * h


def first_states(x, w, h0, c0):
    zero = np.zeros((len(x), len(w)), x.dtype)
    return (zero if h0 is None else h0), (zero if c0 is None else c0)


def all_steps(x, wi, w, bias, state_bias, h0, c0, lengths, kind, reverse, keep=True):
    """y, the last h and c, cells and gates."""
    n, steps, _ = x.shape
    hidden = len(w)
    hs, cs = first_states(x, w, h0, c0)
    y, last_h, last_c = np.zeros((n, steps, hidden), x.dtype), hs.copy(), cs.copy()
    cells, gates = np.zeros_like(y), np.zeros((n, steps, SAVED[kind] * hidden), x.dtype)
    for i in range(n):
        h, c = hs[i], cs[i]
        length = steps if lengths is None else lengths[i]
        if reverse:
            cells[i, length:] = c
        for t in order(steps, length, reverse):
            a = x[i, t] @ wi + (0 if bias is None else bias)
            h, c, row, kept = step(kind, a, w, state_bias, h, c)
            y[i, t] = h
            if row:
                gates[i, t] = np.concatenate(row)
            if len(kept):
                cells[i, t] = kept
        if not reverse:
            cells[i, length:] = c
        last_h[i], last_c[i] = h, c
        if kind != "lstm":
            cells[i, length:] = 0
    lstm = kind == "lstm"
    nothing = np.zeros(0, x.dtype)
    return (y, last_h, last_c if lstm else nothing, cells if keep and kind in ("lstm", "gru_v3") else nothing,
            gates if keep else nothing)  # fmt: skip


def recurrent(*xs, **attrs):
    return np.concatenate([part.ravel() for part in all_steps(*xs, **attrs)])


def step_grad(kind, a, w, state_bias, h, c, dh, dc):
    """Of the sums of the inputs' part, of those of the state's part, of w, of h and c before."""
    n = len(h)
    new_h, new_c, row, _ = step(kind, a, w, state_bias, h, c)
    if kind in ("rnn", "rnn_relu"):
        d = dh * ((1 - new_h**2) if kind == "rnn" else (new_h > 0))
        return d, d, np.outer(h, d), w @ d, dc
    if kind == "lstm":
        i, f, g, o = row
        t = np.tanh(new_c)
        dc = dc + dh * o * (1 - t**2)
        d = np.concatenate([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * t * o * (1 - o)])
        return d, d, np.outer(h, d), w @ d, dc * f
    r, z, new = row[0], row[1], row[-1]
    dz, dn = dh * (h - new) * z * (1 - z), dh * (1 - z) * (1 - new**2)
    back = dh * z
    if kind == "gru":
        d_state = np.concatenate([dn * row[2] * r * (1 - r), dz, dn * r])
        return np.concatenate([d_state[: 2 * n], dn]), d_state, np.outer(h, d_state), back + w @ d_state, dc
    dkept = w[:, 2 * n :] @ dn
    dr = dkept * h * r * (1 - r)
    two = np.concatenate([dr, dz])
    dw = np.concatenate([np.outer(h, two), np.outer(r * h, dn)], 1)
    return np.concatenate([two, dn]), two, dw, back + w[:, : 2 * n] @ two + dkept * r, dc


def grad_parts(x, wi, w, bias, state_bias, h0, c0, lengths, y, cells, gates, dy, dh, dc, kind, reverse, dx):
    """dx, dwi, dw, dbias, dstate_bias, dh0, dc0. What steps gave is worked out again."""
    n, steps, _ = x.shape
    hs, cs = first_states(x, w, h0, c0)
    out_x, dwi, dw = np.zeros_like(x), np.zeros_like(wi), np.zeros_like(w)
    db, dsb = np.zeros(w.shape[1], x.dtype), np.zeros(w.shape[1], x.dtype)
    dh0, dc0 = np.zeros_like(hs), np.zeros_like(cs)
    for i in range(n):
        h, c, before = hs[i], cs[i], []
        for t in order(steps, steps if lengths is None else lengths[i], reverse):
            a = x[i, t] @ wi + (0 if bias is None else bias)
            before.append((t, a, h, c))
            h, c, _, _ = step(kind, a, w, state_bias, h, c)
        back_h, back_c = (np.zeros_like(h) if d is None or not d.size else d[i] for d in (dh, dc))
        for t, a, h, c in reversed(before):
            total = back_h if dy is None else back_h + dy[i, t]
            d, d_state, more, back_h, back_c = step_grad(kind, a, w, state_bias, h, c, total, back_c)
            dw += more
            dwi += np.outer(x[i, t], d)
            out_x[i, t] = wi @ d
            db += d
            if kind == "gru":
                dsb += d_state
        dh0[i], dc0[i] = back_h, back_c
    optional = zip((db, dsb, dh0, dc0), (bias, state_bias, h0, c0), strict=True)
    nothing = np.zeros(0, x.dtype)
    return out_x if dx else nothing, dwi, dw, *(nothing if given is None else d for d, given in optional)


def recurrent_grad(*xs, **attrs):
    return np.concatenate([part.ravel() for part in grad_parts(*xs, **attrs)])
