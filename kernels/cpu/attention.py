"""Attention without its scores in memory: they are made block by block, and once more for the gradients (Dao et al.
2022). Arrays are flat: q(n, queries, heads, depth), k, v, y alike, lse(n, queries, heads).

A row of scores goes through its blocks of keys in order: how queries are cut into tiles changes no bit.
"""

import numpy as np

from ..attention import BIAS, CAUSAL, COLS, DEPTH, HEADS, KEYS, MASK, QUERIES, ROWS, TILE, WHICH, WIDTH
from ..jit import kernel
from ..scalar import exp, log, maximum, typed
from .dense import pack, product
from .reduce import max_of, part, sum_of


@kernel
def copy_rows(to, source, at, rows, width, step, scale):
    """to(rows, width) = scale * the rows of source from `at` on, one every step."""
    for i in range(rows):
        one, row = part(source, at + i * step, width), part(to, i * width, width)
        for j in range(width):
            row[j] = one[j] * scale


@kernel
def clear_rows(x, at, rows, width, step):
    for i in range(rows):
        row = part(x, at + i * step, width)
        for j in range(width):
            row[j] = typed(0, row[j])


@kernel
def scale_rows(x, at, rows, width, step, scale):
    for i in range(rows):
        row = part(x, at + i * step, width)
        for j in range(width):
            row[j] *= scale


@kernel
def add_bias(row, bias, at, step):
    """Along the keys bias has an element each, or one for all."""
    one = part(bias, at, row.size if step else 1)
    if step:
        for j in range(row.size):
            row[j] += one[j]
    else:
        for j in range(row.size):
            row[j] += one[0]


@kernel
def hide(row, mask, at, step):
    """What mask has not becomes minus infinity."""
    one, none = part(mask, at, row.size if step else 1), typed(-np.inf, row[0])
    if step:
        for j in range(row.size):
            row[j] = row[j] if one[j] else none
    elif not one[0]:
        for j in range(row.size):
            row[j] = none


@kernel
def score(s, queries, keys, bias, mask, sample, head, i0, rows, k0, cols, sizes):
    """s(rows, cols) of queries, scaled, from i0 on and packed keys from k0 on."""
    depth = sizes[DEPTH]
    product(s, queries, keys, part(s, 0, 0), rows, rows, cols, cols, depth, depth, cols, depth, 1, 0, 0, 1)
    for i in range(rows):
        row = part(s, i * cols, cols)
        if bias.size:
            step = sizes[BIAS + 3]
            at = sample * sizes[BIAS] + head * sizes[BIAS + 1] + (i0 + i) * sizes[BIAS + 2] + k0 * step
            add_bias(row, bias, at, step)
        if mask.size:
            step = sizes[MASK + 3]
            at = sample * sizes[MASK] + head * sizes[MASK + 1] + (i0 + i) * sizes[MASK + 2] + k0 * step
            hide(row, mask, at, step)
        if sizes[CAUSAL]:
            for j in range(max(0, i0 + i + 1 - k0), cols):
                row[j] = typed(-np.inf, row[0])


@kernel
def powers(s, tops, sums, y, at, step, width, rows, cols):
    """s becomes exp(s - top), tops the largest of each row so far; what sums and y(rows, width) hold is put under the
    new top, and the powers are added to sums."""
    lowest = typed(-np.inf, s[0])
    for i in range(rows):
        row, old = part(s, i * cols, cols), tops[i]
        top = maximum(max_of(row), old)
        shift = typed(0, top) if top == lowest else top
        for j in range(cols):
            row[j] -= shift
        tops[i] = top
        if old > lowest:
            factor = exp(old - shift)
            sums[i] *= factor
            scale_rows(y, at + i * step, 1, width, step, factor)
    for i in range(rows * cols):
        s[i] = exp(s[i])
    for i in range(rows):
        sums[i] += sum_of(part(s, i * cols, cols))


@kernel
def attention(y, lse, scratch, q, k, v, bias, mask, scale, tile, sizes):
    """y = softmax(q k' scale + bias) v of each head, lse the logarithm of a row's sum of powers. NaN where all of a row
    is masked. scratch: (depth + width) COLS + ROWS depth + ROWS COLS + 2 TILE elements."""
    heads, depth, width, lq, lk = sizes[HEADS], sizes[DEPTH], sizes[WIDTH], sizes[QUERIES], sizes[KEYS]
    tiles = -(-lq // sizes[TILE])
    first, head, sample = tile % tiles * sizes[TILE], tile // tiles % heads, tile // (tiles * heads)
    count, c, cv = min(sizes[TILE], lq - first), heads * depth, heads * width
    at_q, at_k = (sample * lq + first) * c + head * depth, sample * lk * c + head * depth
    at_y, at_v = (sample * lq + first) * cv + head * width, sample * lk * cv + head * width
    keys, values = part(scratch, 0, depth * COLS), part(scratch, depth * COLS, width * COLS)
    at = (depth + width) * COLS
    queries, s = part(scratch, at, ROWS * depth), part(scratch, at + ROWS * depth, ROWS * COLS)
    at += ROWS * (depth + COLS)
    tops, sums = part(scratch, at, count), part(scratch, at + sizes[TILE], count)
    for i in range(count):
        tops[i], sums[i] = typed(-np.inf, scale), typed(0, scale)
    seen = min(lk, first + count) if sizes[CAUSAL] else lk
    for block in range((seen + COLS - 1) // COLS):
        k0 = block * COLS
        cols = min(COLS, lk - k0)
        pack(keys, part(k, at_k + k0 * c, (cols - 1) * c + depth), cols, cols, depth, depth, 0, depth, 1, c)
        copy_rows(values, v, at_v + k0 * cv, cols, width, cv, typed(1, scale))
        for strip in range((count + ROWS - 1) // ROWS):
            i0 = strip * ROWS
            rows = min(ROWS, count - i0)
            if sizes[CAUSAL] and k0 >= first + i0 + rows:
                continue
            copy_rows(queries, q, at_q + i0 * c, rows, depth, c, scale)
            score(s, queries, keys, bias, mask, sample, head, first + i0, rows, k0, cols, sizes)
            to = at_y + i0 * cv
            powers(s, part(tops, i0, rows), part(sums, i0, rows), y, to, cv, width, rows, cols)
            out = part(y, to, (rows - 1) * cv + width)
            before = out if block else part(y, 0, 0)
            product(out, s, values, before, rows, rows, width, width, cols, cols, cv, cols, 1, width, cv, 0)
    for i in range(count):
        scale_rows(y, at_y + i * cv, 1, width, cv, typed(1, scale) / sums[i])
        top = typed(0, scale) if tops[i] == typed(-np.inf, scale) else tops[i]
        lse[(sample * lq + first + i) * heads + head] = top + log(sums[i])


@kernel
def weigh(p, ds, lse, delta, at, heads, rows, cols):
    """Scores p become exp(p - lse), and ds what is left of the scores' gradient: p (ds - delta)."""
    for i in range(rows):
        row, shift = part(p, i * cols, cols), lse[at + i * heads]
        for j in range(cols):
            row[j] -= shift
    for i in range(rows * cols):
        p[i] = exp(p[i])
    for i in range(rows):
        row, power, shift = part(ds, i * cols, cols), part(p, i * cols, cols), delta[at + i * heads]
        for j in range(cols):
            row[j] = power[j] * (row[j] - shift)


@kernel
def add_product(y, at, step, a, b, rows, cols, depth, a_row, a_k):
    """y(rows, cols) += A B; B has rows of cols elements."""
    c = part(y, at, (rows - 1) * step + cols)
    product(c, a, b, c, rows, rows, cols, cols, depth, depth, step, a_row, a_k, cols, step, 0)


@kernel
def attention_grad(dq, dk, dv, scratch, q, k, v, bias, mask, lse, delta, dy, scale, tile, sizes):
    """From what comes to y, and delta, a row's sum of dy * y less what comes to lse: p = exp(scores - lse),
    ds = p (dy v' - delta), dq = ds k scale, dk = ds' q scale, dv = p' dy.
    scratch: (2 depth + width) COLS + ROWS (depth + width) + 2 ROWS COLS elements."""
    heads, depth, width, lq, lk = sizes[HEADS], sizes[DEPTH], sizes[WIDTH], sizes[QUERIES], sizes[KEYS]
    which, c, cv = sizes[WHICH], heads * depth, heads * width
    tiles = -(-(lk if which == 2 else lq) // sizes[TILE])
    first, head, sample = tile % tiles * sizes[TILE], tile // tiles % heads, tile // (tiles * heads)
    i_first, i_last = (0, lq) if which == 2 else (first, min(first + sizes[TILE], lq))
    k_first, k_last = (first, min(first + sizes[TILE], lk)) if which == 2 else (0, lk)
    at_q, at_k, at_lse = sample * lq * c + head * depth, sample * lk * c + head * depth, sample * lq * heads + head
    at_y, at_v = sample * lq * cv + head * width, sample * lk * cv + head * width
    keys, columns = part(scratch, 0, COLS * depth), part(scratch, COLS * depth, COLS * depth)
    values, at = part(scratch, 2 * COLS * depth, COLS * width), COLS * (2 * depth + width)
    queries, dys = part(scratch, at, ROWS * depth), part(scratch, at + ROWS * depth, ROWS * width)
    at += ROWS * (depth + width)
    p, ds = part(scratch, at, ROWS * COLS), part(scratch, at + ROWS * COLS, ROWS * COLS)
    if which & 1:
        clear_rows(dq, at_q + i_first * c, i_last - i_first, depth, c)
    for block in range((k_last - k_first + COLS - 1) // COLS):
        k0 = k_first + block * COLS
        cols, from_k, from_v = min(COLS, k_last - k0), at_k + k0 * c, at_v + k0 * cv
        pack(columns, part(k, from_k, (cols - 1) * c + depth), cols, cols, depth, depth, 0, depth, 1, c)
        pack(values, part(v, from_v, (cols - 1) * cv + width), cols, cols, width, width, 0, width, 1, cv)
        copy_rows(keys, k, from_k, cols, depth, c, typed(1, scale))
        if which & 2:
            clear_rows(dk, from_k, cols, depth, c)
            clear_rows(dv, from_v, cols, width, cv)
        for strip in range((i_last - i_first + ROWS - 1) // ROWS):
            i0 = i_first + strip * ROWS
            rows = min(ROWS, i_last - i0)
            if sizes[CAUSAL] and k0 >= i0 + rows:
                continue
            copy_rows(queries, q, at_q + i0 * c, rows, depth, c, scale)
            copy_rows(dys, dy, at_y + i0 * cv, rows, width, cv, typed(1, scale))
            score(p, queries, columns, bias, mask, sample, head, i0, rows, k0, cols, sizes)
            product(ds, dys, values, part(ds, 0, 0), rows, rows, cols, cols, width, width, cols, width, 1, 0, 0, 1)
            weigh(p, ds, lse, delta, at_lse + i0 * heads, heads, rows, cols)
            if which & 2:
                add_product(dv, from_v, cv, p, dys, cols, width, rows, 1, cols)
                add_product(dk, from_k, c, ds, queries, cols, depth, rows, 1, cols)
            if which & 1:
                add_product(dq, at_q + i0 * c, c, ds, keys, rows, depth, cols, cols, 1)
    if which & 1:
        scale_rows(dq, at_q + i_first * c, i_last - i_first, depth, c, scale)
