"""DataLoader(world=...): ranks together get each batch of one process, in its order, and agree on all of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux.data import DataLoader
from numbaflux.distributed import World


class Rank(World):
    """A rank that others never answer; what it would compare with them is kept."""

    def __init__(self, rank, size):
        super().__init__()
        self.rank, self.size, self.said = rank, size, []

    def same(self, digest, what, cure=""):
        self.said.append((digest, what, cure))


def loaders(data, batchsize, size, **options):
    return [DataLoader(data, batchsize, world=Rank(rank, size), **options) for rank in range(size)]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 5), st.booleans(), st.booleans(), st.integers(0, 9))
def test_ranks_together_have_the_batches_of_one_process(n, share, size, shuffle, partial, seed):
    batchsize = share * size
    if n < size or (not partial and batchsize > n):
        return
    alone = DataLoader(np.arange(n), batchsize, shuffle, partial, seed)
    ranks = loaders(np.arange(n), batchsize, size, shuffle=shuffle, partial=partial, rng=seed)
    for _ in range(2):
        whole, parts = list(alone), [list(loader) for loader in ranks]
        if partial and n % batchsize:
            whole[-1] = whole[-1][: len(whole[-1]) // size * size]
            whole = whole[: None if len(whole[-1]) else -1]
        assert {len(part) for part in parts} == {len(loader) for loader in ranks} == {len(whole)}
        for batch, *shares in zip(whole, *parts, strict=True):
            assert {len(s) for s in shares} == {len(batch) // size}
            assert np.concatenate(shares).tolist() == batch.tolist()


def test_a_world_of_one_changes_nothing():
    def noisy(x, rng):
        return x + rng.normal(x.shape)

    for options in ({}, {"transform": noisy}, {"partial": False}):
        x = np.arange(14.0).reshape(7, 2)
        alone = DataLoader(x, 3, shuffle=True, rng=1, **options)
        together = DataLoader(x, 3, shuffle=True, rng=1, world=World(), **options)
        assert len(alone) == len(together)
        for _ in range(2):
            assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_what_is_left_out_of_the_last_batch_is_other_samples_in_each_epoch():
    ranks = loaders(np.arange(11), 4, 2, shuffle=True, rng=0)
    left = [set(range(11)) - set(np.concatenate([np.concatenate(list(r)) for r in ranks]).tolist()) for _ in range(6)]
    assert {len(one) for one in left} == {1} and len(set.union(*left)) > 1


class Counting:
    """Samples that are counted when they are fetched."""

    def __init__(self, n):
        self.n, self.fetched = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.fetched.append(i)
        return np.full(2, i, np.float32)


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"collate": np.stack}, {"prefetch": 0}])
def test_a_rank_fetches_its_own_samples_alone(options):
    order = nf.rng.Generator(5).permutation(12).reshape(2, 3, 2)
    for rank in range(3):
        data = Counting(12)
        batches = list(DataLoader(data, 6, shuffle=True, rng=5, world=Rank(rank, 3), **options))
        assert sorted(data.fetched) == sorted(order[:, rank].reshape(-1).tolist())
        assert [b[:, 0].tolist() for b in batches] == order[:, rank].tolist()


def test_stretches_are_all_samples_once_in_order():
    for n, batchsize, size in ((11, 4, 2), (7, 3, 3), (3, 30, 3), (20, 2, 2)):
        ranks = loaders((np.arange(n), np.arange(n)), batchsize, size, shuffle=True, rng=3)
        found = [[y for _, y in loader.stretch()] for loader in ranks]
        order = nf.rng.Generator(3).permutation(n)
        assert np.concatenate([y for part in found for y in part]).tolist() == order.tolist()
        assert max(len(y) for part in found for y in part) <= batchsize // size
    dropped = [np.concatenate(list(loader.stretch())).tolist() for loader in loaders(np.arange(7), 4, 2, partial=False)]
    assert dropped == [[0, 1], [2, 3]]


def test_transforms_draw_numbers_of_their_own_on_each_rank_and_batch():
    def drawn(x, rng):
        return rng.uniform(x.shape)

    ranks = loaders(np.zeros((8, 1)), 4, 2, transform=drawn, rng=2)
    numbers = [x for loader in ranks for batch in loader for x in batch.reshape(-1).tolist()]
    assert len(set(numbers)) == 8
    assert ranks[0].rng.state == ranks[1].rng.state == (2, 1)


def said(loader):
    iter(loader)
    [(digest, what, cure)] = loader.world.said
    assert what == "samples and their order" and cure.startswith("the same data and options, and rng=seed")
    return digest


def test_what_decides_the_order_is_compared_when_an_epoch_begins():
    x = np.zeros(12)

    def told(data=x, batchsize=4, **options):
        return said(DataLoader(data, batchsize, **{"world": Rank(0, 2), "shuffle": True, "rng": 0} | options))

    assert told() == told(world=Rank(1, 2))
    others = [
        {"rng": 1}, {"rng": nf.rng.Generator(0, 1)}, {"shuffle": False}, {"batchsize": 6}, {"partial": False},
        {"data": x[:11]},
    ]  # fmt: skip
    assert len({told(), *(told(**other) for other in others)}) == 1 + len(others)
    assert told(shuffle=False, rng=0) == told(shuffle=False, rng=1)  # it draws nothing
    noise = {"shuffle": False, "transform": lambda x, rng: x}
    assert told(rng=0, **noise) != told(rng=1, **noise)
    loader = DataLoader(x, 4, world=Rank(0, 2))
    assert [list(loader) is None, list(loader.stretch()) is None, len(loader.world.said)] == [False, False, 2]


MULTIPLE = "DataLoader: batchsize must be a multiple of the 4 ranks, got 6; it counts the samples of all ranks together"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: DataLoader(np.zeros(9), 6, world=Rank(0, 4)), nf.RangeError, MULTIPLE),
        (lambda: DataLoader(np.zeros(3), 4, world=Rank(0, 4)), nf.ShapeError,
         "DataLoader: data must be of a sample or more for each of 4 ranks, got 3"),
        (lambda: DataLoader(np.zeros(3), 4, world=4), nf.DTypeError,
         "DataLoader: world must be what nf.distributed.init() returned, got 4"),
    ],
)  # fmt: skip
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
