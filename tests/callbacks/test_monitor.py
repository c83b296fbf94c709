"""EarlyStopping and Plateau against plain loops and PyTorch."""

import math

import numpy as np
import pytest

import numbaflux as nf
from tests.callbacks.scripted import ONE, fresh, train

draw = np.random.default_rng(0)
WALKS = [np.abs(np.cumsum(draw.integers(-2, 2, 30)) + 40).astype(float).tolist() for _ in range(6)]


# ---------------------------------------------------------------- early stopping


def stops_after(values, patience, min_delta=0.0, sign=1):
    """The epoch after which a plain loop stops."""
    for end in range(1, len(values) + 1):
        gains = []
        best = math.inf
        for value in values[:end]:
            gains.append(best - sign * value > min_delta)
            best = sign * value if gains[-1] else best
        if end >= patience and not any(gains[-patience:]):
            return end
    return len(values)


@pytest.mark.parametrize("patience", [1, 2, 5])
@pytest.mark.parametrize("min_delta", [0.0, 1.0, 2.5])
def test_early_stopping_is_the_plain_loop(patience, min_delta):
    for walk in WALKS:
        stopping = nf.EarlyStopping("loss", patience, min_delta)
        history = train(walk, [stopping])
        assert len(history) == stops_after(walk, patience, min_delta)
        if not min_delta:
            assert stopping.best_epoch == 1 + int(np.argmin(history.column("loss")))


def test_what_rises_is_better_in_mode_max():
    for walk in WALKS:
        assert len(train(walk, [nf.EarlyStopping("loss", 3, mode="max")])) == stops_after(walk, 3, sign=-1)
        up = [-x for x in walk]
        history = train([1.0] * 30, [nf.EarlyStopping("score", 3, mode="max")], scores=up)
        assert len(history) == stops_after(walk, 3)


def test_nan_is_never_better():
    scores = [3.0, math.nan, math.nan, 2.0, math.nan, math.nan, math.nan, 1.0]
    stopping = nf.EarlyStopping("score", 3, mode="min")
    assert len(train([1.0] * 8, [stopping], scores=scores)) == 7 and stopping.best_epoch == 4
    assert len(train([1.0] * 8, [stopping], scores=[math.nan] * 8)) == 3


def test_one_callback_serves_several_trainings():
    stopping = nf.EarlyStopping("loss", 2)
    assert len(train([1, 2, 3, 4], [stopping])) == 3
    assert len(train([5, 4, 3, 6, 7], [stopping])) == 5


def weights_after(restore_best, f):
    """Weights of a training by x - w, whose rate alternates, and of each of its epochs."""
    model = nf.Dense(1, 1, bias=False)
    model.weight = np.zeros((1, 1), np.float32)
    state, seen = nf.setup(nf.Descent(0.25), model), []
    callbacks = [nf.EarlyStopping("validation_loss", 2, restore_best=restore_best)]
    callbacks += [lambda event: seen.append(float(model.weight[0, 0])), *f(state)]
    data = [(ONE, ONE)]
    nf.train(lambda m, x, y: nf.losses.mse(m(x), y), model, data, state, epochs=8, validation=data[0],
             callbacks=callbacks, progress=False)  # fmt: skip
    return float(model.weight[0, 0]), seen


def test_the_best_is_restored_or_not():
    def away(state):
        return [lambda event: nf.adjust(state, eta=1.5) if event.epoch == 3 else None]  # from then on it diverges

    last, seen = weights_after(False, away)
    best, again = weights_after(True, away)
    assert seen == again and len(seen) == 5
    assert (last, best) == (seen[-1], seen[2])


def test_the_best_is_restored_after_ctrl_c():
    def interrupted(state):
        def away(event):
            nf.adjust(state, eta=1.5)
            if event.epoch == 2:
                raise KeyboardInterrupt

        return [away]

    best, seen = weights_after(True, interrupted)
    assert len(seen) == 2 and best == seen[0] != seen[1]


# ---------------------------------------------------------------- plateau


def rates(values, callback, rule=None, **options):
    """eta after each epoch, and the history."""
    training, seen = fresh(rule), []
    train(values, [callback, lambda event: seen.append(event.opt_state.rule.eta)], training, **options)
    return seen


@pytest.mark.parametrize(("patience", "cooldown"), [(1, 0), (1, 2), (2, 0), (2, 1), (3, 4)])
@pytest.mark.parametrize("min_delta", [0.0, 1.5])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateau_is_that_of_pytorch(patience, cooldown, min_delta, mode):
    torch = pytest.importorskip("torch")
    for walk in WALKS:
        optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.5)
        other = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser, mode, 0.5, patience - 1, min_delta, "abs", cooldown, 0.01, 0.0
        )
        expected = []
        for value in walk:
            other.step(value)
            expected.append(optimiser.param_groups[0]["lr"])
        assert rates(walk, nf.Plateau("loss", 0.5, patience, cooldown, 0.01, min_delta, mode)) == expected


@pytest.mark.parametrize("threshold", [1e-4, 0.03, 0.2])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_threshold_is_a_share_of_the_best_as_in_pytorch(threshold, mode):
    torch = pytest.importorskip("torch")
    for walk in (*WALKS, [x - 41.0 for x in WALKS[0]]):
        optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.5)
        other = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, mode, 0.5, 1, threshold, "rel", eps=0.0)
        expected = []
        for value in walk:
            other.step(value)
            expected.append(optimiser.param_groups[0]["lr"])
        assert rates(walk, nf.Plateau("loss", 0.5, 2, mode=mode, threshold=threshold)) == expected


def test_plateau_by_hand():
    found = rates([5, 5, 5, 4, 4, 4, 4, 4], nf.Plateau("loss", factor=0.1, patience=2, min_eta=0.02))
    assert found == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.05, 0.02, 0.02, 0.02])
    assert rates([1.0] * 5, nf.Plateau("loss", 0.5, 1, min_eta=1.0)) == [0.5] * 5  # it never rises


def test_plateau_of_a_score():
    found = rates([1.0] * 4, nf.Plateau("score", 0.5, 1, mode="max"), scores=[1, 2, 2, 3])
    assert found == [0.5, 0.5, 0.25, 0.25]


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("kind", [nf.EarlyStopping, nf.Plateau])
def test_what_cannot_be_watched_is_refused_before_the_first_step(kind):
    training = fresh()
    text = (
        f"^{kind.__name__}: monitor must be one of epoch, loss, seconds, samples_per_second, got 'validation_loss'; "
        "pass validation= and metrics= to train\ntrain: raised by on_start of the callback "
    )
    with pytest.raises(nf.RangeError, match=text):
        train([1.0], [kind()], training)
    assert training[1].step == 0


@pytest.mark.parametrize("kind", [nf.EarlyStopping, nf.Plateau])
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"monitor": "accuracy"}, nf.RangeError,
         "mode must be 'min' or 'max', got None; nothing tells whether accuracy is to fall or to rise"),
        ({"mode": "up"}, nf.RangeError, "mode must be 'min' or 'max', got 'up'"),
        ({"monitor": max}, nf.DTypeError, "monitor must be a name, got <built-in function max>"),
    ],
)  # fmt: skip
def test_wrong_arguments(kind, options, error, text):
    with pytest.raises(error, match=f"^{kind.__name__}: {text}$"):
        kind(**options)


@pytest.mark.parametrize("rule", [nf.AdaDelta(), nf.Rprop(), nf.Scheduler(nf.Descent(), eta=0.1)])
def test_plateau_of_a_rule_whose_eta_cannot_change(rule):
    training = fresh(rule)
    text = f"^Plateau: the rule must be one with an eta that can be adjusted, got {type(rule).__name__}"
    with pytest.raises(nf.RangeError, match=text):
        train([1.0], [nf.Plateau("loss")], training)
    assert training[1].step == 0


def test_plateau_of_a_chain():
    chain = nf.OptimiserChain(nf.ClipNorm(1.0), nf.Momentum(0.5))
    assert rates([1.0, 2.0, 3.0], nf.Plateau("loss", 0.5, 1), chain) == [0.5, 0.25, 0.125]


def test_they_show_themselves():
    assert repr(nf.EarlyStopping(patience=3)) == (
        "EarlyStopping(monitor='validation_loss', patience=3, min_delta=0.0, mode=None, restore_best=False)"
    )
    assert repr(nf.Plateau("loss")).startswith("Plateau(monitor='loss', factor=0.1, patience=5, cooldown=0, ")
