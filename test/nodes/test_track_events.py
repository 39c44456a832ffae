"""Events of tracks over DDS, from the tracker's process."""

from __future__ import annotations

from pathlib import Path

from keytrack_ros.msg import TrackEvent, TrackEvents
from rclpy.qos import ReliabilityPolicy
from std_srvs.srv import Trigger

from test.nodes.camera import Camera
from test.nodes.graph import Graph

LEFT, RIGHT = (150.0, 200.0), (400.0, 300.0)


def rows(messages: list[TrackEvents]) -> list[tuple[float, str, list[tuple[int, int]]]]:
    """Stamp in seconds, frame and events of each message."""
    return [
        (
            round(message.header.stamp.sec + message.header.stamp.nanosec / 1e9, 3),
            message.header.frame_id,
            [(event.track_id, event.type) for event in message.events],
        )
        for message in messages
    ]


def test_the_life_of_two_people(graph: Graph, toy_models: Path) -> None:
    parameters = {"tracker.confirm_frames": 2, "tracker.lost_s": 0.5, "toks.enabled": False}
    process = graph.start("tracker", {"inference.models": toy_models, **parameters})
    heard = graph.listen(TrackEvents, "/tracker/track_events")
    camera = Camera(graph)
    graph.spin_until(lambda: graph.node.count_publishers("/tracker/track_events"))
    offered = graph.node.get_publishers_info_by_topic("/tracker/track_events")[0].qos_profile
    assert offered.reliability == ReliabilityPolicy.RELIABLE

    for stamp_s in (10.0, 10.1, 10.2):
        camera.show([LEFT], stamp_s=stamp_s)
    camera.show([LEFT, RIGHT], stamp_s=10.3)  # seen once: ends without ever being published
    camera.show([], stamp_s=10.4)
    camera.show([LEFT], stamp_s=10.5)
    graph.call(Trigger, "/tracker/reset", Trigger.Request())
    camera.show([LEFT], stamp_s=10.6)
    camera.show([], stamp_s=11.3)

    graph.spin_until(lambda: sum(len(message.events) for message in heard) == 9)
    born, confirmed, lost = TrackEvent.BORN, TrackEvent.CONFIRMED, TrackEvent.LOST
    assert rows(heard) == [
        (10.0, "camera", [(1, born)]),
        (10.1, "camera", [(1, confirmed)]),
        (10.3, "camera", [(2, born)]),
        (10.4, "camera", [(1, lost)]),
        (10.5, "camera", [(1, TrackEvent.REBORN)]),
        (10.6, "camera", [(1, TrackEvent.ENDED), (2, TrackEvent.ENDED), (3, born)]),
        (11.3, "camera", [(3, TrackEvent.ENDED)]),
    ]
    assert process.end() == 0
    assert "Traceback" not in process.log


def test_each_camera_of_a_process_has_its_own(graph: Graph, toy_models: Path) -> None:
    graph.start("cameras", {"cameras": ["front", "rear"], "inference.models": toy_models})
    front, rear = (graph.listen(TrackEvents, f"/{name}/tracker/track_events") for name in ("front", "rear"))
    camera = Camera(graph, "/front/image", "/front/tracker")
    graph.spin_until(lambda: graph.node.count_publishers("/front/tracker/track_events"))
    camera.show([LEFT, RIGHT])
    graph.spin_until(lambda: front)
    assert [(event.track_id, event.type) for event in front[0].events] == [
        (1, TrackEvent.BORN),
        (1, TrackEvent.CONFIRMED),
        (2, TrackEvent.BORN),
        (2, TrackEvent.CONFIRMED),
    ]
    assert not rear
