"""sensor_msgs images as arrays: from a bag or from a subscription, with every inconsistency named.

A message is checked before anything else touches it, so that a malformed one is refused with a reason and no library
ever reads beyond its data.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from rosbags.image import ImageError, message_to_cvimage
from rosbags.image.image import to_cvtype

from keytrack_ros.errors import InputError
from keytrack_ros.media.pixels import BitDepth, as_bgr8
from keytrack_ros.poses import ImageArray

_ALIASES = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8", "uyvy": "yuv422", "yuyv": "yuv422_yuy2"}
"""Names that say only the memory layout, and newer names of the same layouts."""

_DEPTH = ("16UC1", "32FC1")
_NO_PICTURE = re.compile(r"(8S|16S|32S|32F|64F|16F)C\d+")
"""Signed and floating-point pixels, of which nothing says what is black and what is white."""
_16_BITS = re.compile(r"(mono|rgb|bgr|rgba|bgra|bayer_[rgb]{4})16|16UC[34]")
_8_BITS = {"16UC3": "bgr8", "16UC4": "bgra8"}
_MULTIPLES = {"yuv422": (2, 1), "yuv422_yuy2": (2, 1), "nv12": (2, 2), "nv21": (2, 2)}
"""What width and height must be multiples of. OpenCV 4.6 writes beyond the end of the image for others."""
VIDEO_FORMATS = ("h264", "h265", "hevc", "av1", "vp8", "vp9")
"""Formats of compressed images that are frames of a video, which `VideoMessages` decodes."""

Converter = Callable[[Any], ImageArray]
"""Turns a checked image message without padding into [H, W, 3] uint8 BGR."""


def by_rosbags(message: Any) -> ImageArray:
    """The converter that needs no ROS installation."""
    return np.ascontiguousarray(message_to_cvimage(message, "bgr8"), np.uint8)


def image_to_bgr(message: Any, convert: Converter = by_rosbags, depth: BitDepth | None = None) -> ImageArray:
    """An image message, from rclpy or from rosbags, as [H, W, 3] uint8 BGR.

    Takes sensor_msgs Image and CompressedImage and foxglove_msgs CompressedImage. bgr8 is a view of the message's data;
    grey, 16-bit, RGB, alpha, Bayer and YUV images are converted. Alpha is dropped, Bayer mosaics are interpolated.

    Args:
        message: the image.
        convert: the library that does it.
        depth: scales 16 bits; by default by the values in this image alone.

    Raises:
        InputError: size, step, data and encoding contradict each other, or it is no colour or grey image: depth, signed
            or floating-point pixels, a frame of a video.
    """
    depth = depth or BitDepth()
    return _decompressed(message, depth) if hasattr(message, "format") else _unpacked(message, convert, depth)


def _decompressed(message: Any, depth: BitDepth) -> ImageArray:
    kind = message.format
    if "compressedDepth" in kind or kind.startswith(_DEPTH):
        raise InputError(f"format '{kind}' is a depth image; a camera image is needed")
    if video_format(message):
        raise InputError(f"format '{kind}' is a video; its frames cannot be decoded one by one")
    data = np.frombuffer(message.data, np.uint8)
    # The camera's orientation tag would turn the picture against its frame.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(data, flags) if data.size else None
    except cv2.error as error:  # a header that announces a size beyond all measure
        raise InputError(f"{data.size} bytes of format '{kind}' cannot be decoded: {error.err}") from None
    if image is None:
        raise InputError(f"{data.size} bytes of format '{kind}' cannot be decoded as an image")
    return as_bgr8(image, depth)


def video_format(message: Any) -> str | None:
    """`h264` of a compressed image that is a packet of a video (format `h264`, `bgr8; h264` …); None of any other.

    ffmpeg_image_transport names the coding, or the encoder, as `encoding` (`hevc`, `libx264`, `h264_nvenc` …).
    """
    name = getattr(message, "format", "") or (message.encoding if hasattr(message, "pts") else "")
    words = re.split(r"[^a-z0-9]+", name.lower().replace("h.26", "h26").replace("libx26", "h26"))
    return next((word for word in words if word in VIDEO_FORMATS), None)


def _unpacked(message: Any, convert: Converter, depth: BitDepth) -> ImageArray:
    encoding = _ALIASES.get(message.encoding, message.encoding)
    height, width, step = int(message.height), int(message.width), int(message.step)
    if encoding in _DEPTH:
        raise InputError(f"encoding '{encoding}' (a depth image) cannot be shown as a colour image")
    if _NO_PICTURE.fullmatch(encoding):
        raise InputError(
            f"encoding '{encoding}' (signed or floating-point pixels) cannot be shown as a colour image; publish 8 or "
            "16 bits without sign"
        )
    if height == 0 or width == 0:
        raise InputError(f"the image is {width}x{height} pixels")
    try:
        _, _, dtype, channels = to_cvtype(encoding)
    except ImageError:
        raise InputError(f"encoding '{message.encoding}' is not known") from None
    across, down = _MULTIPLES.get(encoding, (1, 1))
    if width % across or height % down:
        raise InputError(
            f"an image of {width}x{height} pixels in '{message.encoding}' cannot be converted: its width must be a "
            f"multiple of {across}, its height of {down}"
        )
    row = width * channels * np.dtype(dtype).itemsize
    rows = height * 3 // 2 if encoding in ("nv12", "nv21") else height
    data = np.frombuffer(message.data, np.uint8)
    if step < row:
        raise InputError(f"step is {step}, but a row of {width} pixels in '{message.encoding}' has {row} bytes")
    # The last row may come without its padding.
    if not step * (rows - 1) + row <= data.size <= step * rows:
        raise InputError(f"data has {data.size} bytes, but {rows} rows with a step of {step} need {step * rows}")
    if encoding == "bgr8":
        return np.ndarray((height, width, 3), np.uint8, buffer=data, strides=(step, 3, 1))
    if step > row:  # not every converter knows padding
        data = np.ndarray((rows, row), np.uint8, buffer=data, strides=(step, 1)).ravel()
    big_endian = int(message.is_bigendian)
    if _16_BITS.fullmatch(encoding):
        data = depth.to_uint8(data[: rows * row].view(">u2" if big_endian else "<u2")).view(np.uint8)
        encoding, row = _8_BITS.get(encoding, encoding.replace("16", "8")), row // 2
    packed = SimpleNamespace(encoding=encoding, height=rows, width=width, step=row, is_bigendian=big_endian, data=data)
    try:
        return convert(packed)
    except cv2.error as error:  # sizes that an encoding cannot have, as an odd width in yuv422
        raise InputError(
            f"an image of {width}x{height} pixels in '{message.encoding}' cannot be converted: {error.err}"
        ) from None
    except ImageError:
        raise InputError(f"encoding '{message.encoding}' cannot be shown as a colour image") from None
