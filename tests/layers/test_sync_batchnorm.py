"""nf.distributed.sync_batchnorm: ranks with parts of a batch compute what one process computes with the whole."""

import copy

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.distributed import sync_batchnorm
from tests.fake_world import Ranks, World, together

RNG = np.random.default_rng(0)
X, C = RNG.normal(size=(12, 5, 4)) * [1, 10, 1e-2, 3] + [0, 100, 1, -5], RNG.normal(size=(12, 5, 4))
SIZES = [(2, (12, 5, 4)), (3, (12, 5, 4)), (4, (12, 4)), (12, (12, 5, 4))]
by_sizes = pytest.mark.parametrize(("n", "shape"), SIZES, ids=str)


def layer(**options):
    made = nf.f64(nf.BatchNorm(4, nf.tanh, **options))
    if made.weight is not None:
        made.weight[...], made.bias[...] = [1, 2, 3, 0.5], [0, 1, -1, 0.5]
    return made


def loss(model, x, c):
    return (model(x) * c).sum()


def parts(n, *arrays):
    return [[a[rank * len(a) // n : (rank + 1) * len(a) // n] for a in arrays] for rank in range(n)]


def results(found):
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return found


@by_sizes
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"track_stats": False}], ids=str)
@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_and_running_statistics_are_those_of_the_whole_batch(n, shape, options, compiled):
    x, c = X[: shape[0], 0] if len(shape) == 2 else X, C[:, 0] if len(shape) == 2 else C
    whole, given = layer(**options), layer(**options)
    right, right_x, _ = nf.gradient(loss, whole, x, c)

    def run(world):
        model = sync_batchnorm(nf.tree.replaced(given, lambda path, kind, a: copy.copy(a)), world)
        f = nf.compile(lambda x, c: nf.gradient(loss, model, x, c)[:2]) if compiled else None
        own = parts(n, x, c)[world.rank]
        return *(f(*own) if compiled else nf.gradient(loss, model, *own)[:2]), model

    found = results(together(n, run))
    np.testing.assert_allclose(np.concatenate([dx for _, dx, _ in found]), right_x, rtol=1e-11, atol=1e-12)
    for name in ("weight", "bias") if right.weight is not None else ():
        total = sum(getattr(grad, name) for grad, _, _ in found)  # which DistributedOptimizer sums
        np.testing.assert_allclose(total, getattr(right, name), rtol=1e-11, atol=1e-12)
    for name in ("mean", "var") if whole.mean is not None else ():
        assert not np.array_equal(getattr(whole, name), getattr(given, name))
        for _, _, model in found:
            np.testing.assert_allclose(getattr(model, name), getattr(whole, name), rtol=1e-13)


def test_gradients_of_gradients_go_over_all_ranks():
    v = RNG.normal(size=X.shape)

    def along(model, x, c, v):
        return (nf.gradient(lambda x: loss(model, x, c), x) * v).sum()

    model = layer()
    right, right_x, *_ = nf.gradient(along, model, X, C, v)

    def run(world):
        own = sync_batchnorm(layer(), world)
        f = nf.compile(lambda *args: nf.gradient(along, own, *args)[:2])
        return f(*parts(3, X, C, v)[world.rank])

    found = results(together(3, run))
    np.testing.assert_allclose(np.concatenate([dx for _, dx in found]), right_x, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(sum(grad.weight for grad, _ in found), right.weight, rtol=1e-9, atol=1e-9)


def test_float32_far_from_zero():
    """Where the mean of squares less the square of the mean would be noise."""
    x = (RNG.normal(size=(64, 4)) + 3000).astype(np.float32)
    right = x.astype(np.float64)
    right = (right - right.mean(0)) / np.sqrt(right.var(0) + 1e-5)

    def run(world):
        return nf.trainmode(sync_batchnorm(nf.BatchNorm(4), world))(parts(4, x)[world.rank][0])

    np.testing.assert_allclose(np.concatenate(results(together(4, run))), right, atol=2e-3)


def test_only_training_asks_other_ranks():
    world = World(Ranks(2), 0)  # the other never comes
    model = sync_batchnorm(nf.BatchNorm(4), world)
    x = X.astype(np.float32)
    assert np.array_equal(model(x), nf.BatchNorm(4)(x))
    assert np.array_equal(nf.compile(model)(x), nf.BatchNorm(4)(x))
    assert world.calls == []


def test_ranks_meet_once_in_a_plan():
    def run(world):
        model = sync_batchnorm(nf.Chain(nf.BatchNorm(4), nf.BatchNorm(4)), world)
        f = nf.compile(lambda x, c: nf.gradient(lambda m: loss(m, x, c), model)[0].weight)
        f(*(a.astype(np.float32) for a in parts(2, X, C)[world.rank]))
        return [kind for kind in world.calls if kind != "statistics"]

    assert results(together(2, run)) == [["the size of a batch with statistics"]] * 2


def test_batches_of_other_sizes_are_refused_on_all_ranks():
    def run(world):
        model = nf.trainmode(sync_batchnorm(layer(), world))
        with pytest.raises(nf.RankError) as caught:
            model(X[: 4 + world.rank])
        assert not model.mean.any()
        return str(caught.value)

    said = "distributed: the size of a batch with statistics must be the same on all ranks, got another than rank 0's"
    assert results(together(2, run)) == [f"{said} on rank 1; nf.DataLoader(..., world=world)"] * 2


def test_one_sample_on_each_rank_is_a_batch():
    def run(world):
        return nf.trainmode(sync_batchnorm(nf.BatchNorm(2, eps=1e-12), world))(
            np.full((1, 2), 2 * world.rank, np.float32)
        )

    assert np.concatenate(results(together(2, run))).round(4).tolist() == [[-1, -1], [1, 1]]


def test_the_model_is_shared_and_files_know_nothing(tmp_path):
    world = World(Ranks(2), 0)
    model = nf.Chain(nf.Dense(3, 4), nf.Parallel(nf.add, nf.BatchNorm(4), nf.identity), nf.InstanceNorm(4))
    made = sync_batchnorm(model, world)
    assert made is not model and made[0] is model[0] and made[2] is model[2]
    assert model[1].layers[0]._world is None and made[1].layers[0]._world is world
    assert made[1].layers[0].weight is model[1].layers[0].weight
    assert repr(made[1].layers[0]).startswith("BatchNorm(4, ranks=2),")
    assert copy.deepcopy(made)[1].layers[0]._world is world
    nf.save(tmp_path / "made.h5", made[:2])
    assert nf.load(tmp_path / "made.h5")[1].layers[0]._world is None
    assert sync_batchnorm(model, nf.distributed.init()) is model


def test_a_world_is_asked_for():
    with pytest.raises(nf.DTypeError) as caught:
        sync_batchnorm(nf.BatchNorm(2), 4)
    assert str(caught.value) == "sync_batchnorm: world must be what nf.distributed.init() returned, got int"
