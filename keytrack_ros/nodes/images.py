"""Image messages to BGR arrays and back."""

from __future__ import annotations

from array import array
from functools import cache

import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from keytrack_ros.media.pixels import BitDepth
from keytrack_ros.media.ros_images import Converter, image_to_bgr
from keytrack_ros.nodes.bridge import find_converter
from keytrack_ros.poses import ImageArray


def to_bgr(message: Image | CompressedImage, depth: BitDepth | None = None) -> ImageArray:
    """An image message as [H, W, 3] uint8 BGR, see `image_to_bgr`.

    Raises InputError for a malformed message, or one that is no colour or grey image.
    """
    return image_to_bgr(message, converter(), depth)


def to_image_message(image_bgr: ImageArray, header: Header) -> Image:
    """[H, W, 3] uint8 BGR as a bgr8 message."""
    height, width = image_bgr.shape[:2]
    data = array("B")  # rclpy checks the elements of any other type one by one
    data.frombytes(np.ascontiguousarray(image_bgr).data.cast("B"))
    return Image(header=header, height=height, width=width, encoding="bgr8", step=3 * width, data=data)


@cache
def converter() -> Converter:
    """The converter of this process; finding it may take a second where cv_bridge is installed."""
    return find_converter()
