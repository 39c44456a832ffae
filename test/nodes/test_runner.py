"""How a node's process starts and ends, whatever its surroundings are."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from test.nodes.camera import Camera
from test.nodes.graph import Graph

STUCK = """
import sys, threading
from keytrack_ros.nodes import tracker_node

def close(self):
    print("closing", flush=True)
    threading.Event().wait()

tracker_node.TrackerNode.close = close
sys.exit(tracker_node.main())
"""


def test_without_a_home_the_node_starts(graph: Graph, toy_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As under systemd or in a container.
    monkeypatch.delenv("HOME")
    process = graph.start("tracker", {"inference.models": toy_models})
    assert len(Camera(graph).show([(150.0, 200.0)]).poses) == 1
    assert process.end() == 0


def test_a_log_folder_that_cannot_be_made_is_one_line(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where the folder should be")
    process = graph.start("tracker")
    assert process.wait() == 2
    assert process.log.strip().count("\n") == 0
    assert "set ROS_LOG_DIR to a folder that can be written" in process.log


def test_two_signals_at_once_end_the_node_in_order(graph: Graph, toy_models: Path) -> None:
    # A terminal signals the whole process group, and a launcher its children.
    process = graph.start("tracker", {"inference.models": toy_models})
    graph.spin_until(lambda: graph.diagnostics)
    for _ in range(5):
        process.send(signal.SIGINT)
    assert process.wait() == 0
    assert "Traceback" not in process.log


def test_a_later_second_signal_ends_a_node_that_is_stuck(graph: Graph, toy_models: Path) -> None:
    process = graph.start_code(STUCK, {"inference.models": toy_models})
    graph.spin_until(lambda: graph.diagnostics)
    process.send(signal.SIGINT)
    graph.spin_until(lambda: "closing" in process.log)

    def ended() -> bool:  # within the first second it may only be a launcher's echo
        process.send(signal.SIGINT)
        return process.exit_code is not None

    graph.spin_until(ended)
    assert process.exit_code == 130
    assert "Traceback" not in process.log
