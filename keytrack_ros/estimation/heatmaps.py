"""Heatmaps → keypoints: averaging with the mirrored image, maximum, quarter-pixel shift (HRNet, Simple Baselines)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from keytrack_ros.poses import FloatArray


def average_flipped(heatmaps: FloatArray, flipped: FloatArray, mirrored: Sequence[int], shift: int) -> FloatArray:
    """Mean of the heatmaps of an image and of its mirror image (flip test).

    Args:
        heatmaps: [N, J, h, w].
        flipped: [N, J, h, w] of the mirrored images.
        mirrored: for each channel the one that it becomes in the mirror.
        shift: columns by which the mirrored-back map is moved right; 1 for strided networks, whose mirror image is one
            heatmap pixel off (HRNet's SHIFT_HEATMAP).
    """
    back = flipped[:, list(mirrored), :, ::-1]
    if shift:
        back = np.concatenate([back[..., :shift], back[..., :-shift]], -1)
    return np.asarray((heatmaps + back) / 2)


def decode(heatmaps: FloatArray, decoder: str, blur_sigma: float) -> tuple[FloatArray, FloatArray]:
    """Place and height of each map's maximum.

    Args:
        heatmaps: [N, K, h, w].
        decoder: `quarter` moves the maximum by 0.25 px towards the larger neighbour, per axis, where it does not lie at
            the border; `argmax` leaves it.
        blur_sigma: Gaussian smoothing beforehand, heatmap pixels.

    Returns:
        Points [N, K, 2] float32 (x, y in heatmap pixels, 0 = first pixel) and scores [N, K] float32, 0..1; a map
        without a positive value gives score 0.
    """
    count, joints, height, width = heatmaps.shape
    maps = heatmaps.reshape(count * joints, height, width)
    if blur_sigma > 0 and len(maps):
        maps = np.stack([cv2.GaussianBlur(m, (0, 0), blur_sigma) for m in maps])
    flat = maps.reshape(count * joints, height * width)
    best = flat.argmax(1)
    scores = np.clip(flat[np.arange(len(flat)), best], 0, 1)
    y, x = np.divmod(best, width)
    points = np.stack([x, y], 1).astype(np.float32)
    if decoder == "quarter":
        # HRNet leaves maxima in the outer two rows and columns on the low side, and the outer one on the high side.
        inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
        n, xi, yi = np.flatnonzero(inside), x[inside], y[inside]
        points[inside, 0] += 0.25 * np.sign(maps[n, yi, xi + 1] - maps[n, yi, xi - 1])
        points[inside, 1] += 0.25 * np.sign(maps[n, yi + 1, xi] - maps[n, yi - 1, xi])
    return points.reshape(count, joints, 2), scores.reshape(count, joints).astype(np.float32)
