"""JSON from a file nobody vouches for: bounded before anything is built, one meaning only."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from .hdf5_objects import fail, line, require
from .op import FileFormatError

MAX_TEXT = 8 << 20  # characters
MAX_DEPTH = 64  # of lists and objects
MAX_VALUES = 1 << 18

_MARK = re.compile(r'["\[\]{},]')
_STRING = re.compile(r'(?:[^"\\]|\\.)*+"', re.DOTALL)


def parse_json(text: str, where: str = "JSON") -> Any:
    """JSON with bounds: no key twice, no NaN or Infinity, at most 64 deep; FileFormatError otherwise, naming where.

    >>> parse_json('{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    """
    try:
        _bounded(text)
        value = json.loads(
            text, object_pairs_hook=_unique, parse_int=_integer, parse_float=_real, parse_constant=_constant
        )
        if r"\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except FileFormatError as error:
        raise FileFormatError(line(where, error)) from None
    except json.JSONDecodeError as error:
        raise FileFormatError(line(where, f"not JSON at character {error.pos}")) from None
    except UnicodeEncodeError:
        raise FileFormatError(line(where, "half of a surrogate pair")) from None


def _bounded(text: str) -> None:
    """Bound the depth and the number of values before anything is built; linear in the text."""
    require(len(text) <= MAX_TEXT, "its size", f"at most {MAX_TEXT} characters", len(text))
    depth = values = at = 0
    while mark := _MARK.search(text, at):
        at = mark.end()
        if mark[0] == '"':
            string = _STRING.match(text, at)
            require(string is not None, "a string", "closed", text[at : at + 20])
            at = string.end() if string else at
            continue
        depth += (mark[0] in "[{") - (mark[0] in "]}")
        values += mark[0] in "[{,"
        require(depth <= MAX_DEPTH, "its depth", f"at most {MAX_DEPTH}", "more")
        require(values <= MAX_VALUES, "the number of its values", f"at most {MAX_VALUES}", "more")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        require(key not in result, "a key", "there once", key)
        result[key] = value
    return result


def _integer(digits: str) -> int:
    require(len(digits) <= 20, "an integer", "of at most 20 characters", digits)
    return int(digits)


def _real(digits: str) -> float:
    require(len(digits) <= 64 and math.isfinite(float(digits)), "a number", "finite, at most 64 characters", digits)
    return float(digits)


def _constant(word: str) -> NoReturn:
    fail("a number", "finite", word)
