"""What the benchmarks for asv share: how calls are sampled, on how many threads, of which networks."""

from __future__ import annotations

from asv_runner.benchmarks.mark import SkipNotImplemented

import numbaflux as nf

NETWORKS = ("mlp_mnist_b128", "cnn_cifar_b64", "lstm_s64_b32")  # of peers/cases.py, where a step of each is enough


class Timed:
    """One call a sample. asv calls setup before each of them: setups look up what they made and called before."""

    number = 1
    repeat = (5, 200, 0.3)  # samples in a process: at least, at most, and seconds
    rounds = 2  # processes
    warmup_time = 0.05
    timeout = 300  # kernels that the cache lacks compile in a first call


def on_threads(n: int) -> None:
    """Fix the number of threads; where the machine has fewer, asv leaves the benchmark out."""
    try:
        nf.set_num_threads(n)
    except nf.RangeError as error:
        raise SkipNotImplemented(str(error)) from error
