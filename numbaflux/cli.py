"""The numbaflux command: info, inspect, predict, profile, convert, cache. Bad input is one line on stderr and exit
code 2."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from . import __version__
from .compiled import compile
from .convert import convert
from .files import check_folder, replacing
from .info import facts
from .layers import Embedding, EmbeddingBag
from .native import native, set_num_threads
from .op import DTypeError, Error, FileFormatError, PlanError, ShapeError, expect
from .optim import Adam, setup
from .profile import profile
from .rng import Generator
from .tree import PARAM, arrays, leaves

ROWS = 4096  # samples predicted at once
FORMATS = (".npy", ".csv")
PICTURES = (".png", ".svg", ".pdf")


class _Parser(argparse.ArgumentParser):
    """One line for a wrong argument, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for bad input, 130 after Ctrl-C.

    >>> main(["info"])  # doctest: +ELLIPSIS
    numbaflux ...
    0
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, say) has seen enough; what is left has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Error, OSError) as error:
        line = " ".join(str(error).split())
        print("numbaflux:", "".join(c if c.isprintable() else "?" for c in line), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> _Parser:
    parser = _described(_Parser(prog="numbaflux"), "Deep learning with Numba kernels.", "info", "predict --help")
    parser.add_argument("--version", action="version", version=f"numbaflux {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def add(run: Callable[[argparse.Namespace], None], name: str, text: str, *examples: str) -> _Parser:
        command = _described(commands.add_parser(name, help=text), text, *(f"{name} {words}" for words in examples))
        command.set_defaults(run=run)
        return command

    add(_info, "info", "show CPU, threads, versions and the kernel cache", "")
    command = add(_inspect, "inspect", "show what is in a file, without loading it", "model.h5")
    command.add_argument("file", metavar="FILE", help="a file that nf.save wrote")
    examples = "model.h5 x.npy -o y.npy", "model.h5 table.csv -o y.csv"
    command = add(_predict, "predict", "apply a saved model to the rows of an array", *examples)
    command.add_argument("model", metavar="MODEL", help="a file that nf.save wrote")
    text = ".npy, or .csv with a number in each field and perhaps a header; numbers are converted to the model's type"
    command.add_argument("input", metavar="INPUT", help=text)
    text = ".npy or .csv; an old file is replaced when the new one is whole"
    command.add_argument("-o", "--output", metavar="OUTPUT", required=True, help=text)
    _add_profile(add)
    examples = (
        "model.h5 weights.safetensors -o out.h5 --input-shape 1,28,28,1",
        "model.h5 keras.weights.h5 -o out.h5 --name 0=layers.conv2d",
    )
    command = add(_convert, "convert", "fill a saved model with the weights of a PyTorch or Keras model", *examples)
    command.add_argument("model", metavar="MODEL", help="a file that nf.save wrote: layers, settings, metadata")
    command.add_argument("weights", metavar="WEIGHTS", help="a .safetensors file, or .weights.h5 of Keras 3; no pickle")
    command.add_argument("-o", "--output", metavar="OUTPUT", required=True, help="the file of the filled model")
    text = "of an input, where a flatten stands before a Dense: numbers with commas between"
    command.add_argument("--input-shape", metavar="SHAPE", type=_shape, help=text)
    text = "path of a layer and its name in the weights, where their order is not enough; as often as needed"
    command.add_argument("--name", metavar="PATH=NAME", type=_pair, action="append", default=[], help=text)
    command = add(_cache, "cache", "compile all kernels, show where they are kept, or remove them", "warm", "clear")
    command.add_argument("action", choices=["warm", "path", "clear"], help="warm: compile; path: show; clear: remove")
    return parser


def _add_profile(add: Callable[..., _Parser]) -> None:
    examples = "model.h5 --input-shape 64,28,28,1", "model.h5 --input-shape 64,28,28,1 --train --trace trace.json"
    command = add(_profile, "profile", "show where the time goes in a saved model, on random input", *examples)
    command.add_argument("model", metavar="MODEL", help="a file that nf.save wrote")
    text = "of a batch, its samples first: numbers with commas between"
    command.add_argument("--input-shape", metavar="SHAPE", type=_shape, required=True, help=text)
    text = "a training step: Adam, the mean of squares as loss; the file stays as it is"
    command.add_argument("--train", action="store_true", help=text)
    command.add_argument("--threads", metavar="N", type=int, help="threads to use: all unless told")
    command.add_argument("--repeats", metavar="N", type=int, default=20, help="calls that are measured: 20 unless told")
    text = "write a call as a Chrome trace, for ui.perfetto.dev or chrome://tracing"
    command.add_argument("--trace", metavar="FILE", help=text)
    command.add_argument("--plot", metavar="FILE", help="write a picture of it: .png, .svg or .pdf; needs matplotlib")


def _described(parser: _Parser, text: str, *examples: str) -> _Parser:
    parser.description = text[0].upper() + text[1:]
    parser.epilog = "\n".join(["examples:", *(f"  numbaflux {words}".rstrip() for words in examples)])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def _info(arguments: argparse.Namespace) -> None:
    known = facts()
    width = max(map(len, known))
    for name, text in known.items():
        print(f"{name:<{width}}  {text}")


def _inspect(arguments: argparse.Namespace) -> None:
    from .contents import inspect  # h5py is imported by nobody who does not need it

    print(inspect(arguments.file))


def _predict(arguments: argparse.Namespace) -> None:
    from .checkpoint import load
    from .precision import computing

    source, target = Path(arguments.input), Path(arguments.output)
    for name, path in (("INPUT", source), ("OUTPUT", target)):
        expect(path.suffix in FORMATS, "predict", name, "a .npy or .csv file", str(path), error=FileFormatError)
    check_folder("predict", "OUTPUT", target)
    model = computing(load(arguments.model))
    x = _read(source)
    expect(x.ndim > 0 and len(x) > 0, "predict", "INPUT", "of one row or more", f"shape {x.shape}", error=ShapeError)
    expect(x.dtype.kind in "fiub", "predict", "INPUT", "of numbers", str(x.dtype), error=DTypeError)
    f, dtype = compile(model), _dtype(model)
    parts = [f(x[i : i + ROWS].astype(dtype)) for i in range(0, len(x), ROWS)]
    good = all(isinstance(part, np.ndarray) and part.ndim for part in parts)
    expect(good, "predict", "MODEL", "one that gives an array", type(parts[0]).__name__, error=PlanError)
    y = np.concatenate(parts)
    _write(target, y)
    print(f"{target}: {y.dtype} {y.shape}")


def _profile(arguments: argparse.Namespace) -> None:
    from .checkpoint import load
    from .precision import computing

    for name in ("trace", "plot"):
        if getattr(arguments, name) is not None:
            check_folder("profile", f"--{name}", getattr(arguments, name))
    picture = None if arguments.plot is None else _picture(Path(arguments.plot))
    if arguments.threads is not None:
        set_num_threads(arguments.threads)
    model = computing(load(arguments.model))
    x = _random(model, arguments.input_shape)
    if arguments.train:
        found = profile(compile(mean_of_squares, model, setup(Adam(), model)), x, repeats=arguments.repeats)
    else:
        found = profile(model, x, repeats=arguments.repeats)
    print(found)
    if arguments.trace is not None:
        found.trace(arguments.trace)
    if picture is not None:
        figure = found.plot()
        with replacing(picture) as file:
            figure.savefig(file, format=picture.suffix[1:])


def _picture(path: Path) -> Path:
    """Where a picture will go, if one can be drawn."""
    expect(path.suffix in PICTURES, "profile", "--plot", "a .png, .svg or .pdf file", str(path), error=FileFormatError)
    there = importlib.util.find_spec("matplotlib") is not None
    cure = "pip install matplotlib"
    expect(there, "profile", "--plot", "asked for where matplotlib is installed", "none", cure, PlanError)
    return path


def _random(model: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A batch of random numbers; of indices where the first layer with weights takes these."""
    first = next((leaf.owner for leaf in leaves(model) if leaf.kind == PARAM), None)
    if isinstance(first, Embedding | EmbeddingBag):
        return Generator(0).integers(shape, 0, len(first.weight))
    return Generator(0).normal(shape).astype(_dtype(model))


def mean_of_squares(model: Any, x: np.ndarray) -> Any:
    y = model(x)
    expect(hasattr(y, "shape"), "profile", "MODEL", "one that gives an array", type(y).__name__, error=PlanError)
    return (y * y).mean()


def _shape(text: str) -> tuple[int, ...]:
    """1,28,28,1 as a tuple."""
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"must be numbers above 0 with commas between, got {text}")
    return tuple(map(int, parts))


def _pair(text: str) -> tuple[str, str]:
    """PATH=NAME as a pair."""
    path, _, name = text.partition("=")
    if not path or not name:
        raise argparse.ArgumentTypeError(f"must be PATH=NAME, got {text}")
    return path, name


def _convert(arguments: argparse.Namespace) -> None:
    from .checkpoint import load, save
    from .contents import inspect

    model = load(arguments.model)
    shape = arguments.input_shape
    convert(model, arguments.weights, names=dict(arguments.name),
            example=None if shape is None else np.zeros(shape, _dtype(model)))  # fmt: skip
    save(arguments.output, model, inspect(arguments.model).metadata or None)
    print(f"{arguments.output}: {len(arrays(model))} arrays from {os.path.basename(arguments.weights)}")


def _dtype(model: Any) -> np.dtype[Any]:
    """The type that a model computes in."""
    return next((a.dtype for a in arrays(model).values() if a.dtype.kind == "f"), np.dtype(np.float32))


def _read(path: Path) -> np.ndarray:
    """The array of a .npy file, or of a .csv file as (rows, columns) in float64."""
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        with path.open() as file:
            header = not all(map(_number, file.readline().split(",")))
            file.seek(0)
            rows = [line for line in file if line.strip()][header:]
        expect(bool(rows), str(path), "file", "of one row or more", "none", error=FileFormatError)
        return np.loadtxt(rows, delimiter=",", ndmin=2)
    except (ValueError, EOFError) as error:
        if isinstance(error, Error):
            raise
        raise FileFormatError(f"{path}: {error}") from error


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _write(path: Path, y: np.ndarray) -> None:
    """Write an array beside its place, then move it there: the file is the old one or the whole new one."""
    digits = "%.9g" if y.dtype == np.float32 else "%.17g"  # as many as it takes to read the same bits back
    flat = y.reshape(len(y), -1)
    fits = path.suffix == ".npy" or y.ndim <= 2
    expect(fits, "predict", "OUTPUT", "of rows for .csv", f"shape {y.shape}", "write a .npy file", ShapeError)
    with replacing(path) as file:
        np.save(file, y) if path.suffix == ".npy" else np.savetxt(file, flat, fmt=digits, delimiter=",")


def _cache(arguments: argparse.Namespace) -> None:
    store = native().store
    cure = "set NUMBAFLUX_CACHE_DIR to a folder of yours that nobody else can write to"
    expect(store.folder is not None, "cache", "folder", "one that can be written", "none", cure, PlanError)
    if arguments.action == "path":
        print(store.folder)
    elif arguments.action == "clear":
        print(f"{store.clear()} files removed from {store.folder}")
    else:
        _warm(store.folder)


def _warm(folder: Path | None) -> None:
    from .warm import warm

    count, seconds = 0, 0.0
    for name, seconds in warm():
        count += 1
        print(f"{seconds:7.1f} s  {name}", flush=True)
    print(f"{count} kernels compiled in {seconds:.1f} s, kept in {folder}")
