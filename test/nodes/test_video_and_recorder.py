"""Video and recorder beside the tracker: what goes in as a file comes out as a bag, through three processes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from keytrack_ros.msg import TrackedPoseArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from keytrack_ros.media.bag_reader import read_poses
from keytrack_ros.media.sources import open_source
from keytrack_ros.nodes.messages import NANOSECONDS
from test.media.test_bag_source import BASE_NS, write_bag
from test.media.test_bag_source import image_message as bag_image
from test.nodes.camera import IMAGE_SIZE, KEEP_ALL_POSES, Camera, picture, stamps_ns
from test.nodes.graph import Graph, Process, image_message
from test.toy import walk

FPS = 20.0
SMALL = (96, 72)


def write_video(file: Path, frames: list[Any], fps: float = FPS) -> Path:
    """An AVI of JPEG frames, which any OpenCV reads."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), fps, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return file


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """30 small grey frames; the brightness of each is 8 times its number."""
    frames = [np.full((SMALL[1], SMALL[0], 3), 8 * number, np.uint8) for number in range(30)]
    return write_video(tmp_path / "numbered.avi", frames)


KEEP_ALL = {"qos_overrides./image_raw.publisher.depth": 100}
"""On a busy machine the test may hear late; then no frame may have been overtaken by newer ones meanwhile."""


def numbers(images: list[Image]) -> list[int]:
    """Which frames of `numbered` these are."""
    return [round(float(np.mean(image.data)) / 8) for image in images]


def intervals_ns(messages: list[Any]) -> set[int]:
    return set(np.diff(stamps_ns(messages)).tolist())


def hear_to_the_end(graph: Graph, process: Process, images: list[Any], last: Callable[[], object]) -> None:
    """Until the node has ended and the test has heard all: what has arrived waits in queues when the process ends."""
    graph.spin_until(lambda: process.exit_code is not None and images and last())
    assert process.exit_code == 0, process.log


def test_a_video_is_published_whole_at_its_rate_and_the_node_ends(graph: Graph, numbered: Path) -> None:
    images = graph.listen(Image, "/image_raw")
    before = graph.node.get_clock().now().nanoseconds
    process = graph.start("video", {"source": numbered, "frame_id": "front", **KEEP_ALL})
    hear_to_the_end(graph, process, images, lambda: len(images) >= 30)
    now = graph.node.get_clock().now().nanoseconds
    assert f"published 30 frames of {numbered} in " in process.log
    assert numbers(images) == list(range(30))
    assert intervals_ns(images) == {round(NANOSECONDS / FPS)}
    assert {image.header.frame_id for image in images} == {"front"}
    # Paced by time: the last is not published before its time has come.
    assert before < stamps_ns(images)[0] < stamps_ns(images)[-1] < now


def test_clock_and_first_frame_wait_for_the_recorder_of_another_topic(
    graph: Graph, numbered: Path, tmp_path: Path
) -> None:
    images, clock = graph.listen(Image, "/image_raw"), graph.listen(Clock, "/clock")
    poses = graph.node.create_publisher(TrackedPoseArray, "/tracker/poses", 10)
    process = graph.start(
        "video",
        {
            **KEEP_ALL,
            **{"source": numbered, "stamps": "source", "publish_clock": True, "wait_for_topic": "tracker/poses"},
            "qos_overrides./clock.publisher.depth": 100,
        },
    )
    graph.spin_until(lambda: graph.node.count_publishers("/image_raw"))
    graph.spin_for(0.5)
    assert images == []
    recorder = graph.start("recorder", {"output": tmp_path / "bag", "use_sim_time": True})
    hear_to_the_end(
        graph, process, images, lambda: len(images) >= 30 and clock and clock[-1].clock == images[-1].header.stamp
    )
    assert numbers(images) == list(range(30))
    ticks = [message.clock.sec * NANOSECONDS + message.clock.nanosec for message in clock]
    assert ticks == stamps_ns(images)[-len(ticks) :]  # the test may have heard of /clock late
    assert ticks[-1] == round(29 / FPS * NANOSECONDS)

    def heard() -> bool:
        poses.publish(TrackedPoseArray())  # again and again: discovery may still be under way
        return "recording /tracker/poses" in recorder.log

    graph.spin_until(heard)
    assert recorder.end() == 0


def test_a_selection_at_another_rate_again_and_again(graph: Graph, numbered: Path) -> None:
    images = graph.listen(Image, "/image_raw")
    parameters = {"source": numbered, "start": 10, "every": 5, "frames": 3, "loop": True, "rate_hz": 50.0} | KEEP_ALL
    process = graph.start("video", parameters)
    graph.spin_until(lambda: len(images) >= 8)
    assert process.end() == 0
    assert numbers(images[:8]) == [10, 15, 20, 10, 15, 20, 10, 15]
    assert intervals_ns(images) == {20_000_000}  # stamps go on growing where the video begins again
    assert "Traceback" not in process.log


def test_as_fast_as_possible_is_faster_than_the_stamps_say(graph: Graph, numbered: Path) -> None:
    images = graph.listen(Image, "/image_raw")
    process = graph.start("video", {"source": numbered, "rate_hz": 0.1, "as_fast_as_possible": True, **KEEP_ALL})
    hear_to_the_end(graph, process, images, lambda: len(images) >= 30)
    assert "published 30 frames" in process.log
    assert numbers(images) == list(range(30))
    assert intervals_ns(images) == {10 * NANOSECONDS}


def test_a_folder_of_images_may_keep_the_time_of_the_source(graph: Graph, tmp_path: Path) -> None:
    for number in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((4, 6, 3), 8 * number, np.uint8))
    images = graph.listen(Image, "/image_raw")
    process = graph.start("video", {"source": tmp_path, "stamps": "source", "as_fast_as_possible": True, **KEEP_ALL})
    hear_to_the_end(graph, process, images, lambda: len(images) >= 3)
    assert numbers(images) == [1, 2, 10]
    assert stamps_ns(images) == [0, 40_000_000, 80_000_000]
    assert {image.header.frame_id for image in images} == {"camera"}


def test_it_waits_for_subscribers(graph: Graph, numbered: Path) -> None:
    process = graph.start("video", {"source": numbered, "rate_hz": 100.0, **KEEP_ALL})
    graph.spin_until(lambda: "waiting for 1 subscriber(s) on /image_raw" in process.log)
    images = graph.listen(Image, "/image_raw")
    hear_to_the_end(graph, process, images, lambda: len(images) >= 30)
    assert numbers(images) == list(range(30))


def test_a_truncated_video_is_published_as_far_as_it_goes(graph: Graph, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (72, 96, 3), np.uint8) for _ in range(40)]
    whole = write_video(tmp_path / "whole.avi", frames)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with open_source(cut) as source:
        readable = len(list(source))
    assert 0 < readable < 40
    images = graph.listen(Image, "/image_raw")
    process = graph.start("video", {"source": cut, "as_fast_as_possible": True})
    hear_to_the_end(graph, process, images, lambda: True)
    assert f"published {readable} frames" in process.log
    assert f"{cut}: ends at frame {readable} of " in process.log


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({}, "parameter source is empty"),
        ({"source": "/no/such.avi"}, "/no/such.avi: there is no such file or folder"),
        ({"source": __file__}, f"{__file__}: not a video"),
        ({"source": "x.avi", "stamps": "tomorrow"}, "parameter stamps: 'tomorrow' is none of now, source"),
    ],
)
def test_what_cannot_be_played_is_named_in_one_line(graph: Graph, parameters: dict[str, object], reason: str) -> None:
    process = graph.start("video", parameters)
    assert process.wait() == 1
    lines = [line for line in process.log.splitlines() if "[video]" in line]
    assert len(lines) == 1
    assert reason in lines[0]
    assert "Traceback" not in process.log


def test_lock_step_brings_every_frame_through_tracker_and_recorder(
    graph: Graph, toy_models: Path, tmp_path: Path
) -> None:
    people = walk(40, 2)
    people[20:23] = [[]] * 3  # an empty scene in between
    video = write_video(tmp_path / "walk.avi", [picture(places) for places in people])
    bag = tmp_path / "bag"
    recorder = graph.start(
        "recorder", {"output": bag, "topics": '["/tracker/poses"]', "image_topics": '["/image_raw"]'}
    )
    tracker = graph.start("tracker", {"inference.models": toy_models}, ros_args=["-r", "image:=/image_raw"])
    camera = Camera(graph, "/image_raw", readers=2)
    camera.stamp_s = graph.node.get_clock().now().nanoseconds / NANOSECONDS  # of one clock with the video's
    # Some frames beforehand, until everyone has found everyone.
    graph.spin_until(
        lambda: camera.show([]) and all(f"recording {t}\n" in recorder.log for t in ("/tracker/poses", "/image_raw"))
    )
    camera.poses.clear()
    # Both the tracker and the recorder get the images.
    player = graph.start(
        "video", {"source": video, "pace_topic": "/tracker/poses", "wait_for_subscribers": 2, "pace_timeout_s": 30.0}
    )
    graph.spin_until(lambda: player.exit_code is not None and len(camera.poses) >= len(people))
    assert (player.exit_code, tracker.end(), recorder.end()) == (0, 0, 0)
    assert "without poses in time" not in player.log

    stamps = stamps_ns(camera.poses)
    assert intervals_ns(camera.poses) == {round(NANOSECONDS / FPS)}
    recorded = [frame for frame in read_poses(bag) if frame.stamp_ns >= stamps[0]]
    assert [frame.stamp_ns for frame in recorded] == stamps
    assert [len(frame.poses) for frame in recorded] == [len(places) for places in people]
    assert {frame.size for frame in recorded} == {IMAGE_SIZE}
    assert {frame.frame_id for frame in recorded} == {"camera"}
    first, last = set(recorded[0].poses.track_ids.tolist()), set(recorded[19].poses.track_ids.tolist())
    assert len(first) == 2
    assert first == last
    with open_source(bag) as images:
        assert [frame.stamp_ns for frame in images if frame.stamp_ns >= stamps[0]] == stamps


@pytest.mark.parametrize(
    "later_s", [0.0, 1.5], ids=["while_it_waits_for_the_frame_to_arrive", "while_it_waits_for_poses"]
)
def test_a_signal_ends_the_video_at_once_though_the_tracker_was_killed(
    graph: Graph, toy_models: Path, tmp_path: Path, later_s: float
) -> None:
    # A killed subscriber neither acknowledges frames nor says that it is gone.
    video = write_video(tmp_path / "walk.avi", [picture(places) for places in walk(20, 2)])
    tracker = graph.start("tracker", {"inference.models": toy_models}, ros_args=["-r", "image:=/image_raw"])
    poses = graph.listen(TrackedPoseArray, "/tracker/poses")
    player = graph.start(
        "video", {"source": video, "pace_topic": "/tracker/poses", "loop": True, "pace_timeout_s": 30.0}
    )
    graph.spin_until(lambda: len(poses) > 5)
    tracker.kill()
    graph.spin_for(later_s)
    began = time.monotonic()
    assert player.end(signal.SIGINT) == 0
    # The node itself takes 0.1 s; the rest is its process's end, on a machine with other work.
    assert time.monotonic() - began < 2.0, player.log


def test_the_recorder_ends_after_so_many_messages(graph: Graph, tmp_path: Path) -> None:
    recorder = graph.start("recorder", {"output": tmp_path / "bag", "topics": '["/a/poses"]', "frames": 3})
    publisher = graph.publisher(TrackedPoseArray, "/a/poses")
    for second in range(5):
        header = image_message(np.zeros((1, 1, 3), np.uint8), second).header
        publisher.publish(TrackedPoseArray(header=header))
    assert recorder.wait() == 0
    assert "recorded into" in recorder.log
    assert [frame.stamp_ns for frame in read_poses(tmp_path / "bag")] == [s * NANOSECONDS for s in range(3)]


def test_frames_that_the_tracker_drops_are_counted_and_order_is_kept(
    graph: Graph, toy_models: Path, tmp_path: Path
) -> None:
    frames = 200
    video = write_video(tmp_path / "walk.avi", [picture(places) for places in walk(frames, 2)])
    parameters = {"inference.models": toy_models, **KEEP_ALL_POSES}
    graph.start("tracker", parameters, ros_args=["-r", "image:=/image_raw"])
    poses = graph.listen(TrackedPoseArray, "/tracker/poses", 1000)
    graph.meet()
    player = graph.start("video", {"source": video, "as_fast_as_possible": True})
    graph.spin_until(lambda: player.exit_code is not None)
    graph.spin_until(
        lambda: (
            graph.count("frames_received") > 0
            and graph.count("frames_received") == graph.count("frames_processed") + graph.count("frames_dropped")
            and graph.count("frames_processed") == len(poses)
            and graph.diagnostics.get("fps") == "0.00"  # nothing is under way any more
        )
    )
    assert f"published {frames} frames" in player.log
    assert graph.count("frames_received") + graph.count("frames_lost") <= frames
    stamps = stamps_ns(poses)
    assert stamps == sorted(set(stamps))
    steps = np.diff(stamps) / (NANOSECONDS / FPS)
    np.testing.assert_allclose(steps, steps.round())
    # With depth 1 it is the newest frame that is kept, so the last one is always processed.
    assert (stamps[-1] - stamps[0]) / (NANOSECONDS / FPS) + 1 <= frames


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_the_bag_properly(graph: Graph, tmp_path: Path, number: signal.Signals) -> None:
    bag = tmp_path / "bag"
    recorder = graph.start("recorder", {"output": bag, "image_topics": '["/image/compressed"]'})
    publisher = graph.publisher(TrackedPoseArray, "/tracker/poses")
    images = graph.publisher(CompressedImage, "/image/compressed")
    for second in range(5):
        header = image_message(np.zeros((1, 1, 3), np.uint8), second).header
        publisher.publish(TrackedPoseArray(header=header, image_width=8, image_height=6))
        data = cv2.imencode(".png", np.full((6, 8, 3), second, np.uint8))[1]
        images.publish(CompressedImage(header=header, format="png", data=data.tobytes()))
    for some in (publisher, images):
        some.wait_for_all_acked()
    # They have arrived, but may still wait in the recorder's queues: with each request it takes one more of each topic.
    for _ in range(6):
        graph.meet("/recorder")
    assert recorder.end(number) == 0
    assert "Traceback" not in recorder.log
    assert "recorded into" in recorder.log
    stamps = [frame.stamp_ns for frame in read_poses(bag, "/tracker/poses")]
    assert stamps == [s * NANOSECONDS for s in range(5)]
    with open_source(bag) as source:
        assert [int(frame.image_bgr.mean()) for frame in source] == list(range(5))


def test_a_bag_that_is_there_is_not_overwritten(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "notes.txt").write_text("mine")
    recorder = graph.start("recorder", {"output": tmp_path / "precious", "overwrite": True})
    assert recorder.wait() == 1
    assert "is not a bag, so it is not overwritten" in recorder.log
    assert (tmp_path / "precious" / "notes.txt").exists()


def test_a_gap_and_a_step_back_are_played_as_one_frame(graph: Graph, tmp_path: Path) -> None:
    # Two hours between two frames of a joined recording, then back to its beginning; one stamp is missing.
    stamps = [10.0, 10.1, 0.0, 10.3, 7210.0, 7210.1, 10.0, 10.1]
    bag = write_bag(
        tmp_path / "bag",
        [
            ("/camera", BASE_NS + k * 10**8, bag_image(np.full((8, 8, 3), 8 * k, np.uint8), round(stamp * 1e9)))
            for k, stamp in enumerate(stamps)
        ],
    )
    images = graph.listen(Image, "/image_raw")
    process = graph.start("video", {"source": bag, **KEEP_ALL})
    hear_to_the_end(graph, process, images, lambda: len(images) >= 8)
    assert numbers(images) == list(range(8))
    period = round((0.7 / 7) * NANOSECONDS)
    steps = np.diff(stamps_ns(images))
    np.testing.assert_allclose(steps, period, rtol=0.01)
    assert "stamps go 7199.7 s ahead at image 4" in process.log
    assert "stamps go back by 7200.1 s at image 6" in process.log


def test_the_stamps_of_the_source_are_kept_across_a_jump(graph: Graph, tmp_path: Path) -> None:
    stamps = [10.0, 10.1, 7210.0, 5.0]
    bag = write_bag(
        tmp_path / "bag",
        [
            ("/camera", BASE_NS + k * 10**8, bag_image(np.zeros((8, 8, 3), np.uint8), round(stamp * 1e9)))
            for k, stamp in enumerate(stamps)
        ],
    )
    images = graph.listen(Image, "/image_raw")
    process = graph.start("video", {"source": bag, "stamps": "source", **KEEP_ALL})
    hear_to_the_end(graph, process, images, lambda: len(images) >= 4)
    assert stamps_ns(images) == [round(stamp * 1e9) for stamp in stamps]
