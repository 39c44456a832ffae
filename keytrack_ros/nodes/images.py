"""Image messages → BGR arrays and back.

A message is checked before anything else touches it, so that a malformed one is refused with a reason and no library
ever reads beyond its data. cv_bridge converts where a ROS installation has one that works, rosbags-image elsewhere;
the choice is made in `_converter` alone.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from keytrack_ros.errors import InputError
from keytrack_ros.poses import ImageArray

_BYTES_PER_PIXEL = {
    "bgr8": 3,
    "rgb8": 3,
    "bgra8": 4,
    "rgba8": 4,
    "mono8": 1,
    "mono16": 2,
    "bayer_rggb8": 1,
    "bayer_bggr8": 1,
    "bayer_gbrg8": 1,
    "bayer_grbg8": 1,
    "yuv422": 2,
    "yuv422_yuy2": 2,
}
_ALIASES = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8", "uyvy": "yuv422", "yuyv": "yuv422_yuy2"}
"""Names that say only the memory layout, and newer names of the same layouts."""


def to_bgr(message: Image | CompressedImage) -> ImageArray:
    """An image message as [H, W, 3] uint8 BGR.

    bgr8 is a view of the message's data; everything else is converted. mono16 is scaled from its full range (÷ 257),
    alpha is dropped, Bayer mosaics are interpolated. 16UC1 and 32FC1 are depth images and are refused.

    Raises:
        InputError: size, step, data and encoding contradict each other, or it is no colour or grey image.
    """
    return _decompressed(message) if isinstance(message, CompressedImage) else _unpacked(message)


def to_image_message(image_bgr: ImageArray, header: Header) -> Image:
    """[H, W, 3] uint8 BGR as a bgr8 message."""
    height, width = image_bgr.shape[:2]
    data = array("B")  # rclpy checks the elements of any other type one by one
    data.frombytes(np.ascontiguousarray(image_bgr).data.cast("B"))
    return Image(header=header, height=height, width=width, encoding="bgr8", step=3 * width, data=data)


def _unpacked(message: Image) -> ImageArray:
    encoding = _ALIASES.get(message.encoding, message.encoding)
    _check(message, encoding)
    height, width, step = message.height, message.width, message.step
    if encoding == "bgr8":
        return np.ndarray((height, width, 3), np.uint8, buffer=message.data, strides=(step, 3, 1))
    convert = _converter()
    source = SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=message.is_bigendian,
        step=step,
        data=message.data,
    )
    try:
        return convert(source)
    except cv2.error as error:  # sizes that an encoding cannot have, as an odd width in yuv422
        raise InputError(
            f"an image of {width}x{height} pixels in '{message.encoding}' cannot be converted: {error.err}"
        ) from None


def _check(message: Image, encoding: str) -> None:
    height, width, step = message.height, message.width, message.step
    if encoding not in _BYTES_PER_PIXEL:
        depth = " (a depth image)" if encoding in ("16UC1", "32FC1") else ""
        known = ", ".join((*_BYTES_PER_PIXEL, *_ALIASES))
        raise InputError(f"encoding '{encoding}'{depth} cannot be used; known are {known}")
    if height == 0 or width == 0:
        raise InputError(f"the image is {width}x{height} pixels")
    row = width * _BYTES_PER_PIXEL[encoding]
    if step < row:
        raise InputError(f"step is {step}, but a row of {width} pixels in '{message.encoding}' has {row} bytes")
    if len(message.data) != height * step:
        raise InputError(
            f"data has {len(message.data)} bytes, but {height} rows with a step of {step} have {height * step}"
        )


def _decompressed(message: CompressedImage) -> ImageArray:
    if "compressedDepth" in message.format or message.format.startswith(("16UC1", "32FC1")):
        raise InputError(f"format '{message.format}' is a depth image")
    if len(message.data) == 0:
        raise InputError("the compressed image is empty")
    # The camera's orientation tag would turn the picture against its frame.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(message.data, np.uint8), flags)
    except cv2.error as error:  # a header that announces a size beyond all measure
        raise InputError(f"{len(message.data)} bytes in '{message.format}' cannot be decoded: {error.err}") from None
    if image is None:
        raise InputError(f"{len(message.data)} bytes in '{message.format}' cannot be decoded as an image")
    return cast(ImageArray, image)


@cache
def _converter() -> Callable[[Any], ImageArray]:
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
    from keytrack_ros.media.ros_images import image_to_bgr

    return image_to_bgr
