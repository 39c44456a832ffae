"""sensor_msgs depth images as metres, with every inconsistency named."""

from __future__ import annotations

from typing import Any

import numpy as np

from keytrack_ros.errors import InputError
from keytrack_ros.poses import FloatArray

_ENCODINGS = {"16UC1": ("u2", 0.001), "32FC1": ("f4", 1.0)}
"""Type of a pixel and its unit in metres (REP 118)."""


def depth_to_metres(message: Any) -> FloatArray:
    """A depth image message, from rclpy or from rosbags, as [H, W] float32 metres along the optical axis.

    Holes stay as they are: 0 in 16UC1 (millimetres), 0, NaN or infinite in 32FC1 (metres).

    Raises:
        InputError: another encoding, or size, step and data contradict each other.
    """
    if message.encoding not in _ENCODINGS:
        raise InputError(f"encoding '{message.encoding}' is no depth image; 16UC1 (mm) or 32FC1 (m) is needed")
    kind, unit = _ENCODINGS[message.encoding]
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(message.data, np.uint8)
    row = width * dtype.itemsize
    if height == 0 or width == 0:
        raise InputError(f"the depth image is {width}x{height} pixels")
    # The last row may come without its padding.
    if step < row or not step * (height - 1) + row <= data.size <= step * height:
        raise InputError(
            f"a depth image of {width}x{height} pixels in {message.encoding} has {data.size} bytes and a step of {step}"
        )
    pixels: FloatArray = np.ndarray((height, width), dtype, buffer=data, strides=(step, dtype.itemsize))
    return np.multiply(pixels, np.float32(unit), dtype=np.float32)
