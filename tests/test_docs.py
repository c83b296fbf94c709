"""Every code sample runs: the Python blocks of README, CONTRIBUTING and docs/, and the doctests of every module."""

import doctest
import importlib
import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.sources import ROOT, library

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")]
PAGES += sorted((ROOT / "docs").glob("**/*.md"))
LANGUAGES = "python sh text json ini mermaid".split()  # a block must name one, so that no Python hides in a bare fence
NOT_RUN = re.compile(r"<!--\s*not run:(.*)-->")


class Block(NamedTuple):
    line: int  # of the opening fence, counted from 1
    language: str
    code: str
    reason: str | None  # why it is not run; None when it is


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a Markdown page."""
    lines, start, before = text.splitlines(), None, ""
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            if start is None:
                start, language, mark = number, line[3:].strip(), NOT_RUN.search(before)
            else:
                reason = mark.group(1).strip() if mark else None
                yield Block(start, language, "\n".join(lines[start : number - 1]), reason)
                start = None
        if line.strip():
            before = line
    if start is not None:
        raise ValueError(f"line {start}: the block is not closed")


def run(page: Path, text: str) -> None:
    """Run a page's Python blocks, top to bottom, in one namespace; tracebacks show the page's own line numbers."""
    namespace = {"__name__": "__main__"}
    for block in blocks(text):
        if block.language == "python" and block.reason is None:
            exec(compile("\n" * block.line + block.code, page, "exec"), namespace)  # noqa: S102  # the samples of our own pages


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """Samples write their files where nothing else is, trusted keys too; plots open no window."""
    monkeypatch.chdir(tmp_path)
    for kind in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    monkeypatch.setenv("MPLBACKEND", "agg")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page, empty_folder):
    run(page, page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_name_their_language_and_why_they_are_not_run(page):
    for block in blocks(page.read_text()):
        assert block.language in LANGUAGES, f"{page.name}:{block.line}"
        assert block.reason != "", f"{page.name}:{block.line}: a reason is missing"


def test_readme_has_an_example():
    assert any(block.language == "python" and not block.reason for block in blocks(PAGES[0].read_text()))


def test_make_targets_named_in_pages_exist():
    rules = re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {name for rule in rules for name in rule.split()}
    for page in PAGES:
        named = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
        assert set(named) <= targets, page.name


def test_links_to_files_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_blocks_are_read_as_written():
    page = "a\n```python\nx = 1\n```\n<!-- not run: needs a GPU -->\n\n```python\nx = 2\n```\n"
    page += "<!-- not run: -->\n```sh\nls\n```\n"
    assert list(blocks(page)) == [
        Block(2, "python", "x = 1", None),
        Block(7, "python", "x = 2", "needs a GPU"),
        Block(11, "sh", "ls", ""),
    ]
    with pytest.raises(ValueError, match="line 1"):
        list(blocks("```python\n"))


def test_failing_block_is_seen_at_its_line():
    with pytest.raises(ZeroDivisionError) as info:
        run(Path("page.md"), "text\n```python\nx = 1\n```\n```python\nx / 0\n```\n")
    assert (str(info.traceback[-1].path), info.traceback[-1].lineno + 1) == ("page.md", 6)


# ---------------------------------------------------------------- docstrings


def failures(module: object) -> str:
    """What the failing doctests of a module print."""
    out = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder().find(module):
        runner.run(test, out=out.write)
    return out.getvalue()


# Kernels of GPUs are imported where numba-cuda is (tests/cuda); how they are launched is plain Python.
FOR_GPUS = {name for name in library() if ".cuda." in name} - {"numbaflux.kernels.cuda.launch"}


@pytest.mark.parametrize("name", [name for name in library() if not name.endswith("__main__") and name not in FOR_GPUS])
def test_doctests_pass(name, empty_folder):
    assert failures(importlib.import_module(name)) == ""


def test_failing_doctest_is_seen():
    module = type(doctest)("sample")
    module.__doc__ = ">>> 1 + 1\n3\n"
    assert "Got:" in failures(module)


def test_public_names_are_documented_with_an_example():
    numbaflux = importlib.import_module("numbaflux")
    bare = []
    for name in numbaflux.__all__:
        value = getattr(numbaflux, name)
        error = isinstance(value, type) and issubclass(value, Exception)
        if callable(value) and not error and ">>>" not in (inspect.getdoc(value) or ""):
            bare.append(name)
    assert not bare
