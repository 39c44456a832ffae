"""Work on many sequences in parallel: in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from typing import Any, TypeVar

from keytrack_ros.errors import KeytrackError, OptionError

R = TypeVar("R")

_CONNECT_S = 20


def run_jobs(
    work: Callable[..., R], jobs: Sequence[tuple[Any, ...]], workers: int, scheduler: str = ""
) -> Iterator[tuple[int, R]]:
    """Calls `work` with the arguments of each job, in parallel.

    Yields (place in `jobs`, result) as they are done, in any order. With more than one worker, a script that calls this
    needs the usual `if __name__ == "__main__":`.

    Args:
        work: a function of a module, whose arguments and result can be pickled.
        jobs: arguments of each call.
        workers: processes of this machine; with one of them, or one job, all is done in this process.
        scheduler: address of a Dask scheduler, such as tcp://10.0.0.1:8786, whose workers do the jobs instead, as many
            at a time as they have threads. They need this package and see the files under the same paths.

    Raises what `work` raises, OptionError if no scheduler answers, and KeytrackError if a process was killed.
    """
    if not scheduler and (workers <= 1 or len(jobs) <= 1):
        for place, job in enumerate(jobs):
            yield place, work(*job)
        return
    with _executor(min(workers, len(jobs)), scheduler) as (executor, at_once):
        waiting = iter(enumerate(jobs))
        running: dict[Future[R], int] = {}

        def start(count: int) -> None:
            running.update({executor.submit(work, *job): place for place, job in islice(waiting, count)})

        # No more than can run: what waits in the pool itself would still be done after Ctrl-C.
        start(at_once)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                place, result = running.pop(future), future.result()
                start(1)
                yield place, result


@contextmanager
def _executor(workers: int, scheduler: str) -> Iterator[tuple[Executor, int]]:
    """The executor and how many jobs it runs at a time."""
    if scheduler:
        with _cluster(scheduler) as found:
            yield found
        return
    try:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            yield pool, workers
    except BrokenProcessPool:
        raise KeytrackError(
            "a process was killed, as happens where memory runs out; try again with fewer --workers"
        ) from None


@contextmanager
def _cluster(address: str) -> Iterator[tuple[Executor, int]]:
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ModuleNotFoundError:
        raise OptionError(
            f"--scheduler {address}: Dask is not installed: pip install distributed, or this package with [cluster]"
        ) from None
    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise OptionError(f"--scheduler {address}: no Dask scheduler answers there ({reason})") from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise OptionError(f"--scheduler {address}: the scheduler has no workers; start some with `dask worker`")
        executor = client.get_executor(pure=False)
        try:
            yield executor, threads
        except KilledWorker as error:
            raise KeytrackError(
                f"--scheduler {address}: workers were killed, as happens where memory runs out: {error}"
            ) from None
        finally:
            executor.shutdown(wait=False)
