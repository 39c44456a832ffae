"""The pinhole camera: pixels with depth to metres, and metres to another frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keytrack_ros.errors import InputError
from keytrack_ros.poses import FloatArray


class Intrinsics(NamedTuple):
    """Focal lengths and principal point in pixels of the colour image; whole numbers are centres of pixels.

    The image is taken as rectified: lens distortion is not corrected.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    @staticmethod
    def from_matrices(k: Sequence[float], p: Sequence[float]) -> Intrinsics:
        """From the fields of a CameraInfo: those of the rectified image (P) if they are set, else those of K.

        Args:
            k: 9 values, row by row.
            p: 12 values, row by row.

        Raises:
            InputError: neither is set, as an uncalibrated camera's are.
        """
        for values in ((p[0], p[5], p[2], p[6]), (k[0], k[4], k[2], k[5])):
            fx, fy, cx, cy = map(float, values)
            if all(map(math.isfinite, (fx, fy, cx, cy))) and fx > 0 and fy > 0:
                return Intrinsics(fx, fy, cx, cy)
        raise InputError("the camera_info has no focal length (K and P are zero); calibrate the camera")

    def to_space(self, pixels: FloatArray, depths_m: FloatArray) -> FloatArray:
        """Pixels [..., 2] at depths [...] along the optical axis: [..., 3] float32 metres; x right, y down, z ahead."""
        x = (pixels[..., 0] - self.cx) / self.fx * depths_m
        y = (pixels[..., 1] - self.cy) / self.fy * depths_m
        return np.stack([x, y, depths_m], -1).astype(np.float32)


def depth_scale(depth_size: tuple[int, int], image_size: tuple[int, int]) -> float:
    """Pixels of the depth image per pixel of the colour image; sizes are (width, height).

    Raises:
        InputError: the aspects differ, so that the depth image cannot be registered to the colour image.
    """
    (width, height), (image_width, image_height) = depth_size, image_size
    if width * image_height != height * image_width:
        raise InputError(
            f"the depth image is {width}x{height} pixels and the colour image {image_width}x{image_height}: another "
            "aspect; a depth image that is registered (aligned) to the colour image is needed"
        )
    return width / image_width


def rotated_and_moved(
    points: FloatArray, quaternion: tuple[float, float, float, float], translation: tuple[float, float, float]
) -> FloatArray:
    """Points [..., 3] after a rotation (x, y, z, w, as in geometry_msgs) and then a translation; NaN stays NaN."""
    x, y, z, w = np.array(quaternion) / np.linalg.norm(quaternion)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    return np.asarray(points @ rotation.T + np.array(translation), np.float32)
