"""Video in messages, to a running tracker over DDS: every packet counts, the newest frame is tracked."""

from __future__ import annotations

import importlib
import importlib.util
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from keytrack_ros.msg import TrackedPoseArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage

from keytrack_ros.nodes.messages import stamp_to_ns
from test.media.video_files import encode
from test.nodes.camera import KEEP_ALL_POSES
from test.nodes.graph import Graph, Process, image_message
from test.toy import draw_frame, keypoints_of, walk

KEY_EVERY = 8
PLACES = walk(1000, 2)[::5]  # 15 px a frame, twice the toy networks' error
TOPIC = "/camera/image_raw/compressed"


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return encode((draw_frame(places) for places in PLACES), KEY_EVERY)


class VideoCamera:
    """Publishes packets of the walk; the stamp of packet k is 100 + k / 10 seconds."""

    def __init__(self, graph: Graph, models: Path, **more: object) -> None:
        self.graph = graph
        # Where frames are dropped, TOKS may find people where they were in the frame before.
        parameters = {"inference.models": models, "image_transport": "compressed", "toks.enabled": False}
        parameters["tracker.birth_score"] = 0.5  # the toy detector's scores begin there
        parameters |= KEEP_ALL_POSES | more
        self.process = graph.start("tracker", parameters, ros_args=["-r", "image:=/camera/image_raw"])
        self.poses: list[TrackedPoseArray] = graph.listen(TrackedPoseArray, "/tracker/poses", 1000)
        graph.spin_until(lambda: graph.count("poses_subscribers") == 1)
        self.publisher = graph.publisher(CompressedImage, TOPIC, QoSProfile(depth=300))

    def publish(self, number: int, data: bytes) -> None:
        header = image_message(np.zeros((1, 1, 3), np.uint8), 100 + number / 10).header
        self.publisher.publish(CompressedImage(header=header, format="h264", data=data))

    def show(self, number: int, data: bytes) -> None:
        """Publishes and waits for the poses of this very frame."""
        self.publish(number, data)
        self.graph.spin_until(lambda: self.numbers()[-1:] == [number])

    def numbers(self) -> list[int]:
        """Which packets the poses are of."""
        return [round(stamp_to_ns(message.header.stamp) / 1e8) - 1000 for message in self.poses]

    def check(self) -> None:
        """People are where they are in that very frame, not in a neighbouring one."""
        for number, message in zip(self.numbers(), self.poses, strict=True):
            found = sorted([(k.x, k.y) for k in pose.keypoints] for pose in message.poses)
            np.testing.assert_allclose(found, [keypoints_of(*place) for place in PLACES[number]], atol=8)

    def settle(self, **counts: int) -> None:
        """Until the diagnostics account for all that was received, with these counts."""
        ends = ("frames_processed", "frames_dropped", "frames_rejected")
        graph = self.graph
        graph.spin_until(
            lambda: (
                graph.count("frames_received") == sum(map(graph.count, ends))
                and all(graph.count(f"frames_{name}".replace("_video", ".video")) == n for name, n in counts.items())
            )
        )


@pytest.fixture
def camera(graph: Graph, toy_models: Path) -> VideoCamera:
    return VideoCamera(graph, toy_models)


def ended(process: Process) -> str:
    assert process.end(signal.SIGTERM) == 0
    assert "Traceback" not in process.log
    return process.log


def test_people_in_h264_are_tracked_frame_by_frame(camera: VideoCamera, packets: list[bytes]) -> None:
    for number in range(20):
        camera.show(number, packets[number])
    assert camera.numbers() == list(range(20))
    camera.check()
    assert {pose.track_id for message in camera.poses for pose in message.poses} == {1, 2}
    camera.settle(processed=20, rejected_video=0)
    assert "key frame" not in ended(camera.process)


def test_every_packet_is_decoded_though_frames_are_dropped(camera: VideoCamera, packets: list[bytes]) -> None:
    for start in range(0, 200, 50):
        for number in range(start, start + 50):
            camera.publish(number, packets[number])
        camera.settle(received=start + 50, rejected_video=0, lost=0)
    camera.graph.spin_until(lambda: camera.numbers()[-1:] == [199])
    assert len(camera.poses) < 200
    assert camera.numbers() == sorted(set(camera.numbers()))
    camera.check()


def test_lost_packets_cost_the_frames_to_the_next_key_frame(
    graph: Graph, toy_models: Path, packets: list[bytes]
) -> None:
    # A queue of two overflows while the tracker is stopped.
    camera = VideoCamera(graph, toy_models, **{f"qos_overrides.{TOPIC}.subscription.depth": 2})
    camera.show(0, packets[0])
    camera.process.send(signal.SIGSTOP)
    for number in range(1, 192):
        camera.publish(number, packets[number])
    camera.process.send(signal.SIGCONT)
    camera.publisher.wait_for_all_acked()
    for number in range(192, 200):
        camera.show(number, packets[number])
    camera.check()
    graph.spin_until(lambda: graph.count("frames_received") + graph.count("frames_lost") == 200)
    camera.settle()
    assert graph.count("frames_lost") > 0
    assert graph.count("frames_rejected.video") > 0
    assert "waits for its next key frame: packets were lost" in ended(camera.process)


def test_a_stream_that_is_joined_midway_begins_at_its_next_key_frame(camera: VideoCamera, packets: list[bytes]) -> None:
    for number in range(3, 8):
        camera.publish(number, packets[number])
    for number in range(8, 12):
        camera.show(number, packets[number])
    assert camera.numbers() == [8, 9, 10, 11]
    camera.check()
    camera.settle(received=9, processed=4, rejected_video=5)
    log = ended(camera.process)
    assert log.count("waits for its next key frame") == 1
    assert f"{TOPIC}: the video (h264) waits for its next key frame: it begins between two of them" in log
    assert f"{TOPIC}: the video is decoded; 5 packets before it had no frame" in log


@pytest.mark.parametrize("garbage", [b"", b"shopping list" * 20, b"\0\0\0\1\x41" + bytes(range(256))])
def test_a_damaged_packet_costs_the_frames_to_the_next_key_frame(
    camera: VideoCamera, packets: list[bytes], garbage: bytes
) -> None:
    for number in range(3):
        camera.show(number, packets[number])
    camera.publish(3, garbage)
    for number in range(4, 8):
        camera.publish(number, packets[number])
    for number in range(8, 12):
        camera.show(number, packets[number])
    assert camera.numbers() == [0, 1, 2, 8, 9, 10, 11]
    camera.check()
    camera.settle(received=12, processed=7, rejected_video=5)
    log = ended(camera.process)
    assert log.count("waits for its next key frame: a packet is damaged") == 1
    assert "5 packets before it had no frame" in log


def grown(messages: list[TrackedPoseArray], before: int) -> bool:
    return len(messages) > before


@pytest.mark.parametrize(
    ("transport", "package", "name"),
    [("ffmpeg", "ffmpeg_image_transport_msgs", "FFMPEGPacket"), ("foxglove", "foxglove_msgs", "CompressedVideo")],
)
def test_packets_of_other_transports(
    graph: Graph, toy_models: Path, packets: list[bytes], transport: str, package: str, name: str
) -> None:
    parameters = {"inference.models": toy_models, "image_transport": transport}
    process = graph.start("tracker", parameters, ros_args=["-r", "image:=/camera/image_raw"])
    if importlib.util.find_spec(package) is None:
        assert process.wait() == 1
        line = f"{package}/msg/{name} is not installed; install the ROS package {package}"
        assert f"parameter image_transport: {line}" in process.log
        assert "Traceback" not in process.log
        return
    poses = graph.listen(TrackedPoseArray, "/tracker/poses")
    graph.spin_until(lambda: graph.count("poses_subscribers") == 1)
    message_type = getattr(importlib.import_module(f"{package}.msg"), name)
    publisher = graph.publisher(message_type, f"/camera/image_raw/{transport}")
    for number, packet in enumerate(packets[:5]):
        header = image_message(np.zeros((1, 1, 3), np.uint8), 100 + number, "front").header
        if transport == "ffmpeg":
            publisher.publish(message_type(header=header, encoding="libx264;bgr8", data=packet))
        else:
            publisher.publish(
                message_type(timestamp=header.stamp, frame_id=header.frame_id, format="h264", data=packet)
            )
        before = len(poses)
        graph.spin_until(partial(grown, poses, before))
        assert poses[-1].header == header
        assert len(poses[-1].poses) == 2
    ended(process)
