"""Imports point one way, files stay short, some words never appear; and each of these checks is shown to fail."""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.sources import ROOT, library, python_files

# A part of the library imports parts of its own level (without a cycle) and of the levels before it.
LEVELS = (
    ("kernels",),
    (
        *"op ranges objects build words native own cubin cublas digests lowering lanes schedule".split(),
        *"pace files flops".split(),
    ),
    ("ops",),
    ("managed", "device", "tree", "rng"),
    (
        *"memory interpreter instance plan launches places bound constants run trace session shapes onehot".split(),
        *"functions noise activations attention windows padding resize operators".split(),
        *"indexing batched folding sampling audio".split(),
    ),
    ("grad", "hook", "recompute", "check_gradients", "second_order"),
    ("layers", "losses", "init", "optim"),
    ("finite", "fixed", "program", "ahead", "compiled", "warm"),
    (
        *"devices foreign plots history data metrics hdf5_json hdf5_objects hdf5_stored hdf5 hdf5_classic".split(),
        *"models precision walk autosize checkpoint contents privacy convert distributed".split(),
    ),
    (
        *"watch profile events progress saved_rules resume callbacks looks train lbfgs".split(),
        *"record adopt newest preemption debug zoo".split(),
    ),
    ("__init__",),
    ("info", "doctor", "predict", "slurm", "cli", "__main__"),
)
LEVEL = {part: i for i, parts in enumerate(LEVELS) for part in parts}

# Packages outside the standard library, and the parts that may import them; NumPy is everybody's.
OWNERS = {
    "numba": ("kernels", "build", "cubin", "words"),
    "llvmlite": ("kernels", "build", "cubin", "native", "info", "words"),
    "cuda": ("device",),
    "h5py": ("hdf5", "convert", "data", "info"),
    "tqdm": ("progress",),
    "safetensors": ("convert",),
    "tensorboardX": ("callbacks",),
    "matplotlib": ("plots",),
    "sklearn": ("data",),
    "mpi4py": ("distributed",),
    "PIL": ("data",),
    "cryptography": ("zoo",),
    "model_signing": ("zoo",),
}
KERNELS_IMPORT = ("collections", "math", "operator", "time", "typing", "numpy", "numba", "llvmlite")
# `import numbaflux` takes none of these.
LATE = (
    *"numba h5py matplotlib mpi4py PIL safetensors sklearn tensorboardX torch".split(),
    *"model_signing cryptography ssl numbaflux.zoo".split(),
)

CORE, CORE_LINES = ("op", "trace", "run", "plan", "native", "grad"), 1500
FILE_LINES, FUNCTION_LINES, KERNEL_LINES = 400, 40, 80
BANNED_MODULES = ("pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve")
PICKLING = (  # mpi4py's calls of whole objects; those of buffers begin with a capital
    "send recv isend irecv bsend ssend sendrecv bcast gather scatter allgather alltoall reduce allreduce scan exscan"
).split()
BANNED_FILES = ("utils.py", "util.py", "helpers.py", "helper.py", "base.py")
OWN_TEST_FOLDERS = ("reference", "mpi", "slurm", "fuzz", "cuda")
SOURCES = ("numbaflux", "kernels", "examples", "benchmarks")
LONG = re.compile(r"#\s*long:\s*\S")


# ---------------------------------------------------------------- imports


def imports(source: str, module: str, known: Iterable[str], package: bool = False) -> Iterator[tuple[int, str]]:
    """(line, full module name) of every import, at the top or inside a function."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".") + ["self"] * package
                base = ".".join(parents[: -node.level] + ([base] if base else []))
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in known else base


class _Runtime(ast.NodeTransformer):
    """Leaves out what only type checkers read."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        checking = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if checking else self.generic_visit(node)


def at_runtime(source: str) -> str:
    """A source without its `if TYPE_CHECKING` blocks."""
    return ast.unparse(_Runtime().visit(ast.parse(source)))


def part_of(module: str) -> str:
    """The part of the library a module belongs to: numbaflux.ops.dense -> ops."""
    return module.split(".")[1] if "." in module else "__init__"


def wrong_imports(source: str, module: str, known: Iterable[str], package: bool = False) -> list[str]:
    """Imports that point upward, take a package another part owns, or the second copy of the kernels."""
    part, found = part_of(module), []
    if part not in LEVEL:
        return [f"{module}: {part} stands in no level of LEVELS"]
    for line, target in imports(source, module, known, package):
        top = target.split(".")[0]
        if top == "numbaflux":
            bad = LEVEL.get(part_of(target), len(LEVELS)) > LEVEL[part]
        elif top in ("kernels", "tests"):
            bad = True
        elif part == "kernels":
            bad = top not in KERNELS_IMPORT
        else:
            bad = top != "numpy" and top not in sys.stdlib_module_names and part not in OWNERS.get(top, ())
        if bad:
            found.append(f"{module}:{line}: may not import {target}")
    return found


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """The modules of one import cycle, or nothing."""
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_imports_point_one_way():
    known = library()
    found = []
    for module, path in known.items():
        found += wrong_imports(path.read_text(), module, known, path.name == "__init__.py")
    assert not found, "\n".join(found)


def test_no_import_cycle():
    known = library()
    edges = {}
    for module, path in known.items():
        targets = imports(at_runtime(path.read_text()), module, known, path.name == "__init__.py")
        edges[module] = {target for _, target in targets if target in known} - {module}
    assert cycle(edges) == []


def test_top_level_kernels_are_imported_nowhere():
    found = []
    for folder in ("tests", "examples", "benchmarks"):
        for path in python_files(ROOT / folder):
            for line, target in imports(path.read_text(), f"{folder}.{path.stem}", ()):
                if target.split(".")[0] == "kernels":
                    found.append(f"{path}:{line}")
    assert not found, "numbaflux.kernels is meant: " + ", ".join(found)


def test_import_is_light():
    code = f"import sys, numbaflux; print([name for name in {LATE} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("numbaflux.op", "import numbaflux.plan"),
        ("numbaflux.op", "from numbaflux import plan"),
        ("numbaflux.op", "from . import plan"),
        ("numbaflux.ops.dense", "from ..plan import compile"),
        ("numbaflux.ops.dense", "def f():\n    from numbaflux.plan import compile"),
        ("numbaflux.train", "import numbaflux as nf"),
        ("numbaflux.train", "from numbaflux import Chain"),
        ("numbaflux.train", "import numbaflux.unknown"),
        ("numbaflux.unknown", "import math"),
        ("numbaflux.plan", "import kernels.cpu"),
        ("numbaflux.plan", "from kernels import cpu"),
        ("numbaflux.plan", "import numba"),
        ("numbaflux.plan", "def f():\n    import h5py"),
        ("numbaflux.plan", "import torch"),
        ("numbaflux.plan", "from tests import cases"),
        ("numbaflux.kernels.cpu.dense", "import os"),
        ("numbaflux.kernels.cpu.dense", "import h5py"),
        ("numbaflux.kernels.cpu.dense", "from numbaflux import op"),
    ],
)
def test_wrong_import_is_found(module, source):
    assert wrong_imports(source, module, ("numbaflux.plan", "numbaflux.op"))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "numbaflux.plan",
            "import os\nimport numpy\nfrom numbaflux import op\nfrom .run import call",
        ),
        ("numbaflux.build", "def f():\n    import numba, llvmlite.binding"),
        ("numbaflux.cli", "import numbaflux as nf"),
        (
            "numbaflux.kernels.cpu.dense",
            "import math\nfrom ..jit import kernel\nfrom numbaflux.kernels import jit\nimport numba",
        ),
    ],
)
def test_right_import_passes(module, source):
    assert wrong_imports(source, module, ("numbaflux.plan", "numbaflux.op")) == []


def test_relative_imports_are_resolved():
    known = ("numbaflux.ops.dense",)
    assert list(imports("from . import dense", "numbaflux.ops", known, package=True)) == [(1, "numbaflux.ops.dense")]
    assert list(imports("from .dense import DENSE", "numbaflux.ops.sum", known)) == [(1, "numbaflux.ops.dense")]
    assert list(imports("from ..op import Op", "numbaflux.ops.sum", known)) == [(1, "numbaflux.op")]


def test_cycle_is_found():
    assert set(cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


# ---------------------------------------------------------------- lengths


def excused(lines: list[str], first: int, last: int) -> bool:
    """True when one of these lines (counted from 1) says `# long: why`."""
    return any(LONG.search(line) for line in lines[max(first - 1, 0) : last])


def _docstring_lines(node: ast.AST) -> int:
    if not ast.get_docstring(node):
        return 0
    return node.body[0].end_lineno - node.body[0].lineno + 1


def too_long(source: str, function_lines: int) -> list[str]:
    """Files and functions over their limit and without an excuse; a function's docstring does not count."""
    lines, tree, found = source.splitlines(), ast.parse(source), []
    head = tree.body[0].end_lineno + 1 if tree.body and ast.get_docstring(tree) else 1
    if len(lines) > FILE_LINES and not excused(lines, 1, head):
        found.append(f"{len(lines)} lines in the file")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1 - _docstring_lines(node)
            start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if length > function_lines and not excused(lines, start - 1, node.lineno):
                found.append(f"{node.lineno}: {length} lines in {node.name}")
    return found


def test_files_and_functions_are_short():
    found = []
    for folder in (*SOURCES, "tests"):
        limit = KERNEL_LINES if folder == "kernels" else FUNCTION_LINES
        for path in python_files(ROOT / folder):
            found += [f"{path.relative_to(ROOT)}: {finding}" for finding in too_long(path.read_text(), limit)]
    assert not found, "\n".join(found)


def test_core_is_small():
    known = library()
    lengths = {name: len(known[f"numbaflux.{name}"].read_text().splitlines()) for name in CORE}
    assert sum(lengths.values()) <= CORE_LINES, lengths


def test_long_is_found_and_excused():
    body = "    x = 1\n" * 5
    assert too_long("def f():\n" + body, 5) == ["1: 6 lines in f"]
    assert too_long("def f():\n" + body, 6) == []
    assert too_long('def f():\n    """One.\n\n    Two."""\n' + body, 6) == []
    assert too_long("# long: one state machine\n@d\ndef f():\n" + body, 5) == []
    assert too_long("def f():  # long: one state machine\n" + body, 5) == []
    assert too_long("# long:\ndef f():\n" + body, 5) != []
    assert too_long("x = 1\n" * (FILE_LINES + 1), 5) == [f"{FILE_LINES + 1} lines in the file"]
    assert too_long('"""Doc."""\n# long: a table\n' + "x = 1\n" * FILE_LINES, 5) == []
    assert too_long('"""Doc."""\nx = 1\n# long: too late\n' + "x = 1\n" * FILE_LINES, 5) != []


# ---------------------------------------------------------------- words and names


def banned(source: str) -> list[str]:
    """Uses of what must never be: pickles, mpi4py's calls that pickle, eval and exec, fastmath wholesale, stubs."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            words = [name for name in names if name.split(".")[0] in BANNED_MODULES]
        elif isinstance(node, ast.Name):
            words = [node.id] if node.id in ("eval", "exec", "__import__", "NotImplementedError") else []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "builtins":
            words = [node.attr] if node.attr in ("eval", "exec", "__import__") else []
        elif isinstance(node, ast.Call):
            words = [word.arg for word in node.keywords if _switched_on(word.arg, word.value)]
            called = node.func if isinstance(node.func, ast.Attribute) else None
            words += [called.attr] if called and called.attr in PICKLING and _comm(called.value) else []
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            words = [k.value for k, v in pairs if isinstance(k, ast.Constant) and _switched_on(k.value, v)]
        else:
            words = []
        found += [f"{node.lineno}: {word}" for word in words]
    return found


def _comm(node: ast.expr) -> bool:
    """Whether it is called a communicator: comm, self._comm, MPI.COMM_WORLD, node.across."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return "comm" in name.lower() or name == "across"


def _switched_on(name: object, value: ast.expr) -> bool:
    whole = isinstance(value, ast.Constant) and value.value in (True, "fast")
    whole |= isinstance(value, ast.Set) and any(isinstance(x, ast.Constant) and x.value == "fast" for x in value.elts)
    return name in ("fastmath", "allow_pickle") and whole


def test_banned_words_appear_nowhere():
    found = []
    for folder in SOURCES:
        for path in python_files(ROOT / folder):
            found += [f"{path.relative_to(ROOT)}:{finding}" for finding in banned(path.read_text())]
    assert not found, "\n".join(found)


def test_file_names_say_what_is_in_them():
    found = [
        path for folder in (*SOURCES, "tests") for path in python_files(ROOT / folder) if path.name in BANNED_FILES
    ]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import marshal",
        "eval('1')",
        "run = exec",
        "import builtins\nbuiltins.exec('')",
        "np.load(f, allow_pickle=True)",
        "njit(fastmath=True)",
        "njit(fastmath={'fast'})",
        "options = {'fastmath': True}",
        "raise NotImplementedError",
        "self._comm.allreduce(x)",
        "MPI.COMM_WORLD.bcast(model)",
        "comm.isend(x, 1)",
    ],
)
def test_banned_word_is_found(source):
    assert banned(source)


def test_near_misses_of_banned_words_pass():
    assert banned("x = 'pickle eval exec'  # fastmath=True\nnp.load(f, allow_pickle=False)") == []
    assert banned("njit(fastmath={'contract'})\nreturn_value = NotImplemented\nmodel.eval()") == []
    assert banned("comm.Allreduce(x)\nqueue.send(x)\nworld.gather([1])") == []


# ---------------------------------------------------------------- tests mirror sources


def stray_folders(test_folders: Iterable[Path], source_folders: Iterable[Path]) -> list[Path]:
    """Test folders (relative paths) that mirror no source folder."""
    sources = set(source_folders)
    return [folder for folder in test_folders if folder not in sources and folder.parts[0] not in OWN_TEST_FOLDERS]


def test_test_folders_mirror_source_folders():
    tests = {path.parent.relative_to(ROOT / "tests") for path in python_files(ROOT / "tests")} - {Path(".")}
    sources = {path.parent.relative_to(ROOT / "numbaflux") for path in python_files(ROOT / "numbaflux")}
    sources |= {path.parent.relative_to(ROOT) for path in python_files(ROOT / "kernels")}
    sources |= {Path("benchmarks"), Path("examples")}
    assert stray_folders(tests, sources) == []


def test_stray_folder_is_found():
    sources = [Path("ops"), Path("kernels/cpu")]
    assert stray_folders([Path("ops"), Path("kernels/cpu"), Path("reference")], sources) == []
    assert stray_folders([Path("opz")], sources) == [Path("opz")]
