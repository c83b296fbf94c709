"""TensorBoard's files are read back record by record."""

import struct
import sys

import pytest

import numbaflux as nf
from tests.callbacks.scripted import train

pytest.importorskip("tensorboardX")


def events(folder):
    """(step, name, value) of every scalar, file by file; the records are told apart by hand."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + size])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            found += [(event.step, "start", 0.0)] if event.HasField("session_log") else []
            at += 16 + size
    return found


def test_tensorboard_gets_the_numbers_of_each_epoch(tmp_path):
    history = train([3, 2], [nf.TensorBoard(tmp_path / "tb")], scores=[1.5, 2.5])
    found = events(tmp_path / "tb")
    single = [struct.unpack("f", struct.pack("f", history[1]["seconds"]))[0]]
    assert [v for s, n, v in found if n == "loss"] == [3, 2] and [s for s, n, v in found if n == "loss"] == [1, 2]
    assert [v for s, n, v in found if n == "score"] == [1.5, 2.5]
    assert [v for s, n, v in found if n == "eta"] == [0.5, 0.5]
    assert [v for s, n, v in found if n == "seconds"][1:] == single
    assert {n for _, n, _ in found} == {*history[0], "eta"} - {"epoch"}


def test_tensorboard_is_closed_when_training_fails(tmp_path):
    def fail(event):
        raise KeyError("mine")

    with pytest.raises(KeyError):
        train([4, 4], [nf.TensorBoard(tmp_path / "tb"), fail])
    assert [v for s, n, v in events(tmp_path / "tb") if n == "loss"] == [4]


def test_without_tensorboardx_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError) as caught:
        nf.TensorBoard("tb")
    text = "TensorBoard: tensorboardX must be installed, got none; pip install numbaflux[tensorboard]"
    assert str(caught.value) == text


def test_it_shows_itself_and_wants_a_path():
    assert repr(nf.TensorBoard("a/b")) == "TensorBoard('a/b')"
    with pytest.raises(TypeError):
        nf.TensorBoard(3)
