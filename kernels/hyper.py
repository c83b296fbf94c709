"""The order of a rule's numbers in memory, float64 each. Pure numbers, for kernels of the CPU and the GPU."""

(
    STEP, POWER1, POWER2, BETA1, BETA2, WAIT, ETA, EPS, DECAY, ETA_DECAY, SIGN_DECAY, TAKE, AHEAD, BELIEF, RECTIFY,
    ELL1, ELL2, GAMMA1, GAMMA2, DELTA, OMEGA, P, FACTOR, N, SIZE, RATE, KEEP, GIVE, DROP, LEAST_NORMAL, GRID, LARGEST,
) = range(32)  # fmt: skip
