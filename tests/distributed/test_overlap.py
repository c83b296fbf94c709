"""The thread that talks while the plan runs: order, errors."""

import threading

import pytest

from numbaflux.distributed.overlap import Courier


def test_tasks_run_in_their_order_on_another_thread():
    courier, done = Courier(), []
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        done.clear()
        courier.begin([lambda i=i: done.append((i, threading.current_thread())) for i in range(3)])
        for number in order:
            courier.release(number)
        courier.finish()
        assert [i for i, _ in done] == [0, 1, 2]
        assert {thread for _, thread in done} != {threading.current_thread()}
        assert len({thread for _, thread in done}) == 1


def test_what_follows_an_error_is_left_out():
    courier, done = Courier(), []

    def fail():
        raise KeyError("first")

    courier.begin([fail, lambda: done.append(1), lambda: done.append(2)])
    for number in range(3):
        courier.release(number)
    with pytest.raises(KeyError, match="first"):
        courier.finish()
    assert not done
    courier.begin([lambda: done.append(3)])
    courier.release(0)
    courier.finish()
    assert done == [3]
