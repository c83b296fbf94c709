"""Ranks that are threads of one process: what nf.train asks of a world, and nothing else."""

import threading

import numpy as np

from numbaflux import distributed


class Ranks:
    """What a world's ranks have in common: what each said in each round, and who is gone."""

    def __init__(self, size):
        self.size, self.rounds, self.gone = size, [], set()
        self.heard = threading.Condition()


class World(distributed.World):
    def __init__(self, ranks, rank):
        super().__init__()
        self.ranks, self.rank, self.size = ranks, rank, ranks.size
        self.calls = []

    def _exchange(self, what, mine):
        ranks, turn = self.ranks, len(self.calls)
        self.calls.append(what)
        with ranks.heard:
            if turn == len(ranks.rounds):
                ranks.rounds.append({})
            said = ranks.rounds[turn]
            said[self.rank] = what, mine
            ranks.heard.notify_all()
            ranks.heard.wait_for(lambda: len(said) == self.size or ranks.gone - said.keys(), timeout=60)
        assert len(said) == self.size, f"{what} on rank {self.rank}: {ranks.gone} are gone"
        assert len({what for what, _ in said.values()}) == 1, said
        return [said[rank][1] for rank in range(self.size)]

    def any(self, flag):
        return any(self._exchange("any", flag))

    def gather(self, numbers):
        return np.array(self._exchange("gather", list(numbers)), np.float64)

    def meet(self, kind, numbers=()):
        return np.array(self._exchange(kind, list(numbers)), np.float64)

    def share(self, text, root=0):
        return self._exchange("share", text)[root]

    def sum(self, vector, what="sum", there=False):
        vector[...] = np.sum(self._exchange(what, vector.copy()), axis=0)

    def broadcast(self, array, root=0):
        array[...] = self._exchange("broadcast", array.copy())[root]

    @property
    def beside(self):
        return self

    def barrier(self):
        self._exchange("barrier", None)


def together(size, work):
    """What work(world) gives, or raises, on each rank; rank 0 is this thread, as signals come to it alone."""
    ranks = Ranks(size)
    results = [None] * size

    def run(rank):
        try:
            results[rank] = work(World(ranks, rank))
        except BaseException as error:
            results[rank] = error
        with ranks.heard:
            ranks.gone.add(rank)  # nobody waits for it
            ranks.heard.notify_all()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(1, size)]
    for thread in threads:
        thread.start()
    run(0)
    for thread in threads:
        thread.join()
    return results
