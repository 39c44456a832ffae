"""People in space: keypoints of one image, lifted to metres by a registered depth image."""

from keytrack_ros.lifting.camera import Intrinsics, depth_scale, rotated_and_moved
from keytrack_ros.lifting.lift import PosesInSpace, lift
from keytrack_ros.lifting.velocity import Velocities

__all__ = ["Intrinsics", "PosesInSpace", "Velocities", "depth_scale", "lift", "rotated_and_moved"]
