"""Which layer takes which arrays, and what is said where that is not clear; the model is then as it was."""

import numpy as np
import pytest

import numbaflux as nf


def dense(value, n_in=4, n_out=4):
    """A PyTorch Linear whose numbers are all the same."""
    return {"weight": np.full((n_out, n_in), float(value)), "bias": np.full(n_out, float(value))}


def weights(**modules):
    """Arrays of modules by their names; a__b stands for a.b."""
    named = {name.replace("__", "."): arrays for name, arrays in modules.items()}
    return {f"{module}.{name}": array for module, arrays in named.items() for name, array in arrays.items()}


def chain(count=2):
    return nf.Chain(*(nf.Dense(4, 4) for _ in range(count)))


def values(model):
    return [float(a.ravel()[0]) for path, a in nf.state(model).items() if path.endswith("weight")]


def refused(model, given, text, kind=nf.ShapeError, **options):
    before = nf.state(model)
    with pytest.raises(kind, match=text):
        nf.convert(model, given, **options)
    assert all(np.array_equal(array, before[path]) for path, array in nf.state(model).items())


def test_in_order():
    model = nf.Chain(nf.relu, *chain().layers)
    nf.convert(model, weights(fc_b=dense(1), fc_a=dense(2)))
    assert values(model) == [1, 2]
    model = nf.Dense(4, 4)
    nf.convert(model, dense(3))
    assert values(model) == [3]


def test_by_equal_names_before_order():
    model = nf.Chain(a=nf.Dense(4, 4), b=nf.Chain(nf.relu, nf.Dense(4, 4)))
    nf.convert(model, weights(b__1=dense(1), a=dense(2)))
    assert values(model) == [2, 1]


def test_parts_by_names():
    model = nf.Chain(encoder=chain(), decoder=chain(3))
    given = weights(up__0=dense(1), up__2=dense(2), up__4=dense(3), down__x=dense(4), down__y=dense(5))
    nf.convert(model, given, names={"encoder": "down", "decoder": "up"})
    assert values(model) == [4, 5, 1, 2, 3]
    nf.convert(model, given, names={"encoder": "down", "decoder": "up", "decoder.0": "up.4"})
    assert values(model) == [4, 5, 3, 1, 2]
    nf.convert(model, given, names={"decoder.2": "down.y"})
    assert values(model) == [1, 2, 3, 4, 5]


def test_a_part_of_another_name_is_matched_by_names_inside():
    model = nf.Chain(body=nf.Chain(a=nf.Dense(4, 4), b=nf.Dense(4, 4)))
    nf.convert(model, weights(net__b=dense(1), net__a=dense(2)), names={"body": "net"})
    assert values(model) == [2, 1]


def test_numbers_in_names_count_in_a_file(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    given = weights(**{f"net__{i}": dense(i) for i in range(12)})
    safetensors.save_file(given, tmp_path / "m.safetensors")
    model = nf.Chain(nf.relu, *chain(12).layers)
    nf.convert(model, tmp_path / "m.safetensors")
    assert values(model) == list(range(12))
    safetensors.save_file(weights(up=dense(1), down=dense(2)), tmp_path / "m.safetensors")
    text = (
        "m.safetensors: convert: down and up must be of different shapes, or of names with numbers: .* got alike; say"
    )
    refused(chain(), tmp_path / "m.safetensors", text, nf.FileFormatError)


def test_a_tied_layer_takes_what_both_places_agree_on():
    layer = nf.Dense(4, 4)
    model = nf.Chain(layer, nf.relu, layer)
    nf.convert(model, weights(a=dense(1), b=dense(1)))
    assert values(model) == [1]
    text = "0.weight must be the same in all places of a tied array, got others"
    refused(model, weights(a=dense(1), b=dense(2)), text, nf.RangeError)


def test_counts_of_batches_are_left_out():
    model = nf.BatchNorm(2)
    arrays = {name: np.full(2, i + 1.0) for i, name in enumerate(("weight", "bias", "running_mean", "running_var"))}
    nf.convert(model, {**arrays, "num_batches_tracked": np.int64(3)})
    assert [a[0] for a in (model.weight, model.bias, model.mean, model.var)] == [1, 2, 3, 4]


def test_layers_without_weights_stay():
    model = nf.Chain(nf.Normalise(np.ones(4, np.float32), np.ones(4, np.float32)), nf.Dense(4, 4))
    nf.convert(model, dense(3))
    assert model[0].mean.tolist() == [1, 1, 1, 1]


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (weights(a=dense(1)), r"arrays for 1: Dense\(4, 4\), got nothing else left over; say names="),
        (weights(a=dense(1), b=dense(1, 3)), r"arrays for 1: Dense\(4, 4\), got b.weight \(4, 3\), b.bias \(4,\) left"),
        (weights(a=dense(1), b=dense(1), c=dense(1)), r"arrays of the model alone, got c.weight \(4, 4\), c.bias \(4,"),
        ({"a.weight": np.ones(()), "a.bias": np.ones(0)}, r"got a.weight \(\), a.bias \(0,\) left over"),
        ({}, r"arrays for 0: Dense\(4, 4\), 1: Dense\(4, 4\), got nothing else left over"),
        (weights(**{f"m{i}": dense(1, 3) for i in range(9)}), r"m2.bias \(4,\) and 12 more left over"),
        ({"a.weight": np.ones((4, 4)), **weights(b=dense(1), c=dense(2))}, r"got a.weight \(4, 4\) left over"),
    ],
)
def test_what_is_left_and_what_is_missing_is_listed(given, text):
    refused(chain(), given, text)


def test_layers_in_another_order():
    model = nf.Chain(nf.Dense(3, 4), nf.Dense(4, 4))
    given = weights(a=dense(1), b=dense(2, 3))
    refused(model, given, "convert: a must be after b, as the layers are, got before it; say names=")
    nf.convert(model, given, names={"0": "b"})
    assert values(model) == [2, 1]


@pytest.mark.parametrize(
    ("names", "kind", "text"),
    [
        ({"7": "a"}, nf.ShapeError, "names: 7 must be a layer, got nothing there"),
        ({"0": "z"}, nf.ShapeError, "names: z must be in the weights, got nothing there"),
        ({"0": "a", "1": "a"}, nf.DTypeError, "names must be a dict of different texts"),
        ({"": "a"}, nf.DTypeError, "names must be a dict of different texts"),
        ({0: "a"}, nf.DTypeError, "names must be a dict of different texts"),
    ],
)
def test_wrong_names(names, kind, text):
    refused(chain(), weights(a=dense(1), b=dense(2)), text, kind, names=names)


def test_wrong_models():
    @nf.layer
    class Power:
        factor: np.ndarray = nf.param()

        def __call__(self, x):
            return x * self.factor

    power = nf.Chain(Power(np.ones(4, np.float32)), nf.Dense(4, 4))
    text = r"convert: 0 must be a layer of the table, got Power with factor; nf.load_state\(model, arrays\) takes any"
    refused(power, dense(1), text, nf.DTypeError)
    refused(nf.Chain(nf.WeightNorm(nf.Dense(4, 4))), dense(1), "0 must be a layer of the table", nf.DTypeError)
    refused(nf.Chain(nf.relu), dense(1), "model must be one with layers that have weights, got Chain", nf.DTypeError)


def test_a_read_only_model():
    model = chain()
    model[1].bias.flags.writeable = False
    refused(model, weights(a=dense(1), b=dense(2)), "1.bias must be writeable in the model", nf.DeviceError)


def test_integers_are_no_weights():
    given = {"weight": np.ones((4, 4), np.int64), "bias": np.ones(4)}
    refused(nf.Dense(4, 4), given, "weight must be of floats, got int64", nf.DTypeError)
