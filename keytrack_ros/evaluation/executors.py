"""Work on many sequences in parallel processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from typing import Any, TypeVar

from keytrack_ros.errors import KeytrackError

R = TypeVar("R")


def run_jobs(work: Callable[..., R], jobs: Sequence[tuple[Any, ...]], workers: int) -> Iterator[tuple[int, R]]:
    """Calls `work` with the arguments of each job, in `workers` processes; with one of either, in this process.

    Yields (place in `jobs`, result) as they are done, in any order. With more than one worker, a script that calls this
    needs the usual `if __name__ == "__main__":`.

    Raises what `work` raises, and KeytrackError if a process was ended from outside.
    """
    if workers <= 1 or len(jobs) <= 1:
        for place, job in enumerate(jobs):
            yield place, work(*job)
        return
    waiting = iter(enumerate(jobs))
    running: dict[Future[R], int] = {}
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn")) as pool:

        def start(count: int) -> None:
            running.update({pool.submit(work, *job): place for place, job in islice(waiting, count)})

        try:
            # No more than can run: what waits in the pool itself would still be done after Ctrl-C.
            start(workers)
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    place, result = running.pop(future), future.result()
                    start(1)
                    yield place, result
        except BrokenProcessPool:
            raise KeytrackError(
                "a process was killed, as happens where memory runs out; try again with fewer --workers"
            ) from None
