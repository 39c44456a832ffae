"""Batches that other threads prepare while the network trains on the last one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

BatchT = TypeVar("BatchT")


class BatchesAhead(Generic[BatchT]):
    """The batches of a run, in order; a context manager that waits for its threads at the end.

    Args:
        make: gives the batch of a step; it is called from other threads.
        first: step whose batch comes first.
        steps: of the whole run; no batch is made for steps from there on.
        workers: threads, and batches made ahead.
    """

    def __init__(self, make: Callable[[int], BatchT], first: int, steps: int, workers: int) -> None:
        self._make, self._step, self._steps, self._workers = make, first, steps, workers
        self._pool = ThreadPoolExecutor(workers)
        self._coming: deque[Future[BatchT]] = deque()

    def __enter__(self) -> BatchesAhead[BatchT]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def take(self) -> BatchT:
        """The next batch; what `make` raised for it is raised here."""
        ahead = range(self._step + len(self._coming), min(self._step + self._workers + 1, self._steps))
        self._coming.extend(self._pool.submit(self._make, step) for step in ahead)
        self._step += 1
        return self._coming.popleft().result()
