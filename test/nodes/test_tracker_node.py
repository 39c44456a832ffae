"""The running tracker, in a process of its own, fed over DDS."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keytrack_ros.msg import SkeletonInfo
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import Marker, MarkerArray

from keytrack_ros.nodes.messages import NANOSECONDS
from keytrack_ros.skeleton import NAMES
from test.nodes.camera import IMAGE_SIZE, KEEP_ALL_POSES, Camera, ids_by_place, picture, stamps_ns
from test.nodes.graph import Graph, Process
from test.nodes.test_images import message as encoded
from test.toy import walk

PLACES = [(150.0, 200.0), (400.0, 300.0)]


@pytest.fixture(scope="module")
def process(shared_graph: Graph, toy_models: Path) -> Process:
    return shared_graph.start("tracker", {"inference.models": toy_models, **KEEP_ALL_POSES})


@pytest.fixture(scope="module")
def shared_camera(shared_graph: Graph, process: Process) -> Camera:
    assert process.exit_code is None
    return Camera(shared_graph)


@pytest.fixture
def camera(shared_camera: Camera, process: Process) -> Iterator[Camera]:
    """The camera, with all tracks reset; the tracker must outlive every test."""
    shared_camera.graph.call(Trigger, "/tracker/reset", Trigger.Request())
    shared_camera.stamp_s += 60
    yield shared_camera
    assert process.exit_code is None, process.log
    assert "Traceback" not in process.log


def settled(graph: Graph) -> int:
    """Frames received, once diagnostics that are newer than now account for all of them."""
    now_ns = graph.node.get_clock().now().nanoseconds + NANOSECONDS // 20  # counts are a little older than their stamp

    def accounted() -> bool:
        ends = ("frames_processed", "frames_dropped", "frames_rejected")
        return graph.diagnostics_stamp_ns > now_ns and graph.count("frames_received") == sum(map(graph.count, ends))

    graph.spin_until(accounted)
    return graph.count("frames_received")


def test_people_keep_their_ids_and_every_message_its_header(camera: Camera) -> None:
    seen = []
    for number, places in enumerate(walk(20, 3)):
        message = camera.show(places, frame_id=f"camera_{number % 2}")
        assert message.header.frame_id == f"camera_{number % 2}"
        assert stamps_ns([message]) == [round(camera.stamp_s * NANOSECONDS)]
        assert (message.image_width, message.image_height) == IMAGE_SIZE
        assert [pose.age for pose in message.poses] == [number] * 3
        seen.append(ids_by_place(message))
    assert len(set(seen[0])) == 3
    assert seen == [seen[0]] * 20


def test_an_empty_scene_gives_empty_arrays(camera: Camera) -> None:
    before = len(camera.poses)
    for _ in range(3):
        assert camera.show([]).poses == []
    assert len(camera.poses) == before + 3


def test_a_flood_is_processed_in_order_and_every_frame_accounted_for(camera: Camera) -> None:
    graph = camera.graph
    camera.show([])
    received = settled(graph)
    counts = {key: graph.count(key) for key in ("frames_processed", "frames_dropped", "frames_lost")}
    before = len(camera.poses)
    sent = []
    for places in walk(200, 2):
        camera.publish(picture(places))
        sent.append(round(camera.stamp_s * NANOSECONDS))
    graph.spin_until(lambda: stamps_ns(camera.poses[-1:]) == sent[-1:])
    stamps = stamps_ns(camera.poses[before:])
    assert stamps == sorted(set(stamps))
    assert set(stamps) <= set(sent)

    total = settled(graph)
    processed, dropped, lost = (graph.count(key) - counts[key] for key in counts)
    assert processed == len(stamps)
    assert total - received == processed + dropped
    assert total - received + lost == 200


def test_the_reason_of_a_rejection_is_said(process: Process, camera: Camera) -> None:
    bad = camera.publish(picture([]))
    bad.encoding = "32FC1"
    reason = "image rejected: encoding '32FC1' (a depth image) cannot be shown as a colour image"

    def said() -> bool:
        camera.publish_message(bad)  # the warning is throttled
        return reason in process.log

    camera.graph.spin_until(said)
    camera.show([])  # what was sent before it has arrived now
    settled(camera.graph)


BAD = {
    "zero_width": {"width": 0},
    "zero_height": {"height": 0},
    "short_step": {"step": 100},
    "missing_data": {"data": array("B", bytes(1000))},
    "too_much_data": {"data": array("B", bytes(256 * 192 * 3 + 1))},
    "depth": {"encoding": "32FC1", "step": 256 * 4, "data": array("B", bytes(256 * 192 * 4))},
    "unknown_encoding": {"encoding": "rainbow"},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD.keys())
def test_a_bad_image_is_counted_and_the_next_good_one_tracked(camera: Camera, fields: dict[str, Any]) -> None:
    graph = camera.graph
    settled(graph)
    rejected, before = graph.count("frames_rejected.image"), len(camera.poses)
    bad = camera.publish(picture([]), stamp_s=camera.stamp_s)  # a good one first, so that the tracker is idle
    graph.spin_until(lambda: len(camera.poses) == before + 1)
    for name, value in fields.items():
        setattr(bad, name, value)
    camera.publish_message(bad)
    graph.spin_until(lambda: graph.count("frames_rejected.image") == rejected + 1)
    assert graph.diagnostics["message"].startswith("images are rejected; so far: image ")
    assert graph.diagnostics_level == b"\x01"  # WARN
    assert len(camera.show(PLACES).poses) == 2
    assert len(camera.poses) == before + 2


@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "mono8", "mono16"])
def test_other_encodings_show_the_same_people(camera: Camera, encoding: str) -> None:
    frame = picture(PLACES)
    channels = {"rgb8": 3, "bgra8": 4, "mono8": 1, "mono16": 1}[encoding]
    pixels = np.repeat(frame[..., :1], channels, 2)
    if encoding == "mono16":
        pixels = pixels.astype(np.uint16) * 257
    before = len(camera.poses)
    camera.publish_message(encoded(encoding, pixels, padding=4))
    camera.graph.spin_until(lambda: len(camera.poses) > before)
    assert len(camera.poses[-1].poses) == 2


def test_reset_gives_everyone_a_new_id(camera: Camera) -> None:
    first = ids_by_place(camera.show(PLACES))
    assert ids_by_place(camera.show(PLACES)) == first
    response = camera.graph.call(Trigger, "/tracker/reset", Trigger.Request())
    assert response.success
    again = camera.show(PLACES)
    assert min(ids_by_place(again)) > max(first)
    assert [pose.age for pose in again.poses] == [0, 0]


def test_disabled_it_does_not_even_subscribe(camera: Camera) -> None:
    graph = camera.graph
    camera.show(PLACES)
    assert graph.call(SetBool, "/tracker/enable", SetBool.Request(data=False)).success
    graph.spin_until(lambda: camera.publisher.get_subscription_count() == 0)
    # Nobody misses the images then: no warning.
    graph.spin_until(lambda: graph.diagnostics.get("state", "") == "disabled" and graph.diagnostics_level == b"\x00")
    assert graph.call(SetBool, "/tracker/enable", SetBool.Request(data=True)).success
    graph.spin_until(lambda: camera.publisher.get_subscription_count() == 1)
    assert len(camera.show(PLACES).poses) == 2


def test_a_live_parameter_takes_effect(camera: Camera) -> None:
    graph = camera.graph
    first = ids_by_place(camera.show(PLACES))
    assert graph.set_parameter("tracker.match_threshold", 1.0).successful
    other = ids_by_place(camera.show(PLACES))
    assert not set(other) & set(first)  # nobody is that alike: everyone begins a new track
    assert graph.set_parameter("tracker.match_threshold", 0.5).successful
    assert ids_by_place(camera.show(PLACES)) == other


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("toks.dilation", 5.0, "Max: 2.0"),
        ("tracker.candidates", 0, "Min: 1"),
        ("toks.enabled", "often", "'often' is a str; a bool is needed"),
        ("inference.models", "/elsewhere", "inference.models cannot be changed now"),
        ("image_transport", "compressed", "cleanup"),
        ("tracker.candidats", 3, "undeclared"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_with_the_reason(
    camera: Camera, name: str, value: object, reason: str
) -> None:
    before = camera.graph.get_parameter("toks.dilation")
    result = camera.graph.set_parameter(name, value)
    assert not result.successful
    assert reason in result.reason
    assert camera.graph.get_parameter("toks.dilation") == before


def test_late_images_are_dropped_and_counted(camera: Camera, process: Process) -> None:
    graph = camera.graph
    settled(graph)
    late, before = graph.count("frames_rejected.late"), len(camera.poses)
    ids = ids_by_place(camera.show(PLACES))
    now = camera.stamp_s
    camera.publish(picture(PLACES), stamp_s=now - 0.5)
    graph.spin_until(lambda: graph.count("frames_rejected.late") == late + 1)
    assert "image dropped: its stamp is 0.500 s before that of the last" in process.log
    assert ids_by_place(camera.show(PLACES, stamp_s=now + 0.1)) == ids
    assert len(camera.poses) == before + 2


def test_tracks_are_reset_once_a_second_stamp_confirms_that_time_went_back(camera: Camera, process: Process) -> None:
    ids = ids_by_place(camera.show(PLACES))
    now = camera.stamp_s
    assert ids_by_place(camera.show(PLACES, stamp_s=now - 30)) == ids
    assert "a stamp is 30.000 s before that of the last; the time of arrival is used" in process.log
    again = camera.show(PLACES)
    assert min(ids_by_place(again)) > max(ids)
    camera.graph.spin_until(lambda: "stamps jumped back by 29.900 s; all tracks are reset" in process.log)
    assert ids_by_place(camera.show(PLACES)) == ids_by_place(again)
    camera.stamp_s = now


@pytest.mark.parametrize("bad", [0.0, 5.0, 1e9], ids=["unset", "far_back", "far_ahead"])
def test_one_bad_stamp_among_good_ones_changes_no_id(camera: Camera, bad: float) -> None:
    ids = ids_by_place(camera.show(PLACES))
    for _ in range(3):
        camera.show(PLACES)
    now = camera.stamp_s
    message = camera.show(PLACES, stamp_s=bad)
    assert stamps_ns([message]) == [round(bad * NANOSECONDS)]  # the header goes out unchanged
    assert ids_by_place(message) == ids
    camera.stamp_s = now + 0.1
    for _ in range(3):
        assert ids_by_place(camera.show(PLACES)) == ids


@pytest.mark.parametrize("stamp_s", [0.0, 7.0], ids=["never_set", "standing"])
def test_people_who_move_keep_their_ids_without_usable_stamps(camera: Camera, process: Process, stamp_s: float) -> None:
    graph, now = camera.graph, camera.stamp_s
    settled(graph)  # frames of the test before are in the counts now
    unstamped = graph.count("frames_unstamped")
    messages = [camera.show(places, stamp_s=stamp_s) for places in walk(10, 2)]
    assert [ids_by_place(message) for message in messages] == [ids_by_place(messages[0])] * 10
    assert set(stamps_ns(messages)) == {round(stamp_s * NANOSECONDS)}
    settled(graph)
    assert graph.count("frames_unstamped") - unstamped == (0 if stamp_s else 10)
    said = (
        "stamps stand still at 7.000 s; times of arrival" if stamp_s else "an image has no stamp; the time of its arr"
    )
    assert said in process.log
    camera.stamp_s = now


def test_a_new_image_size_begins_anew(camera: Camera, process: Process) -> None:
    ids = ids_by_place(camera.show(PLACES))
    large = camera.show(PLACES, size=(320, 240))
    assert (large.image_width, large.image_height) == (320, 240)
    assert not set(ids_by_place(large)) & set(ids)
    assert "image size changed from 256x192 to 320x240" in process.log


def test_skeleton_info_reaches_late_subscribers(camera: Camera) -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    infos = camera.graph.listen(SkeletonInfo, "/tracker/skeleton_info", latched)
    camera.graph.spin_until(lambda: infos)
    assert tuple(infos[0].names) == NAMES


def test_debug_image_and_markers_come_to_those_who_subscribe(camera: Camera) -> None:
    graph = camera.graph
    images = graph.listen(Image, "/tracker/debug_image")
    markers = graph.listen(MarkerArray, "/tracker/markers")
    graph.spin_until(lambda: camera.show(PLACES) and images and markers)
    assert images[-1].header.frame_id == markers[-1].markers[0].header.frame_id == "camera"
    assert (images[-1].width, images[-1].height, images[-1].encoding) == (*IMAGE_SIZE, "bgr8")
    drawn = np.frombuffer(images[-1].data, np.uint8).reshape(IMAGE_SIZE[1], IMAGE_SIZE[0], 3)
    colourful = np.ptp(drawn.astype(int), axis=2) > 30  # the scene itself is black and white
    assert colourful.sum() > 200
    assert [m.action for m in markers[-1].markers] == [Marker.DELETEALL] + [Marker.ADD] * 6


def test_diagnostics_tell_rates_times_and_networks(camera: Camera) -> None:
    graph = camera.graph
    graph.spin_until(lambda: camera.show(PLACES) and float(graph.diagnostics.get("fps", 0)) > 0)
    values = graph.diagnostics
    assert values["name"] == "/tracker: people tracking"
    assert values["state"] == "active"
    assert values["people"] == "2"
    for stage in ("conversion", "detection", "estimation", "toks", "tracking", "publication", "total"):
        median, high = float(values[f"{stage}_ms_p50"]), float(values[f"{stage}_ms_p95"])
        assert 0 <= median <= high, stage
    assert float(values["total_ms_p50"]) >= float(values["detection_ms_p50"]) > 0
    networks = {task: values[f"network.{task}"] for task in ("detection", "pose", "matching")}
    assert networks["detection"].startswith("toy_detector ")
    assert all(len(text.split()[-1]) == 12 for text in networks.values())
