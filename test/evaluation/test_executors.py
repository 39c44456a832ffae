"""Parallel work: results, errors, and processes that are killed."""

from __future__ import annotations

import os
import signal

import pytest

from keytrack_ros.errors import InputError, KeytrackError
from keytrack_ros.evaluation.executors import run_jobs


def doubled(number: int) -> tuple[int, int]:
    """Twice the number, and the process that found it; −1 cannot be doubled, −2 kills."""
    if number == -1:
        raise InputError("minus one: no")
    if number == -2:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number, os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_results_have_the_places_of_their_jobs(workers: int) -> None:
    done = dict(run_jobs(doubled, [(k,) for k in range(5)], workers))
    assert [done[k][0] for k in range(5)] == [0, 2, 4, 6, 8]
    assert (os.getpid() in {process for _, process in done.values()}) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_arrive_as_they_are(workers: int) -> None:
    with pytest.raises(InputError, match="minus one: no"):
        dict(run_jobs(doubled, [(1,), (-1,)], workers))


def test_a_killed_process_is_said() -> None:
    with pytest.raises(KeytrackError, match="a process was killed, as happens where memory runs out"):
        dict(run_jobs(doubled, [(1,), (-2,)], 2))
