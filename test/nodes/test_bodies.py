"""People as ROS4HRI's bodies."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keytrack_ros.nodes.bodies import openpose_18
from keytrack_ros.skeleton import INDEX
from test.nodes.camera import Camera
from test.nodes.graph import Graph
from test.people import people

INSTALLED = importlib.util.find_spec("hri_msgs") is not None
NOSE, NECK, LEFT_HIP, LEFT_EYE = 0, 1, 11, 14  # of hri_msgs/Skeleton2D


def test_keypoints_are_parts_of_the_image_in_the_order_of_openpose() -> None:
    poses = people((400.0, 300.0))
    keypoints, scores = poses.keypoints.copy(), poses.scores.copy()
    keypoints[0, INDEX["nose"]] = (200.0, 150.0)
    keypoints[0, INDEX["left_shoulder"]], scores[0, INDEX["left_shoulder"]] = (300.0, 300.0), 0.5
    keypoints[0, INDEX["right_shoulder"]], scores[0, INDEX["right_shoulder"]] = (340.0, 300.0), 0.25
    keypoints[0, INDEX["left_hip"]] = (810.0, 590.0)  # outside the image
    scores[0, INDEX["left_ankle"]] = 0
    points = openpose_18(poses.with_fields(keypoints=keypoints, scores=scores), 0, (800, 600))
    assert points.shape == (18, 3)
    assert points[NOSE, :2] == pytest.approx([0.25, 0.25])
    assert points[NECK] == pytest.approx([0.4, 0.5, 0.25])
    assert points[LEFT_HIP, 0] == 1.0
    assert not points[LEFT_EYE:].any()
    assert not points[13].any()  # the ankle without a score


@pytest.mark.skipif(INSTALLED, reason="hri_msgs is installed")
def test_without_hri_msgs_one_line_says_what_to_install(graph: Graph, toy_models: Path) -> None:
    process = graph.start("tracker", {"inference.models": toy_models, "publish_bodies": True})
    assert process.wait() == 1
    lines = [line for line in process.log.strip().splitlines() if "[INFO]" not in line]
    assert len(lines) == 1
    assert "publish_bodies: the package hri_msgs is not installed: sudo apt-get install" in lines[0]


@pytest.mark.skipif(not INSTALLED, reason="hri_msgs is not installed (it is not on PyPI)")
def test_bodies_are_the_people_and_go_with_their_tracks(graph: Graph, toy_models: Path) -> None:
    from hri_msgs.msg import IdsList, NormalizedRegionOfInterest2D, Skeleton2D

    graph.start("tracker", {"inference.models": toy_models, "publish_bodies": True, "tracker.lost_s": 0.5})
    tracked: list[Any] = graph.listen(IdsList, "/humans/bodies/tracked")
    rois: list[Any] = graph.listen(NormalizedRegionOfInterest2D, "/humans/bodies/track_1/roi")
    skeletons: list[Any] = graph.listen(Skeleton2D, "/humans/bodies/track_1/skeleton2d")
    camera = Camera(graph)
    places = [(150.0, 200.0), (400.0, 300.0)]
    # Again and again: the first messages of new publishers may come before their subscribers are found.
    graph.spin_until(lambda: camera.show(places) and rois and skeletons)
    poses = camera.show(places)
    graph.spin_until(lambda: all(each[-1].header == poses.header for each in (tracked, rois, skeletons)))
    assert tracked[-1].ids == [f"track_{pose.track_id}" for pose in poses.poses]
    (pose,) = (pose for pose in poses.poses if pose.track_id == 1)
    size = np.array([poses.image_width, poses.image_height])
    assert [rois[-1].xmin, rois[-1].ymin] == pytest.approx(np.array([pose.x_min, pose.y_min]) / size, abs=1e-6)
    assert [rois[-1].xmax, rois[-1].ymax] == pytest.approx(np.array([pose.x_max, pose.y_max]) / size, abs=1e-6)
    nose, seen = skeletons[-1].skeleton[Skeleton2D.NOSE], pose.keypoints[INDEX["nose"]]
    assert [nose.x, nose.y, nose.c] == pytest.approx([seen.x / size[0], seen.y / size[1], seen.score], abs=1e-6)

    camera.show([])
    graph.spin_until(lambda: tracked[-1].ids == [])
    assert graph.node.count_publishers("/humans/bodies/track_1/roi") == 1  # lost, but may come back
    for _ in range(8):
        camera.show([])
    graph.spin_until(lambda: graph.node.count_publishers("/humans/bodies/track_1/roi") == 0)
