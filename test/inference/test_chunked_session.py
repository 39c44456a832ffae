from __future__ import annotations

import logging

import numpy as np
import pytest

from keytrack_ros.inference.chunked_session import ChunkedSession
from keytrack_ros.inference.session import DeviceMemoryError


class Doubler:
    """y = 2 x for at most `room` rows; more are more than the device has memory for."""

    runs_on = "a test"
    output_names = ("y",)

    def __init__(self, room: int, first_axis: int | None = None) -> None:
        self.room = room
        self.calls: list[int] = []
        self.input_shapes = {"x": (first_axis, 2), "z": (first_axis,)}

    def run(self, inputs):
        rows = len(inputs["x"])
        self.calls.append(rows)
        if rows > self.room:
            raise DeviceMemoryError(f"{rows} rows: out of memory")
        return {"y": 2 * inputs["x"]}

    def close(self):
        self.closed = True


def given(rows: int) -> dict[str, np.ndarray]:
    return {"x": np.arange(rows * 2.0).reshape(rows, 2), "z": np.zeros(rows)}


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 11])
def test_no_call_is_longer_than_allowed_and_rows_keep_their_order(rows):
    inner = Doubler(room=100)
    result = ChunkedSession(inner, max_rows=4).run(given(rows))
    np.testing.assert_array_equal(result["y"], 2 * given(rows)["x"])
    assert inner.calls == {0: [0], 1: [1], 4: [4], 5: [4, 1], 11: [4, 4, 3]}[rows]


def test_where_memory_is_too_small_the_calls_become_shorter_and_stay_so(caplog):
    inner = Doubler(room=3)
    session = ChunkedSession(inner)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(session.run(given(8))["y"], 2 * given(8)["x"])
    assert inner.calls == [8, 4, 2, 2, 2, 2]
    assert caplog.messages[-1] == "4 rows: out of memory; from now on at most 2 at a time"
    session.run(given(4))
    assert inner.calls[6:] == [2, 2]
    assert session.max_rows == 2


def test_when_not_even_one_row_fits_the_way_out_is_named():
    with pytest.raises(DeviceMemoryError, match=r"1 rows: out of memory; .* set inference\.device to cpu"):
        ChunkedSession(Doubler(room=0)).run(given(4))


def test_a_network_of_fixed_length_is_not_cut():
    inner = Doubler(room=2, first_axis=4)
    with pytest.raises(DeviceMemoryError):
        ChunkedSession(inner).run(given(4))
    assert inner.calls == [4]


def test_inputs_of_different_lengths_go_through_as_they_are():
    inner = Doubler(room=100)
    ChunkedSession(inner, max_rows=2).run({"x": np.zeros((5, 2)), "z": np.zeros(3)})
    assert inner.calls == [5]


def test_closing_closes_what_is_inside():
    inner = Doubler(room=1)
    ChunkedSession(inner).close()
    assert inner.closed
