"""sensor_msgs images as arrays: from a bag or from a subscription, with every inconsistency named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from rosbags.image import ImageError, message_to_cvimage
from rosbags.image.image import to_cvtype

from keytrack_ros.errors import InputError
from keytrack_ros.media.sources import as_bgr8
from keytrack_ros.poses import ImageArray

_ALIASES = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}
"""Cameras that name only the memory layout mean these; 16UC1 is a depth image and stays refused."""


def image_to_bgr(message: Any) -> ImageArray:
    """A sensor_msgs Image or CompressedImage as [H, W, 3] uint8 BGR.

    Grey, 16-bit, RGB, alpha, Bayer and YUV images are converted. `message` may come from rclpy or from rosbags.

    Raises:
        InputError: an encoding that is no colour or grey image, or size, step and data that contradict each other.
    """
    return _compressed_to_bgr(message) if hasattr(message, "format") else _raw_to_bgr(message)


def _compressed_to_bgr(message: Any) -> ImageArray:
    if "compressedDepth" in message.format:
        raise InputError(f"format '{message.format}' is a depth image; a camera image is needed")
    data = np.frombuffer(message.data, np.uint8)
    # The camera's orientation tag would turn the picture against its frame.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(data, flags) if data.size else None
    except cv2.error as error:  # a header that announces a size beyond all measure
        raise InputError(f"{data.size} bytes of format '{message.format}' cannot be decoded: {error.err}") from None
    if image is None:
        raise InputError(f"{data.size} bytes of format '{message.format}' cannot be decoded as an image")
    return as_bgr8(image)


def _raw_to_bgr(message: Any) -> ImageArray:
    encoding = _ALIASES.get(message.encoding, message.encoding)
    height, width, step = int(message.height), int(message.width), int(message.step)
    if height == 0 or width == 0:
        raise InputError(f"the image is {width}x{height} pixels")
    try:
        _, _, dtype, channels = to_cvtype(encoding)
    except ImageError:
        raise InputError(f"encoding '{message.encoding}' is not known") from None
    row = width * channels * np.dtype(dtype).itemsize
    rows = height * 3 // 2 if encoding in ("nv12", "nv21") else height
    data = np.frombuffer(message.data, np.uint8)
    if step < row:
        raise InputError(f"step is {step}, but a row of {width} pixels in '{message.encoding}' has {row} bytes")
    # The last row may come without its padding.
    if data.size < step * (rows - 1) + row:
        raise InputError(f"data has {data.size} bytes, but {rows} rows with a step of {step} need {step * rows}")
    if step > row:  # rosbags-image knows no padding
        padded = np.zeros(step * rows, np.uint8)
        padded[: min(data.size, padded.size)] = data[: padded.size]
        data = padded.reshape(rows, step)[:, :row].ravel()
    packed = SimpleNamespace(
        encoding=encoding, height=rows, width=width, is_bigendian=bool(message.is_bigendian), data=data
    )
    try:
        image = message_to_cvimage(packed, "bgr8")  # type: ignore[arg-type]
    except ImageError:
        raise InputError(f"encoding '{message.encoding}' cannot be shown as a colour image") from None
    return np.ascontiguousarray(image, np.uint8)
