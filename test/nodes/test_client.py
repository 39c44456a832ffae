"""The client at trackers, over DDS."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from keytrack_ros.msg import TrackedPoseArray, TrackEvents
from keytrack_ros.msg import TrackEvent as TrackEventMessage
from rclpy.publisher import Publisher

from keytrack_ros.client import EventKind, People, PeopleClient, TrackEvent, TrackState
from keytrack_ros.client.client import _PUBLISHERS
from test.nodes.camera import IMAGE_SIZE, Camera
from test.nodes.graph import REPOSITORY, Graph
from test.nodes.tracker_messages import poses_message

SECOND = (500.0, 300.0)


def velocity(people: People, track_id: int) -> tuple[float, float] | None:
    return next(person.velocity for person in people if person.track_id == track_id)


def test_people_and_events_of_a_tracker_that_starts_later_and_starts_again(graph: Graph, toy_models: Path) -> None:
    heard: list[People] = []
    events: list[TrackEvent] = []
    client = PeopleClient(graph.node, on_people=heard.append, on_event=events.append)
    process = graph.start("tracker", {"inference.models": toy_models})
    camera = Camera(graph)
    graph.spin_until(lambda: graph.node.count_publishers("/tracker/track_events"))
    for number in range(11):
        camera.show([(150.0 + 16 * number, 200.0), SECOND])
    graph.spin_until(lambda: len(heard) == 11 and len(events) == 4)
    people = sorted(heard[-1], key=lambda person: person.box[0])
    assert [(person.track_id, person.state, person.age) for person in people] == [
        (1, TrackState.CONFIRMED, 10),
        (2, TrackState.CONFIRMED, 10),
    ]
    assert people[0].stamp == heard[-1].stamp == pytest.approx(camera.stamp_s, abs=1e-6)
    assert heard[-1].image_size == IMAGE_SIZE
    # The toy detector's boxes are on a grid of 5 pixels.
    assert people[0].velocity == pytest.approx((53, 0), abs=7)
    assert people[1].velocity == pytest.approx((0, 0), abs=1)
    assert set(events) == {TrackEvent(i, kind) for i in (1, 2) for kind in (EventKind.BORN, EventKind.CONFIRMED)}

    assert process.end() == 0
    graph.spin_until(lambda: not graph.node.count_publishers("/tracker/poses"))
    before = len(heard)
    graph.start("tracker", {"inference.models": toy_models})
    graph.spin_until(lambda: graph.node.count_publishers("/tracker/poses"))
    graph.spin_until(lambda: camera.publisher.get_subscription_count() == 1)
    again = Camera(graph)
    again.stamp_s = camera.stamp_s + 0.1  # well within the second for which velocities are remembered
    again.show([SECOND])
    graph.spin_until(lambda: len(heard) > before)
    (person,) = heard[-1]
    assert (person.track_id, person.age, person.velocity) == (1, 0, None)
    client.close()


def test_two_trackers_on_one_topic_do_not_mix(graph: Graph) -> None:
    if not graph.names_publishers():
        pytest.skip("messages of this ROS release do not tell who sent them")
    # Both have an id 1, at other places, with other velocities, and of clocks that differ by an hour.
    heard: list[People] = []
    PeopleClient(graph.node, "here", on_people=heard.append)
    one, other = (graph.publisher(TrackedPoseArray, "/here/poses") for _ in range(2))
    for number in range(6):
        one.publish(poses_message(100 + number / 10, {1: (100 + 5 * number, 200)}, age=number))
        graph.spin_until(lambda sent=2 * number + 1: len(heard) == sent)
        other.publish(poses_message(3700 + number / 10, {1: (700 - 20 * number, 300)}, age=number))
        graph.spin_until(lambda sent=2 * number + 2: len(heard) == sent)
    assert velocity(heard[-2], 1) == pytest.approx((50, 0), abs=0.01)
    assert velocity(heard[-1], 1) == pytest.approx((-200, 0), abs=0.01)


def test_without_the_publishers_name_two_trackers_have_no_velocity(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on ROS 2 Humble: messages do not tell who sent them.
    monkeypatch.setattr("keytrack_ros.client.client._NAMES_PUBLISHERS", False)
    heard: list[People] = []
    PeopleClient(graph.node, "here", on_people=heard.append)
    one = graph.publisher(TrackedPoseArray, "/here/poses")

    def walk(publisher: Publisher, first: int, speed: float) -> tuple[float, float] | None:
        for number in range(first, first + 4):
            before = len(heard)
            publisher.publish(poses_message(100 + number / 10, {1: (400 + speed * number / 10, 200)}, age=number))
            graph.spin_until(lambda sent=before: len(heard) > sent)
        return velocity(heard[-1], 1)

    assert walk(one, 0, 50.0) == pytest.approx((50, 0), abs=0.01)
    other = graph.publisher(TrackedPoseArray, "/here/poses")
    graph.spin_until(lambda: graph.node.count_publishers("/here/poses") == 2)
    assert walk(other, 4, -20.0) is None
    graph.node.destroy_publisher(other)
    graph.spin_until(lambda: graph.node.count_publishers("/here/poses") == 1)
    assert walk(one, 0, 50.0) == pytest.approx((50, 0), abs=0.01)  # its stamps and ages have gone back


def test_publishers_that_come_and_go_are_forgotten(graph: Graph) -> None:
    if not graph.names_publishers():
        pytest.skip("messages of this ROS release do not tell who sent them")
    heard: list[People] = []
    client = PeopleClient(graph.node, "here", on_people=heard.append)
    for number in range(_PUBLISHERS + 3):
        publisher = graph.publisher(TrackedPoseArray, "/here/poses")
        publisher.publish(poses_message(100 + number / 10, {1: (100, 200)}, age=number))
        graph.spin_until(lambda sent=number + 1: len(heard) == sent)
        graph.node.destroy_publisher(publisher)
    assert len(client._velocities) == _PUBLISHERS


def test_the_tutorials_node_runs_as_it_stands(graph: Graph) -> None:
    tutorial = (REPOSITORY / "docs" / "tutorials" / "people.md").read_text(encoding="utf-8")
    example, _ = re.findall(r"```python\n(.*?)```", tutorial, re.DOTALL)
    process = graph.start_code(example)
    poses = graph.publisher(TrackedPoseArray, "/tracker/poses")
    events = graph.publisher(TrackEvents, "/tracker/track_events")
    poses.publish(poses_message(1.0, {7: (100, 200)}))
    graph.spin_until(lambda: "person 7 at [ 70. 120.], moving None" in process.log)
    events.publish(TrackEvents(events=[TrackEventMessage(track_id=7, type=TrackEventMessage.CONFIRMED)]))
    graph.spin_until(lambda: "hello, 7" in process.log)


def test_the_client_loads_no_network_code() -> None:
    code = "import sys, keytrack_ros.client; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert not {"onnxruntime", "cv2", "torch", "scipy", "rosbags"} & set(done.stdout.split())


def test_nothing_comes_after_the_end(graph: Graph) -> None:
    heard: list[People] = []
    others: list[People] = []
    client = PeopleClient(graph.node, "here", on_people=heard.append)
    PeopleClient(graph.node, "here", on_people=others.append)
    publisher = graph.publisher(TrackedPoseArray, "/here/poses", readers=2)
    publisher.publish(poses_message(1.0, {}))
    graph.spin_until(lambda: heard and others)
    client.close()
    publisher.publish(poses_message(1.1, {}))
    graph.spin_until(lambda: len(others) == 2)
    assert len(heard) == 1
