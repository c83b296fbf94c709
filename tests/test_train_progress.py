"""What nf.train shows on a terminal and in a log, and Ctrl-C in a process of its own."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios

from tests.sources import ROOT

CHILD = """
import sys
import numpy as np
import numbaflux as nf

x = np.linspace(-1, 1, 60, dtype=np.float32).reshape(20, 3)
model = nf.Dense(3, 1)
data = nf.DataLoader((x, x[:, :1]), batchsize=8)
def accuracy(output, y):
    return 0.5
history = nf.train(lambda m, x, y: nf.losses.mse(m(x), y), model, data, nf.setup(nf.Adam(), model), epochs=2,
                   validation=(x, x[:, :1]), metrics=[accuracy], progress=sys.argv[1:] != ["silent"])
print(len(history))
"""


def test_lines_where_there_is_no_terminal():
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout == "2\n"
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    number = r"[\d.e-]+"
    for epoch, line in enumerate(lines, 1):
        words = (
            f"epoch {epoch}/2  loss {number}  validation_loss {number}  accuracy 0.5  {number} s  {number} samples/s"
        )
        assert re.fullmatch(words, line), line


def test_nothing_without_progress():
    command = [sys.executable, "-c", CHILD, "silent"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_bar_on_a_terminal():
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 140, 0, 0))
    child = subprocess.Popen([sys.executable, "-c", CHILD], cwd=ROOT, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    screen = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while part := os.read(master, 4096):
            screen += part
    os.close(master)
    assert child.communicate(timeout=300)[0] == b"2\n" and child.returncode == 0
    last = screen.decode().rstrip().rsplit("\r", 1)[-1]
    assert last.startswith("epoch 2/2: 100%|") and "6/6" in last
    assert "loss " in last and "validation_loss " in last and "accuracy 0.5" in last
    assert screen.count(b"\n") == 1  # one bar, drawn over itself


INTERRUPTED = """
import itertools
import numpy as np
import numbaflux as nf

x = np.random.default_rng(0).normal(size=(4096, 8)).astype(np.float32)
data = nf.DataLoader((x, x[:, :1]), batchsize=8)
def loss(m, x, y):
    return nf.losses.mse(m(x), y)
def fresh():
    nf.seed(0)
    model = nf.Chain(nf.Dense(8, 16, nf.tanh), nf.Dense(16, 1))
    return model, nf.setup(nf.Adam(), model)
model, state = fresh()
nf.set_num_threads(1)
history = nf.train(loss, model, data, state, epochs=10**9, callbacks=[lambda e: print("epoch", flush=True)])
print("returned", history.interrupted, len(history) == state.step // 512, state.step > 0)
again, again_state = fresh()
nf.train(loss, again, list(itertools.islice(itertools.chain.from_iterable(itertools.repeat(data)), state.step)),
         again_state, epochs=1, progress=False)
print("same", all(np.array_equal(a, b) for a, b in zip(nf.trainables(model), nf.trainables(again), strict=True)))
"""


def test_ctrl_c_in_the_middle_of_training(tmp_path):
    log = tmp_path / "stderr"
    with log.open("w") as errors:
        child = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert child.stdout.readline() == "epoch\n"
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=300)
    assert child.returncode == 0, log.read_text()
    assert [line for line in out.splitlines() if line != "epoch"] == ["returned True True True", "same True"]
    last = log.read_text().splitlines()[-1]
    assert last.startswith("train: interrupted in epoch ") and last.endswith(", after a whole step")
