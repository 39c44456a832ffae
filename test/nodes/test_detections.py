"""Boxes and ids as vision_msgs."""

from __future__ import annotations

import importlib.util
from array import array
from pathlib import Path

import numpy as np
import pytest
from keytrack_ros.msg import TrackedPose3DArray
from sensor_msgs.msg import CameraInfo, Image

from test.nodes.camera import Camera
from test.nodes.graph import Graph
from test.toy import FRAME_SIZE, draw_frame

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


@pytest.mark.skipif(not INSTALLED, reason="vision_msgs is not installed (it is not on PyPI)")
def test_detections_in_metres_are_where_the_people_are(graph: Graph, toy_models: Path) -> None:
    from vision_msgs.msg import Detection3DArray

    graph.start("tracker", {"inference.models": toy_models, "publish_detections": True, "depth.enabled": True})
    detections = graph.listen(Detection3DArray, "/tracker/detections_3d")
    lifted = graph.listen(TrackedPose3DArray, "/tracker/poses_3d")
    depths, infos = graph.publisher(Image, "/depth"), graph.publisher(CameraInfo, "/camera_info", 1)
    camera = Camera(graph)
    width, height = FRAME_SIZE
    # A wall at 3 m, seen by a depth camera with a quarter of the resolution, and nothing on the left.
    metres = np.full((height // 4, width // 4), 3000, "<u2")
    metres[:, : width // 16] = 0

    def show() -> list[Detection3DArray]:
        header = camera.publish(draw_frame([(80.0, 300.0), (400.0, 300.0)])).header
        k = [600.0, 0.0, width / 2, 0.0, 600.0, height / 2, 0.0, 0.0, 1.0]
        infos.publish(CameraInfo(header=header, width=width, height=height, k=k))
        rows, columns = metres.shape
        pixels = array("B", metres.tobytes())
        depths.publish(
            Image(header=header, height=rows, width=columns, encoding="16UC1", step=2 * columns, data=pixels)
        )
        before = len(detections)
        graph.spin_until(lambda: len(detections) > before)
        return [message for message in detections if message.detections]

    graph.spin_until(show)
    message = show()[-1]
    graph.spin_until(lambda: any(people.header == message.header for people in lifted))
    (people,) = (people for people in lifted if people.header == message.header)
    (person,) = (person for person in people.poses if person.position.z == person.position.z)
    (detection,) = message.detections  # the person without depth is left out
    assert detection.id == str(person.track_id)
    assert detection.results[0].pose.pose.position == person.position
    assert detection.bbox.center.position.z == pytest.approx(3.0)
    keypoints = [point.x for point in person.keypoints if point.valid]
    assert detection.bbox.size.x == pytest.approx(max(keypoints) - min(keypoints), abs=1e-5)
    assert detection.bbox.center.position.x == pytest.approx((max(keypoints) + min(keypoints)) / 2, abs=1e-5)
