"""Pixels of any depth and number of channels as [H, W, 3] uint8 BGR."""

from __future__ import annotations

import logging
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from keytrack_ros.errors import InputError
from keytrack_ros.poses import ImageArray

logger = logging.getLogger(__name__)

BIT_DEPTHS = (8, 10, 12, 14, 16)
_SPREAD = 3
"""Levels by which the pixels of an image of one colour may differ, as compression makes them."""


class BitDepth:
    """Scales 16-bit pixels to 8 bits, by the bits that the sensor uses.

    Many cameras put 10, 12 or 14 bits into 16 without scaling them (infrared, thermal, industrial). Unless the number
    is given, it is the least of `BIT_DEPTHS` that holds all values so far; what is found is logged once.

    Args:
        name: of the stream, for that message.
        bits: 8 to 16; 0 = found from the images.

    Raises ValueError for another number.
    """

    def __init__(self, name: str = "", bits: int = 0) -> None:
        if bits != 0 and not 8 <= bits <= 16:
            raise ValueError(f"bits is {bits}; 0 (found from the images) or 8 to 16 are possible")
        self._name = name
        self._fixed = bits != 0
        self.bits = bits

    def to_uint8(self, image: npt.NDArray[np.uint16]) -> ImageArray:
        """The image with its range of values scaled to 0..255 and rounded; values beyond the bits are 255."""
        if not self._fixed:
            self._find(int(image.max(initial=0)))
        if self.bits == 16:
            return np.asarray((image.astype(np.uint32) + 128) // 257, np.uint8)
        largest = 2**self.bits - 1
        scaled = (image.astype(np.uint32) * 255 + largest // 2) // largest
        return np.asarray(np.minimum(scaled, 255), np.uint8)

    def _find(self, largest: int) -> None:
        bits = next(bits for bits in BIT_DEPTHS if largest < 2**bits)
        if bits <= self.bits:
            return
        first, self.bits = self.bits == 0, bits
        if self._name and (bits < 16 or not first):
            logger.warning(
                "%s: 16-bit images with values up to %d: taken for %d bits%s",
                self._name,
                largest,
                bits,
                "; the option bits sets another number" if first else "",
            )


def as_bgr8(image: npt.NDArray[Any], depth: BitDepth | None = None) -> ImageArray:
    """Any grey, colour or alpha image as [H, W, 3] uint8 BGR; alpha is dropped.

    16 bits are scaled by `depth`, or by the values in this image alone.

    Raises InputError for pixels that are neither 8 nor 16 bits without sign, as of depth images.
    """
    if image.size == 0:
        raise InputError("the image has no pixels")
    if image.dtype == np.uint16:
        image = (depth or BitDepth()).to_uint8(image)
    if image.dtype != np.uint8:
        raise InputError(f"pixels are of type {image.dtype}; 8 or 16 bits without sign are needed")
    channels = 1 if image.ndim == 2 else image.shape[2]
    conversions = {1: cv2.COLOR_GRAY2BGR, 4: cv2.COLOR_BGRA2BGR}
    if channels == 3:
        return np.ascontiguousarray(image)
    if channels not in conversions:
        raise InputError(f"the image has {channels} channels; 1, 3 or 4 are needed")
    return np.asarray(cv2.cvtColor(image, conversions[channels]), np.uint8)


def constant_color(image_bgr: ImageArray) -> tuple[int, int, int] | None:
    """The colour (blue, green, red) of an image that has only one; None for any other."""
    sampled = image_bgr[:: max(1, image_bgr.shape[0] // 64), :: max(1, image_bgr.shape[1] // 64)].reshape(-1, 3)
    low, high = sampled.min(0), sampled.max(0)
    if (high - low > _SPREAD).any():
        return None
    blue, green, red = sampled[0].tolist()
    return blue, green, red
