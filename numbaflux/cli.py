"""The numbaflux command: info, doctor, inspect, predict, profile, convert, cache, slurm, zoo. Bad input is one line
on stderr and exit code 2."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from . import __version__
from .compiled import compile
from .convert import convert, save_safetensors
from .doctor import examine
from .files import check_folder, replacing
from .info import facts
from .layers import Embedding, EmbeddingBag
from .native import native, set_num_threads
from .op import Error, FileFormatError, PlanError, expect
from .optim import Adam, setup
from .predict import dtype_of, predict
from .profile import profile
from .ranges import check
from .rng import Generator
from .slurm import Job, held, memory, resident, script
from .tree import PARAM, arrays, leaves
from .zoo import commands as zoo

PICTURES = (".png", ".svg", ".pdf")
SLURM = (
    ("--nodes", "N", str, "1 unless told; 1-2: one or two, so that the job goes on without a node that is lost"),
    ("--ranks-per-node", "N", int, "processes of a node: one for each NUMA domain unless told"),
    ("--cpus", "N", int, "CPUs of a process; unless told nodes are taken whole and shared out"),
    ("--time", "LIMIT", str, "of one run, as Slurm writes it: 1:00:00 unless told"),
    ("--job-name", "NAME", str, "that of the program unless told"),
    ("--partition", "NAME", str, "where to run"),
    ("--account", "NAME", str, "who pays"),
    ("--gpus", "N", int, "GPUs of a node, and a rank for each unless told"),
    ("--array", "NUMBERS", str, "a job for each, such as 0-8 or 0-99%%4: the program reads SLURM_ARRAY_TASK_ID"),
    ("--signal", "SECONDS", int, "before the limit, in which ranks write the checkpoint: 120 unless told"),
    ("--max-restarts", "N", int, "after so many it is given up: 20 unless told"),
    ("--venv", "DIR", str, "a virtual environment to activate"),
    ("--container", "FILE", str, "an image of Apptainer to run in"),
)  # option, what it takes, its type, help; defaults are those of Job


class _Parser(argparse.ArgumentParser):
    """One line for a wrong argument, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 1 where doctor finds a fault, 2 for bad input, 130 after Ctrl-C.

    >>> main(["info"])  # doctest: +ELLIPSIS
    numbaflux ...
    0
    """
    arguments = _parser().parse_args(argv)
    arguments.line = sys.argv[1:] if argv is None else argv
    try:
        code: int = arguments.run(arguments) or 0
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
    return code


def _parser() -> _Parser:
    parser = _described(_Parser(prog="numbaflux"), "Deep learning with Numba kernels.", "info", "predict --help")
    parser.add_argument("--version", action="version", version=f"numbaflux {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def add(run: Callable[[argparse.Namespace], int | None], name: str, text: str, *examples: str) -> _Parser:
        command = _described(commands.add_parser(name, help=text), text, *(f"{name} {words}" for words in examples))
        command.set_defaults(run=run)
        return command

    add(_info, "info", "show CPU, threads, versions and the kernel cache", "")
    add(_doctor, "doctor", "look for faults of this machine, its MPI and its launcher", "")
    command = add(_inspect, "inspect", "show what is in a file, without loading it", "model.h5", "--privacy model.h5")
    command.add_argument("file", metavar="FILE", help="a file that nf.save wrote")
    text = "show what the file tells of its author, machine and data instead"
    command.add_argument("--privacy", action="store_true", help=text)
    examples = "model.h5 x.npy -o y.npy", "model.h5 table.csv -o y.csv"
    command = add(_predict, "predict", "apply a saved model to the rows of an array", *examples)
    command.add_argument("model", metavar="MODEL", help="a file that nf.save wrote")
    text = ".npy, or .csv with a number in each field and perhaps a header; numbers are converted to the model's type"
    command.add_argument("input", metavar="INPUT", help=text)
    text = ".npy or .csv; an old file is replaced when the new one is whole"
    command.add_argument("-o", "--output", metavar="OUTPUT", required=True, help=text)
    _add_profile(add)
    _add_convert(add)
    command = add(_cache, "cache", "compile all kernels, show where they are kept, or remove them", "warm", "clear")
    command.add_argument("action", choices=["warm", "path", "clear"], help="warm: compile; path: show; clear: remove")
    _add_slurm(add)
    zoo.parsers(add(zoo.run, "zoo", zoo.TEXT, *zoo.EXAMPLES), _Parser, _described)
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


def _add_convert(add: Callable[..., _Parser]) -> None:
    examples = (
        "model.h5 weights.safetensors -o out.h5 --input-shape 1,28,28,1",
        "model.h5 keras.weights.h5 -o out.h5 --name 0=layers.conv2d",
        "model.h5 -o weights.safetensors",
    )
    text = "fill a saved model with the weights of a PyTorch or Keras model, or write its own for PyTorch"
    command = add(_convert, "convert", text, *examples)
    command.add_argument("model", metavar="MODEL", help="a file that nf.save wrote: layers, settings, metadata")
    text = "a .safetensors file, or .weights.h5 of Keras 3; no pickle"
    command.add_argument("weights", metavar="WEIGHTS", nargs="?", help=text)
    text = "the file of the filled model; without WEIGHTS a .safetensors file of the model's own"
    command.add_argument("-o", "--output", metavar="OUTPUT", required=True, help=text)
    text = "of an input, where a flatten stands before a Dense: numbers with commas between"
    command.add_argument("--input-shape", metavar="SHAPE", type=_shape, help=text)
    text = "path of a layer and its name in the weights, where their order is not enough; as often as needed"
    command.add_argument("--name", metavar="PATH=NAME", type=_pair, action="append", default=[], help=text)


def _add_slurm(add: Callable[..., _Parser]) -> None:
    text = "print a batch script for Slurm: it trains, at the time limit it stops and goes on in a new run"
    lines = (
        "slurm script train.py --epochs 40",
        "slurm script --nodes 4 --time 12:00:00 --mpi pmix --venv ~/venv train.py > job.sh",
        "slurm script --ranks-per-node 2 --cpus 8 --model model.h5 --input-shape 64,28,28,1 train.py",
    )
    group = add(_slurm, "slurm", text, *(line.removeprefix("slurm ") for line in lines))
    actions = group.add_subparsers(required=True, metavar="script", parser_class=_Parser)
    command = _described(actions.add_parser("script", help=text), text, *lines)
    for option, metavar, kind, words in SLURM:
        command.add_argument(option, metavar=metavar, type=kind, default=argparse.SUPPRESS, help=words)
    words = "pmi2 (unless told): MPICH, Intel MPI, MVAPICH; pmix: Open MPI"
    command.add_argument("--mpi", choices=["pmi2", "pmix"], default=argparse.SUPPRESS, help=words)
    action, words = argparse.BooleanOptionalAction, "go back to the queue at the time limit: so unless told"
    command.add_argument("--requeue", action=action, default=argparse.SUPPRESS, help=words)
    words = "a module to load; as often as needed"
    command.add_argument("--module", metavar="NAME", action="append", default=[], help=words)
    words = "a variable to set; as often as needed"
    command.add_argument("--env", metavar="NAME=VALUE", type=_variable, action="append", default=[], help=words)
    either = command.add_mutually_exclusive_group()
    words = "memory of a node, such as 64G: all of a whole node unless told"
    either.add_argument("--memory", metavar="SIZE", default=argparse.SUPPRESS, help=words)
    words = "a file that nf.save wrote: memory is what a training step of it needs, by Adam"
    either.add_argument("--model", metavar="FILE", help=words)
    words = "of a batch of one rank, its samples first: numbers with commas between; with --model"
    command.add_argument("--input-shape", metavar="SHAPE", type=_shape, help=words)
    words = "samples of a batch of all ranks together, in place of the first number of the shape"
    command.add_argument("--batch", metavar="N", type=int, help=words)
    command.add_argument("program", metavar="PROGRAM", help="what each rank runs; a .py file by python")
    command.add_argument("words", metavar="ARGS", nargs=argparse.REMAINDER, help="its arguments")


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


def _doctor(arguments: argparse.Namespace) -> int:
    return examine()


def _inspect(arguments: argparse.Namespace) -> None:
    from .contents import inspect  # h5py is imported by nobody who does not need it

    found = inspect(arguments.file)
    if arguments.privacy:
        width = max(map(len, found.privacy))
        print("\n".join(f"{kind:<{width}}  {text}" for kind, text in found.privacy.items()))
    else:
        print(found)


def _predict(arguments: argparse.Namespace) -> None:
    source, target = Path(arguments.input), Path(arguments.output)
    print(f"{target}: {predict(arguments.model, source, target)}")


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
    return Generator(0).normal(shape).astype(dtype_of(model))


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


def _variable(text: str) -> tuple[str, str]:
    """NAME=VALUE as a pair."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text}")
    return name, value


def _convert(arguments: argparse.Namespace) -> None:
    from .checkpoint import load, save
    from .contents import inspect

    model = load(arguments.model)
    shape, names = arguments.input_shape, dict(arguments.name)
    example = None if shape is None else np.zeros(shape, dtype_of(model))
    if arguments.weights is None:
        good = arguments.output.endswith(".safetensors")
        expect(good, "convert", "WEIGHTS", "given, or OUTPUT a file named .safetensors", arguments.output)
        save_safetensors(arguments.output, model, names=names, example=example)
        print(f"{arguments.output}: {len(arrays(model))} arrays for PyTorch")
        return
    convert(model, arguments.weights, names=names, example=example)
    save(arguments.output, model, inspect(arguments.model).metadata or None)
    print(f"{arguments.output}: {len(arrays(model))} arrays from {os.path.basename(arguments.weights)}")


def _slurm(arguments: argparse.Namespace) -> None:
    given = {f.name: getattr(arguments, f.name) for f in dataclasses.fields(Job) if hasattr(arguments, f.name)}
    given |= {"env": dict(arguments.env), "module": tuple(arguments.module)}
    job = Job(**given | {"command": (arguments.program, *arguments.words)})
    together = (arguments.model is None) == (arguments.input_shape is None) and (arguments.model or not arguments.batch)
    expect(bool(together), "slurm", "model", "given with input_shape, and they with it", "one alone")
    if arguments.model is not None:
        size, note = _needed(arguments, job)
        job = dataclasses.replace(job, memory=size, notes=(note, "memory: the data that the program holds come on top"))
    print(script(job, ("numbaflux", *arguments.line)), end="")


def _needed(arguments: argparse.Namespace, job: Job) -> tuple[str, str]:
    """The memory of a node in which each rank trains the model, and how it comes about."""
    from .checkpoint import load
    from .precision import computing

    base, shape = resident(), arguments.input_shape
    cure = "a whole node comes with all of its memory"
    expect(job.cpus is not None, "slurm", "cpus", "given with model", "None", cure)
    ranks, cpus = job.ranks or 1, job.cpus or 1
    if arguments.batch is not None:
        every = ranks * int(job.nodes.partition("-")[0])
        shape = (ceil(check("DataLoader.batchsize", arguments.batch) / every), *shape[1:])
    model = computing(load(arguments.model))
    step = compile(mean_of_squares, model, setup(Adam(), model))
    return memory({"interpreter": base} | held(step, _random(model, shape), cpus), ranks, cpus)


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
