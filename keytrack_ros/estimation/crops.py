"""Person box ↔ crop: the affine map of HRNet and Simple Baselines (Xiao et al., 2018)."""

from __future__ import annotations

import cv2
import numpy as np

from keytrack_ros.poses import FloatArray, ImageArray


def crop_transforms(boxes: FloatArray, size: tuple[int, int], padding: float) -> FloatArray:
    """Image → crop maps for boxes.

    Each box keeps its centre, is padded to the crop's aspect, grown by `padding`, and fills the crop.

    Args:
        boxes: [N, 4] x_min, y_min, x_max, y_max, pixels, of positive size.
        size: width and height of the crop.

    Returns:
        [N, 2, 3] float64: crop point = A · (x, y, 1).
    """
    width, height = size
    extent = np.asarray(boxes[:, 2:] - boxes[:, :2], np.float64)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    padded_width = np.maximum(extent[:, 0], extent[:, 1] * width / height) * padding
    scale = width / padded_width
    maps = np.zeros((len(boxes), 2, 3))
    maps[:, 0, 0] = maps[:, 1, 1] = scale
    maps[:, :, 2] = np.array([width, height]) / 2 - scale[:, None] * centre
    return maps


def crop_image(image: ImageArray, transforms: FloatArray, size: tuple[int, int]) -> list[ImageArray]:
    """The crops [h, w, 3], bilinear; black where they reach beyond the image."""
    return [cv2.warpAffine(image, m, size, flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False) for m in transforms]


def to_image(points: FloatArray, transforms: FloatArray) -> FloatArray:
    """Crop points [N, K, 2] in image pixels, float32: the inverse of `crop_transforms`."""
    scale = np.stack([transforms[:, 0, 0], transforms[:, 1, 1]], 1)[:, None]
    return np.asarray((points - transforms[:, None, :, 2]) / scale, np.float32)
