"""Items of an iterator made ahead by a thread, in the same order."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

from ..op import PlanError

_END = object()  # what stands in the queue after the last item


class Prefetched:
    """Goes over an iterator that a thread runs up to `ahead` items before they are asked for.

    An error of the iterator comes out where its item is asked for, with its own traceback. The thread ends with the
    last item, at an error, at close(), and when this object is let go. After a fork the child must iterate anew.

    >>> list(Prefetched(iter("abc"), ahead=2))
    ['a', 'b', 'c']
    """

    def __init__(self, items: Iterator[Any], ahead: int) -> None:
        self._ready: SimpleQueue[Any] = SimpleQueue()
        self._room, self._pid, self._over = threading.Semaphore(ahead), os.getpid(), False
        stop = threading.Event()
        # The thread knows nothing of this object, else it would never be let go.
        thread = threading.Thread(
            target=_make, args=(items, self._ready, self._room, stop), name="numbaflux-prefetch", daemon=True
        )
        self._end = weakref.finalize(self, _end, thread, self._room, stop, self._pid)
        thread.start()

    def __iter__(self) -> Prefetched:
        return self

    def __next__(self) -> Any:
        if self._over:
            raise StopIteration
        if os.getpid() != self._pid:
            raise PlanError("DataLoader: an iteration must not go on in a forked process; iterate anew there")
        item, error = self._ready.get()
        self._room.release()
        if item is _END or error is not None:
            self.close()
        if error is not None:
            try:
                raise error
            finally:
                error = None  # its traceback holds this frame
        if item is _END:
            raise StopIteration
        return item

    def close(self) -> None:
        """End the thread; waits for the item that it is making.

        >>> items = Prefetched(iter("abc"), ahead=1)
        >>> items.close()
        >>> list(items)
        []
        """
        self._over = True
        self._end()


def _make(items: Iterator[Any], ready: SimpleQueue[Any], room: threading.Semaphore, stop: threading.Event) -> None:
    try:
        while room.acquire() and not stop.is_set():
            ready.put((next(items, _END), None))
    except BaseException as error:  # whatever it is, it belongs to whoever waits for the item
        ready.put((None, error))
    finally:
        if hasattr(items, "close"):
            items.close()


def _end(thread: threading.Thread, room: threading.Semaphore, stop: threading.Event, pid: int) -> None:
    if os.getpid() != pid:
        return  # in a child the thread does not exist, and its locks may be held for ever
    stop.set()
    room.release()
    if thread is not threading.current_thread():  # which the garbage collector may run in
        thread.join()
