"""Tracked people as ROS4HRI's bodies (REP 155), for its tools. hri_msgs is optional: it is not on PyPI."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Header

from keytrack_ros.errors import OptionError
from keytrack_ros.events import EventKind, TrackEvent
from keytrack_ros.nodes.publishing import advertise
from keytrack_ros.nodes.qos import keep_last
from keytrack_ros.poses import Poses
from keytrack_ros.skeleton import INDEX

try:
    from rclpy.event_handler import PublisherEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import PublisherEventCallbacks

BODIES = "/humans/bodies"

JOINTS = (
    "nose",
    "",  # the neck is the middle of the shoulders
    *(f"right_{part}" for part in ("shoulder", "elbow", "wrist")),
    *(f"left_{part}" for part in ("shoulder", "elbow", "wrist")),
    *(f"right_{part}" for part in ("hip", "knee", "ankle")),
    *(f"left_{part}" for part in ("hip", "knee", "ankle")),
    *("", "", "", ""),  # eyes and ears
)
"""Our keypoint for each of Skeleton2D's 18; empty: none."""

_NECK = 1


class BodiesPublisher:
    """Publishes `/humans/bodies/tracked` and, for each person, `roi` and `skeleton2d` in `/humans/bodies/track_<id>`.

    A person's publishers are there from the first pose until the track ends. All methods but the constructor belong to
    the thread that processes images.

    Raises OptionError without hri_msgs.
    """

    def __init__(self, node: Node) -> None:
        try:
            from hri_msgs import msg
        except ImportError:
            raise OptionError(
                "parameter publish_bodies: the package hri_msgs is not installed: "
                "sudo apt-get install ros-$ROS_DISTRO-hri-msgs"
            ) from None
        self._node = node
        self._types = msg
        self._tracked = advertise(node, msg.IdsList, f"{BODIES}/tracked", keep_last(10, "reliable"))
        self._bodies: dict[int, tuple[Publisher, Publisher]] = {}

    def close(self) -> None:
        """Takes all publishers away."""
        for track_id in list(self._bodies):
            self._end(track_id)
        self._node.destroy_publisher(self._tracked)

    def publish(self, poses: Poses, events: Iterable[TrackEvent], header: Header, size: tuple[int, int]) -> None:
        """The people of an image, which may be none; `size` is its width and height."""
        for event in events:
            if event.kind is EventKind.ENDED:
                self._end(event.track_id)
        for row, track_id in enumerate(poses.track_ids.tolist()):
            if track_id not in self._bodies:
                self._bodies[track_id] = self._begin(track_id)
            roi, skeleton = self._bodies[track_id]
            roi.publish(self._roi(poses, row, header, size))
            skeleton.publish(self._skeleton(poses, row, header, size))
        self._tracked.publish(self._types.IdsList(header=header, ids=[body_id(each) for each in poses.track_ids]))

    def _begin(self, track_id: int) -> tuple[Publisher, Publisher]:
        # Without event callbacks the executor's thread has nothing to do with these publishers.
        silent = PublisherEventCallbacks(use_default_callbacks=False)
        types = (self._types.NormalizedRegionOfInterest2D, "roi"), (self._types.Skeleton2D, "skeleton2d")
        roi, skeleton = (
            self._node.create_publisher(
                kind, f"{BODIES}/{body_id(track_id)}/{name}", keep_last(1, "reliable"), event_callbacks=silent
            )
            for kind, name in types
        )
        return roi, skeleton

    def _end(self, track_id: int) -> None:
        for publisher in self._bodies.pop(track_id, ()):
            self._node.destroy_publisher(publisher)

    def _roi(self, poses: Poses, row: int, header: Header, size: tuple[int, int]) -> Any:
        x_min, y_min, x_max, y_max = np.clip(poses.boxes[row] / (*size, *size), 0, 1).tolist()
        confidence = float(poses.mean_scores[row])
        return self._types.NormalizedRegionOfInterest2D(
            header=header, xmin=x_min, ymin=y_min, xmax=x_max, ymax=y_max, c=confidence
        )

    def _skeleton(self, poses: Poses, row: int, header: Header, size: tuple[int, int]) -> Any:
        points = [
            self._types.NormalizedPointOfInterest2D(x=x, y=y, c=confidence)
            for x, y, confidence in openpose_18(poses, row, size).tolist()
        ]
        return self._types.Skeleton2D(header=header, skeleton=points)


def body_id(track_id: int) -> str:
    """A name that may stand in a topic."""
    return f"track_{track_id}"


def openpose_18(poses: Poses, row: int, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """One person's keypoints in the order of OpenPose's COCO model.

    Returns [18, 3]: x and y in parts of the image's width and height, 0..1, and score; all 0 where there is none.
    """
    own = np.concatenate([poses.keypoints[row] / size, poses.scores[row][:, None]], 1)  # [15, 3]
    points = np.zeros((len(JOINTS), 3))
    for joint, name in enumerate(JOINTS):
        if name:
            points[joint] = own[INDEX[name]]
    shoulders = own[[INDEX["right_shoulder"], INDEX["left_shoulder"]]]
    points[_NECK, :2], points[_NECK, 2] = shoulders[:, :2].mean(0), shoulders[:, 2].min()
    points[points[:, 2] <= 0] = 0
    return np.clip(points, 0, 1)
