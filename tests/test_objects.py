"""The kernel cache: what is broken is never handed out, what others could have written is not read."""

import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbaflux import objects as module
from numbaflux.objects import HEAD, MAGIC, SUFFIX, Store, home, pack, trusted, unpack

CODE = {"one": bytes(range(256)) * 3, "two": b""}


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path.resolve()


@pytest.fixture
def store(folder):
    made = Store(folder / "home", [])
    made.events = []
    made.listeners.append(lambda *event: made.events.append(event))
    return made


@given(st.dictionaries(st.text("ab.é-0", max_size=9), st.binary(max_size=99), max_size=4))
def test_container_gives_back_what_went_in(objects):
    assert unpack(pack(objects)) == objects


@given(st.data())
def test_one_wrong_bit_is_seen(data):
    whole = pack(CODE)
    at = data.draw(st.integers(0, 8 * len(whole) - 1))
    broken = bytearray(whole)
    broken[at // 8] ^= 1 << at % 8
    assert unpack(bytes(broken)) is None


@given(st.integers(0, len(pack(CODE)) - 1), st.binary(min_size=1, max_size=9))
def test_container_cut_short_or_longer_is_refused(size, more):
    assert unpack(pack(CODE)[:size]) is None
    assert unpack(pack(CODE) + more) is None


@given(st.binary(max_size=3 * HEAD))
def test_random_bytes_are_no_container(noise):
    assert unpack(noise) is None
    assert unpack(MAGIC + noise) is None


def test_store_keeps_objects_in_one_closed_folder(store, folder):
    assert store.folder == folder / "home"
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert store.read("a") is None
    store.write("a", CODE)
    assert store.read("a") == CODE
    assert [f.name for f in store.files()] == ["a" + SUFFIX]
    assert [f.name for f in store.folder.iterdir()] == ["a" + SUFFIX]  # no temporary file stays
    assert store.clear() == 1
    assert store.read("a") is None
    assert store.events == []


@pytest.mark.parametrize("broken", [b"", b"noise" * 99, pack(CODE)[:-1], pack(CODE)[:HEAD], pack(CODE) + b"\0"])
def test_what_is_not_whole_is_rejected_and_may_be_written_anew(store, broken):
    (store.folder / ("a" + SUFFIX)).write_bytes(broken)
    assert store.read("a") is None
    assert store.events == [("rejected", "a")]
    store.write("a", CODE)
    assert store.read("a") == CODE


def test_shared_folders_are_read_after_the_own_one_and_never_written(folder):
    site = Store(folder / "site", [])
    site.write("a", CODE)
    before = {f: f.stat().st_mtime_ns for f in site.folder.iterdir()}
    (folder / "empty").mkdir(mode=0o700)
    mine = Store(folder / "home", [folder / "missing", folder / "empty", site.folder])
    assert mine.read("a") == CODE
    (mine.folder / ("a" + SUFFIX)).write_bytes(b"torn")
    assert mine.read("a") == CODE  # the next folder has a whole one
    mine.write("a", {"new": b"code"})
    assert mine.read("a") == {"new": b"code"}
    assert mine.clear() == 1
    assert {f: f.stat().st_mtime_ns for f in site.folder.iterdir()} == before


def test_folders_come_from_the_environment(folder, monkeypatch):
    site = Store(folder / "site", [])
    site.write("a", CODE)
    monkeypatch.setenv("NUMBAFLUX_CACHE_DIR", str(folder / "mine"))
    monkeypatch.setenv("NUMBAFLUX_CACHE_PATH", f"{folder / 'nothing'}:{site.folder}:")
    assert home() == folder / "mine"
    assert Store().folder == folder / "mine"
    assert Store().read("a") == CODE
    monkeypatch.delenv("NUMBAFLUX_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "xdg"))
    assert home() == folder / "xdg" / "numbaflux"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(folder))
    assert home() == folder / ".cache" / "numbaflux"


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o720])
@pytest.mark.parametrize("which", ["itself", "above"])
def test_folder_that_others_can_write_is_neither_read_nor_written(folder, mode, which):
    inner = Store(folder / "open" / "cache", []).folder
    Store(inner, []).write("a", CODE)
    (inner if which == "itself" else inner.parent).chmod(mode)
    assert not trusted(inner)
    assert Store(inner, []).folder is None
    assert Store(folder / "home", [inner]).read("a") is None
    store = Store(inner, [])
    store.write("b", CODE)  # kept in memory only: nobody is disturbed
    assert store.read("b") is None
    assert not list(inner.glob("b*"))


def test_folder_below_one_open_to_all_is_trusted_where_none_can_rename_it(folder):
    """As in /tmp: the sticky bit."""
    inner = Store(folder / "tmp" / "cache", []).folder
    inner.parent.chmod(0o1777)
    assert trusted(inner)


def test_folder_of_another_user_is_not_trusted(folder, monkeypatch):
    inner = Store(folder / "theirs", []).folder
    Store(inner, []).write("a", CODE)
    assert trusted(inner)
    if os.getuid() == 0:
        os.chown(inner, 12345, -1)
    else:
        monkeypatch.setattr(module.os, "getuid", lambda: inner.stat().st_uid + 1)
    assert not trusted(inner)
    assert Store(inner, []).folder is None
    assert Store(folder / "home", [inner]).read("a") is None


def test_symbolic_link_is_followed_before_folders_are_judged(folder):
    good = Store(folder / "good", []).folder
    (folder / "link").symlink_to(good)
    assert Store(folder / "link", []).folder == good
    bad = Store(folder / "open" / "bad", []).folder
    bad.parent.chmod(0o777)
    (folder / "trap").symlink_to(bad)
    assert Store(folder / "trap", []).folder is None
    Store(good, []).write("a", CODE)
    linked = folder / "through"
    linked.symlink_to(good)
    assert Store(folder / "home", [linked]).read("a") == CODE


def test_home_that_cannot_be_made_leaves_kernels_in_memory(folder):
    (folder / "file").write_text("no folder")
    store = Store(folder / "file" / "cache", [])
    assert store.folder is None
    store.write("a", CODE)
    assert store.read("a") is None
    assert store.clear() == 0


def test_home_that_is_read_only_is_still_read(folder, monkeypatch):
    """An image's cache, say."""
    Store(folder, []).write("a", CODE)
    monkeypatch.setattr(module.os, "access", lambda path, mode: False)
    store = Store(folder, [])
    assert store.folder is None
    assert store.read("a") == CODE


def test_full_disk_costs_the_file_only(store, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "replace", full)
    store.write("a", CODE)
    assert store.events == [("unwritten", "a")]
    assert not list(store.folder.iterdir())


WRITER = """
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("objects", sys.argv[1])
objects = importlib.util.module_from_spec(spec)
spec.loader.exec_module(objects)
store = objects.Store(pathlib.Path(sys.argv[2]), [])
rejected = []
store.listeners.append(lambda event, name: rejected.append(event))
for i in range(60):
    store.write("a", {"a": bytes([i % 256]) * 50_000})
    found = store.read("a")
    assert found is not None and len(set(found["a"])) == 1 and len(found["a"]) == 50_000
assert not rejected
"""


def test_one_process_at_a_time_compiles(folder):
    code = f"""
    import os, sys, time
    from pathlib import Path
    from numbaflux.objects import Store
    store = Store(Path({str(folder)!r}), [])
    with store.alone():
        print("in", flush=True)
        time.sleep(0.5)
        print("out", flush=True)
    """
    read, write = os.pipe()
    running = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=write) for _ in range(3)]
    os.close(write)
    with open(read) as said:
        assert said.read().split() == ["in", "out"] * 3
    assert all(one.wait() == 0 for one in running)


def test_a_process_that_dies_or_is_slow_keeps_nobody_waiting(folder, monkeypatch):
    one, other = Store(folder, []), Store(folder, [])
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    with one.alone(), other.alone():  # after PATIENCE
        pass
    with pytest.raises(KeyError), one.alone():
        raise KeyError
    monkeypatch.setattr(module, "PATIENCE", 1e9)
    with other.alone():
        pass
    monkeypatch.setattr(module.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError("no locks")))
    with one.alone(), other.alone():
        pass


def test_several_processes_write_one_name_and_each_finds_a_whole_file(folder):
    command = [sys.executable, "-c", WRITER, module.__file__, str(folder)]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [w.communicate(timeout=60)[1] for w in writers]
    assert [w.returncode for w in writers] == [0] * 4, errors
    assert [f.name for f in folder.iterdir()] == ["a" + SUFFIX]
