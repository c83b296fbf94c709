"""JSON from files: one meaning, bounded depth, size and numbers; the standard parser agrees on the rest."""

import json
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbaflux.hdf5_json import parse_json
from numbaflux.op import FileFormatError

leaf = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
value = st.recursive(
    leaf | st.text(st.characters()), lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=10
)


@given(value, st.booleans())
def test_round_trip(value, ascii):
    assert parse_json(json.dumps(value, ensure_ascii=ascii)) == value


@given(st.text('[]{},:"\\ab01-.eE \n') | st.text())
def test_any_text(text):
    try:
        expected = json.loads(text)
    except ValueError:
        expected = ValueError
    try:
        assert parse_json(text) == expected
    except FileFormatError as error:
        assert str(error).isprintable() and len(str(error)) <= 300


@pytest.mark.parametrize(
    "text, about",
    [
        ('{"a": 1, "a": 2}', "there once"),
        ('[{"a": {"b": 1, "b": 1}}]', "there once"),
        ("NaN", "finite"),
        ("[Infinity]", "finite"),
        ("-Infinity", "finite"),
        ("1e999", "finite"),
        ("1" * 21, "20 characters"),
        ("1" * 5000, "20 characters"),
        ("0." + "1" * 5000, "64 characters"),
        ("[" * 65 + "]" * 65, "at most 64"),
        ("[" * 1_000_000, "at most 64"),
        ('{"a":' * 100_000, "at most 64"),
        ("[" + "0," * 300_000 + "0]", "at most 262144"),
        (" " * ((8 << 20) + 1), "8388608"),
        ('"abc', "closed"),
        ('"' + '\\"' * 1_000_000, "closed"),
        ('"\\ud800"', "surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
        ("", "character 0"),
        ("[1,]", "not JSON"),
        ("{'a': 1}", "not JSON"),
        ("[1] 2", "not JSON"),
        ("\ufeff1", "not JSON"),
        ('"a\nb"', "not JSON"),
    ],
)
def test_refused(text, about):
    start = time.perf_counter()
    with pytest.raises(FileFormatError, match=f"^m.h5: .*{about}") as error:
        parse_json(text, "m.h5")
    assert str(error.value).isprintable() and len(str(error.value)) <= 300
    assert time.perf_counter() - start < 5  # linear in the text


def test_depth_that_fits_any_stack():
    text = "[" * 64 + "]" * 64
    limit = sys.getrecursionlimit()
    assert json.dumps(parse_json(text)) == text and sys.getrecursionlimit() == limit


def test_brackets_in_strings_do_not_count():
    assert parse_json('"' + "[" * 1000 + '\\"{"') == "[" * 1000 + '"{'
