"""People in metres: pairs tracked poses with depth images by stamp and publishes them as `~/poses_3d`."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from geometry_msgs.msg import Point, Vector3
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from keytrack_ros.errors import InputError, OptionError
from keytrack_ros.lifting import Intrinsics, PosesInSpace, Velocities, lift
from keytrack_ros.media.depth_images import depth_to_metres
from keytrack_ros.msg import Keypoint3D, TrackedPose3D, TrackedPose3DArray
from keytrack_ros.nodes.camera_subscription import CameraSubscription
from keytrack_ros.nodes.detections import Detections3DPublisher
from keytrack_ros.nodes.messages import stamp_to_ns, xyz
from keytrack_ros.nodes.publishing import advertise
from keytrack_ros.nodes.qos import keep_last
from keytrack_ros.nodes.subscribing import subscribe
from keytrack_ros.nodes.transports import TRANSPORTS
from keytrack_ros.options import Options, option
from keytrack_ros.poses import FloatArray, Poses, TrackState
from keytrack_ros.timing import JUMP_NS, NANOSECONDS, is_set

CAUSES = ("no_depth", "no_camera_info", "size", "frame_id", "encoding", "transform", "failed")
"""Why the people of a frame were not lifted."""

_KEPT = 30
"""Depth images that are kept: a second at 30 Hz, since those of an image come while it is processed."""
_TRANSPORT = replace(TRANSPORTS["raw"], depth=5)
"""Each depth image may be that of an image, not only the newest."""
_PATIENCE_S = 1.0
"""How long tracked poses wait for a depth image or a transform of their stamp, and for the first camera_info."""
_REMIND_S = 10.0

Quaternion = tuple[float, float, float, float]
Translation = tuple[float, float, float]


@dataclass(frozen=True)
class DepthOptions(Options):
    """People in metres, from a depth image that is registered (aligned) to the colour image."""

    enabled: bool = option(
        False, "subscribe to `depth` and `camera_info` and publish people in metres on `~/poses_3d`", live=False
    )
    target_frame: str = option(
        "",
        "frame of `~/poses_3d`, by tf2 at the image's stamp, such as odom or map; empty: the camera's optical frame",
        live=False,
    )
    tolerance_s: float = option(
        0.02,
        "seconds by which the stamps of image and depth image may differ",
        at_least=0.0,
        at_most=1.0,
        live=False,
    )


@dataclass(frozen=True)
class _Waiting:
    """Tracked poses that wait for their depth image."""

    poses: Poses
    header: Header
    size: tuple[int, int]
    time_s: float
    since_s: float

    @property
    def stamp_ns(self) -> int:
        return stamp_to_ns(self.header.stamp)


class _NotLiftedError(Exception):
    """Cause (one of CAUSES) and text."""


class DepthLifter:
    """Lifts the people of a configured node. `take` may be called from any thread, all else from the executor's.

    Raises:
        OptionError: a target_frame is set but tf2_ros is not installed, `detections` are wanted but vision_msgs is not
            installed, or a qos_overrides parameter is wrong.
    """

    def __init__(self, node: Node, options: DepthOptions, detections: bool = False) -> None:
        self._node = node
        self._options = options
        self._transforms = _Transforms(node, options.target_frame) if options.target_frame else None
        self._detections = Detections3DPublisher(node) if detections else None
        self._publisher = advertise(node, TrackedPose3DArray, "~/poses_3d", keep_last(10, "reliable"))
        self._lock = threading.Lock()
        self._depths: deque[tuple[int, Image]] = deque(maxlen=_KEPT)
        self._waiting: deque[_Waiting] = deque()
        self._info: CameraInfo | None = None
        self._velocities = Velocities()
        self._counts = dict.fromkeys(("lifted", "people_without_depth", *CAUSES), 0)
        self._warned_s: dict[str, float] = {}
        self._camera: CameraSubscription | None = None
        self._info_subscription: Any = None

    def subscribe(self, reliability: str) -> None:
        """Begins to receive; `reliability` as of the colour images. Raises OptionError as the constructor."""
        self._camera = CameraSubscription(
            self._node, _TRANSPORT, "depth", reliability, self._on_depth, lambda _frames: None
        )
        qos = keep_last(1, "best_effort")  # which publishers of either kind match
        self._info_subscription = subscribe(self._node, CameraInfo, "camera_info", self._on_info, qos)
        topics = f"{self._camera.topic_name} and {self._info_subscription.topic_name}"
        self._node.get_logger().info(f"lifting people by {topics}")

    def unsubscribe(self) -> None:
        """Nothing is received afterwards."""
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()
        subscription, self._info_subscription = self._info_subscription, None
        if subscription is not None:
            self._node.destroy_subscription(subscription)
        with self._lock:
            self._depths.clear()
            self._info = None

    def close(self) -> None:
        """Takes the publisher away; nothing is called afterwards."""
        self.unsubscribe()
        self._node.destroy_publisher(self._publisher)
        if self._detections:
            self._node.destroy_publisher(self._detections.publisher)
        if self._transforms is not None:
            self._transforms.close()

    def update(self) -> dict[str, int]:
        """To be called now and then: settles what waits in vain. Returns the counts for the diagnostics."""
        if self._camera is not None:
            self._camera.update()
        self._settle()
        with self._lock:
            counts = dict(self._counts)
        lifted, without_depth = counts.pop("lifted"), counts.pop("people_without_depth")
        return {
            "frames_lifted": lifted,
            "frames_not_lifted": sum(counts.values()),
            **{f"frames_not_lifted.{cause}": count for cause, count in counts.items()},
            "people_without_depth": without_depth,
        }

    def take(self, poses: Poses, header: Header, size: tuple[int, int], time_s: float) -> None:
        """The tracked poses of an image; they are lifted as soon as its depth image is there.

        Args:
            poses: all with an id; those of hidden people (LOST) are left out, the depth is of who stands in front.
            header: of the image.
            size: width and height of the image.
            time_s: of the image, growing from frame to frame.
        """
        with self._lock:
            seen = poses[poses.states != TrackState.LOST]
            self._waiting.append(_Waiting(seen, header, size, time_s, time.monotonic()))
        self._settle()

    def _on_depth(self, message: Image) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        with self._lock:
            if self._depths and stamp_ns <= self._depths[-1][0] - JUMP_NS:
                self._depths.clear()  # time went back, as when a bag starts again
            self._depths.append((stamp_ns, message))
        self._settle()

    def _on_info(self, message: CameraInfo) -> None:
        with self._lock:
            first = self._info is None
            self._info = message
        if first:
            self._settle()

    def _settle(self) -> None:
        """Publishes or counts all that need not wait longer, in order."""
        with self._lock:
            while self._waiting:
                frame = self._waiting[0]
                patient = time.monotonic() - frame.since_s < _PATIENCE_S
                try:
                    message = self._lift(frame, patient)
                    if message is None:
                        return
                    self._publisher.publish(message)
                    self._counts["lifted"] += 1
                except _NotLiftedError as error:
                    self._count(*error.args)
                except Exception:
                    # A defect in one frame's processing must not end a robot's perception.
                    self._count("failed", traceback.format_exc())
                self._waiting.popleft()

    def _count(self, cause: str, text: str) -> None:
        self._counts[cause] += 1
        now = time.monotonic()
        if now - self._warned_s.get(cause, -_REMIND_S) >= _REMIND_S:  # rclpy would throttle all causes as one
            self._warned_s[cause] = now
            self._node.get_logger().warning(f"people are not lifted: {text}")

    def _lift(self, frame: _Waiting, patient: bool) -> TrackedPose3DArray | None:
        """The message of a frame, or None if it can wait for something. Raises _NotLiftedError."""
        if not is_set(frame.stamp_ns):
            raise _NotLiftedError("no_depth", "the image has no stamp, by which depth images are found")
        # The nearest in time is known once one has come that is not older; one that is much newer is of the time before
        # stamps went back.
        if patient and not any(0 <= stamp_ns - frame.stamp_ns <= JUMP_NS for stamp_ns, _ in self._depths):
            return None
        if patient and self._info is None:
            return None
        depth = self._nearest(frame.stamp_ns)
        intrinsics = self._intrinsics(frame)
        frame_id = frame.header.frame_id
        if depth.header.frame_id != frame_id:
            raise _NotLiftedError(
                "frame_id",
                f"the depth image is in frame '{depth.header.frame_id}' and the image in '{frame_id}'; a depth image "
                "that is registered (aligned) to the colour image is needed",
            )
        try:
            depth_m = depth_to_metres(depth)
        except InputError as error:
            raise _NotLiftedError("encoding", str(error)) from None
        move = None
        if self._transforms is not None:
            try:
                move = self._transforms.find(frame_id, frame.header)
            except self._transforms.error as error:
                if patient:  # transforms may come later than images
                    return None
                raise _NotLiftedError("transform", f"no transform to {self._options.target_frame}: {error}") from None
        try:
            people = lift(frame.poses, depth_m, intrinsics, frame.size)
        except InputError as error:
            raise _NotLiftedError("size", str(error)) from None
        header = frame.header
        if move is not None:
            people = people.moved(*move)
            header = Header(stamp=header.stamp, frame_id=self._options.target_frame)
        self._counts["people_without_depth"] += int((~people.valid.any(1)).sum())
        velocities = self._velocities.update(frame.poses.track_ids, people.positions, frame.time_s)
        if self._detections:
            self._detections.publish(frame.poses, people, header)
        return to_message(frame.poses, people, velocities, header)

    def _nearest(self, stamp_ns: int) -> Image:
        where = self._node.resolve_topic_name("depth")
        if not self._depths:
            raise _NotLiftedError("no_depth", f"no depth image has arrived on {where}")
        nearest_ns, depth = min(self._depths, key=lambda item: abs(item[0] - stamp_ns))
        off_s = (nearest_ns - stamp_ns) / NANOSECONDS
        if abs(off_s) > self._options.tolerance_s:
            raise _NotLiftedError(
                "no_depth",
                f"the nearest depth image on {where} is {abs(off_s):.3f} s {'after' if off_s > 0 else 'before'} the "
                f"image; depth.tolerance_s is {self._options.tolerance_s:g}",
            )
        return depth

    def _intrinsics(self, frame: _Waiting) -> Intrinsics:
        info = self._info
        if info is None:
            where = self._node.resolve_topic_name("camera_info")
            raise _NotLiftedError("no_camera_info", f"no camera_info has arrived on {where}")
        if info.header.frame_id != frame.header.frame_id:
            raise _NotLiftedError(
                "frame_id",
                f"the camera_info is of frame '{info.header.frame_id}' and the image of '{frame.header.frame_id}'; "
                "remap camera_info to that of the colour camera",
            )
        size = int(info.width), int(info.height)
        if size != frame.size:
            raise _NotLiftedError(
                "size",
                f"the camera_info is of {size[0]}x{size[1]} pixels and the image has {frame.size[0]}x{frame.size[1]}",
            )
        try:
            return Intrinsics.from_matrices(info.k, info.p)
        except InputError as error:
            raise _NotLiftedError("no_camera_info", str(error)) from None


class _Transforms:
    """tf2, where it is installed: it comes with ROS 2 and is not on PyPI."""

    def __init__(self, node: Node, target_frame: str) -> None:
        try:
            import tf2_ros
        except ImportError:
            raise OptionError(
                f"parameter depth.target_frame is '{target_frame}', but tf2_ros is not installed: install the package "
                "tf2_ros_py of ROS 2, or leave depth.target_frame empty for the camera's frame"
            ) from None
        self.error: type[Exception] = tf2_ros.TransformException
        self._target_frame = target_frame
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def find(self, source_frame: str, header: Header) -> tuple[Quaternion, Translation]:
        """Rotation and translation into the target frame at the header's stamp. Raises `error`."""
        found = self._buffer.lookup_transform(self._target_frame, source_frame, Time.from_msg(header.stamp)).transform
        turn, shift = found.rotation, found.translation
        return (turn.x, turn.y, turn.z, turn.w), (shift.x, shift.y, shift.z)

    def close(self) -> None:
        self._listener.unregister()


def to_message(poses: Poses, people: PosesInSpace, velocities: FloatArray, header: Header) -> TrackedPose3DArray:
    """P people as a message; `velocities` is [P, 3] metres a second."""
    return TrackedPose3DArray(
        header=header,
        poses=[
            TrackedPose3D(
                track_id=int(poses.track_ids[row]),
                state=int(poses.states[row]),
                position=Point(**xyz(people.positions[row])),
                velocity=Vector3(**xyz(velocities[row])),
                keypoints=[
                    Keypoint3D(**xyz(point), score=float(score), valid=bool(valid))
                    for point, score, valid in zip(
                        people.points[row], poses.scores[row], people.valid[row], strict=True
                    )
                ],
            )
            for row in range(len(poses))
        ],
    )
