"""What holds for each example: its help, wrong options, its row in the table of examples."""

import re

import pytest

from tests.examples.program import FOLDER, NAMES, called, imported

WRONG = [("--epochs", 0), ("--epochs", "many"), ("--seed", -1), ("--unknown", 1)]


@pytest.mark.parametrize("name", NAMES)
def test_help_says_what_is_written(name):
    code, text = called(name, "--help")
    assert code == 0
    for option in ("--epochs", "--seed", "--out DIR"):
        assert option in text
    for file in (f"{name}.h5", f"{name}.png"):
        assert file in " ".join(text.split())
        assert file in " ".join(imported(name).__doc__.split())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", WRONG)
def test_wrong_options_are_refused_before_anything_is_written(name, options, tmp_path, capsys):
    assert called(name, *options, "--out", tmp_path / "new") == (2, "")
    assert f"{name}.py: error: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("diabetes", ("--members", 1)),
        ("sunspots", ("--members", 0)),
        ("surrogate", ("--channels", 0)),
        ("pinn", ("--width", 0)),
    ]
    + [("custom", ("--wrong", share)) for share in (-0.1, 1.1, "nan")],
)
def test_wrong_options_of_their_own_are_refused(name, options, tmp_path, capsys):
    assert called(name, *options, "--out", tmp_path / "new") == (2, "")
    assert "are needed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_each_has_a_row_in_the_table():
    rows = re.findall(r"^\| \[(\w+)\.py\]\((\w+)\.py\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == [(name, name) for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_starts_as_a_program(name):
    assert (FOLDER / f"{name}.py").read_text().endswith('if __name__ == "__main__":\n    raise SystemExit(main())\n')
