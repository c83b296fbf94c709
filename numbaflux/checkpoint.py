"""Models in files: layers as JSON, each array as a dataset. Loading builds known layers, and runs nothing of a file."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from . import functions as F
from . import hdf5
from .activations import ACTIVATIONS
from .attention import dot_product_attention
from .hdf5_json import parse_json
from .hdf5_objects import PART, fail, line, require
from .layers import LAYERS, flatten, normalise, rescale
from .layers.layer import name_of
from .losses import LOSSES
from .models import fill
from .op import DeviceError, DTypeError, Error, FileFormatError, ShapeError, expect
from .padding import PADDINGS
from .precision import computing
from .resize import UPSAMPLINGS, pixel_shuffle, pixel_unshuffle
from .rng import Generator, default
from .tree import arrays, fields

Path = str | os.PathLike[str]
Functions = Iterable[Callable[..., Any]]

# The functions that a file may name; all others are given to nf.load(functions=[...]).
FUNCTIONS: tuple[Any, ...] = (
    *ACTIVATIONS, *LOSSES, F.absolute, F.add, F.cat, F.exp, flatten, F.identity, F.log, F.logsoftmax, F.maximum,
    F.minimum, F.mul, F.negative, normalise, F.relu, rescale, F.sigmoid, F.sign, F.softmax, F.sqrt, F.square, F.tanh,
    *PADDINGS, *UPSAMPLINGS.values(), pixel_shuffle, pixel_unshuffle, dot_product_attention,
)  # fmt: skip
OWN: dict[str, Any] = {one.__qualname__: one for one in (*LAYERS, *FUNCTIONS)}
UNFIELDED = {"_held", "_holder", "_world"}  # what an optimiser state, or sync_batchnorm, leaves in a layer
MODEL, OPTIMISER, HISTORY = "model.", "optimiser.", "history"  # what the names of a training's tensors begin with
LAWFUL = re.compile(rf"{PART}(\.{PART}){{0,15}}")


# -------------------------------------------------------------------------------------------------------------- saving


def save(path: Path, model: Any, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a model: layers, their settings and arrays, ties; and metadata, a dict of plain JSON. Whole or not at all.

    Layers and functions go by name: numbaflux's own, and those that can be imported by theirs (given to nf.load again).
    Anything else is refused before the file is touched: DTypeError, RangeError, ShapeError; OSError: the disk.

    >>> import os, tempfile, numbaflux as nf
    >>> path = os.path.join(tempfile.mkdtemp(), "model.h5")
    >>> nf.save(path, nf.Chain(nf.Dense(2, 3, nf.tanh), nf.Dense(3, 1)), metadata={"epochs": 5})
    >>> nf.load(path)[0].activation is nf.tanh
    True
    """
    hdf5.write(path, *prepare(model, metadata))


def prepare(model: Any, metadata: Mapping[str, Any] | None = None) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors and documents of a model's file; raises if there is something that cannot be saved."""
    expect(fields(model) is not None or isinstance(model, list | tuple | dict), "save", "model",
           "a layer, or layers in a list, tuple or dict", type(model).__name__, error=DTypeError)  # fmt: skip
    tensors = arrays(model)
    for name, array in tensors.items():
        lawful = bool(LAWFUL.fullmatch(name))
        expect(lawful, "save", ascii(name), "named by up to 16 parts of A-Z a-z 0-9 _ -", "others",
               "rename the layer or key")  # fmt: skip
        expect(array.size > 0, "save", name, "of at least one element", f"shape {array.shape}", error=ShapeError)
    names = {id(array): name for name, array in tensors.items()}
    documents = {"architecture": json.dumps(_encode(model, "", names, {}), ensure_ascii=False)}
    parse_json(documents["architecture"], "save: the architecture")  # too deep or large for the reader is refused here
    if metadata is not None:
        expect(isinstance(metadata, dict), "save", "metadata", "a dict", type(metadata).__name__, error=DTypeError)
        _plain(metadata, "metadata")
        documents["metadata"] = json.dumps(metadata, ensure_ascii=False)
        parse_json(documents["metadata"], "save: metadata")
    return tensors, documents


def _encode(node: Any, path: str, names: dict[int, str], used: dict[str, Any]) -> Any:
    """A node of a model as JSON; names: of arrays and generators so far, by id; used: layers and functions, by name."""

    def below(child: Any, name: Any) -> Any:
        return _encode(child, f"{path}.{name}" if path else str(name), names, used)

    if node is None or type(node) in (bool, int, str):
        return node
    if type(node) is float:
        return node if math.isfinite(node) else {"float": repr(node)}
    if isinstance(node, np.ndarray):
        return {"array": names[id(node)], "dtype": node.dtype.name, "shape": list(node.shape)}
    if type(node) is list:
        return [below(x, i) for i, x in enumerate(node)]
    if type(node) is tuple:
        return {"tuple": [below(x, i) for i, x in enumerate(node)]}
    if type(node) is dict:
        for key in node:
            good = type(key) is str and "." not in key
            expect(good, "save", path or "model", "a dict with texts without dots as keys", repr(key), error=DTypeError)
        return {"dict": {key: below(x, key) for key, x in node.items()}}
    if fields(node) is not None:
        return {"layer": _name(type(node), path, used), "fields": _encode_fields(node, path, below)}
    if isinstance(node, Generator):
        return _encode_generator(node, names.setdefault(id(node), path))
    if isinstance(node, functools.partial):
        return {"function": _name(node.func, path, used), "keywords": _keywords(node, path, below)}
    if callable(node) and not isinstance(node, type):
        return {"function": _name(node, path, used)}
    cure = "use x.item()" if isinstance(node, np.generic) else "make it a layer with @nf.layer"
    expected = "a layer, array, function, number, text, None, or a list, tuple or dict of such"
    raise DTypeError(f"save: {path} must be {expected}, got {type(node).__name__}; {cure}")


def _encode_generator(node: Generator, name: str) -> dict[str, Any]:
    """The default generator by no name; others by the path where they stand first, so that several can share one."""
    seed, counter = node.state
    return {"generator": None} if node is default() else {"generator": name, "seed": seed, "counter": counter}


def _encode_fields(node: Any, path: str, below: Callable[[Any, Any], Any]) -> dict[str, Any]:
    """The fields of a layer; children of one with a leading dot go by their own names in paths."""
    known = [name.lstrip(".") for name in fields(node) or ()]
    extra = sorted(set(vars(node)) - set(known) - UNFIELDED)
    expect(not extra, "save", path or "model", "a layer whose attributes are all fields of its class", ", ".join(extra),
           "declare them, or compute them when they are needed", DTypeError)  # fmt: skip
    out = {}
    for name in fields(node) or ():
        value = getattr(node, name.lstrip("."))
        if name.startswith("."):
            labels = getattr(node, "names", None) or range(len(value))
            out[name[1:]] = {"tuple": [below(x, label) for x, label in zip(value, labels, strict=True)]}
        else:
            out[name] = below(value, name)
    return out


def _keywords(node: functools.partial[Any], path: str, below: Callable[[Any, Any], Any]) -> dict[str, Any]:
    """The numbers that a partial of a function fixes, by name."""
    good = bool(node.keywords) and not node.args and takes(node.func, node.keywords)
    expect(good, "save", path, "a function with numbers fixed by name", name_of(node),
           "functools.partial(nf.leakyrelu, a=0.2)", DTypeError)  # fmt: skip
    return {name: below(number, name) for name, number in node.keywords.items()}


def takes(function: Callable[..., Any], keywords: Mapping[str, Any]) -> bool:
    """Whether these are numbers, and a function takes them by name."""
    try:
        inspect.signature(function).bind_partial(**keywords)
    except (TypeError, ValueError):
        return False
    return all(type(number) in (bool, int, float) for number in keywords.values())


def _name(one: Any, path: str, used: dict[str, Any]) -> str:
    """The name of a class or function that a file may name: numbaflux's own, or one that its module has under it."""
    name = getattr(one, "__qualname__", "")
    if OWN.get(name) is not one:
        found = sys.modules.get(getattr(one, "__module__", None) or "")
        for part in name.split("."):
            found = getattr(found, part, None)
        kind = "class" if isinstance(one, type) else "function"
        expect(bool(name) and found is one, "save", path, f"a {kind} that its module has under its name",
               repr(name or one), "define it with class or def at the top of a module", DTypeError)  # fmt: skip
        taken = OWN.get(name) or used.setdefault(name, one)
        expect(taken is one, "save", path, f"a {kind} of another name than {taken}", repr(one), "rename it")
    return name


def _plain(value: Any, path: str) -> None:
    """Raise unless JSON gives back the same."""
    number = type(value) is int and abs(value) < 2**63 or isinstance(value, float) and math.isfinite(value)
    if value is None or number or type(value) in (bool, str):
        return
    if type(value) is dict:
        for key, one in value.items():
            expect(type(key) is str, "save", path, "a dict with texts as keys", repr(key), error=DTypeError)
            _plain(one, f"{path}.{key}")
    elif type(value) is list:
        for i, one in enumerate(value):
            _plain(one, f"{path}.{i}")
    else:
        expected = "plain JSON: None, bool, int of 64 bits, finite float, str, list or dict"
        shown = repr(value) if isinstance(value, int | float) else type(value).__name__
        raise DTypeError(f"save: {path} must be {expected}, got {shown}")


# -------------------------------------------------------------------------------------------------------------- loading


def load(path: Path, layers: Iterable[type] = (), functions: Functions = (), *, sha256: str | None = None) -> Any:
    """The model of a file, built from numbaflux's layers and functions and the given ones, by name.

    sha256: what sha256sum said of the file, from somewhere you trust; compared first. Nothing from the file is run or
    imported; __init__ of layers is not called. FileFormatError: a file that is not whole, or does not fit the layers.

    >>> import os, tempfile, numbaflux as nf
    >>> path = os.path.join(tempfile.mkdtemp(), "model.h5")
    >>> nf.save(path, nf.Dense(2, 1))
    >>> nf.load(path)(np.ones((4, 2), np.float32)).shape
    (4, 1)
    """
    known, file = lookup(layers, functions), hdf5.read(path, sha256)
    with naming(path):
        return Builder(of_model(file), known, "training" not in file.documents).model(architecture(file))


def lookup(layers: Iterable[type], functions: Functions) -> dict[str, Any]:
    """What a file may name: numbaflux's own, and what was given."""
    known = dict(OWN)
    for kind, given, good in (("layers", layers, _is_layer), ("functions", functions, _is_function)):
        for one in given:
            name = getattr(one, "__qualname__", "")
            expect(good(one) and bool(name), "load", kind, f"{kind} by name", repr(one), error=DTypeError)
            expect(known.setdefault(name, one) is one, "load", kind, "of names that are not taken", name, "rename it")
    return known


def _is_layer(one: Any) -> bool:
    return isinstance(one, type) and hasattr(one, "__layer_fields__")


def _is_function(one: Any) -> bool:
    return callable(one) and not isinstance(one, type)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """What is wrong with the content of a file is a FileFormatError that names it."""
    try:
        yield
    except DeviceError:
        raise
    except Error as error:
        raise FileFormatError(line(os.fspath(path), error)) from None


def architecture(file: hdf5.File) -> Any:
    """The JSON of a model's file."""
    documents = list(file.documents)
    good = "architecture" in documents and set(documents) <= {"architecture", "metadata", "training"}
    require(good, "the documents", "architecture, perhaps metadata and training", documents)
    return parse_json(file.documents["architecture"], "architecture")


def of_model(file: hdf5.File) -> dict[str, np.ndarray]:
    """The model's tensors: all there are, unless the file holds a training, where they are set apart."""
    return below(file, MODEL) if "training" in file.documents else file.tensors


def below(file: hdf5.File, prefix: str) -> dict[str, np.ndarray]:
    """The tensors of a training whose names begin so, by the rest of their names; it has none but its three kinds."""
    others = [name for name in file.tensors if name != HISTORY and not name.startswith((MODEL, OPTIMISER))]
    require(not others, "the tensors", "of the model, the optimiser, and the history", others[:1])
    return {name[len(prefix) :]: tensor for name, tensor in file.tensors.items() if name.startswith(prefix)}


def metadata_of(file: hdf5.File) -> dict[str, Any]:
    """What was saved as metadata, or an empty dict."""
    found = parse_json(file.documents.get("metadata", "{}"), "metadata")
    require(isinstance(found, dict), "metadata", "a dict", found)
    return found


class Builder:
    """Makes a model of JSON that nobody vouches for; arrays are copied once, or taken if it is the whole of a file."""

    def __init__(self, tensors: Mapping[str, np.ndarray], known: Mapping[str, Any], whole: bool = False) -> None:
        self.tensors, self.known, self.whole = tensors, known, whole
        self.made: dict[str, np.ndarray] = {}
        self.generators: dict[str, Generator] = {}
        self.kinds = {
            ("array", "dtype", "shape"): self.array, ("dict",): self.mapping, ("fields", "layer"): self.layer,
            ("float",): self.number, ("function",): self.function, ("function", "keywords"): self.partial,
            ("tuple",): self.sequence,
            ("generator",): self.generator, ("counter", "generator", "seed"): self.generator,
        }  # fmt: skip

    def model(self, node: Any) -> Any:
        """The whole model, in which each array must stand where its name says."""
        model = self.build(node, "")
        expected = arrays(model)
        extra = sorted(set(self.tensors) - set(expected))
        require(not extra, "the tensors", "those of the architecture", f"also {extra[:1]}")
        for name, array in expected.items():
            require(self.made.get(name) is array, f"the tensor of {name}", "the one of that name", "another")
        return model

    def build(self, node: Any, path: str) -> Any:
        if node is None or isinstance(node, bool | int | float | str):
            return node
        if isinstance(node, list):
            return [self.build(x, f"{path}.{i}") for i, x in enumerate(node)]
        if (make := self.kinds.get(tuple(sorted(node)))) is None:
            fail(_at(path), "an array, layer, function, tuple, dict or number", sorted(node)[:4])
        return make(node, path)

    def array(self, node: Any, path: str) -> np.ndarray:
        name = node["array"]
        require(isinstance(name, str) and name in self.tensors, f"the tensor of {_at(path)}", "in the file", name)
        stored = self.tensors[name]
        expected, got = [node["dtype"], node["shape"]], [stored.dtype.name, list(stored.shape)]
        require(expected == got, f"tensor {name}", f"{expected[0]} {expected[1]}", f"{got[0]} {got[1]}")
        if name not in self.made:
            self.made[name] = self.copied(stored)
        return self.made[name]

    def copied(self, stored: np.ndarray) -> np.ndarray:
        stored.flags.writeable |= self.whole
        return np.array(stored, stored.dtype.newbyteorder("="), copy=None if self.whole else True)

    def mapping(self, node: Any, path: str) -> dict[str, Any]:
        require(isinstance(node["dict"], dict), _at(path), "a dict", node["dict"])
        return {key: self.build(x, f"{path}.{key}") for key, x in node["dict"].items()}

    def sequence(self, node: Any, path: str) -> tuple[Any, ...]:
        require(isinstance(node["tuple"], list), _at(path), "a tuple", node["tuple"])
        return tuple(self.build(x, f"{path}.{i}") for i, x in enumerate(node["tuple"]))

    def number(self, node: Any, path: str) -> float:
        require(node["float"] in ("inf", "-inf", "nan"), _at(path), "inf, -inf or nan", node["float"])
        return float(node["float"])

    def generator(self, node: Any, path: str) -> Generator:
        name = node["generator"]
        named = isinstance(name, str) == (len(node) == 3)
        require(named and (name is None or isinstance(name, str)), f"the generator {_at(path)}", "named", name)
        if name is None:
            return default()
        state = node["seed"], node["counter"]
        made = self.generators.setdefault(name, Generator(*state))
        require(made.state == state, f"the generator {_at(path)}", f"{made.state} as elsewhere", state)
        return made

    def function(self, node: Any, path: str) -> Any:
        name = node["function"]
        found = self.known.get(name) if isinstance(name, str) else None
        require(_is_function(found), f"the function {_at(path)}", "numbaflux's own or one of functions=[...]", name)
        return found

    def partial(self, node: Any, path: str) -> Any:
        function, given = self.function(node, path), node["keywords"]
        pairs = given.items() if isinstance(given, dict) else ()
        keywords = {name: self.build(x, f"{path}.{name}") for name, x in pairs}
        good = bool(keywords) and takes(function, keywords)
        require(good, f"the function {_at(path)}", "one that takes the numbers it is given by name", given)
        return functools.partial(function, **keywords)

    def layer(self, node: Any, path: str) -> Any:
        cls, given = self.layer_class(node, path), node["fields"]
        names = [name.lstrip(".") for name in cls.__layer_fields__]
        good = isinstance(given, dict) and sorted(given) == sorted(names)
        require(good, f"the fields of {_at(path)} ({cls.__name__})", ", ".join(sorted(names)), given)
        made = object.__new__(cls)
        for name in names:
            object.__setattr__(made, name, self.build(given[name], f"{path}.{name}"))
        half = any(isinstance(x, np.ndarray) and x.dtype == np.float16 for x in vars(made).values())
        check = getattr(computing(made) if half else made, "check_fields", None)
        if check is not None:
            try:
                check()
            except Error as error:
                raise FileFormatError(f"{_at(path)}: {error}") from None
        return made

    def layer_class(self, node: Any, path: str) -> Any:
        name = node["layer"]
        found = self.known.get(name) if isinstance(name, str) else None
        require(_is_layer(found), f"the layer {_at(path)}", "numbaflux's own or one of layers=[...]", name)
        return found


def _at(path: str) -> str:
    return path[1:101] or "the model"


def load_into(model: Any, path: Path, *, sha256: str | None = None) -> None:
    """Copy the arrays of a file into a model, in place: the same names, shapes and dtypes, or nothing is changed.

    The model may be held by an optimiser state. sha256, errors: as nf.load; DeviceError for a read-only array of it.

    >>> import os, tempfile, numbaflux as nf
    >>> path = os.path.join(tempfile.mkdtemp(), "model.h5")
    >>> one, other = nf.Dense(2, 1), nf.Dense(2, 1)
    >>> nf.save(path, one)
    >>> nf.load_into(other, path)
    >>> bool((one.weight == other.weight).all())
    True
    """
    file = hdf5.read(path, sha256)
    with naming(path):
        fill(model, of_model(file), "load_into")
