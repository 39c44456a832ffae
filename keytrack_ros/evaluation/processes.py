"""Work on many sequences in parallel processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from keytrack_ros.errors import KeytrackError

R = TypeVar("R")


def as_done(work: Callable[..., R], jobs: Sequence[tuple[Any, ...]], workers: int) -> Iterator[tuple[int, R]]:
    """Calls `work` with the arguments of each job, in `workers` processes; with one of either, in this process.

    Yields (place in `jobs`, result) as they are done, in any order. With more than one worker, a script that calls this
    needs the usual `if __name__ == "__main__":`.

    Raises what `work` raises, and KeytrackError if a process was ended from outside.
    """
    if workers <= 1 or len(jobs) <= 1:
        for place, job in enumerate(jobs):
            yield place, work(*job)
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn")) as pool:
        places = {pool.submit(work, *job): place for place, job in enumerate(jobs)}
        try:
            for future in as_completed(places):
                yield places[future], future.result()
        except BrokenProcessPool:
            raise KeytrackError(
                "a process was killed, as happens where memory runs out; try again with fewer --workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
