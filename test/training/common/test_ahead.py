"""Batches come in order, a few ahead, none beyond the run, and errors where they are taken."""

import threading

import pytest

from keytrack_ros.training.common.ahead import BatchesAhead


@pytest.mark.parametrize(("first", "workers"), [(0, 1), (3, 1), (2, 4)])
def test_batches_come_in_order_up_to_the_last_step(first: int, workers: int) -> None:
    made: list[int] = []

    def make(step: int) -> int:
        made.append(step)
        return 10 * step

    with BatchesAhead(make, first, 8, workers) as batches:
        assert [batches.take() for _ in range(first, 8)] == [10 * step for step in range(first, 8)]
    assert sorted(made) == list(range(first, 8))


def test_the_next_one_is_made_while_the_last_one_is_used() -> None:
    second = threading.Event()

    def make(step: int) -> int:
        if step == 1:
            second.set()
        return step

    with BatchesAhead(make, 0, 5, 1) as batches:
        assert batches.take() == 0
        assert second.wait(30)


def test_an_error_is_raised_where_the_batch_is_taken() -> None:
    def make(step: int) -> int:
        if step == 1:
            raise ValueError("no image")
        return step

    with BatchesAhead(make, 0, 3, 1) as batches:
        assert batches.take() == 0
        with pytest.raises(ValueError, match="no image"):
            batches.take()
