"""One frame's way through the node, in this process: what is drawn for whom, and what an error does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keytrack_ros.msg import TrackedPoseArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from keytrack_ros.nodes import processing
from keytrack_ros.nodes.images import to_bgr
from keytrack_ros.nodes.messages import ns_to_stamp
from keytrack_ros.nodes.processing import FrameProcessor, Received
from keytrack_ros.nodes.statistics import Snapshot, Statistics
from keytrack_ros.options import with_values
from keytrack_ros.pipeline import Pipeline, PipelineOptions
from test.nodes.graph import Graph, image_message
from test.toy import draw_frame

PLACES = [(150.0, 200.0), (400.0, 300.0)]


class Subject:
    """A processor whose publishers belong to the node of the test."""

    def __init__(self, graph: Graph, models: Path) -> None:
        self.statistics = Statistics()
        options = with_values(PipelineOptions(), {"inference.models": str(models), "tracker.confirm_frames": 1})
        self.processor = FrameProcessor(graph.node, lambda: options, self.statistics)
        self._stamp_s = 0.0

    def process(self, **fields: Any) -> Snapshot:
        """Processes the next image, with some fields changed, and returns the counts."""
        self._stamp_s += 0.1
        message = image_message(draw_frame(PLACES), self._stamp_s)
        for name, value in fields.items():
            setattr(message, name, value)
        self.statistics.receive()
        self.processor.process(Received(message.header, partial(to_bgr, message), round(self._stamp_s * 1e9)))
        return self.statistics.snapshot()


@pytest.fixture
def subject(graph: Graph, toy_models: Path) -> Iterator[Subject]:
    subject = Subject(graph, toy_models)
    yield subject
    subject.processor.close()


def test_nothing_is_drawn_for_nobody(graph: Graph, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    for name in ("draw_poses", "to_markers"):
        original = getattr(processing, name)

        def counted(*args: Any, _name: str = name, _original: Any = original, **options: Any) -> Any:
            drawn.append(_name)
            return _original(*args, **options)

        monkeypatch.setattr(processing, name, counted)
    for _ in range(3):
        subject.process()
    assert drawn == []

    graph.listen(MarkerArray, "/test/markers")
    graph.spin_until(lambda: graph.node.count_subscribers("/test/markers"))
    graph.spin_until(lambda: subject.process() and drawn)
    assert set(drawn) == {"to_markers"}

    images = graph.listen(Image, "/test/debug_image")
    graph.spin_until(lambda: subject.process() and images)
    assert set(drawn) == {"to_markers", "draw_poses"}


def test_an_error_in_one_frame_is_counted_and_the_next_is_processed(
    graph: Graph, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    poses = graph.listen(TrackedPoseArray, "/test/poses")
    graph.spin_until(lambda: graph.node.count_subscribers("/test/poses"))
    with monkeypatch.context() as patch:

        def broken(*_: Any) -> None:
            raise ZeroDivisionError("a defect")

        patch.setattr(Pipeline, "process", broken)
        counts = subject.process()
    assert (counts.processed, counts.rejected["failed"]) == (0, 1)
    counts = subject.process()
    assert (counts.received, counts.processed, counts.rejected["failed"], counts.people) == (2, 1, 1, 2)
    graph.spin_until(lambda: poses)
    assert len(poses[0].poses) == 2


def test_a_refused_image_leaves_the_tracks_as_they_are(subject: Subject) -> None:
    subject.process()
    before = subject.process()
    refused = subject.process(encoding="32FC1")
    assert (refused.rejected["image"], refused.processed) == (1, before.processed)
    # Its stamp counts for nothing either: the next image is not late, whatever the bad one said.
    assert subject.process().rejected["late"] == 0


def test_times_of_all_stages_are_taken(subject: Subject) -> None:
    for _ in range(3):
        counts = subject.process()
    stages = {"conversion", "detection", "estimation", "toks", "tracking", "publication", "total"}
    assert set(counts.milliseconds) == stages
    assert counts.milliseconds["total"][0] == max(median for median, _ in counts.milliseconds.values())


def test_percentiles_are_those_of_the_last_hundred_frames() -> None:
    statistics = Statistics()
    for _ in range(50):
        statistics.process(0, {"total": 9.0})
    for milliseconds in range(1, 101):
        statistics.process(0, {"total": milliseconds / 1000})
    median, high = statistics.snapshot().milliseconds["total"]
    assert (median, high) == pytest.approx((50.5, 95.05))


def test_latency_is_measured_from_stamps_of_this_clock(graph: Graph, subject: Subject) -> None:
    assert "latency" not in subject.process().milliseconds  # stamped 1970
    now_ns = graph.node.get_clock().now().nanoseconds
    counts = subject.process(header=Header(stamp=ns_to_stamp(now_ns - 200_000_000)))
    median, _ = counts.milliseconds["latency"]
    assert 200 + counts.milliseconds["total"][0] * 0.5 < median < 10_000
    assert (
        subject.process(header=Header(stamp=ns_to_stamp(now_ns + 3_600_000_000_000))).milliseconds["latency"][0]
        == median
    )


def test_detections_that_belong_to_no_track_are_left_out(graph: Graph, subject: Subject) -> None:
    # In a crowd most boxes overlap: such a pose has no id, and must not take the others' messages with it.
    poses = graph.listen(TrackedPoseArray, "/test/poses")
    rng = np.random.default_rng(0)
    for _ in range(10):
        places = list(zip(rng.uniform(0, 768, 200).tolist(), rng.uniform(0, 576, 200).tolist(), strict=True))
        counts = subject.process(data=image_message(draw_frame(places), 0.0).data)
    assert (counts.processed, counts.rejected["failed"]) == (10, 0)
    graph.spin_until(lambda: poses)
    assert all(pose.track_id > 0 for message in poses for pose in message.poses)
