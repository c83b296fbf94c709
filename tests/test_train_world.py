"""nf.train in a world, as far as one process can see it; tests/mpi/test_train.py has ranks."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.distributed import World
from numbaflux.events import Listeners, Position

X = np.linspace(-1, 1, 21, dtype=np.float32).reshape(21, 1)


class Pair(World):
    """Rank 0 of 2; what rank 1 says is given."""

    def __init__(self, other):
        super().__init__()
        self.size, self.other = 2, other

    def meet(self, kind, numbers=()):
        assert kind == "the end of an epoch"
        return np.array([numbers, self.other], np.float64)


def test_an_epoch_ends_with_the_sums_of_all_and_the_slowest_seconds():
    position = Position(3, 10, 4, 64, 1.5, 2.0)
    assert position.ended(None) == position
    joined = position.ended(Pair([4, 60, 2.5, 3.0]))
    assert joined == position._replace(sample=124, total=4.0, seconds=3.0) and type(joined.sample) is int


def test_an_epoch_of_other_batches_is_refused():
    with pytest.raises(nf.RankError) as caught:
        Position(3, 10, 4, 64, 1.5, 2.0).ended(Pair([5, 60, 2.5, 3.0]))
    assert str(caught.value) == (
        "train: batches of an epoch must be as many on all ranks, got 4 on rank 0 and 5 on rank 1; "
        "nf.DataLoader(..., world=world)"
    )


def test_what_writes_is_told_by_the_first_rank_alone(tmp_path):
    writers = [nf.callbacks.CSVLog(tmp_path / "a"), nf.callbacks.JSONLog(tmp_path / "b")]
    assert all(kind.first_rank_only for kind in (nf.callbacks.CSVLog, nf.callbacks.JSONLog, nf.callbacks.TensorBoard))
    other = World()
    other.rank = 1
    own = print, nf.EarlyStopping("loss", patience=1)
    for world, count in ((None, 4), (World(), 4), (other, 2)):
        assert len(Listeners([*writers, *own], world).callbacks) == count


def train(data, world, **options):
    model = nf.Dense(1, 1, rng=0)
    state = nf.setup(nf.Adam() if world is None else nf.DistributedOptimizer(nf.Adam(), world), model)
    history = nf.train(lambda m, x: (m(x) ** 2).mean(), model, data, state, epochs=2, progress=False, **options)
    return history.column("loss"), history.column("validation_loss"), model.weight.tolist()


@pytest.mark.parametrize("compile", [True, False])
def test_a_world_of_one_trains_as_none_does(compile):
    world = World()
    options = {"validation": X[:5], "compile": compile}
    alone = train(nf.DataLoader(X, 4, shuffle=True, rng=0), None, **options)
    assert train(nf.DataLoader(X, 4, shuffle=True, rng=0, world=world), world, **options) == alone
    assert train(nf.DataLoader(X, 4, shuffle=True, rng=0), world, **options) == alone


def test_loaders_of_another_world_are_refused():
    world = World()
    mine, plain = nf.DataLoader(X, 4, world=world), nf.DataLoader(X, 4)
    cure = "got World(rank 0 of 1); nf.setup(nf.DistributedOptimizer(rule, world), model)"
    for options in ({"data": mine, "world": None}, {"data": mine, "world": World()},
                    {"data": plain, "world": None, "validation": mine}):  # fmt: skip
        name = "validation" if "validation" in options else "data"
        with pytest.raises(nf.PlanError) as caught:
            train(**options)
        right = f"train: {name} must be a loader of the world of opt_state, {options['world']}, {cure}"
        assert str(caught.value) == right


def test_a_metric_of_labels_that_are_one_hot():
    world, model = World(), nf.Dense(1, 3, rng=0)
    y = nf.OneHot(np.arange(21) % 3, 3)
    seen = []

    def kept(output, labels):
        seen.append(labels)
        return nf.metrics.accuracy(output, labels)

    state = nf.setup(nf.DistributedOptimizer(nf.Adam(), world), model)
    nf.train(lambda m, x, y: nf.losses.logitcrossentropy(m(x), y), model, nf.DataLoader((X, y), 4, world=world), state,
             epochs=1, progress=False, validation=(X, y), metrics=[kept])  # fmt: skip
    assert isinstance(seen[0], nf.OneHot) and np.array_equal(seen[0].indices, y.indices)
