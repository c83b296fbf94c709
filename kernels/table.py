"""The words that a plan's table and the runner agree on. Pure numbers: read by processes that never import numba.

A row holds, per array, pointer, bytes a tile moves it, leading size in all, leading size a tile (0: not cut), other
sizes;
per integer, start and step; per float, its bits.
"""

# The head of a plan: one int64 each. "->" words hold addresses.
(
    WAVES,  # -> first group of each wave, and one past the last
    GROUPS,  # -> (first entry, last entry, tiles, tiles before it in its wave, first tile, first record) a group
    CALLS,  # -> address of each entry
    ROWS,  # -> (worker, entry) -> row
    COUNTERS,  # -> one cache line a worker and one for what is done, a wave
    STATUS,  # -> status word, detail
    ENTRIES,  # entries in all
    WORKERS,  # how many share the work; 1: no threads
    ONE,  # the number 1: how far parallel_for moves from one worker to the next
    NOUGHT,  # the number 0: where it starts
    FIRST,  # the waves of this call
    LAST,
    PATCHES,  # how many pointers follow an argument of the call
    PATCH,  # -> (address of the word, argument, bytes to add) each
    ARGUMENTS,  # -> addresses of the arguments
    REGION,  # -> what each worker runs
    PARALLEL_FOR,  # -> numba's threading layer
    RECORDS,  # -> (start, end, worker) of each tile of each entry, in nanoseconds; 0: nobody measures
    HEAD,  # words of the head
) = range(19)

GROUP_WORDS = 6
PATCH_WORDS = 3
RECORD_WORDS = 3
LINE = 8  # words of a cache line
IMAGES = 16  # samples that lie side by side in lanes: (n / 16, features, 16)
