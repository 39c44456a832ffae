"""The image subscription receives what cameras offer, also when that changes; silence is explained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from keytrack_ros.msg import TrackedPoseArray
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from keytrack_ros.nodes.subscribing import LossCounter
from test.nodes.camera import Camera, picture
from test.nodes.graph import REPOSITORY, Graph, image_message
from test.toy import draw_frame

PLACES = [(150.0, 200.0), (400.0, 300.0)]
RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


def camera(graph: Graph, reliability: ReliabilityPolicy) -> Publisher:
    return graph.node.create_publisher(Image, "/image", QoSProfile(depth=1, reliability=reliability))


def poses_arrive(graph: Graph, publisher: Publisher, poses: list[Any]) -> None:
    """Publishes until poses come: over best effort, and before discovery, images may be lost."""
    before = len(poses)

    def tried() -> bool:
        publisher.publish(image_message(picture(PLACES), graph.node.get_clock().now().nanoseconds / 1e9))
        return len(poses) > before

    graph.spin_until(tried)


def requested(graph: Graph) -> list[ReliabilityPolicy]:
    """The reliability of the tracker's image subscription, as the graph knows it."""
    return [info.qos_profile.reliability for info in graph.node.get_subscriptions_info_by_topic("/image")]


def test_auto_follows_the_cameras_as_they_come_and_go(graph: Graph, toy_models: Path) -> None:
    process = graph.start("tracker", {"inference.models": toy_models})
    poses = graph.listen(TrackedPoseArray, "/tracker/poses")
    graph.spin_until(lambda: requested(graph) == [RELIABLE])

    first = camera(graph, BEST_EFFORT)
    poses_arrive(graph, first, poses)
    assert requested(graph) == [BEST_EFFORT]
    assert process.log.count("subscribed to /image as best_effort, as its publishers offer it") == 1

    second = camera(graph, RELIABLE)  # beside a best-effort publisher, only best effort receives both
    poses_arrive(graph, second, poses)
    assert requested(graph) == [BEST_EFFORT]

    graph.node.destroy_publisher(first)
    graph.spin_until(lambda: requested(graph) == [RELIABLE])
    poses_arrive(graph, second, poses)
    assert process.log.count("subscribed to /image as reliable, as its publishers offer it") == 1

    graph.node.destroy_publisher(second)
    third = camera(graph, BEST_EFFORT)
    poses_arrive(graph, third, poses)
    assert "offers another reliability" not in process.log
    assert graph.change_state("deactivate")
    assert graph.change_state("activate")
    poses_arrive(graph, third, poses)
    assert process.end() == 0
    assert "Traceback" not in process.log


def test_images_missed_while_the_subscription_is_made_again_are_counted(graph: Graph, toy_models: Path) -> None:
    if not graph.names_publishers():
        pytest.skip("messages of this ROS release do not tell who sent them")
    graph.start("tracker", {"inference.models": toy_models, "toks.enabled": False})
    tracker = Camera(graph)
    tracker.show(PLACES)
    other = camera(graph, BEST_EFFORT)
    sent = 1
    while requested(graph) != [BEST_EFFORT]:
        tracker.publish(picture(PLACES))
        sent += 1
    graph.node.destroy_publisher(other)
    graph.spin_until(lambda: requested(graph) == [RELIABLE])
    ends = ("frames_processed", "frames_dropped", "frames_lost")

    def accounted() -> bool:
        nonlocal sent
        if sum(map(graph.count, ends)) == sent:
            return True
        before = graph.diagnostics_stamp_ns
        tracker.publish(picture(PLACES))  # the gap before it is counted when it arrives
        sent += 1
        graph.spin_until(lambda: graph.diagnostics_stamp_ns > before)
        return False

    graph.spin_until(accounted)


@pytest.mark.parametrize("value", ["best_effort", "reliable"])
def test_qos_overrides_take_precedence(graph: Graph, toy_models: Path, value: str) -> None:
    parameters = {"inference.models": toy_models, "qos_overrides./image.subscription.reliability": value}
    process = graph.start("tracker", parameters)
    wanted = [ReliabilityPolicy[value.upper()]]
    graph.spin_until(lambda: requested(graph) == wanted)
    assert graph.get_parameter("qos_overrides./image.subscription.reliability") == value
    publisher = camera(graph, BEST_EFFORT)
    if value == "best_effort":
        poses_arrive(graph, publisher, graph.listen(TrackedPoseArray, "/tracker/poses"))
    else:
        graph.spin_until(lambda: "a publisher of /image offers another reliability" in process.log)
    assert requested(graph) == wanted


def test_large_best_effort_images_arrive_with_the_fast_dds_profile(
    graph: Graph, toy_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the profile 0 to 26 of 51 arrive at 640x480. In lock-step, so that none is overtaken by a newer one.
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):  # the latter until Jazzy
        monkeypatch.setenv(name, str(REPOSITORY / "config" / "fastdds_large_images.xml"))
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(20):
        cv2.imwrite(str(folder / f"{number}.png"), draw_frame(PLACES, (1280, 720)))
    pace = {"pace_topic": "/tracker/poses", "pace_timeout_s": 3.0}
    graph.start("tracker", {"inference.models": toy_models}, ros_args=["-r", "image:=image_raw"])
    player = graph.start("video", {"source": folder, "reliability": "best_effort", **pace})
    # The first goes out when the tracker is discovered, which may not have discovered the camera yet; and best effort
    # promises nothing, least of all on a busy machine.
    graph.spin_until(lambda: player.exit_code == 0 and graph.count("frames_processed") >= 15)


def explained(graph: Graph, text: str) -> Callable[[], bool]:
    return lambda: text in graph.diagnostics.get("message", "")


def test_silence_is_explained(graph: Graph, toy_models: Path) -> None:
    parameters = {"inference.models": toy_models, "no_image_warning_s": 0.1, "reliability": "reliable"}
    process = graph.start("tracker", parameters)
    start = "nothing has arrived on /image (sensor_msgs/msg/Image, reliable): "
    graph.spin_until(explained(graph, f"{start}nobody publishes it; no topic of that type is published"))
    assert graph.diagnostics_level == b"\x01"  # WARN
    assert f"{start}nobody publishes it" in process.log  # the log repeats it every 10 s only

    elsewhere = graph.node.create_publisher(Image, "/front/image_raw", 1)
    graph.spin_until(explained(graph, "that type is published on /front/image_raw"))
    graph.node.destroy_publisher(elsewhere)

    transport = graph.node.create_publisher(CompressedImage, "/image/compressed", 1)
    graph.spin_until(
        explained(graph, "/image/compressed is published: set the parameter image_transport to compressed")
    )
    graph.node.destroy_publisher(transport)

    other_type = graph.node.create_publisher(CompressedImage, "/image", 1)
    graph.spin_until(explained(graph, "/test as sensor_msgs/msg/CompressedImage, which is another"))
    graph.node.destroy_publisher(other_type)

    camera(graph, BEST_EFFORT)
    graph.spin_until(explained(graph, "/test publishes best_effort; set the parameter reliability to auto"))
    graph.spin_until(lambda: "a publisher of /image offers another reliability" in process.log)
    assert "qos_overrides./image.subscription.reliability" in process.log

    source = Camera(graph)
    assert graph.set_parameter("no_image_warning_s", 5.0).successful  # images come one by one now
    graph.spin_until(lambda: source.show(PLACES) and graph.diagnostics.get("message", "") == "active")
    assert graph.diagnostics_level == b"\x00"


def test_silence_of_a_best_effort_camera_names_the_fast_dds_profile(graph: Graph, toy_models: Path) -> None:
    graph.start("tracker", {"inference.models": toy_models, "no_image_warning_s": 0.1})
    camera(graph, BEST_EFFORT)
    graph.spin_until(explained(graph, "FASTDDS_DEFAULT_PROFILES_FILE=<share folder of keytrack_ros>/config/fastdds_l"))
    assert (REPOSITORY / "config" / "fastdds_large_images.xml").is_file()


def counted(infos: list[dict[str, Any]], publishers: int = 1) -> int:
    """How many messages a counter takes for lost."""
    gaps: list[int] = []
    counter = LossCounter(gaps.append, lambda: publishers)
    for info in infos:
        counter.receive(info)
    return sum(gaps)


def info(number: int, publisher: bytes | None = None) -> dict[str, Any]:
    known = {} if publisher is None else {"publisher_gid": {"data": list(publisher)}}
    return {"publication_sequence_number": number, **known}


def test_gaps_are_counted_for_each_publisher() -> None:
    assert counted([info(5, b"a"), info(6, b"a"), info(100, b"b"), info(9, b"a"), info(101, b"b")], 2) == 2


def test_without_publisher_ids_gaps_are_counted_while_there_is_one_publisher() -> None:
    # As in ROS 2 Jazzy.
    assert counted([info(5), info(6), info(10)]) == 3
    assert counted([info(5), info(100), info(7), info(103)], publishers=2) == 0


def test_a_restarted_publisher_and_missing_numbers_count_as_no_loss() -> None:
    assert counted([info(500, b"a"), info(1, b"a"), info(2, b"a")]) == 0
    assert counted([{}, {"publication_sequence_number": None}]) == 0
