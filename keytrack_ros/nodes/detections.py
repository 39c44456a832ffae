"""Tracked people as vision_msgs, for consumers that know no keypoints. vision_msgs is optional: it is not on PyPI."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Vector3
from rclpy.node import Node
from std_msgs.msg import Header

from keytrack_ros.errors import OptionError
from keytrack_ros.lifting import PosesInSpace
from keytrack_ros.nodes.messages import xyz
from keytrack_ros.nodes.publishing import advertise
from keytrack_ros.nodes.qos import keep_last
from keytrack_ros.poses import Poses

CLASS_ID = "person"


def _vision_msgs() -> Any:
    """The message types. Raises OptionError without vision_msgs."""
    try:
        from vision_msgs import msg
    except ImportError:
        raise OptionError(
            "parameter publish_detections: the package vision_msgs is not installed: "
            "sudo apt-get install ros-$ROS_DISTRO-vision-msgs"
        ) from None
    return msg


class DetectionsPublisher:
    """Publishes the boxes of tracked people on `~/detections` (vision_msgs/Detection2DArray).

    `id` is the track id; the score is that of the pose, for a carried-over box has none of its own.

    Raises OptionError without vision_msgs.
    """

    def __init__(self, node: Node) -> None:
        self._types = msg = _vision_msgs()
        self.publisher = advertise(node, msg.Detection2DArray, "~/detections", keep_last(10, "reliable"))

    def publish(self, poses: Poses, header: Header) -> None:
        """One message for an image, also when nobody is in it."""
        detections = [self._detection(poses, row, header) for row in range(len(poses))]
        self.publisher.publish(self._types.Detection2DArray(header=header, detections=detections))

    def _detection(self, poses: Poses, row: int, header: Header) -> Any:
        x_min, y_min, x_max, y_max = (float(value) for value in poses.boxes[row])
        center = (x_min + x_max) / 2, (y_min + y_max) / 2
        types = self._types
        hypothesis = types.ObjectHypothesisWithPose(
            hypothesis=types.ObjectHypothesis(class_id=CLASS_ID, score=float(poses.mean_scores[row])),
            # Pixels, as in vision_msgs' 2D detections.
            pose=PoseWithCovariance(pose=Pose(position=Point(x=center[0], y=center[1]))),
        )
        box = types.BoundingBox2D(
            center=types.Pose2D(position=types.Point2D(x=center[0], y=center[1])),
            size_x=x_max - x_min,
            size_y=y_max - y_min,
        )
        return types.Detection2D(header=header, results=[hypothesis], bbox=box, id=str(int(poses.track_ids[row])))


class Detections3DPublisher:
    """Publishes people in metres on `~/detections_3d` (vision_msgs/Detection3DArray).

    The box holds the keypoints that have a depth; they lie on the side of the body that the camera sees. People without
    any are left out. `id` and score are as in `~/detections`; the pose of the result is the person's position.

    Raises OptionError without vision_msgs.
    """

    def __init__(self, node: Node) -> None:
        self._types = msg = _vision_msgs()
        self.publisher = advertise(node, msg.Detection3DArray, "~/detections_3d", keep_last(10, "reliable"))

    def publish(self, poses: Poses, people: PosesInSpace, header: Header) -> None:
        """One message for an image; `people` are those of `poses`, in the frame of the header."""
        rows = np.flatnonzero(people.valid.any(1)).tolist()
        detections = [self._detection(poses, people, row, header) for row in rows]
        self.publisher.publish(self._types.Detection3DArray(header=header, detections=detections))

    def _detection(self, poses: Poses, people: PosesInSpace, row: int, header: Header) -> Any:
        types = self._types
        points = people.points[row][people.valid[row]]
        low, high = points.min(0), points.max(0)
        hypothesis = types.ObjectHypothesisWithPose(
            hypothesis=types.ObjectHypothesis(class_id=CLASS_ID, score=float(poses.mean_scores[row])),
            pose=PoseWithCovariance(pose=Pose(position=Point(**xyz(people.positions[row])))),
        )
        box = types.BoundingBox3D(center=Pose(position=Point(**xyz((low + high) / 2))), size=Vector3(**xyz(high - low)))
        return types.Detection3D(header=header, results=[hypothesis], bbox=box, id=str(int(poses.track_ids[row])))
