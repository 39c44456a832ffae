"""Image messages → BGR arrays and back, through cv_bridge where a ROS installation has one that works."""

from __future__ import annotations

from array import array
from functools import cache

import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from keytrack_ros.media.ros_images import Converter, by_rosbags, image_to_bgr
from keytrack_ros.poses import ImageArray


def to_bgr(message: Image | CompressedImage) -> ImageArray:
    """An image message as [H, W, 3] uint8 BGR, see `image_to_bgr`.

    Raises InputError for a malformed message, or one that is no colour or grey image.
    """
    return image_to_bgr(message, _converter())


def to_image_message(image_bgr: ImageArray, header: Header) -> Image:
    """[H, W, 3] uint8 BGR as a bgr8 message."""
    height, width = image_bgr.shape[:2]
    data = array("B")  # rclpy checks the elements of any other type one by one
    data.frombytes(np.ascontiguousarray(image_bgr).data.cast("B"))
    return Image(header=header, height=height, width=width, encoding="bgr8", step=3 * width, data=data)


@cache
def _converter() -> Converter:
    """The library that converts a checked image message to BGR."""
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()
        probe = bridge.imgmsg_to_cv2(
            Image(height=1, width=1, encoding="rgb8", step=3, data=array("B", (1, 2, 3))), "bgr8"
        )
        if probe.tolist() == [[[3, 2, 1]]]:
            return lambda message: np.asarray(bridge.imgmsg_to_cv2(message, "bgr8"), np.uint8)
    except Exception:  # built for another NumPy, it fails in ways that differ with the versions
        pass
    return by_rosbags
