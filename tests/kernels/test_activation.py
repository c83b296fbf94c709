"""Scalar activations against extended precision, in units in the last place, from far below to far above 0."""

import numpy as np
import pytest

import numbaflux as nf
from tests.case import Size
from tests.cases import OPS, ROWS
from tests.reference import oracle

BOUND = {  # what the docstrings say; of the size that the row in tests/cases_activation.py names
    "elu": 4, "elu_grad": 4, "swish": 4, "swish_grad": 4, "gelu": 4, "gelu_grad": 4, "gelu_erf": 6, "gelu_erf_grad": 6,
    "mish": 5, "mish_grad": 6, "softplus": 3, "logcosh": 5,
}  # fmt: skip
FAR = {"float32": 80, "float64": 700}  # an exponential of these is not subnormal


def inputs(dtype):
    """Both signs, every size down to 2**-20, and evenly where the functions bend."""
    rng = np.random.default_rng(0)
    sizes = 2 ** rng.uniform(-20, np.log2(FAR[np.dtype(dtype).name]), 20_000)
    x = np.concatenate([sizes, -sizes, np.linspace(-12, 12, 20_001)])
    return x[x != 0].astype(dtype)


def size_of(name: str, size: Size | None, xs, attrs):
    return oracle(name)(*xs, **attrs) if size is None else size(xs, attrs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BOUND)
def test_errors_are_what_docstrings_say(name, dtype):
    row, x = ROWS[name], inputs(dtype)
    xs = [x] if len(row.cases[0].inputs) == 1 else [x, np.ones_like(x)]
    for attrs in {str(case.attrs): case.attrs for case in row.cases}.values():
        y = nf.apply(OPS[name], *xs, **attrs)
        exact = [a.astype(np.longdouble) for a in xs]
        with np.errstate(all="ignore"):
            right, size = oracle(name)(*exact, **attrs), size_of(name, row.size, exact, attrs)
        small = 1e4 * np.finfo(dtype).tiny  # below it an exponential on the way may be subnormal, which counts as 0
        normal = abs(right) > small
        errors = abs(y - right)[normal] / np.spacing(abs(size[normal]).astype(dtype)).astype(np.longdouble)
        assert errors.max() <= BOUND[name], f"{float(errors.max())} at {x[normal][errors.argmax()]}"
        assert errors.max() > BOUND[name] / 10, "the bound says little"
        assert (abs(y[~normal]) <= 2 * small).all()
