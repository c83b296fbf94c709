"""Calls of public functions with one argument or two exchanged: python -m tests.fuzz.arguments SEED EXAMPLES [NAME...]

What a good call looks like is taken from the examples of the docstrings: they run once, and every call of a public
function is kept. Hypothesis draws a call and what to put in it. Allowed are a result, numbaflux's errors, and the
system's (OSError, MemoryError); where the new argument is of a kind that no page names (a text for an array), Python's
TypeError, ValueError, AttributeError and IndexError too (docs/api.md). Anything else, and a call without end, is a
finding; an end of the interpreter is seen by who started this.
"""

import collections
import contextlib
import copy
import doctest
import faulthandler
import importlib
import inspect
import io
import os
import pkgutil
import signal
import sys
import tempfile
import traceback
import types
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import numbaflux as nf
from tests.fuzz.limits import confine

# Not called, and why.
LEFT_OUT = {
    "set_num_threads": "changes the process", "threads": "changes the process", "seed": "changes the process",
    "train": "runs what it is given", "lbfgs": "runs what it is given",
}  # fmt: skip
KEPT = 4  # good calls of each function
SECONDS = 20  # of the CPU in one call, before it is a finding
MEMORY = 3 << 30  # bytes more, before a call is a MemoryError
ALLOWED = (nf.Error, OSError, MemoryError)
TOO_LARGE = ("array is too big", "Maximum allowed")  # NumPy's words for more memory than there are addresses
LENIENT = (TypeError, ValueError, AttributeError, IndexError)  # Python's own for things of another kind


def public() -> dict[str, Callable[..., Any]]:
    """Every function and class that a user reaches by names without underscores."""
    found: dict[str, Callable[..., Any]] = {}
    own = {f"{name}.": space for name, space in vars(nf).items() if isinstance(space, types.ModuleType)}
    for head, space in [("", nf), *[(head, space) for head, space in own.items() if head[:-1] in nf.__all__]]:
        listed = getattr(space, "__all__", None)
        for name in listed or [n for n in vars(space) if not n.startswith("_")]:
            one = getattr(space, name)
            ours = getattr(one, "__module__", "") or ""
            ours = ours.startswith("numbaflux") if listed else ours == space.__name__
            error = isinstance(one, type) and issubclass(one, Exception)
            if callable(one) and ours and not error and name not in LEFT_OUT and head != "lowering.":
                found.setdefault(f"{head}{name}", one)
    return found


class Calls:
    """Good calls of public functions, kept while the examples of all docstrings run."""

    def __init__(self) -> None:
        self.found: dict[str, list[tuple[Callable[..., Any], dict[str, Any]]]] = collections.defaultdict(list)
        self.functions: dict[types.CodeType, tuple[str, Callable[..., Any]]] = {}
        self.classes: dict[type, str] = {}
        self.starts: set[types.CodeType] = set()
        for name, one in public().items():
            function = inspect.unwrap(one.__init__ if isinstance(one, type) else one)  # type: ignore[misc]
            code = getattr(function, "__code__", None)
            if isinstance(one, type):
                self.classes[one] = name
                self.starts |= {code}
                call = getattr(one.__dict__.get("__call__"), "__code__", None)
                if call:
                    self.functions[call] = f"{name}.__call__", one.__call__
            elif code:
                self.functions[code] = name, one

    def look(self, frame: types.FrameType, event: str, _: Any) -> None:
        """What sys.setprofile calls: keep the arguments of a call by name."""
        if event != "call":
            return
        name, function = self.functions.get(frame.f_code, ("", None))
        given = frame.f_locals
        if frame.f_code in self.starts and type(given.get("self")) in self.classes:
            function = type(given["self"])
            name = self.classes[function]
            given = {k: v for k, v in given.items() if k != "self" and not k.startswith("__")}
        if function is not None and len(self.found[name]) < KEPT:
            with contextlib.suppress(Exception):
                self.found[name].append((function, copy.deepcopy(dict(given))))

    def record(self) -> None:
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        for info in pkgutil.walk_packages(nf.__path__, "numbaflux."):
            if not info.name.endswith("__main__") and ".kernels" not in info.name:
                tests = doctest.DocTestFinder().find(importlib.import_module(info.name))
                sys.setprofile(self.look)
                try:
                    for test in tests:
                        runner.run(test, out=io.StringIO().write, clear_globs=False)
                finally:
                    sys.setprofile(None)


# ------------------------------------------------------------------------------------------------ other arguments

NUMBERS = [0, 1, -1, 2, 7, 1.5, -0.5, 1e-30, 1e30, np.nan, np.inf, -np.inf, 2**31, 2**63, -(2**63), 10**30]
THINGS = [
    None, "", "a", "relu", "x.h5", "a/b", "a\0b", "\ud800", b"a", (), [], {}, {"a": 1}, (1, 2), [1.5, "a"], (2,) * 9,
    1j, len, nf.tanh, np.float32(2), np.float16(2), np.int8(3), np.bool_(True), np.str_("a"), object(), np.float32,
    "float32",
    slice(1, 2), range(3), Ellipsis, 2**31 * (1,)[:0],
]  # fmt: skip
DTYPES = ["f4", "f8", "f2", "i8", "i4", "u1", "?", "c8", "O", "U3", ">f4", "M8[s]", "i1"]
ANY_ARRAY = st.builds(
    lambda shape, dtype, fill: np.full(shape, fill).astype(dtype),
    st.lists(st.integers(0, 5), max_size=4), st.sampled_from(DTYPES), st.sampled_from([0, 1, -1, 100]),
)  # fmt: skip


def changed(draw: Callable[..., Any], value: Any) -> Any:
    """A value a little different."""
    if isinstance(value, np.ndarray):
        return draw(st.sampled_from(ARRAYS))(value)
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return draw(st.sampled_from([not value, 1, "a", f"{value}x"]))
    if isinstance(value, int | float):
        return draw(
            st.sampled_from([-value, value + 1, value * 0, value + 0.5, value * 10**9, float(value), str(value)])
        )
    if isinstance(value, list | tuple) and value:
        i = draw(st.integers(0, len(value) - 1))
        parts = list(value)
        parts[i : i + 1] = draw(st.sampled_from([[], [parts[i]] * 2, [other(draw, parts[i])]]))
        return type(value)(parts) if type(value) in (list, tuple) else parts
    if isinstance(value, dict) and value:
        key = draw(st.sampled_from(sorted(value, key=repr)))
        return draw(
            st.sampled_from([{k: v for k, v in value.items() if k != key}, value | {key: other(draw, value[key])}])
        )
    return draw(st.sampled_from(THINGS))


ARRAYS: list[Callable[[Any], Any]] = [
    lambda a: a[:0], lambda a: a[..., :-1] if a.ndim else a, lambda a: a[None], lambda a: a.ravel(),
    lambda a: a.T, lambda a: a[::-1], lambda a: a[::2], lambda a: a * 0, lambda a: a + 10**6, lambda a: a - 10**6,
    lambda a: np.where(np.ones(a.shape, bool), 2**62, 0), lambda a: np.full(a.shape, np.nan, "f4"),
    lambda a: a.astype("f8"), lambda a: a.tolist(),
    lambda a: a.astype("f4"), lambda a: a.astype("i8"), lambda a: a.astype("i4"), lambda a: a.astype("u1"),
    lambda a: a.astype(bool), lambda a: a.astype(">f4"), lambda a: a.astype("f2"), lambda a: a.astype(complex),
    lambda a: a.astype(object), lambda a: a.astype(str), lambda a: np.concatenate([a, a]) if a.ndim else a,
    lambda a: np.ma.masked_array(a), lambda a: a.reshape(a.shape + (1,)), lambda a: np.broadcast_to(a, (2, *a.shape)),
    lambda a: a.view(np.recarray) if a.ndim else a,
]  # fmt: skip


def other(draw: Callable[..., Any], value: Any) -> Any:
    """Something in place of a value: a little different, or anything."""
    if draw(st.booleans()):
        with contextlib.suppress(TypeError, ValueError, OverflowError, IndexError):
            return changed(draw, value)
    return draw(st.one_of(st.sampled_from(NUMBERS), st.sampled_from(THINGS), ANY_ARRAY))


def alike(old: Any, new: Any) -> bool:
    """Whether this is another of the same kind, so that the error must be one of ours."""
    if isinstance(old, np.ndarray) and type(new) is np.ndarray:
        return new.dtype.kind in "fiub"
    number = (
        isinstance(old, int | float) and isinstance(new, int | float) and isinstance(old, bool) == isinstance(new, bool)
    )
    return number or isinstance(old, str) and isinstance(new, str)


class Case(NamedTuple):
    """A call with other arguments; strict: only our errors will do."""

    name: str
    function: Callable[..., Any]
    given: dict[str, Any]
    strict: bool


def drawn(draw: Callable[..., Any], good: dict[str, list[tuple[Callable[..., Any], dict[str, Any]]]]) -> Case:
    """A good call, one or two of its arguments exchanged."""
    name = draw(st.sampled_from(sorted(good)))
    function, kept = draw(st.sampled_from(good[name]))
    given = {key: copied(value) for key, value in kept.items()}
    names, strict = sorted(given.keys() - {"self"}), True
    for _ in range(draw(st.integers(1, 2)) if names else 0):
        key = draw(st.sampled_from(names))
        old, given[key] = given[key], other(draw, given[key])
        strict &= alike(old, given[key])
    return Case(name, function, given, strict)


def copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


# ----------------------------------------------------------------------------------------------------------- calls


def call(function: Callable[..., Any], given: dict[str, Any]) -> Any:
    """The call by these arguments, as its signature takes them."""
    args, words = [], {}
    start = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    for name, one in inspect.signature(inspect.unwrap(start)).parameters.items():
        if name in given:
            if one.kind is one.VAR_POSITIONAL:
                args += given[name] if isinstance(given[name], list | tuple) else [given[name]]
            elif one.kind is one.VAR_KEYWORD:
                words |= given[name] if isinstance(given[name], dict) else {"x": given[name]}
            elif one.kind is one.KEYWORD_ONLY:
                words[name] = given[name]
            else:
                args.append(given[name])
    return function(*args, **words)


class TooLong(BaseException):
    pass


def late(*_: Any) -> None:
    raise TooLong


def shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    try:
        return repr(value)[:80]
    except Exception as error:
        return f"<{type(value).__name__}: {error!r}>"


class Finding(AssertionError):
    """A call that ended in a way no page describes."""


def attempt(case: Case, log: int) -> None:
    """One call; log: a file in which the last call stands."""
    text = f"{case.name}({', '.join(f'{k}={shown(v)}' for k, v in case.given.items())})"
    os.pwrite(log, text.encode(errors="replace")[:2000].ljust(2000), 0)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        call(case.function, case.given)
    except ALLOWED:
        pass
    except TooLong:
        raise Finding(f"{text}: longer than {SECONDS} seconds") from None
    except Exception as error:
        inner = error.__traceback__.tb_next.tb_next  # none: Python's own, for a call that the signature does not take
        unfit = isinstance(error, TypeError) and inner is None
        if not (unfit or isinstance(error, LENIENT) and (not case.strict or str(error).startswith(TOO_LARGE))):
            raise Finding(f"{text}: {type(error).__name__}: {str(error)[:200]}") from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main(words: list[str]) -> int:
    """Print each finding, of a function one; how many there are is the exit code."""
    number, examples, names = int(words[0]), int(words[1]), words[2:]
    faulthandler.enable()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    os.chdir(tempfile.mkdtemp())
    calls = Calls()
    calls.record()
    good = {name: found for name, found in calls.found.items() if found and (not names or name in names)}
    log = os.open("last", os.O_RDWR | os.O_CREAT)
    print(f"{len(good)} of {len(public())} functions; the last call: {os.path.abspath('last')}", flush=True)
    confine(MEMORY)
    signal.signal(signal.SIGPROF, late)  # so that none of ours ends the process
    found: dict[str, str] = {}

    @seed(number)
    @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck),
              phases=[Phase.generate])  # fmt: skip
    @given(st.data())
    def run(data: st.DataObject) -> None:
        case = drawn(data.draw, good)
        try:
            attempt(case, log)
        except Finding as finding:
            if case.name not in found:
                found[case.name] = str(finding)
                traceback.print_exception(finding.__cause__, limit=-2, file=sys.stdout)
                print(finding, flush=True)

    run()
    print(f"{len(found)} findings")
    return min(len(found), 100)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
