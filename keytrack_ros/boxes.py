"""Overlap of boxes."""

from __future__ import annotations

import numpy as np

from keytrack_ros.poses import FloatArray


def box_iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union of boxes x_min, y_min, x_max, y_max; 0 for empty boxes.

    Leading axes are broadcast; float32.
    """
    size = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = np.prod(np.maximum(size, 0), -1)
    union = np.prod(a[..., 2:] - a[..., :2], -1) + np.prod(b[..., 2:] - b[..., :2], -1) - intersection
    return np.where(union > 0, intersection / np.maximum(union, 1e-9), 0).astype(np.float32)
