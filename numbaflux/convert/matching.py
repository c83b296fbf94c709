"""Which layer takes which arrays: by the order of layers and modules, by equal names, or as the user says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..layers.layer import one_line
from ..op import DTypeError, ShapeError, expect
from ..tree import BUFFER, PARAM, fields, layers, leaves
from ..walk import getkeypath
from .layouts import Array, Rows, Table, rows_of
from .sources import Source

SHOWN = 6  # layers or modules that an error lists
CURE = 'say names={"path of a layer": "its name in the weights"}'


class Layer:
    """A layer of the model that takes arrays: its path, and row and arrays of each field that it has."""

    def __init__(self, path: str, node: Any, table: Rows) -> None:
        self.path, self.node = path, node
        given = [(field, row) for field, row in table.items() if getkeypath(node, field) is not None]
        self.rows = {field: row._replace(names=row.names or (str(i),)) for i, (field, row) in enumerate(given)}
        self.names = {name for row in self.rows.values() for name in row.names}

    def made(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Its fields, in its layout."""
        return {f: row.make(self.node, *(arrays[name] for name in row.names)) for f, row in self.rows.items()}

    def fits(self, arrays: Mapping[str, Array]) -> bool:
        """Whether these are the arrays it takes, of the right shapes."""
        named = len(arrays) == len(self.names) and self.names == set(arrays)
        if not named or not all(a.ndim and a.size for a in arrays.values()):
            return False
        return all(array.shape == getkeypath(self.node, f).shape for f, array in self.made(arrays).items())

    def __str__(self) -> str:
        return f"{self.path or 'the model'}: {one_line(self.node)}"


def matched(model: Any, source: Source, names: Mapping[str, str]) -> dict[str, Array]:
    """Path of each array of the model that the weights hold -> what they hold for it, in its layout."""
    own = takers(model, source.table)
    found = modules(source.arrays)
    ours, theirs = _parts(own, names, "a layer"), _parts(found, {v: k for k, v in names.items()}, "in the weights")
    pairs: list[tuple[Layer, str]] = []
    for ours_at, theirs_at in [*names.items(), ("", "")]:
        some = [own[path] for path in ours[ours_at]]
        pairs += _Part(some, {p: found[p] for p in theirs[theirs_at]}, source, ours_at, theirs_at).pairs()
    _expect_all(own.values(), source.arrays, pairs, found)
    return {f"{one.path}.{field}" if one.path else field: array
            for one, module in pairs for field, array in one.made(found[module]).items()}  # fmt: skip


def modules(arrays: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Every prefix of the names -> the arrays below it by the rest of their names, in the order of the arrays."""
    found: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        parts = name.split(".")
        for i in range(len(parts)):
            found.setdefault(".".join(parts[:i]), {})[".".join(parts[i:])] = array
    return found


def takers(model: Any, by: Table, where: str = "convert", cure: str = "load_state(model, arrays)") -> dict[str, Layer]:
    """The layers that hold parameters, by path; DTypeError for one that the table does not have."""
    found: dict[str, Layer] = {}
    for path, node in layers(model):
        if any(not above or path.startswith(f"{above}.") for above in found):
            continue  # its arrays are among those of the layer above
        table = rows_of(by, node)
        if table is None:  # layers inside of it may be of the table; its buffers are nobody else's (nf.Normalise)
            own = [f for f, kind in (fields(node) or {}).items() if kind == PARAM and getattr(node, f) is not None]
        else:
            own = [leaf.path for leaf in leaves(node) if leaf.kind in (PARAM, BUFFER) and leaf.path not in table]
        more = ", ".join(own)
        expect(not more, where, path or "model", "a layer of the table", f"{type(node).__name__} with {more}",
               f"nf.{cure} takes any", DTypeError)  # fmt: skip
        if table is not None and (one := Layer(path, node, table)).rows:
            found[path] = one
    expect(bool(found), where, "model", "one with layers that have weights", type(model).__name__, error=DTypeError)
    return found


def _parts(paths: Iterable[str], heads: Mapping[str, str], what: str) -> dict[str, list[str]]:
    """Paths by the longest of these heads that they begin with; the rest under an empty one."""
    found: dict[str, list[str]] = {head: [] for head in [*heads, ""]}
    for path in paths:
        fit = [head for head in heads if path == head or path.startswith(f"{head}.")]
        found[max(fit, key=len, default="")].append(path)
    for head in heads:
        expect(bool(found[head]), "convert", f"names: {head}", what, "nothing there", error=ShapeError)
    return found


def _natural(path: str) -> list[tuple[str, int]]:
    """Text and number of each part: features.10 comes after features.9, dense_1 after dense."""
    parts = [re.fullmatch(r"(.*?)_?(\d*)", part, re.DOTALL) for part in path.split(".")]
    return [(found[1], int(found[2] or 0)) for found in parts if found]


class _Part:
    """Layers and modules that belong to each other as wholes."""

    def __init__(
        self, own: list[Layer], found: dict[str, dict[str, Array]], source: Source, ours: str, theirs: str
    ) -> None:
        self.own, self.found, self.source = own, found, source
        self.ours, self.theirs = ours, theirs
        self.order = list(found) if source.ordered else sorted(found, key=_natural)

    def pairs(self) -> list[tuple[Layer, str]]:
        """(layer, module): those of the same name if all have one, else in order."""
        by_name = [(one, self.theirs + one.path[len(self.ours) :]) for one in self.own]
        if all(path in self.found and self._fits(one, path) for one, path in by_name):
            return by_name
        found, left = [], list(self.order)
        for one in self.own:
            path = next((path for path in left if self._fits(one, path)), None)
            if path is not None:
                found.append((one, path))
                left = [other for other in left if not f"{other}.".startswith(f"{path}.")]
        self._expect_order([path for _, path in found])
        return found

    def _fits(self, one: Layer, path: str) -> bool:
        """Whether the arrays fit, and Keras's name of the layer, where it stands in the path, does."""
        if not one.fits(self.found[path]):
            return False
        told = self._kind(path)
        return not told or bool(re.fullmatch(self.source.kinds.get(type(one.node), ""), told))

    def _kind(self, path: str) -> str:
        """Keras's name of the layer in a path, if it stands there."""
        kinds = self.source.kinds.values()
        return next((t for t, _ in reversed(_natural(path)) if any(re.fullmatch(kind, t) for kind in kinds)), "")

    def _expect_order(self, taken: list[str]) -> None:
        """Raise where the order might be another: it is not that of the weights; or these have none, and names of
        modules that are alike do not tell."""
        if self.source.ordered:
            places = [self.order.index(path) for path in taken]
            for i in range(1, len(places)):
                expect(places[i - 1] < places[i], "convert", taken[i], f"after {taken[i - 1]}, as the layers are",
                       "before it", CURE, ShapeError)  # fmt: skip
            return
        alike: dict[Any, list[str]] = {}
        for path in sorted(taken, key=_natural):
            arrays = self.found[path]
            shapes = tuple((name, arrays[name].shape) for name in sorted(arrays))
            alike.setdefault((self._kind(path), shapes), []).append(path)
        for paths in alike.values():
            for before, path in zip(paths, paths[1:], strict=False):
                differ = next((a, b) for a, b in zip(_natural(before), _natural(path), strict=False) if a != b)
                expect(differ[0][0] == differ[1][0], "convert", f"{before} and {path}",
                       "of different shapes, or of names with numbers: their order is not in the file",
                       "alike", CURE, ShapeError)  # fmt: skip


def _expect_all(takers: Iterable[Layer], arrays: Mapping[str, Array], pairs: list[tuple[Layer, str]],
                found: Mapping[str, Mapping[str, Array]]) -> None:  # fmt: skip
    """Raise unless every layer has its arrays, and every array its layer; both lists are in the message."""
    done = {one.path for one, _ in pairs}
    used = {f"{module}.{name}" if module else name for _, module in pairs for name in found[module]}
    missing = [str(one) for one in takers if one.path not in done]
    left = [f"{name} {array.shape}" for name, array in arrays.items() if name not in used]
    wanted = f"arrays for {_listed(missing)}" if missing else "arrays of the model alone"
    if missing or left:
        raise ShapeError(f"convert: weights must be {wanted}, got {_listed(left) or 'nothing else'} left over; {CURE}")


def _listed(texts: list[str]) -> str:
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more
