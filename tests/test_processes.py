"""Processes are found by their folder, whoever adopted them; needs are told as skips or failures."""

import os
import subprocess
import sys

import pytest

from tests import needs, processes

ORPHAN = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    processes.kill(tmp_path)


def test_what_was_adopted_is_found_and_killed(folder):
    subprocess.run([sys.executable, "-c", ORPHAN], env=processes.environment(folder), check=True)
    (pid,) = processes.belonging(folder)
    assert processes.variables(pid)["TMPDIR"] == str(folder)
    processes.kill(folder)
    assert processes.belonging(folder) == []


@pytest.mark.parametrize(("word", "found"), [("", 1), ("/a", 1), (",b", 1), ("2", 0), ("-b", 0)])
def test_a_folder_is_its_whole_name(folder, word, found):
    words = ["sh", "-c", "echo up; read line", f"{folder}{word}"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    assert len(processes.belonging(folder)) == found
    process.communicate(b"\n")


def test_what_writes_there_belongs_and_what_reads_does_not(folder):
    path = folder / "log"
    for mode, found in (("w", 1), ("r", 0)):
        with open(path, mode) as file:
            clean = {"PATH": os.environ["PATH"]}
            process = subprocess.Popen(["sleep", "600"], stdin=file, env=clean)
        assert len(processes.belonging(folder)) == found
        process.kill()
        process.wait()


def test_a_rank_is_the_first_of_its_family(folder):
    code = "import subprocess; subprocess.run(['sleep', '600'])"
    env = processes.environment(folder, PMI_RANK="3")
    with subprocess.Popen([sys.executable, "-c", code], env=env) as process:
        while len(processes.belonging(folder)) < 2:
            pass
        assert processes.ranks(processes.belonging(folder)) == {3: process.pid}
        processes.kill(folder)


def test_the_environment_is_this_python_without_a_launcher(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("PMI_SIZE", "4")
    env = processes.environment(tmp_path, COLOUR="blue")
    assert not {"SLURM_NTASKS", "PMI_SIZE"} & set(env)
    assert (env["COLOUR"], env["HOME"]) == ("blue", os.environ["HOME"])
    code = "import os, sys, tempfile, tests; print(sys.executable, tempfile.gettempdir())"
    done = subprocess.run(["python", "-c", code], env=env, capture_output=True, text=True, cwd="/")
    assert done.stdout.split() == [sys.executable, str(tmp_path)]


def test_what_is_missing_skips_at_home_and_fails_in_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="^machine: there is no numbaflux-nothing$"):
        needs.program("numbaflux-nothing")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="^CI is set, but there is no numbaflux-nothing$"):
        needs.program("numbaflux-nothing")
    assert needs.program("sh").endswith("/sh")
