"""The words of an attention's sizes, as kernels read them: one int64 vector; and how scores are cut. Pure numbers:
read by processes that never import numba."""

ROWS, COLS = 64, 128  # queries and keys of a block of scores

(
    HEADS,
    QUERIES,  # of a sample
    KEYS,
    DEPTH,  # channels of a query's head, of a key's
    WIDTH,  # of a value's
    CAUSAL,  # whether a query sees no later key
    TILE,  # queries (of the gradients of keys and values: keys) a tile
    WHICH,  # gradients to make: 1 of queries, 2 of keys and values, 3 both
) = range(8)
BIAS, MASK, WORDS = 8, 12, 16  # elements from one sample, head, query, key to the next: 4 each
