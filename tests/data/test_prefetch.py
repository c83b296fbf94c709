"""Batches made ahead: same order and bits, errors where they belong, no thread left, overlap, forks, Ctrl-C."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux.data import DataLoader
from numbaflux.data.prefetch import Prefetched
from numbaflux.op import DTypeError, PlanError
from tests.sources import ROOT


class Slow:
    """A dataset whose samples take a while; broken: the one that cannot be had."""

    def __init__(self, n, seconds=0.0, broken=None):
        self.n, self.seconds, self.broken, self.seen = n, seconds, broken, []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.seen.append((i, threading.current_thread().name))
        if i == self.broken:
            raise OSError(f"sample {i} is unreadable")
        time.sleep(self.seconds)
        return np.full(2, i, np.float32), i


def threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("numbaflux")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    gc.collect()
    before = threads()
    yield
    gc.collect()
    assert threads() == before


def flat(batches):
    return [[np.asarray(part).tolist() for part in batch] for batch in batches]


def noisy(x, y, rng):
    return x + rng.normal(x.shape, dtype=x.dtype), y


@given(
    st.integers(1, 40), st.integers(1, 9), st.booleans(), st.booleans(), st.integers(1, 5), st.integers(1, 3),
    st.sampled_from(["objects", "arrays", "collate", "transform"]),
)  # fmt: skip
def test_order_and_bits_are_the_same(n, batchsize, shuffle, partial, ahead, workers, kind):
    batchsize = batchsize if partial else min(batchsize, n)
    x = np.arange(2.0 * n).reshape(n, 2)
    data = Slow(n) if kind == "objects" else (x, np.arange(n))
    options = {"collate": {"collate": nf.batch}, "transform": {"transform": noisy}}.get(kind, {})
    loaders = [
        DataLoader(data, batchsize, shuffle, partial, rng=3, prefetch=k, workers=w, **options)
        for k, w in ((0, 1), (ahead, 1), (ahead, workers), (0, workers))
    ]
    for _ in range(2):
        first, *others = [flat(loader) for loader in loaders]
        assert all(other == first for other in others)


def test_who_makes_batches():
    mine = threading.current_thread().name
    for ahead, workers, maker in ((0, 1, mine), (2, 1, "numbaflux-prefetch"), (2, 3, "numbaflux-data")):
        data = Slow(7)
        list(DataLoader(data, 2, prefetch=ahead, workers=workers))
        assert sorted(i for i, _ in data.seen) == list(range(7))
        assert all(name.startswith(maker) for _, name in data.seen)


@pytest.mark.parametrize(("shape", "ahead"), [((4, 10), False), ((4, 2**16), True)])
def test_only_large_batches_of_arrays_are_worth_a_thread(shape, ahead):
    x = np.zeros(shape, np.float32)
    assert isinstance(iter(DataLoader((x, nf.OneHot([0] * 4, 2)), 4)), Prefetched) == ahead
    assert not isinstance(iter(DataLoader(x, 4, prefetch=0)), Prefetched)


def test_files_are_read_ahead(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6))
    loader = DataLoader(np.load(tmp_path / "x.npy", mmap_mode="r"), 4)
    assert isinstance(iter(loader), Prefetched) and [b.tolist() for b in loader] == [[0, 1, 2, 3], [4, 5]]


def test_an_error_comes_out_at_its_batch_with_its_traceback():
    batches = iter(DataLoader(Slow(9, broken=5), 2))
    assert [int(next(batches)[1][0]) for _ in range(2)] == [0, 2]
    with pytest.raises(OSError, match="sample 5 is unreadable") as caught:
        next(batches)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "__getitem__" in names and names[0].startswith("test_an_error")
    assert list(batches) == []


def test_at_most_so_many_are_made_ahead():
    made = []
    batches = Prefetched(iter(made.append(i) or i for i in range(100)), ahead=3)
    until(lambda: len(made) == 3)
    assert next(batches) == 0
    until(lambda: len(made) == 4)
    time.sleep(0.02)
    assert made == [0, 1, 2, 3]
    batches.close()


def until(condition):
    limit = time.perf_counter() + 60
    while not condition():
        assert time.perf_counter() < limit
        time.sleep(0.001)


def test_an_iteration_left_midway_ends_its_thread():
    loader = DataLoader(Slow(100), 2, workers=2)
    for _ in loader:
        assert threads()
        break
    assert not threads()
    batches = iter(loader)
    next(batches)
    batches.close()
    assert not threads() and list(batches) == []
    iter(loader)  # never asked for a batch
    assert not threads()


def test_an_iteration_in_a_cycle_ends_its_thread():
    holder = {"batches": iter(DataLoader(Slow(100), 2))}
    holder["self"] = holder
    gone = weakref.ref(holder["batches"])
    next(holder["batches"])
    del holder
    gc.collect()
    assert gone() is None and not threads()


def test_a_raise_inside_of_the_loop_ends_its_thread():
    with pytest.raises(ZeroDivisionError):
        for _ in DataLoader(Slow(100), 2):
            1 / 0  # noqa: B018
    gc.collect()
    assert not threads()


def test_two_iterations_at_once():
    loader = DataLoader(Slow(5), 2)
    assert [a[1].tolist() == b[1].tolist() for a, b in zip(loader, loader, strict=True)] == [True] * 3


def test_batches_are_made_while_one_is_worked_on():
    data = Slow(8)
    for batch in DataLoader(data, 1, prefetch=2):
        first = int(batch[1][0])
        until(lambda first=first: len(data.seen) >= min(first + 3, 8))


class Meeting(Slow):
    """A dataset whose samples are ready when `n` of them are being made at the same time."""

    def __init__(self, n):
        super().__init__(n)
        self.barrier = threading.Barrier(n, timeout=60)

    def __getitem__(self, i):
        self.barrier.wait()
        return super().__getitem__(i)


def test_samples_of_a_batch_are_made_at_the_same_time():
    [(_, index)] = DataLoader(Meeting(10), 10, workers=10)
    assert index.tolist() == list(range(10))


def test_a_transform_draws_from_the_loader_alone():
    seen = []

    def transform(x, rng):
        seen.append(rng.state)
        return x + rng.integers((), 0, 1000)

    loaders = [DataLoader(np.arange(6), 2, shuffle=True, rng=4, transform=transform, prefetch=k) for k in (0, 3)]
    for _ in range(2):
        one, other = [[b.tolist() for b in loader] for loader in loaders]
        assert one == other
    assert loaders[0].rng.state == loaders[1].rng.state == (4, 4)  # an order and a seed an epoch
    assert len(set(seen)) == 6 and sorted(seen[:3]) == sorted(seen[3:6])
    left = DataLoader(np.arange(6), 2, shuffle=True, rng=4, transform=transform)
    next(iter(left))  # an epoch left midway changes nothing for the next
    assert [b.tolist() for b in left] == one


def test_what_a_transform_is_called_with():
    x, y = np.arange(4.0), np.arange(4)
    assert [b.tolist() for b in DataLoader(x, 2, transform=lambda x, rng: x * 2)] == [[0.0, 2.0], [4.0, 6.0]]
    one = next(iter(DataLoader((x, y), 2, transform=lambda x, y, rng: (x, y, x.sum()), dtype=np.float32)))
    assert len(one) == 3 and one[0].dtype == np.float32 and one[2] == 1
    named = next(iter(DataLoader({"x": x}, 2, transform=lambda batch, rng: batch | {"n": 2})))
    assert sorted(named) == ["n", "x"]
    with pytest.raises(DTypeError, match="^DataLoader: transform must be a function, got 3$"):
        DataLoader(x, transform=3)


def test_training_is_the_same_with_batches_made_ahead():
    def losses(ahead):
        model = nf.Dense(2, 1, rng=0)
        data = DataLoader(Slow(20), 4, shuffle=True, rng=1, prefetch=ahead)
        step = lambda m, x, i: ((m(x) - nf.operators.F.reshape(i.astype(np.float32), -1, 1)) ** 2).mean()  # noqa: E731
        return [row["loss"] for row in nf.train(step, model, data, nf.setup(nf.Adam(), model), 2, progress=False)]

    assert losses(0) == losses(2)


def test_a_forked_child_must_iterate_anew():
    loader = DataLoader(Slow(50, 0.001), 2)
    batches = iter(loader)
    next(batches)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            try:
                next(batches)
            except PlanError as error:
                good = str(error) == ("DataLoader: an iteration must not go on in a forked process; iterate anew there")
                del batches, error
                status = 0 if good and len(list(loader)) == 25 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(batches)) == 24


SCRIPT = """
import sys, time
import numbaflux as nf

class Slow:
    def __len__(self):
        return 1000
    def __getitem__(self, i):
        time.sleep(0.2 if i > 2 else 0)
        return i

batches = iter(nf.DataLoader(Slow(), 2, workers=2))  # a global: alive when the interpreter ends
print(next(batches), flush=True)
try:
    for batch in batches if "wait" in sys.argv else ():
        pass
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def script(*arguments):
    command = [sys.executable, "-c", SCRIPT, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_an_interpreter_ends_with_an_iteration_open():
    out, err = script().communicate(timeout=60)
    assert (out, err) == ("[0 1]\n", "")


def test_an_interrupt_is_seen_while_waiting():
    process = script("wait")
    assert process.stdout.readline() == "[0 1]\n"
    time.sleep(0.3)
    start = time.perf_counter()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
    assert time.perf_counter() - start < 10
