"""Every layer and activation beside PyTorch: results and gradients on random configurations, in float64.

12 configurations of each in every run; 500 of each by `make against-torch`.
"""

import zlib

import pytest

import numbaflux as nf
from tests.against_torch import LAYERS, compare
from tests.against_torch_attention import ATTENTION
from tests.against_torch_norms import ACTIVATIONS, NORMS
from tests.against_torch_recurrent import RECURRENT
from tests.against_torch_windows import WINDOWS

SHORT, LONG = 12, 500
ROWS = LAYERS | WINDOWS | NORMS | ATTENTION | RECURRENT
# Layers without a row, and where they are tested instead.
ELSEWHERE = {
    "Dropout": "draws: tests/layers/test_dropout.py",
    "AlphaDropout": "draws: tests/layers/test_dropout.py",
    "Checkpointed": "beside the layer without it: tests/test_checkpointed.py",
}
BOTH = ROWS | ACTIVATIONS


def several(name, first, last):
    for i in range(first, last):
        compare(BOTH[name], zlib.crc32(f"{name} {i}".encode()))


def test_every_layer_has_a_row_or_a_place_elsewhere():
    known = {layer.__name__ for layer in nf.layers.LAYERS}
    assert known - ROWS.keys() - ELSEWHERE.keys() == set()
    assert not ELSEWHERE.keys() & ROWS.keys()


@pytest.mark.parametrize("name", BOTH)
def test_some_configurations(name):
    several(name, 0, SHORT)


@pytest.mark.long
@pytest.mark.parametrize("name", BOTH)
def test_500_configurations(name):
    several(name, SHORT, LONG)
