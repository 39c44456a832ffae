"""rclpy's messages: tracked people, what happens to tracks, the skeleton, stamps as numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from keytrack_ros import skeleton
from keytrack_ros.events import TrackEvent
from keytrack_ros.media.pose_messages import PoseMessageTypes, to_pose_array
from keytrack_ros.msg import Keypoint, SkeletonInfo, TrackedPose, TrackedPoseArray, TrackEvents
from keytrack_ros.msg import TrackEvent as TrackEventMessage
from keytrack_ros.poses import FloatArray, Poses
from keytrack_ros.timing import NANOSECONDS

_TYPES = PoseMessageTypes(TrackedPoseArray, TrackedPose, Keypoint)


def to_message(poses: Poses, header: Header, frame_size: tuple[int, int]) -> TrackedPoseArray:
    """Tracked people as a message.

    Args:
        poses: P people, all with an id.
        header: of the image; it is taken as it is.
        frame_size: width and height of the image in pixels.

    Raises:
        ValueError: a pose has no id yet.
    """
    if len(poses) and poses.track_ids.min() < 1:
        raise ValueError("a pose without a track id cannot be published")
    return to_pose_array(poses, header, frame_size, _TYPES)


def to_events_message(events: Iterable[TrackEvent], header: Header) -> TrackEvents:
    """What happened to tracks in the image with this header."""
    messages = [TrackEventMessage(track_id=event.track_id, type=int(event.kind)) for event in events]
    return TrackEvents(header=header, events=messages)


def skeleton_info() -> SkeletonInfo:
    """What the keypoints mean, as it is published once."""
    return SkeletonInfo(
        names=list(skeleton.NAMES),
        edges=[index for edge in skeleton.EDGES for index in edge],
        mirrored=list(skeleton.MIRRORED),
        oks_sigmas=skeleton.SIGMAS.tolist(),
    )


def stamp_to_ns(stamp: Time) -> int:
    """A stamp as whole nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def header_of(image: Any) -> Header:
    """The header of an image message; foxglove_msgs have its fields instead."""
    return image.header if hasattr(image, "header") else Header(stamp=image.timestamp, frame_id=image.frame_id)


def ns_to_stamp(nanoseconds: int) -> Time:
    """Whole nanoseconds as a stamp."""
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    return Time(sec=seconds, nanosec=rest)


def xyz(vector: FloatArray) -> dict[str, float]:
    """[3] values as the fields of a point or vector."""
    return dict(zip("xyz", vector.tolist(), strict=True))
