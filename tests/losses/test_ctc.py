"""CTC: every path counted, PyTorch, published values; lengths, padding, no path at all; errors; compiled."""

import itertools

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from tests.test_losses import raises

ctc_loss = nf.losses.ctc_loss


def drawn(*shape, seed=0):
    return nf.Generator(seed).normal(shape, dtype=np.float64)


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def collapsed(path, blank):
    """What a path says: equal neighbours once, without blanks."""
    return [k for k, _ in itertools.groupby(path) if k != blank]


def by_counting(x, labels, blank):
    """The probability of labels, path by path."""
    p, total = softmax(x), 0.0
    for path in itertools.product(range(x.shape[1]), repeat=len(x)):
        if collapsed(path, blank) == list(labels):
            total += np.prod([p[t, k] for t, k in enumerate(path)])
    return total


@pytest.mark.parametrize("labels", [[], [0], [1, 1], [0, 1], [1, 0, 1], [0, 0, 0], [0, 0, 1, 1]])
@pytest.mark.parametrize("times", [1, 2, 5, 6])
@pytest.mark.parametrize("blank", [2, 0])
def test_every_path_is_counted(labels, times, blank):
    x, labels = drawn(times, 3, seed=times), [k + (blank == 0) for k in labels]
    with np.errstate(divide="ignore"):
        right = -np.log(by_counting(x, labels, blank))
    np.testing.assert_allclose(ctc_loss(x, labels, blank=blank), right, rtol=1e-12)
    np.testing.assert_allclose(ctc_loss(x.astype(np.float32), labels, blank=blank), right, rtol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_values_and_gradients_are_pytorchs(seed):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    n, times, classes, most = (int(rng.integers(1, high)) for high in (6, 30, 12, 9))
    blank = int(rng.integers(0, classes + 1))
    x, counts, taken = (
        rng.normal(size=(n, times, classes + 1)),
        rng.integers(0, most + 1, n),
        rng.integers(1, times + 1, n),
    )
    labels = (blank + 1 + rng.integers(0, classes, (n, most))) % (classes + 1)
    t = torch.tensor(x, requires_grad=True)
    sizes = torch.tensor(taken), torch.tensor(counts)
    theirs = torch.nn.functional.ctc_loss(
        t.log_softmax(-1).transpose(0, 1), torch.tensor(labels), *sizes, blank, reduction="none", zero_infinity=True
    )
    weights = rng.normal(size=n)
    (theirs * torch.tensor(weights)).sum().backward()

    def ours(x):
        return ctc_loss(x, labels, lambda each: F.sum(F.mul(each, weights)), taken, counts, blank, zero_infinity=True)

    each = ctc_loss(x, labels, F.identity, taken, counts, blank, zero_infinity=True)
    np.testing.assert_allclose(each, theirs.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(nf.gradient(ours, x), t.grad.numpy(), rtol=1e-10, atol=1e-13)


# Probabilities, labels and losses in the tests of TensorFlow's ctc_loss; the blank is the last class.
PUBLISHED = (
    ([[0.633766, 0.221185, 0.0917319, 0.0129757, 0.0142857, 0.0260553],
      [0.111121, 0.588392, 0.278779, 0.0055756, 0.00569609, 0.010436],
      [0.0357786, 0.633813, 0.321418, 0.00249248, 0.00272882, 0.0037688],
      [0.0663296, 0.643849, 0.280111, 0.00283995, 0.0035545, 0.00331533],
      [0.458235, 0.396634, 0.123377, 0.00648837, 0.00903441, 0.00623107]], [0, 1, 2, 1, 0], 3.34211),
    ([[0.30176, 0.28562, 0.0831517, 0.0862751, 0.0816851, 0.161508],
      [0.24082, 0.397533, 0.0557226, 0.0546814, 0.0557528, 0.19549],
      [0.230246, 0.450868, 0.0389607, 0.038309, 0.0391602, 0.202456],
      [0.280884, 0.429522, 0.0326593, 0.0339046, 0.0326856, 0.190345],
      [0.423286, 0.315517, 0.0338439, 0.0393744, 0.0339315, 0.154046]], [0, 1, 1, 0], 5.42262),
)  # fmt: skip


def test_published_values():
    for p, labels, loss in PUBLISHED:
        np.testing.assert_allclose(ctc_loss(np.log(p), labels), loss, rtol=2e-6)
    both = np.log([p for p, _, _ in PUBLISHED])
    np.testing.assert_allclose(ctc_loss(both, [row[1] for row in PUBLISHED]), (3.34211 + 5.42262) / 2, rtol=2e-6)


def test_equal_chances_are_counts_of_paths():
    for times, classes in ((4, 3), (9, 2)):
        got = ctc_loss(np.zeros((times, classes)), [0])
        np.testing.assert_allclose(got, times * np.log(classes) - np.log(times * (times + 1) / 2), rtol=1e-12)


# ------------------------------------------------------------------------------------------------------ lengths, blanks

X, LABELS = drawn(3, 9, 5), np.array([[0, 1, 1], [2, 3, 0], [3, 0, 0]])
COUNTS, TAKEN = np.array([3, 2, 1]), np.array([9, 4, 7])


def test_what_stands_behind_the_lengths_is_not_looked_at():
    x, labels = X.copy(), LABELS.copy()
    right = [ctc_loss(x[i, :t], labels[i, :c]) for i, (t, c) in enumerate(zip(TAKEN, COUNTS, strict=True))]
    slope = nf.gradient(lambda x: ctc_loss(x, labels, F.sum, TAKEN, COUNTS), x)
    for i in range(3):
        x[i, TAKEN[i] :], labels[i, COUNTS[i] :] = np.nan, -100
    np.testing.assert_array_equal(ctc_loss(x, labels, F.identity, TAKEN, COUNTS), right)
    grad = nf.gradient(lambda x: ctc_loss(x, labels, F.sum, TAKEN, COUNTS), x)
    np.testing.assert_array_equal(grad, slope)
    assert all(not grad[i, TAKEN[i] :].any() for i in range(3))


def test_a_list_of_sequences_and_agg():
    sequences = [row[:c] for row, c in zip(LABELS, COUNTS, strict=True)]
    each = ctc_loss(X, sequences, F.identity, TAKEN)
    np.testing.assert_array_equal(each, ctc_loss(X, LABELS, F.identity, TAKEN, COUNTS))
    np.testing.assert_array_equal(each, ctc_loss(X, tuple(map(list, sequences)), F.identity, TAKEN))
    np.testing.assert_allclose(ctc_loss(X, sequences, input_lengths=TAKEN), each.mean(), rtol=1e-12)
    assert ctc_loss(X, sequences, F.max, TAKEN) == each.max()
    assert ctc_loss(X, [[], [], []]) == ctc_loss(X, np.zeros((3, 0), int))
    assert ctc_loss(X[0], [0, 1], input_lengths=4) == ctc_loss(X[0, :4], np.array([0, 1], np.uint8))


def test_no_path_costs_infinity_or_nothing():
    labels, x = [[0, 0], [0, 1]], drawn(2, 2, 3)
    each = ctc_loss(x, labels, F.identity)
    assert each[0] == np.inf and np.isfinite(each[1])
    slope = nf.gradient(lambda x: ctc_loss(x, labels, F.sum), x)
    assert not slope[0].any() and slope[1].any()
    np.testing.assert_array_equal(ctc_loss(x, labels, F.identity, zero_infinity=True), [0, each[1]])
    np.testing.assert_array_equal(nf.gradient(lambda x: ctc_loss(x, labels, F.sum, zero_infinity=True), x), slope)
    assert ctc_loss(x, [[], [0]], F.identity, [0, 0]).tolist() == [0, np.inf]
    never = np.array([[0.0, -np.inf, 0.0]] * 3)  # the class cannot be
    assert ctc_loss(never, [1]) == np.inf and not nf.gradient(lambda x: ctc_loss(x, [1]), never).any()
    assert np.isnan(ctc_loss(np.full((3, 3), np.nan), [1]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_series_and_large_logits(dtype):
    """Of 3 000 times, the loss has the digits of its type; a path that is certain costs nothing."""
    x, labels = drawn(3000, 7), np.arange(800) % 6
    wide = ctc_loss(x, labels)
    got, slope = nf.withgradient(lambda x: ctc_loss(x, labels), x.astype(dtype))
    assert got.dtype == slope.dtype == dtype
    np.testing.assert_allclose(got, wide, rtol=10 * np.finfo(dtype).eps)
    np.testing.assert_allclose(slope.sum(-1), 0, atol=1e-5 if dtype == np.float32 else 1e-10)  # shares of 1 each
    sure = np.full((3, 4), -1e4, dtype)
    sure[[0, 1, 2], [0, 3, 0]] = 1e4
    assert ctc_loss(sure, [0, 0]) == 0 and ctc_loss(sure, [0, 1, 0]) >= 1e4


def test_gradients_against_differences():
    nf.check_gradients(lambda x: ctc_loss(x, LABELS, input_lengths=TAKEN, target_lengths=COUNTS), X)


def test_second_derivatives_are_refused():
    why = "second derivatives of ctc_loss would need every pair of times; take differences of its gradient"
    with raises(nf.PlanError, f"ctc_grad: has no gradient: {why}"):
        nf.hessian(lambda x: ctc_loss(x, LABELS), X)


# ----------------------------------------------------------------------------------------------------- compiled, errors


def test_a_compiled_step_takes_labels_and_lengths():
    model, x = nf.Dense(4, 5, rng=0), nf.Generator(0).normal((3, 9, 4))

    def loss(m, x, y, taken, counts):
        return ctc_loss(m(x), y, input_lengths=taken, target_lengths=counts)

    value, grads = nf.withgradient(lambda m: loss(m, x, LABELS, TAKEN, COUNTS), model)
    step = nf.compile(loss, model, nf.setup(nf.Descent(0.0), model))
    assert step(x, LABELS, TAKEN, COUNTS) == value
    np.testing.assert_array_equal(step.gradients()["weight"], grads.weight)
    assert step(x, LABELS.astype(np.int32), TAKEN, COUNTS) == value
    other = step(x, (LABELS + 1) % 4, TAKEN - 1, COUNTS - 1)
    assert other == loss(model, x, (LABELS + 1) % 4, TAKEN - 1, COUNTS - 1) != value
    with raises(nf.RangeError, "ctc_loss: target must be in 0..4 and not 4, the blank, got another in sample 1"):
        step(x, LABELS + np.array([[0], [1], [0]]), TAKEN, COUNTS)
    assert step(x, LABELS, TAKEN, COUNTS) == value


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"prediction": X[0, 0]}, nf.ShapeError,
         "prediction must be of shape (n, time, classes) or (time, classes), got (5,)"),
        ({"prediction": X[:, :0]}, nf.ShapeError, "prediction must be of shape (n, time, classes), got (3, 0, 5)"),
        ({"prediction": X.astype(int)}, nf.DTypeError,
         "prediction must be an array of float32 or float64, got int64"),
        ({"target": LABELS[0]}, nf.ShapeError, "target must be of shape (n, l), labels, n being 3, got (3,)"),
        ({"target": LABELS[:2]}, nf.ShapeError, "target must be of shape (n, l), labels, n being 3, got (2, 3)"),
        ({"target": LABELS.astype(float)}, nf.DTypeError,
         "target must be integers, got float64; x.astype(np.int64)"),
        ({"target": [[0], [1.5], [0]]}, nf.DTypeError, "target[1] must be integers, got float64; x.astype(np.int64)"),
        ({"target": [[0], 1, [0]]}, nf.ShapeError, "target[1] must be a sequence of labels, got shape ()"),
        ({"target": [[0], [1], [0]], "target_lengths": COUNTS}, nf.DTypeError,
         "target_lengths must be left out where target is a list, got ndarray"),
        ({"target": LABELS + 2}, nf.RangeError, "target must be in 0..4 and not 4, the blank, got another in sample 1"),
        ({"target": LABELS - 1}, nf.RangeError, "target must be in 0..4 and not 4, the blank, got another in sample 0"),
        ({"blank": 0}, nf.RangeError, "target must be in 0..4 and not 0, the blank, got another in sample 0"),
        ({"blank": 5}, nf.RangeError, "blank must be in 0..4, got 5"),
        ({"blank": -1}, nf.RangeError, "blank must be in 0..4, got -1"),
        ({"blank": 1.0}, nf.DTypeError, "blank must be an integer in 0..4, got 1.0"),
        ({"input_lengths": TAKEN + 1}, nf.RangeError, "input_lengths must be in 0..9, got another at position 0"),
        ({"input_lengths": TAKEN[:2]}, nf.ShapeError, "input_lengths must be of shape (n,), n being 3, got (2,)"),
        ({"input_lengths": TAKEN / 1}, nf.DTypeError,
         "input_lengths must be integers, got float64; x.astype(np.int64)"),
        ({"target_lengths": COUNTS - 2}, nf.RangeError, "target_lengths must be in 0..3, got another at position 2"),
        ({"target_lengths": 3}, nf.ShapeError, "target_lengths must be of shape (n,), n being 3, got ()"),
    ],
)  # fmt: skip
def test_wrong_arguments(change, kind, text):
    with raises(kind, f"ctc_loss: {text}"):
        ctc_loss(**({"prediction": X, "target": LABELS} | change))
