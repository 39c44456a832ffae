"""Boxes and ids as vision_msgs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from test.nodes.camera import Camera
from test.nodes.graph import Graph

INSTALLED = importlib.util.find_spec("vision_msgs") is not None
PLACES = [(150.0, 200.0), (400.0, 300.0)]


@pytest.mark.skipif(INSTALLED, reason="vision_msgs is installed")
def test_without_vision_msgs_one_line_says_what_to_install(graph: Graph, toy_models: Path) -> None:
    process = graph.start("tracker", {"inference.models": toy_models, "publish_detections": True})
    assert process.wait() == 1
    lines = [line for line in process.log.strip().splitlines() if "[INFO]" not in line]
    assert len(lines) == 1
    assert "publish_detections: the package vision_msgs is not installed: sudo apt-get install" in lines[0]


@pytest.mark.skipif(not INSTALLED, reason="vision_msgs is not installed (it is not on PyPI)")
def test_detections_are_the_boxes_of_the_poses(graph: Graph, toy_models: Path) -> None:
    from vision_msgs.msg import Detection2DArray

    graph.start("tracker", {"inference.models": toy_models, "publish_detections": True})
    detections = graph.listen(Detection2DArray, "/tracker/detections")
    camera = Camera(graph)
    graph.spin_until(lambda: graph.node.count_publishers("/tracker/detections"))
    poses = camera.show(PLACES)
    assert len(poses.poses) == 2
    graph.spin_until(lambda: any(message.header == poses.header for message in detections))
    (message,) = (message for message in detections if message.header == poses.header)
    for pose, detection in zip(poses.poses, message.detections, strict=True):
        assert detection.id == str(pose.track_id)
        assert detection.header == poses.header
        (result,) = detection.results
        assert (result.hypothesis.class_id, result.hypothesis.score) == ("person", pytest.approx(pose.score))
        box, center = detection.bbox, detection.bbox.center.position
        assert center.x - box.size_x / 2 == pytest.approx(pose.x_min, abs=1e-3)
        assert center.y + box.size_y / 2 == pytest.approx(pose.y_max, abs=1e-3)
    camera.show([])
    graph.spin_until(lambda: detections[-1].detections == [])
