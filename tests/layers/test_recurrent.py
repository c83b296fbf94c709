"""Recurrent layers and cells against PyTorch and against their own steps; states, lengths, directions, messages."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F

torch = pytest.importorskip("torch")
LAYERS = {"RNN": nf.RNN, "LSTM": nf.LSTM, "GRU": nf.GRU, "GRUv3": nf.GRUv3}
CELLS = {"RNN": nf.RNNCell, "LSTM": nf.LSTMCell, "GRU": nf.GRUCell, "GRUv3": nf.GRUv3Cell}
every_layer = pytest.mark.parametrize("kind", LAYERS)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def in_double(layer):
    """float64, with numbers where biases and trained states begin with zeros."""
    model = nf.f64(layer)
    for i, leaf in enumerate(nf.trainables(model)):
        if not leaf.any():
            leaf[...] = drawn(*leaf.shape, seed=i)
    return model


def as_torch(layer, kind, steps_in):
    """PyTorch's layer with the weights of ours."""
    ways = 1 + layer.bidirectional
    made = getattr(torch.nn, kind)(steps_in, layer.cells[0].n_out, len(layer.cells) // ways, batch_first=True,
                                   bidirectional=layer.bidirectional, dtype=torch.float64)  # fmt: skip
    with torch.no_grad():
        for i, cell in enumerate(layer.cells):
            place = f"_l{i // ways}{'_reverse' if i % ways else ''}"
            for name, array in {"weight_ih": cell.Wi.T, "weight_hh": cell.Wh.T, "bias_ih": cell.bias}.items():
                getattr(made, name + place).copy_(torch.from_numpy(np.array(array)))
            state_bias = getattr(cell, "state_bias", None)
            given = np.zeros_like(cell.bias) if state_bias is None else state_bias
            getattr(made, "bias_hh" + place).copy_(torch.from_numpy(given.copy()))
    return made


def closely(ours, theirs):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_as_pytorch(kind, layers, bidirectional):
    """Outputs, last states, gradients of everything; from a given state."""
    options = {"state_bias": True} if kind == "GRU" else {}
    layer = in_double(
        LAYERS[kind](4, 5, layers=layers, bidirectional=bidirectional, return_state=True, rng=1, **options)
    )
    theirs, x = as_torch(layer, kind, 4), drawn(3, 7, 4)
    count = len(layer.cells)
    states = tuple(drawn(count, 3, 5, seed=s) for s in range(2 if kind == "LSTM" else 1))
    given = tuple(s[0] for s in states) if count == 1 else states
    given = given if kind == "LSTM" else given[0]
    y, last = layer(x, given)
    leaf = torch.from_numpy(x).requires_grad_()
    their_states = tuple(torch.from_numpy(s) for s in states)
    their_y, their_last = theirs(leaf, their_states if kind == "LSTM" else their_states[0])
    closely(y, their_y)
    pairs = zip(last, their_last, strict=True) if kind == "LSTM" else [(last, their_last)]
    for ours, other in pairs:
        closely(np.reshape(ours, other.shape), other)
    (their_y**2).sum().backward()
    grads, dx = nf.gradient(lambda m, x: (m(x, given)[0] ** 2).sum(), layer, x)
    closely(dx, leaf.grad)
    ways = 1 + bidirectional
    for i, g in enumerate(grads.cells):
        place = f"_l{i // ways}{'_reverse' if i % ways else ''}"
        closely(g.Wi.T, getattr(theirs, "weight_ih" + place).grad)
        closely(g.Wh.T, getattr(theirs, "weight_hh" + place).grad)
        closely(g.bias, getattr(theirs, "bias_ih" + place).grad)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_sequences_that_end_early(kind, bidirectional):
    """As PyTorch's packed sequences: zeros behind the end, the last state is that of the end."""
    layer = in_double(LAYERS[kind](3, 4, layers=2, bidirectional=bidirectional, return_state=True, rng=2))
    theirs, x, lengths = as_torch(layer, kind, 3), drawn(5, 9, 3), np.array([9, 1, 4, 8, 3])
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.from_numpy(x), torch.from_numpy(lengths), batch_first=True,
                                                     enforce_sorted=False)  # fmt: skip
    out, their_last = theirs(packed)
    their_y, _ = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
    y, last = layer(x, lengths=lengths)
    closely(y, their_y)
    pairs = zip(last, their_last, strict=True) if kind == "LSTM" else [(last, their_last)]
    for ours, other in pairs:
        closely(ours, other)
    nf.check_gradients(lambda m, x: (m(x, lengths=lengths)[0] ** 2).sum(), layer, x)


@every_layer
def test_a_layer_is_its_cell_step_by_step(kind):
    layer = in_double(LAYERS[kind](3, 6, return_state=True, rng=3))
    x, state, outputs = drawn(4, 5, 3), None, []
    for t in range(5):
        y, state = layer.cells[0](x[:, t]) if state is None else layer.cells[0](x[:, t], state)
        outputs.append(y)
    y, last = layer(x)
    np.testing.assert_array_equal(y, np.stack(outputs, 1))
    np.testing.assert_array_equal(last, state)


@every_layer
def test_gradients_and_second_derivatives(kind):
    layer, x = in_double(LAYERS[kind](2, 3, rng=4, trainable_state=True)), drawn(2, 3, 2)
    nf.check_gradients(lambda m, x: (m(x) ** 2).sum(), layer, x)
    v = drawn(*x.shape, seed=9)
    found = nf.hvp(lambda x: (layer(x) ** 3).sum(), x, v)
    grad = lambda x: nf.gradient(lambda x: (layer(x) ** 3).sum(), x)  # noqa: E731
    np.testing.assert_allclose(found, (grad(x + 1e-6 * v) - grad(x - 1e-6 * v)) / 2e-6, rtol=1e-7, atol=1e-8)


@every_layer
def test_trained_first_states(kind):
    layer = LAYERS[kind](3, 4, trainable_state=True, rng=5)
    states = nf.initialstates(layer.cells[0])
    assert all(not s.any() for s in (states if kind == "LSTM" else [states]))
    before = layer(drawn(2, 3, 3).astype(np.float32))
    layer.cells[0].h0 = np.ones(4, np.float32)
    assert not np.array_equal(layer(drawn(2, 3, 3).astype(np.float32)), before)
    plain = LAYERS[kind](3, 4, rng=5)
    assert len(nf.trainables(layer)) - len(nf.trainables(plain)) == (2 if kind == "LSTM" else 1)


def test_gates_lie_as_documented():
    """LSTM i f g o, all other weights zero: c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c')."""
    cell = nf.LSTMCell(1, 1, rng=0)
    cell.Wi, cell.Wh = np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32)
    cell.bias = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    _, (h, c) = cell(np.zeros((1, 1), np.float32), (np.zeros(1, np.float32), np.full(1, 2, np.float32)))
    right = sigmoid(0.2) * 2 + sigmoid(0.1) * np.tanh(0.3)
    np.testing.assert_allclose(c[0, 0], right, rtol=1e-6)
    np.testing.assert_allclose(h[0, 0], sigmoid(0.4) * np.tanh(right), rtol=1e-6)


def test_gru_keeps_its_state_by_z():
    cell = nf.GRUCell(1, 1, rng=0)
    cell.Wi, cell.Wh = np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32)
    cell.bias = np.array([0.0, 100.0, 3.0], np.float32)  # z = 1: the state stays
    h, _ = cell(np.zeros((1, 1), np.float32), np.full(1, 0.25, np.float32))
    assert h[0, 0] == 0.25


@pytest.mark.parametrize("activation", [nf.relu, nf.sigmoid, nf.identity])
def test_any_activation(activation):
    layer, x = in_double(nf.RNN(3, 4, activation, return_state=True, rng=6)), drawn(2, 5, 3)
    cell, h = layer.cells[0], np.zeros((2, 4))
    for t in range(5):
        h = activation(x[:, t] @ cell.Wi + h @ cell.Wh + cell.bias)
    y, last = layer(x)
    np.testing.assert_allclose(last, h, rtol=1e-12)
    np.testing.assert_allclose(y[:, -1], h, rtol=1e-12)
    lengths = np.array([2, 5])
    y, last = layer(x, lengths=lengths)
    assert not y[0, 2:].any()
    np.testing.assert_allclose(last[0], layer(x[:1, :2])[1][0], rtol=1e-12)


def test_dropout_between_layers():
    """In training alone, and not behind the last layer."""
    layer, x = nf.LSTM(3, 8, layers=2, dropout=0.5, rng=7), drawn(2, 4, 3).astype(np.float32)
    nf.seed(0)
    np.testing.assert_array_equal(layer(x), layer(x))
    trained = nf.trainmode(layer)
    assert not np.array_equal(trained(x), layer(x))
    one = nf.trainmode(nf.LSTM(3, 8, dropout=0.5, rng=7))
    np.testing.assert_array_equal(one(x), one(x))


def test_one_sequence():
    layer, x = nf.GRU(3, 4, rng=8), drawn(6, 3).astype(np.float32)
    np.testing.assert_array_equal(layer(x), layer(x[None])[0])


def test_recurrence_of_a_cell_of_ones_own():
    class Sum:
        def __call__(self, x, state=0.0):
            return state + x, state + x

    x = drawn(2, 5, 3).astype(np.float32)
    np.testing.assert_allclose(nf.Recurrence(Sum())(x), np.cumsum(x, 1), rtol=1e-6)
    cell = nf.LSTMCell(3, 4, rng=9)
    y, (h, _) = nf.Recurrence(cell, return_state=True)(x)
    layer = nf.LSTM(3, 4, rng=9)
    np.testing.assert_array_equal(y, layer(x))
    np.testing.assert_array_equal(h, y[:, -1])


@every_layer
def test_lengths_in_a_compiled_step(kind):
    layer, x = LAYERS[kind](3, 4, rng=10), drawn(3, 5, 3).astype(np.float32)
    loss = lambda m, x, n: (m(x, lengths=n) ** 2).mean()  # noqa: E731
    step = nf.compile(loss, layer, nf.setup(nf.Descent(0.1), layer))
    first, _ = nf.withgradient(loss, layer, x, np.array([5, 2, 1]))
    assert step(x, np.array([5, 2, 1])) == first
    assert step(x, np.array([1, 1, 1])) < first
    with pytest.raises(nf.RangeError, match=r"lengths must be in 0\.\.5, got another at position 1"):
        step(x, np.array([1, 6, 1]))


def test_lengths_of_zero_keep_the_first_state():
    layer = nf.LSTM(3, 4, return_state=True, rng=11)
    state = tuple(drawn(2, 4, seed=s).astype(np.float32) for s in range(2))
    y, last = layer(drawn(2, 5, 3).astype(np.float32), state, lengths=[0, 0])
    assert not y.any()
    np.testing.assert_array_equal(last, state)


def test_numbers_do_not_depend_on_the_other_samples():
    """Tiles of 8 samples, and products of one row, give the same bits."""
    for kind in LAYERS.values():
        layer, x = kind(5, 33, rng=12), drawn(19, 11, 5).astype(np.float32)
        y = layer(x)
        for i in (0, 7, 18):
            np.testing.assert_array_equal(layer(x[i : i + 1])[0], y[i])


X = np.zeros((2, 5, 3), np.float32)
BAD = [
    (lambda: nf.LSTM(3, 0), r"LSTMCell: n_out must be an integer in \[1, inf\), got 0"),
    (lambda: nf.LSTM(3, 4, layers=0), r"LSTM: layers must be an integer in \[1, inf\), got 0"),
    (lambda: nf.LSTM(3, 4, dropout=2.0), r"Dropout: p must be a number in \[0, 1\], got 2.0"),
    (lambda: nf.LSTM(3, 4)(X[..., :2]), r"LSTM: x must be of shape \(n, steps, 3\) or .*, got \(2, 5, 2\)"),
    (lambda: nf.LSTM(3, 4)(X[0, :, :2]), r"LSTM: x must be of shape \(n, steps, 3\) or \(steps, 3\), got \(5, 2\)"),
    (lambda: nf.LSTMCell(3, 4).over(X[..., :2]), r"LSTMCell: x must be of shape \(n, steps, 3\), got \(2, 5, 2\)"),
    (lambda: nf.LSTM(3, 4, layer=2), "LSTM: arguments must be those of its docstring, got layer"),
    (lambda: nf.LSTM(3, 4)(X[:, :0]), r"LSTM: x must be of shape \(n, steps, 3\) or .*, got \(2, 0, 3\)"),
    (lambda: nf.LSTM(3, 4)(X, np.zeros((2, 4), np.float32)), r"LSTMCell: state must be 2 arrays, got 1"),
    (lambda: nf.GRU(3, 4)(X, np.zeros((3, 4), np.float32)), r"GRUCell: state must be of shape \(2, 4\) or \(4,\)"),
    (lambda: nf.GRU(3, 4, layers=2)(X, np.zeros((3, 2, 4), np.float32)), r"GRU: state must be of shape \(2, n, 4\)"),
    (lambda: nf.GRU(3, 4)(X, lengths=[1.0, 2.0]), r"GRU: lengths must be integers, got float64"),
    (lambda: nf.GRU(3, 4)(X, lengths=[1]), r"GRU: lengths must be of shape \(2,\), got \(1,\)"),
    (lambda: nf.GRU(3, 4)(X, lengths=[1, 6]), r"gru: lengths must be in 0\.\.5, got another at position 1"),
    (lambda: nf.RNN(3, 4)(X.astype(np.float64)), r"rnn: wi must be of float64 as x, got float32; .*f64"),
    (lambda: nf.RNN(3, 4, "tanh"), r"RNNCell: activation must be a function, got str"),
    (
        lambda: nf.LSTM(3, 4, init_kernel=lambda s, rng: np.zeros(3)),
        r"LSTMCell: the array made for Wi must be of shape",
    ),
    (lambda: nf.initialstates(nf.Dense(2, 2)), "initialstates: cell must be a recurrent cell or layer, got Dense"),
    (lambda: nf.Recurrence(3)(X), "Recurrence: cell must be a cell, got int"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m for _, m in BAD])
def test_messages(call, message):
    with pytest.raises(nf.Error, match=f"^{message}"):
        call()


@pytest.mark.parametrize("kind", CELLS)
def test_shown(kind):
    assert repr(CELLS[kind](3, 4)).startswith(f"{kind}Cell(3, 4)")
    assert f"{kind}Cell(3, 4, bias=False, trainable_state=True)" in repr(
        CELLS[kind](3, 4, bias=False, trainable_state=True)
    )
    text = repr(nf.Chain(LAYERS[kind](3, 4, layers=2)))
    assert f"{kind}Cell(3, 4)" in text and f"{kind}Cell(4, 4)" in text


def test_an_activation_is_shown():
    assert repr(nf.RNNCell(3, 4, F.relu)).startswith("RNNCell(3, 4, relu)")


def test_saved_and_loaded(tmp_path):
    model = nf.Chain(nf.LSTM(3, 4, layers=2, bidirectional=True, dropout=0.1, rng=0), nf.GRU(8, 2, rng=1))
    nf.save(tmp_path / "m.h5", model)
    loaded, x = nf.load(tmp_path / "m.h5"), drawn(2, 6, 3).astype(np.float32)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert repr(loaded) == repr(model)


def test_gradient_of_the_last_step():
    """y[:, -1] is the last h: its gradient takes no array of zeros around it; that of another step does."""
    layer, x = in_double(nf.LSTM(4, 5, rng=1)), drawn(3, 7, 4)
    theirs = as_torch(layer, "LSTM", 4)
    for step, arrays in ((-1, 0), (-2, 1)):
        program = nf.compile(lambda m, x, step=step: nf.gradient(lambda m: (m(x)[:, step] ** 2).sum(), m))
        theirs.zero_grad()
        (theirs(torch.from_numpy(x))[0][:, step] ** 2).sum().backward()
        closely(program(layer, x).cells[0].Wh.T, theirs.weight_hh_l0.grad)
        placed = [e for p in program.programs.values() for e in p.plan.entries if e.kernel == "move.place"]
        assert len(placed) == arrays


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"return_state": True}, {"lengths": np.array([7, 2, 4])}])
def test_gradient_of_the_last_step_as_of_a_sum_over_steps(options):
    options = dict(options)
    lengths = options.pop("lengths", None)
    layer, x, at = in_double(nf.LSTM(4, 5, rng=1, **options)), drawn(3, 7, 4), np.zeros((3, 7, 1))
    at[:, -1] = 1.0

    def loss(m, of):
        y = m(x) if lengths is None else m(x, lengths=lengths)
        y, state = y if layer.return_state else (y, None)
        return of(y) + (0.0 if state is None else (state[0] ** 3).sum())

    last, whole = (
        nf.compile(lambda m, of=of: nf.gradient(lambda m: loss(m, of), m))(layer)
        for of in (lambda y: (y[:, -1] ** 2).sum(), lambda y: (y**2 * at).sum())
    )
    for a, b in zip(nf.trainables(last), nf.trainables(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
