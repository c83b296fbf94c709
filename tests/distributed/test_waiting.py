"""How often a request is asked: a thread beside the one that made the world leaves its core to that one."""

import threading
import time

from numbaflux.distributed import waiting


class Alone:
    """A communicator of one."""

    def Get_rank(self):
        return 0

    def Get_size(self):
        return 1


class Request:
    """Done after so many seconds; counts how often it is asked."""

    def __init__(self, seconds):
        self.end, self.asked = time.monotonic() + seconds, 0

    def Test(self):
        self.asked += 1
        return time.monotonic() >= self.end


def asked(watch, seconds):
    request = Request(seconds)
    watch.wait(request, "a test")
    return request.asked


def test_a_thread_beside_leaves_its_core(monkeypatch):
    monkeypatch.setattr(waiting, "SPIN", 10.0)
    watch, found = waiting.Watch(Alone(), None, 600.0), []
    spinning = asked(watch, 0.1)
    beside = threading.Thread(target=lambda: found.append(asked(watch, 0.1)))
    beside.start()
    beside.join()
    assert watch.count == 2
    assert found[0] < spinning / 2


def test_long_waits_ask_less_often(monkeypatch):
    naps = []
    monkeypatch.setattr(waiting.time, "sleep", naps.append)
    asked(waiting.Watch(Alone(), None, 600.0), 0.1)
    assert naps[0] >= waiting.NAP + waiting.LATER * waiting.SPIN
    assert naps == sorted(naps)
    assert naps[-1] == waiting.LONGEST
