"""docs/numerics.md says of each default what the code has, and of extremes what the suite tries."""

import re

import numpy as np

import numbaflux as nf
from numbaflux import functions as F
from tests.numerics import PAGE, defaults, extremes, groups, page, told
from tests.stability import SUB


def test_the_page_is_what_the_code_and_the_suite_say():
    text = PAGE.read_text()
    assert text == page(text), "run python -m tests.numerics"


def test_nothing_is_left_out():
    """No layer, loss, rule or change of gradients that has numbers as defaults; dropout's are shares of zeros."""
    shown = {thing for things, _ in groups().values() for thing in things}
    optim = (*nf.optim.RULES, *nf.optim.TRANSFORMS)
    missing = {thing.__name__ for thing in (*nf.layers.LAYERS, *nf.losses.LOSSES, *optim)
               if thing not in shown and set(defaults(thing)) - {"dropout", "dropout_prob", "p"}}  # fmt: skip
    assert missing == set()


def test_extremes_and_numbers_as_text():
    assert extremes(((0, -1), (SUB, 1), (-3,))) == "0, subnormal, ±1, -3"
    assert told((0.9, 0.999)) == "(0.9, 0.999)" and told(1e-8) == "1e-08"
    assert defaults(nf.Adam) == {"eta": 0.001, "beta": (0.9, 0.999), "eps": 1e-8}
    assert defaults(nf.losses.msle) == {"eps": None} and defaults(nf.LayerNorm) == {"eps": 1e-5}


def test_known_limits():
    """What the page's last table says, beside what the tests of each family have."""
    assert re.search("^## Known limits$", PAGE.read_text(), re.MULTILINE)
    large = np.full(8, 3e38, np.float32)
    assert F.mean(large) == np.inf and F.mean(large.astype(np.float64)) == 8 * float(large[0]) / 8
    assert (nf.lpnormpool(np.full((1, 2, 2, 1), 1e30, np.float32), 2, 2) == np.inf).all()
    assert F.log(np.array([1e-40], np.float32)) == -np.inf  # a subnormal number counts as 0
    for dtype, most in ((np.float32, 15.95), (np.float64, 36.05)):
        wrong = nf.losses.crossentropy(np.array([[0, 1]], dtype), np.array([0]))
        np.testing.assert_allclose(wrong, most, atol=0.01)
    params = {"w": np.ones(1, np.float32)}
    state = nf.setup(nf.OptimiserChain(nf.ClipGrad(1.0), nf.Adam(0.5)), params)
    nf.update(state, params, {"w": np.array([1e30], np.float32)})
    np.testing.assert_allclose(params["w"], 0.5, rtol=1e-4)  # the cure
