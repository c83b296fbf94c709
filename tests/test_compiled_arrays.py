"""Arrays of compiled functions: those they use, their arguments, their results."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.warm import warm
from tests.nets import batch, mlp, mse


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """All that are missing, compiled at once."""
    for _ in warm():
        pass


# ---------------------------------------------------------------- arrays that a function uses


def test_changes_in_place_are_seen():
    w, index = np.ones((3, 4), np.float32), np.array([1, 0])
    rate = nf.Scalar(2.0)
    f = nf.compile(lambda x: nf.functions.dense(x, w)[index] * rate)
    x = batch(5, 3)[0]
    np.testing.assert_array_equal(f(x), (x @ w)[index] * 2)
    w[...] = 3
    index[:] = 2, 2
    rate.value = 0.5
    np.testing.assert_allclose(f(x), (x @ w)[[2, 2]] * 0.5, rtol=1e-6)


def test_model_is_read_where_it_is_also_what_is_computed_from_it():
    @nf.layer
    class Tied:
        weight: np.ndarray = nf.param()
        scale: np.ndarray = nf.buffer()

        def __call__(self, x):
            return x @ nf.tanh(self.weight).T * (self.scale * 2.0)

    model = Tied(batch(3, 4)[0], np.ones(3, np.float32))
    predict, x = nf.compile(model), batch(5, 4)[0]
    predict(x)
    model.weight[...] *= -3
    model.scale[...] = 7
    np.testing.assert_array_equal(predict(x), model(x))


def test_plans_follow_a_model_whose_arrays_move():
    model = mlp(7, 9, 3)
    x, y = batch(8)
    predict = nf.compile(model)
    closed = nf.compile(lambda x: model(x) * 2.0)
    first = predict(x), closed(x)
    step = nf.compile(mse, model, nf.setup(nf.Descent(0.5), model))  # moves them into its vector
    step(x, y)
    np.testing.assert_array_equal(predict(x), model(x))
    np.testing.assert_array_equal(closed(x), model(x) * 2)
    assert not np.array_equal(predict(x), first[0])
    other = nf.Chain(nf.Dense(7, 3))
    predict = nf.compile(other)
    predict(x)
    other.layers[0].weight = np.zeros((7, 3), np.float32)  # another array
    np.testing.assert_array_equal(predict(x), np.zeros((8, 3)))


@pytest.mark.parametrize("turn", [lambda w: w.T, lambda w: w[:, ::2], np.asfortranarray], ids=["T", "steps", "Fortran"])
def test_array_that_could_only_be_copied_is_refused(turn):
    w = turn(np.ones((4, 4), np.float32))
    x = np.ones((4, 4), np.float32)
    for f in (lambda x: x @ w, lambda x: x[:, : w.shape[1]] * w):
        with pytest.raises(nf.PlanError, match="C-contiguous, got strides"):
            nf.compile(f)(x)


# ---------------------------------------------------------------- arguments and results


def layouts(x):
    readonly = x.copy()
    readonly.flags.writeable = False
    wide = np.zeros((x.shape[0] * 2, x.shape[1] * 3), x.dtype)
    wide[::2, ::3] = x
    backwards = x[::-1, ::-1].copy()[::-1, ::-1]
    odd = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    odd[...] = x
    return {"plain": x, "Fortran": np.asfortranarray(x), "read-only": readonly, "strided": wide[::2, ::3],
            "backwards": backwards, "unaligned": odd, "subclass": x.view(Subclass)}  # fmt: skip


class Subclass(np.ndarray):
    pass


@pytest.mark.parametrize("rows", [5, 5000])
def test_arguments_may_lie_as_they_like_and_stay_as_they_are(rows):
    x = batch(rows)[0]
    model = mlp(7, 9, 3)
    predict, right = nf.compile(model), model(x)
    for name, one in layouts(x).items():
        before = one.tobytes()
        y = predict(one)
        np.testing.assert_array_equal(y, right, err_msg=name)
        assert type(y) is np.ndarray and y.flags.c_contiguous and y.flags.writeable
        assert one.tobytes() == before, name
        np.testing.assert_array_equal(predict(x), right, err_msg=f"after {name}")


def test_results_are_new_arrays_each_time():
    f = nf.compile(lambda x: (x, x * 2.0, nf.functions.reshape(x, -1)))
    x = batch(4)[0]
    one, two = f(x), f(x)
    arrays = [x, *one, *two]
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(arrays, 2))
    one[0][...] = 0
    np.testing.assert_array_equal(two[0], x)
    np.testing.assert_array_equal(f(x)[2], x.reshape(-1))


class Pair(NamedTuple):
    first: object
    second: object


def test_results_have_the_functions_own_form():
    f = nf.compile(lambda x: {"a": [x + 1.0, (x * 2.0, "text")], "p": Pair(x.sum(), 3), "none": None})
    x = batch(4)[0]
    found = f(x)
    assert list(found) == ["a", "p", "none"] and found["none"] is None
    assert type(found["a"]) is list and type(found["a"][1]) is tuple and found["a"][1][1] == "text"
    assert type(found["p"]) is Pair and found["p"].second == 3
    assert found["p"].first.shape == () and found["p"].first.dtype == np.float32
    np.testing.assert_array_equal(found["a"][0], x + 1)
    np.testing.assert_array_equal(found["a"][1][0], x * 2)


def test_arguments_may_be_nested_numbers_and_keywords_of_a_plan():
    f = nf.compile(lambda p, scale, flag: p["w"] * p["more"][0] * scale + (1.0 if flag else 2.0))
    w = np.ones((2, 3), np.float32)
    for scale, flag in ((0.5, True), (0.25, True), (0.25, False)):
        right = np.full((2, 3), 3 * scale + (1 if flag else 2), np.float32)
        np.testing.assert_array_equal(f({"w": w, "more": (w * 3,)}, scale, flag), right)
    assert len(f.programs) == 2, "a float is an argument, a bool a part of the plan"


FORMS = {
    "array": (lambda p: p, lambda aux: aux),
    "tuple": (lambda p: (p, p.sum()), lambda aux: aux[0]),
    "dict": (lambda p: {"p": p, "n": 1}, lambda aux: aux["p"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_step_gives_what_the_loss_gives_beside_its_value(form):
    """From before the update, as new arrays."""
    make, take = FORMS[form]

    def loss(m, x, y):
        p = m(x)
        return nf.losses.mse(p, y), make(p)

    model = mlp(7, 9, 3)
    step = nf.compile(loss, model, nf.setup(nf.Descent(0.1), model))
    x, y = batch(40)
    right = model(x)
    value, aux = step(x, y)
    assert value.ndim == 0
    found = take(aux)
    np.testing.assert_array_equal(found, right)
    assert form != "tuple" or abs(aux[1] - right.sum(dtype=np.float64)) < 1e-4
    assert form != "dict" or aux["n"] == 1
    step(x, y)
    np.testing.assert_array_equal(found, right)


def test_loss_beside_nothing_is_the_loss_alone():
    model = mlp(7, 3)
    step = nf.compile(lambda m, x, y: (mse(m, x, y), None), model, nf.setup(nf.Descent(0.1), model))
    assert step(*batch(4)).ndim == 0


def test_gradients_of_the_last_step_can_be_looked_at():
    model = mlp(7, 9, 3)
    x, y = batch(40)
    grads = nf.gradient(lambda m: mse(m, x, y), model)
    step = nf.compile(mse, model, nf.setup(nf.Descent(0.1), model))
    step(x, y)
    found = step.gradients()
    assert list(found) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    np.testing.assert_array_equal(found["1.weight"], grads[1].weight)
