"""DistributedOptimizer in a world of one: the training of its rule alone; what it refuses."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.distributed import World
from numbaflux.op import DTypeError, Error, NonFiniteError, PlanError, RangeError
from tests.mpi import steps


def params(rule, drop=0.0):
    nf.seed(5)
    model, state, step = steps.made(rule, "float32", drop)
    losses = [float(step(x, y)) for x, y in steps.data("float32")]
    return losses, [a.tobytes() for a in nf.tree.arrays(model).values()], state, nf.rng.default().state


@pytest.mark.parametrize("drop", [0.0, 0.4])
@pytest.mark.parametrize("options", [{}, {"sharded": True}, {"overlap": True}, {"bucket": 1e-3}], ids=str)
@pytest.mark.parametrize("name", ["adam", "clip", "ema", "rprop"])
def test_a_world_of_one_changes_no_bit(name, options, drop):
    rule = steps.rule_of(name)
    if name == "clip" and "sharded" in options:
        return
    found = params(nf.DistributedOptimizer(rule, World(), **options), drop)
    expected = params(rule, drop)
    assert found[:2] == expected[:2] and found[2].step == expected[2].step and found[3] == expected[3]


def test_fixed_shards_draw_alike_for_any_split_and_count_one_draw_a_step():
    one, other = (params(nf.DistributedOptimizer(nf.Adam(), World(), deterministic=True), 0.4) for _ in range(2))
    assert one[:2] == other[:2] and one[3] == (5, len(steps.data("float32")))


def test_accumulated_gradients_are_their_mean():
    found = params(nf.DistributedOptimizer(nf.Descent(0.1), World(), accumulate=2))
    expected = params(nf.OptimiserChain(nf.AccumGrad(2), nf.Descent(0.1)))
    assert found[2].step == expected[2].step == 3
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(np.frombuffer(a, "f4"), np.frombuffer(b, "f4"), rtol=1e-5, atol=1e-7)


def test_eager_updates_accumulate_too():
    world = World()
    model = {"w": np.zeros(2)}
    state = nf.setup(nf.DistributedOptimizer(nf.Descent(1.0), world), model)
    with world.no_sync():
        nf.update(state, model, {"w": np.array([1.0, 2.0])})
        assert not model["w"].any() and state.step == 0
    nf.update(state, model, {"w": np.array([10.0, 20.0])})
    assert model["w"].tolist() == [-11, -22] and state.step == 1


REFUSED = [
    ({"rule": nf.Adam}, DTypeError, "rule must be a rule such as nf.Adam(), got the class Adam"),
    ({"world": 3}, DTypeError, "world must be what nf.distributed.init() returned, got int"),
    ({"wire": "float8"}, RangeError, "wire must be None, 'float16' or 'bfloat16', got 'float8'"),
    ({"accumulate": 0}, RangeError, "accumulate must be an integer in [1, inf)"),
    ({"deterministic": True, "shards": 6}, RangeError, "shards must be a power of 2 and a multiple of 1 ranks"),
    ({"deterministic": True, "sharded": True}, RangeError, "deterministic must be without sharded"),
    ({"sharded": True, "wire": "float16"}, RangeError, "wire must be None where sharded=True"),
    ({"sharded": True, "rule": nf.LAMB()}, RangeError, "sharded must be False for rules that need whole gradients"),
    ({"sharded": True, "rule": nf.OptimiserChain(nf.ClipNorm(), nf.Adam())}, RangeError, "with ['ClipNorm']"),
]


@pytest.mark.parametrize("given, error, words", REFUSED, ids=[words for *_, words in REFUSED])
def test_what_cannot_be_is_refused(given, error, words):
    with pytest.raises(Error) as caught:
        nf.DistributedOptimizer(**{"rule": nf.Adam(), "world": World()} | given)
    assert type(caught.value) is error and words in str(caught.value)


def test_sixteen_bits_are_for_float32():
    with pytest.raises(RangeError, match="wire must be None for a model that is not float32"):
        nf.setup(nf.DistributedOptimizer(nf.Adam(), World(), wire="float16"), {"w": np.zeros(2)})


def test_fixed_shards_refuse_running_statistics_and_batches_they_do_not_divide():
    def made(*layers):
        model = nf.Chain(nf.Dense(2, 4), *layers)
        state = nf.setup(nf.DistributedOptimizer(nf.Adam(), World(), deterministic=True, shards=4), model)
        return nf.compile(lambda m, x: (m(x) ** 2).mean(), model, state)

    with pytest.raises(PlanError, match="use nf.GroupNorm"):
        made(nf.BatchNorm(4))(np.ones((8, 2), np.float32))
    with pytest.raises(Error, match="must be a multiple of 4 shards, got 6; a batchsize that shards= divides"):
        made()(np.ones((6, 2), np.float32))


def test_a_shard_that_fails_leaves_nothing_behind():
    model = {"w": np.ones(2, np.float32)}
    state = nf.setup(nf.DistributedOptimizer(nf.Descent(1.0), World(), deterministic=True, shards=4), model)
    step = nf.compile(lambda m, x: (m["w"] * x).sum(), model, state)
    good = np.ones((8, 2), np.float32)
    for shard in range(4):
        bad = good.copy()
        bad[2 * shard] = np.inf
        with pytest.raises(NonFiniteError):
            step(bad)
        assert model["w"].tolist() == [1, 1] and state.step == 0
    step(good)
    assert model["w"].tolist() == [-1, -1] and state.step == 1


def test_what_is_not_finite_changes_nothing():
    model = {"w": np.ones(2, np.float32)}
    state = nf.setup(nf.DistributedOptimizer(nf.Adam(), World(), accumulate=2), model)
    step = nf.compile(lambda m, x: (m["w"] * x).sum(), model, state)
    good, bad = np.ones(2, np.float32), np.array([1, np.inf], np.float32)
    step(good)
    with pytest.raises(NonFiniteError):
        step(bad)
    assert model["w"].tolist() == [1, 1] and state.step == 0
    step(good)
    assert state.step == 1 and np.isfinite(model["w"]).all()
