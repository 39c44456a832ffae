"""Tracked people as vision_msgs, for consumers that know no keypoints. vision_msgs is optional: it is not on PyPI."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import Point, Pose, PoseWithCovariance
from rclpy.node import Node
from std_msgs.msg import Header

from keytrack_ros.errors import OptionError
from keytrack_ros.nodes.publishing import advertise
from keytrack_ros.nodes.qos import keep_last
from keytrack_ros.poses import Poses

CLASS_ID = "person"


class DetectionsPublisher:
    """Publishes the boxes of tracked people on `~/detections` (vision_msgs/Detection2DArray).

    `id` is the track id; the score is that of the pose, for a carried-over box has none of its own.

    Raises OptionError without vision_msgs.
    """

    def __init__(self, node: Node) -> None:
        try:
            from vision_msgs import msg
        except ImportError:
            raise OptionError(
                "parameter publish_detections: the package vision_msgs is not installed: "
                "sudo apt-get install ros-$ROS_DISTRO-vision-msgs"
            ) from None
        self._types = msg
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
