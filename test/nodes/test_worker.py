"""The worker's thread keeps only the newest of what waits."""

from __future__ import annotations

import threading

from keytrack_ros.nodes.worker import NewestWorker


class Gate:
    """Work that waits until it is let through."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.done: list[int] = []

    def __call__(self, item: int) -> None:
        self.begun.release()
        self.let.acquire()
        self.done.append(item)


def test_the_newest_item_replaces_the_one_that_waits() -> None:
    gate = Gate()
    worker = NewestWorker(gate, "test")
    assert not worker.give(1)
    gate.begun.acquire()
    assert [worker.give(item) for item in (2, 3, 4)] == [False, True, True]
    gate.let.release(2)
    gate.begun.acquire()
    assert not worker.stop()
    assert gate.done == [1, 4]


def test_stopping_finishes_the_item_in_work_and_gives_up_the_next() -> None:
    gate = Gate()
    worker = NewestWorker(gate, "test")
    worker.give(1)
    gate.begun.acquire()
    worker.give(2)
    gate.let.release()
    # Whether 2 has begun by now is up to the scheduler; it must be either worked on or reported.
    gate.let.release()
    given_up = worker.stop()
    assert gate.done == ([1] if given_up else [1, 2])


def test_discarding_reports_whether_something_waited() -> None:
    gate = Gate()
    worker = NewestWorker(gate, "test")
    worker.give(1)
    gate.begun.acquire()
    worker.give(2)
    assert worker.discard()
    assert not worker.discard()
    gate.let.release()
    worker.stop()
    assert gate.done == [1]
