"""`~/poses_smoothed` of the running tracker, beside the raw poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from keytrack_ros.msg import TrackedPoseArray

from keytrack_ros.client import People, PeopleClient
from test.nodes.camera import Camera, stamps_ns
from test.nodes.graph import Graph

PLACE = (300.0, 300.0)


def noses(messages: list[TrackedPoseArray]) -> list[float]:
    return [message.poses[0].keypoints[0].x for message in messages]


def test_smoothed_poses_come_beside_the_raw_ones_and_lag_as_set(graph: Graph, toy_models: Path) -> None:
    # beta 0 and 1 Hz at steps of 0.1 s: each image goes 0.38587 of the way.
    parameters = {"smoothing.enabled": True, "smoothing.beta": 0.0, "smoothing.min_cutoff": 1.0, "toks.enabled": False}
    process = graph.start("tracker", {"inference.models": toy_models, **parameters})
    smoothed = graph.listen(TrackedPoseArray, "/tracker/poses_smoothed")
    people: list[People] = []
    PeopleClient(graph.node, on_people=people.append, smoothed=True)
    camera = Camera(graph)
    graph.spin_until(lambda: graph.node.count_publishers("/tracker/poses_smoothed"))
    for _ in range(2):
        camera.show([PLACE])
    for _ in range(3):
        camera.show([(PLACE[0] + 15, PLACE[1])])
    graph.spin_until(lambda: len(smoothed) == len(people) == 5)
    assert stamps_ns(smoothed) == stamps_ns(camera.poses)
    raw = noses(camera.poses)
    step = raw[2] - raw[1]
    assert raw == [raw[0]] * 2 + [raw[0] + step] * 3
    assert step > 3
    share = 1 / (1 + 1 / (2 * np.pi * 0.1))
    expected = [0.0, 0.0, *(step * (1 - (1 - share) ** n) for n in (1, 2, 3))]
    assert np.allclose(np.array(noses(smoothed)) - raw[0], expected, atol=0.01)
    assert [p[0].keypoints[0, 0] for p in people] == noses(smoothed)

    # The options that are not fixed take effect at once: hardly smoothed any more, from the next image on.
    assert graph.set_parameter("smoothing.min_cutoff", 100.0).successful
    assert not graph.set_parameter("smoothing.enabled", False).successful
    camera.show([(PLACE[0] + 15, PLACE[1])])
    graph.spin_until(lambda: len(smoothed) == 6)
    assert abs(noses(smoothed)[-1] - noses(camera.poses)[-1]) < 0.1
    assert process.end() == 0
    assert "Traceback" not in process.log


def test_there_is_no_such_topic_unless_wanted(graph: Graph, toy_models: Path) -> None:
    graph.start("tracker", {"inference.models": toy_models})
    Camera(graph).show([PLACE])
    assert "/tracker/poses" in dict(graph.node.get_topic_names_and_types())
    assert "/tracker/poses_smoothed" not in dict(graph.node.get_topic_names_and_types())
