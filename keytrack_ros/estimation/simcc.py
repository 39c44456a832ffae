"""SimCC (Li et al., 2022; RTMPose): a keypoint is one distribution over columns and one over rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keytrack_ros.poses import FloatArray


def average_flipped(
    x: FloatArray, y: FloatArray, flipped_x: FloatArray, flipped_y: FloatArray, mirrored: Sequence[int]
) -> tuple[FloatArray, FloatArray]:
    """Means of the distributions of an image and of its mirror image (flip test).

    Args:
        x: [N, J, columns].
        y: [N, J, rows].
        flipped_x: x of the mirrored images.
        flipped_y: y of the mirrored images.
        mirrored: for each channel the one that it becomes in the mirror.
    """
    channels = list(mirrored)
    return (x + flipped_x[:, channels, ::-1]) / 2, (y + flipped_y[:, channels]) / 2


def decode(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Place and height of the maxima.

    Args:
        x: [N, K, columns], several columns a pixel of the crop (RTMPose: 2).
        y: [N, K, rows].

    Returns:
        Points [N, K, 2] float32 (column, row) and scores [N, K] float32, 0..1: the smaller one of the two maxima, as in
        mmpose.
    """
    points = np.stack([x.argmax(2), y.argmax(2)], 2).astype(np.float32)
    return points, np.clip(np.minimum(x.max(2), y.max(2)), 0, 1).astype(np.float32)
