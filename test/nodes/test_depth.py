"""People in metres: image, depth image and camera_info over DDS to a real tracker."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from keytrack_ros.msg import TrackedPose, TrackedPose3DArray
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from keytrack_ros.errors import InputError
from keytrack_ros.media.depth_images import depth_to_metres
from keytrack_ros.nodes.depth import CAUSES
from keytrack_ros.nodes.publishing import try_publish
from keytrack_ros.skeleton import INDEX
from test.nodes.camera import IMAGE_SIZE, PERSON_SIZE, Camera, Places
from test.nodes.graph import Graph, Process
from test.toy import draw_frame

FOCAL, CENTRE = 200.0, (127.5, 95.5)
LEFT, RIGHT = (50.0, 66.0), (166.0, 100.0)
WALL_M = 6.0

Depths = npt.NDArray[np.float32]


def scene(people: dict[tuple[float, float], float], wall_m: float = WALL_M) -> Depths:
    """Metres: people at these places and depths before a wall."""
    depth = np.full(IMAGE_SIZE[::-1], wall_m, np.float32)
    (width, height) = PERSON_SIZE
    for (x, y), metres in people.items():
        depth[int(y - height / 2) : int(y + height / 2), int(x - width / 2) : int(x + width / 2)] = metres
    return depth


def depth_message(depth_m: Depths, header: Header, encoding: str = "16UC1") -> Image:
    pixels = (depth_m * 1000).round().astype("<u2") if encoding == "16UC1" else depth_m.astype("<f4")
    height, width = pixels.shape
    data = array("B", pixels.tobytes())
    return Image(header=header, height=height, width=width, encoding=encoding, step=width * pixels.itemsize, data=data)


def intrinsics(header: Header, focal: float = FOCAL) -> CameraInfo:
    k = [focal, 0.0, CENTRE[0], 0.0, focal, CENTRE[1], 0.0, 0.0, 1.0] if focal else [0.0] * 9
    return CameraInfo(header=header, width=IMAGE_SIZE[0], height=IMAGE_SIZE[1], k=k)


def in_space(place: tuple[float, float], depth_m: float) -> list[float]:
    """The pinhole equations."""
    return [(place[0] - CENTRE[0]) / FOCAL * depth_m, (place[1] - CENTRE[1]) / FOCAL * depth_m, depth_m]


def start_tracker(graph: Graph, models: Path, patience_s: float, code: str = "", **parameters: object) -> Process:
    """A tracker with depth that waits for `patience_s`, after some more Python code."""
    code += (
        f"; import sys; from keytrack_ros.nodes import depth, tracker_node; depth._PATIENCE_S = {patience_s}; "
        "sys.exit(tracker_node.main())"
    )
    fixed = {"inference.models": models, "depth.enabled": True, "tracker.confirm_frames": 1}
    return graph.start_code(code.lstrip("; "), fixed | parameters)


class DepthCamera:
    """A colour camera with depth and camera_info; all three have the stamp of the image."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.people: list[TrackedPose3DArray] = graph.listen(TrackedPose3DArray, "/tracker/poses_3d", 1000)
        self.depth = graph.publisher(Image, "/depth")
        self.info = graph.publisher(CameraInfo, "/camera_info")
        self.colour = Camera(graph)
        graph.spin_until(lambda: graph.diagnostics)

    def publish_colour(self, places: Places, stamp_s: float | None = None) -> Header:
        return self.colour.publish(draw_frame(places, IMAGE_SIZE, PERSON_SIZE), stamp_s).header

    def publish_depth(self, message: Image) -> None:
        self.graph.spin_until(lambda: try_publish(self.depth, message))

    def show(self, places: Places, depth_m: Depths, encoding: str = "16UC1") -> TrackedPose3DArray:
        """Publishes all three; returns what the tracker makes of them, once its poses have come too."""
        before = len(self.people)
        header = self.publish_colour(places)
        self.publish_depth(depth_message(depth_m, header, encoding))

        def lifted() -> object:
            self.info.publish(intrinsics(header))  # again and again, for it is received as best effort
            return len(self.people) > before and [p for p in self.colour.poses[-1:] if p.header == header]

        self.graph.spin_until(lifted)
        return self.people[-1]

    def count(self, cause: str) -> int:
        return self.graph.count(f"frames_not_lifted.{cause}")

    def settle(self) -> None:
        """Until the diagnostics count all that has been lifted."""
        self.graph.spin_until(lambda: self.graph.count("frames_lifted") == len(self.people))


@pytest.fixture(scope="module")
def process(shared_graph: Graph, toy_models: Path) -> Process:
    return start_tracker(shared_graph, toy_models, patience_s=30.0)  # a busy machine may deliver late


@pytest.fixture(scope="module")
def shared_camera(shared_graph: Graph, process: Process) -> DepthCamera:
    assert process.exit_code is None
    return DepthCamera(shared_graph)


@pytest.fixture
def camera(shared_camera: DepthCamera, process: Process) -> Iterator[DepthCamera]:
    """The camera, a minute later; the tracker must outlive every test."""
    shared_camera.colour.stamp_s += 60
    yield shared_camera
    assert process.exit_code is None, process.log
    assert "Traceback" not in process.log


def by_depth(message: TrackedPose3DArray) -> list[Any]:
    """People, the nearest first."""
    return sorted(message.poses, key=lambda person: person.position.z)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_people_are_where_the_pinhole_equations_say(camera: DepthCamera, encoding: str) -> None:
    message = camera.show([LEFT, RIGHT], scene({LEFT: 2.0, RIGHT: 3.5}), encoding)
    assert message.header == camera.colour.poses[-1].header
    assert {pose.track_id for pose in message.poses} == {pose.track_id for pose in camera.colour.poses[-1].poses}
    for person, place, metres in zip(by_depth(message), (LEFT, RIGHT), (2.0, 3.5), strict=True):
        flat = {pose.track_id: pose for pose in camera.colour.poses[-1].poses}[person.track_id]
        # The trunk's middle is a little above that of the box; the toy networks are off by up to 3 pixels.
        middle = (place[0], place[1] - PERSON_SIZE[1] * (0.5 - (0.27 + 0.5) / 2))
        position = [person.position.x, person.position.y, person.position.z]
        np.testing.assert_allclose(position, in_space(middle, metres), atol=3 / FOCAL * metres)
        assert all(keypoint.valid for keypoint in person.keypoints)
        nose = person.keypoints[INDEX["nose"]]
        seen = flat.keypoints[INDEX["nose"]]
        np.testing.assert_allclose([nose.x, nose.y, nose.z], in_space((seen.x, seen.y), metres), atol=1e-3)
        assert nose.score == pytest.approx(seen.score)


def test_velocity_is_in_metres_a_second_from_the_second_position_on(camera: DepthCamera) -> None:
    # Half a metre nearer every half second, straight ahead of the camera.
    place = (CENTRE[0], 100.0)
    for _ in range(2):  # a jump of stamps is believed, and tracks end, once a second image confirms it
        camera.show([], scene({}))
    velocities = []
    for metres in (4.0, 3.5, 3.0):
        camera.colour.stamp_s += 0.4
        (person,) = camera.show([place], scene({place: metres})).poses
        velocities.append(person.velocity)
    assert np.isnan([velocities[0].x, velocities[0].y, velocities[0].z]).all()
    assert [velocity.z for velocity in velocities[1:]] == pytest.approx([-1.0, -1.0], abs=0.02)
    assert velocities[2].x == pytest.approx(0.0, abs=0.02)


def test_who_is_hidden_has_no_place_since_the_depth_is_of_who_stands_in_front(camera: DepthCamera) -> None:
    standing = (133.3, 100.0)
    for frame in range(19):
        places = [standing, (82.0 + 2 * frame, 100.0)]
        if frame >= 17:  # the toy networks see one person where two touch
            places.pop()
        people = camera.show(places, scene({standing: 3.0})).poses
    (poses,) = camera.colour.poses[-1:]
    assert [pose.state for pose in poses.poses] == [TrackedPose.CONFIRMED, TrackedPose.LOST]
    assert [person.track_id for person in people] == [poses.poses[0].track_id]


def test_an_empty_scene_gives_an_empty_array(camera: DepthCamera) -> None:
    assert camera.show([], scene({})).poses == []


def test_a_depth_image_of_half_the_size_gives_the_same_metres(camera: DepthCamera) -> None:
    (person,) = camera.show([LEFT], scene({LEFT: 2.0})[::2, ::2]).poses
    assert person.position.z == pytest.approx(2.0)


@pytest.mark.parametrize("hole", [np.nan, 0.0])
def test_without_usable_depth_people_are_published_without_place(camera: DepthCamera, hole: float) -> None:
    camera.settle()
    before = camera.graph.count("people_without_depth")
    (person,) = camera.show([LEFT], scene({}, wall_m=hole), "32FC1").poses
    assert not any(keypoint.valid for keypoint in person.keypoints)
    assert np.isnan([person.keypoints[0].x, person.position.x, person.position.z, person.velocity.z]).all()
    camera.graph.spin_until(lambda: camera.graph.count("people_without_depth") == before + 1)


def test_a_depth_image_later_than_the_poses_is_waited_for(camera: DepthCamera) -> None:
    # Both that of the image before and that of this image are within the tolerance; the nearer one is taken.
    camera.show([LEFT], scene({LEFT: 2.0}))
    poses, people = len(camera.colour.poses), len(camera.people)
    header = camera.publish_colour([LEFT], camera.colour.stamp_s + 0.015)
    camera.graph.spin_until(lambda: len(camera.colour.poses) > poses)
    assert len(camera.people) == people
    camera.publish_depth(depth_message(scene({LEFT: 3.0}), header))
    camera.graph.spin_until(lambda: len(camera.people) > people)
    assert camera.people[-1].header == header
    assert camera.people[-1].poses[0].position.z == pytest.approx(3.0)


def test_stamps_that_begin_again_are_paired_again(camera: DepthCamera) -> None:
    camera.show([LEFT], scene({LEFT: 2.0}))
    camera.colour.stamp_s -= 30  # as a bag that is played in a loop
    (person,) = camera.show([LEFT], scene({LEFT: 3.0})).poses
    assert person.position.z == pytest.approx(3.0)
    camera.colour.stamp_s += 30


def unfit(cause: str, message: Image) -> Image:
    """A depth image that cannot be used for this reason."""
    if cause == "size":
        return depth_message(scene({LEFT: 2.0})[:, :230], message.header)
    if cause == "encoding":
        message.encoding = "mono8"
    elif cause == "frame_id":
        message.header = deepcopy(message.header)
        message.header.frame_id = "depth_camera"
    elif cause == "no_depth":
        message.header = deepcopy(message.header)
        message.header.stamp.sec += 1
    return message


REASONS = {
    "size": "people are not lifted: the depth image is 230x192 pixels and the colour image 256x192: another aspect",
    "encoding": "people are not lifted: encoding 'mono8' is no depth image; 16UC1 (mm) or 32FC1 (m) is needed",
    "frame_id": "people are not lifted: the depth image is in frame 'depth_camera' and the image in 'camera'",
    "no_depth": "people are not lifted: the nearest depth image on /depth is 0.100 s before the image; ",
}


@pytest.mark.parametrize("cause", REASONS)
def test_what_cannot_be_lifted_is_counted_by_cause_and_the_next_is_lifted(
    camera: DepthCamera, process: Process, cause: str
) -> None:
    camera.show([LEFT], scene({LEFT: 2.0}))
    camera.settle()
    before, people = {each: camera.count(each) for each in CAUSES}, len(camera.people)
    header = camera.publish_colour([LEFT])
    camera.publish_depth(unfit(cause, depth_message(scene({LEFT: 2.0}), header)))
    camera.graph.spin_until(lambda: camera.count(cause) == before[cause] + 1)
    assert camera.graph.diagnostics["message"].startswith("people are not lifted in some frames; so far: ")
    assert REASONS[cause] in process.log
    camera.colour.stamp_s += 2
    camera.show([LEFT], scene({LEFT: 2.0}))
    assert len(camera.people) == people + 1
    assert {each: camera.count(each) for each in CAUSES} == before | {cause: before[cause] + 1}


def test_camera_info_that_is_missing_or_empty_is_said_and_counted(graph: Graph, toy_models: Path) -> None:
    process = start_tracker(graph, toy_models, patience_s=1.0)
    camera = DepthCamera(graph)

    def publish(focal: float | None) -> None:
        header = camera.publish_colour([LEFT])
        camera.publish_depth(depth_message(scene({LEFT: 2.0}), header))
        if focal is not None:
            camera.info.publish(intrinsics(header, focal))

    for number, focal in enumerate((None, 0.0, 0.0), 1):  # 0 as of a camera without calibration
        publish(focal)
        graph.spin_until(lambda number=number: camera.count("no_camera_info") == number)  # type: ignore[misc]
    assert "people are not lifted: no camera_info has arrived on /camera_info" in process.log
    assert camera.people == []
    graph.spin_until(lambda: publish(FOCAL) or camera.people)  # again and again, for it is received as best effort
    assert len(camera.people[0].poses) == 1
    assert process.end() == 0
    assert "Traceback" not in process.log


def test_disabled_nothing_is_subscribed_or_published(graph: Graph, toy_models: Path) -> None:
    graph.start("tracker", {"inference.models": toy_models})
    Camera(graph)
    assert graph.node.count_subscribers("/depth") == graph.node.count_subscribers("/camera_info") == 0
    assert graph.node.count_publishers("/tracker/poses_3d") == 0
    graph.spin_until(lambda: graph.diagnostics)
    assert "frames_lifted" not in graph.diagnostics


def test_enabled_and_taken_away_again_by_a_manager(graph: Graph, toy_models: Path) -> None:
    process = graph.start("tracker", {"inference.models": toy_models, "depth.enabled": True, "autostart": False})
    for _ in range(2):
        assert graph.change_state("configure")
        assert graph.change_state("activate")
        graph.spin_until(lambda: graph.node.count_subscribers("/depth") == 1)
        assert graph.change_state("deactivate")
        graph.spin_until(lambda: graph.node.count_subscribers("/depth") == 0)
        assert graph.change_state("cleanup")
        graph.spin_until(lambda: graph.node.count_publishers("/tracker/poses_3d") == 0)
    assert process.end() == 0
    assert "Traceback" not in process.log


@pytest.mark.skipif(find_spec("tf2_ros") is not None, reason="tf2_ros is installed")
def test_a_target_frame_without_tf2_is_refused_in_one_line(graph: Graph, toy_models: Path) -> None:
    parameters = {"inference.models": toy_models, "depth.enabled": True, "depth.target_frame": "odom"}
    process = graph.start("tracker", parameters)
    assert process.wait() == 1
    (line,) = [line for line in process.log.splitlines() if "[ERROR]" in line]
    assert (
        "parameter depth.target_frame is 'odom', but tf2_ros is not installed: install the package tf2_ros_py" in line
    )
    assert "Traceback" not in process.log


# tf2_ros is not on PyPI. This one has its interface and knows one transform, up to 200 s: the camera looks along x of
# odom, 1 m above the ground.
TF2_ROS = """
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3

class TransformException(Exception):
    pass

class Buffer:
    def lookup_transform(self, target_frame, source_frame, time):
        if (target_frame, source_frame) != ("odom", "camera") or time.nanoseconds > 200_000_000_000:
            raise TransformException("Lookup would require extrapolation into the future")
        turn, shift = Quaternion(x=-0.5, y=0.5, z=-0.5, w=0.5), Vector3(z=1.0)
        return TransformStamped(transform=Transform(rotation=turn, translation=shift))

class TransformListener:
    def __init__(self, buffer, node):
        pass

    def unregister(self):
        pass
"""


@pytest.mark.skipif(find_spec("tf2_ros") is not None, reason="tf2_ros is installed")
def test_a_target_frame_is_reached_or_its_absence_counted(graph: Graph, toy_models: Path, tmp_path: Path) -> None:
    (tmp_path / "tf2_ros.py").write_text(TF2_ROS)
    code = f"import sys; sys.path.append({str(tmp_path)!r})"
    process = start_tracker(graph, toy_models, 3.0, code, **{"depth.target_frame": "odom"})
    camera = DepthCamera(graph)
    message = camera.show([RIGHT], scene({RIGHT: 3.0}))
    assert message.header.frame_id == "odom"
    assert message.header.stamp == camera.colour.poses[-1].header.stamp
    nose, seen = message.poses[0].keypoints[0], camera.colour.poses[-1].poses[0].keypoints[0]
    x, y, z = in_space((seen.x, seen.y), 3.0)
    np.testing.assert_allclose([nose.x, nose.y, nose.z], [z, -x, 1 - y], atol=1e-3)

    camera.colour.stamp_s = 300.0
    header = camera.publish_colour([RIGHT])
    camera.publish_depth(depth_message(scene({RIGHT: 3.0}), header))
    graph.spin_until(lambda: camera.count("transform") == 1)
    assert len(camera.people) == 1
    assert "people are not lifted: no transform to odom: Lookup would require extrapolation" in process.log
    assert process.end() == 0
    assert "Traceback" not in process.log


def test_depth_messages_are_read_as_they_say() -> None:
    depth = np.array([[1.0, 2.5], [0.0, 65.535]], np.float32)
    message = depth_message(depth, Header())
    np.testing.assert_allclose(depth_to_metres(message), depth)
    padded = deepcopy(message)
    padded.step, padded.data = 6, array("B", b"".join(message.data[i : i + 4].tobytes() + b"\1\1" for i in (0, 4)))
    np.testing.assert_allclose(depth_to_metres(padded), depth)
    swapped = deepcopy(message)
    swapped.is_bigendian, swapped.data = 1, array("B", (depth * 1000).round().astype(">u2").tobytes())
    np.testing.assert_allclose(depth_to_metres(swapped), depth)
    holes = np.array([[np.nan, np.inf]], np.float32)
    np.testing.assert_array_equal(depth_to_metres(depth_message(holes, Header(), "32FC1")), holes)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("encoding", "rgb8", "encoding 'rgb8' is no depth image"),
        ("width", 0, "0x2 pixels"),
        ("step", 3, "8 bytes and a step of 3"),
        ("data", array("B", bytes(5)), "5 bytes"),
        ("data", array("B", bytes(9)), "9 bytes"),
    ],
)
def test_a_malformed_depth_message_is_refused(field: str, value: Any, reason: str) -> None:
    message = depth_message(np.ones((2, 2), np.float32), Header())
    setattr(message, field, value)
    with pytest.raises(InputError, match=reason):
        depth_to_metres(message)
