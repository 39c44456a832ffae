from __future__ import annotations

import logging
import threading

import pytest

from keytrack_ros.inference.background_engine import UpgradingSession
from keytrack_ros.inference.session import BackendError


class Named:
    """A session that answers with its name."""

    def __init__(self, name: str, inputs: tuple[str, ...] = ("x",)) -> None:
        self.runs_on = name
        self.closed = False
        self.input_shapes = dict.fromkeys(inputs, (None,))
        self.output_names = ("y",)

    def run(self, inputs):
        assert not self.closed
        assert inputs.keys() <= self.input_shapes.keys()
        return {"y": self.runs_on}

    def close(self):
        self.closed = True


def test_it_runs_at_once_and_changes_over_between_two_calls(caplog):
    caplog.set_level(logging.INFO, "keytrack_ros")
    slow, fast, ready = Named("slow"), Named("fast"), threading.Event()

    def make(_stop):
        ready.wait(30)
        return fast

    session = UpgradingSession(slow, make, "toy.onnx")
    assert [session.run({})["y"] for _ in range(3)] == ["slow"] * 3
    ready.set()
    session._thread.join(30)
    assert session.run({})["y"] == "fast"
    assert slow.closed
    assert session.runs_on == "fast"
    assert caplog.messages == ["toy.onnx runs on fast from now on"]
    session.close()
    assert fast.closed


def test_inputs_that_the_better_one_lacks_are_left_out():
    # The caller has looked at the names before the change.
    fast = Named("fast")
    session = UpgradingSession(Named("slow", ("x", "unused")), lambda _stop: fast, "toy.onnx")
    inputs = dict.fromkeys(session.input_shapes, 0)
    session._thread.join(30)
    assert [session.run(inputs)["y"] for _ in range(2)] == ["fast"] * 2
    session.close()


def test_if_nothing_better_can_be_made_that_is_said_and_it_goes_on(caplog):
    def make(_stop):
        raise BackendError("TensorRT cannot build the engine")

    session = UpgradingSession(Named("slow"), make, "toy.onnx")
    session._thread.join(30)
    assert session.run({})["y"] == "slow"
    assert caplog.messages == ["toy.onnx stays on slow: TensorRT cannot build the engine"]
    session.close()


@pytest.mark.parametrize("finished", [False, True])
def test_closing_stops_the_making_and_frees_both(caplog, finished):
    slow, fast = Named("slow"), Named("fast")

    def make(stop):
        if finished:
            return fast
        stop.wait(30)
        raise BackendError("the build was stopped")

    session = UpgradingSession(slow, make, "toy.onnx")
    session.close()
    assert slow.closed
    assert fast.closed == finished
    assert caplog.messages == []
