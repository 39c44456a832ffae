"""Heatmaps → keypoints: averaging with the mirrored image, maximum, quarter-pixel shift (HRNet) or DARK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from keytrack_ros.poses import FloatArray, IntArray


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


_REACH = 2
"""Heatmap pixels on each side of the maximum that DARK's derivatives read."""


def decode(
    heatmaps: FloatArray, decoder: str, blur_sigma: float, dark_kernel: int = 11
) -> tuple[FloatArray, FloatArray]:
    """Place and height of each map's maximum.

    Args:
        heatmaps: [N, K, h, w].
        decoder: `quarter` moves the maximum by 0.25 px towards the larger neighbour, per axis, where it does not lie at
            the border; `dark` moves it to the top of the Gaussian that fits it, see `dark_offsets`; `argmax` leaves it.
        blur_sigma: Gaussian smoothing beforehand, heatmap pixels.
        dark_kernel: side of the smoothing kernel of `dark`, heatmap pixels, odd.

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
    elif decoder == "dark":
        points += dark_offsets(maps, x, y, dark_kernel)
    return points.reshape(count, joints, 2), scores.reshape(count, joints).astype(np.float32)


def dark_offsets(maps: FloatArray, x: IntArray, y: IntArray, kernel: int) -> FloatArray:
    """From the maximum of a map to the centre of the Gaussian that it is taken for (DARK, Zhang et al., 2020, §3.2).

    The map is smoothed with a Gaussian kernel; its logarithm L is a parabola if it is a Gaussian, so that one Newton
    step −(D²L)⁻¹ DL leads from the maximum to the centre. The published code also scales the smoothed map back to its
    old height, which only adds a constant to L.

    Args:
        maps: [M, h, w].
        x: column of each map's maximum, [M].
        y: its row, [M].
        kernel: side of the smoothing kernel, odd; σ = 0.3 ((kernel − 1) / 2 − 1) + 0.8 as in OpenCV (11: σ = 2).

    Returns:
        [M, 2] float32, x and y. 0 where the maximum lies in the outer two rows or columns (as published), and where
        L has no maximum nearby: a map that is no hill must not throw its point out of the picture.
    """
    height, width = maps.shape[1:]
    offsets = np.zeros((len(maps), 2), np.float32)
    inside = np.flatnonzero((x >= _REACH) & (x < width - _REACH) & (y >= _REACH) & (y < height - _REACH))
    smooth = _smoothed_around(maps, inside, x[inside], y[inside], kernel)
    logarithm = np.log(np.maximum(smooth, 1e-10))  # [I, 5, 5]; the maximum stands in the middle
    dx, dy, dxx, dyy, dxy = derivatives(logarithm)
    determinant = dxx * dyy - dxy**2
    hill = (dxx < 0) & (determinant > 0)
    divisor = np.where(hill, determinant, 1)
    step = np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], 1) / divisor[:, None]
    near = hill & (np.abs(step) <= _REACH).all(1)
    offsets[inside[near]] = step[near]
    return offsets


def derivatives(values: Any) -> tuple[Any, Any, Any, Any, Any]:
    """First and second derivatives dx, dy, dxx, dyy, dxy [M] in the middle of [M, 5, 5] values, NumPy's or torch's.

    Differences over two pixels, as published.
    """
    c = _REACH
    dx = (values[:, c, c + 1] - values[:, c, c - 1]) / 2
    dy = (values[:, c + 1, c] - values[:, c - 1, c]) / 2
    dxx = (values[:, c, c + 2] - 2 * values[:, c, c] + values[:, c, c - 2]) / 4
    dyy = (values[:, c + 2, c] - 2 * values[:, c, c] + values[:, c - 2, c]) / 4
    dxy = (values[:, c + 1, c + 1] - values[:, c - 1, c + 1] - values[:, c + 1, c - 1] + values[:, c - 1, c - 1]) / 4
    return dx, dy, dxx, dyy, dxy


def _smoothed_around(maps: FloatArray, rows: IntArray, x: IntArray, y: IntArray, kernel: int) -> FloatArray:
    """The smoothed maps `rows`, only the 5 × 5 pixels around (x, y), [I, 5, 5] float64; beyond the border is 0."""
    reach = _REACH + kernel // 2
    span = np.arange(-reach, reach + 1)
    across, down = x[:, None] + span, y[:, None] + span  # [I, 2 reach + 1]
    height, width = maps.shape[1:]
    columns, lines = np.clip(across, 0, width - 1), np.clip(down, 0, height - 1)
    patches = maps[rows[:, None, None], lines[:, :, None], columns[:, None, :]].astype(np.float64)
    patches *= (lines == down)[:, :, None] & (columns == across)[:, None, :]
    weights = cv2.getGaussianKernel(kernel, 0)[:, 0]
    band = np.stack([np.roll(np.pad(weights, (0, 2 * _REACH)), shift) for shift in range(2 * _REACH + 1)])
    return np.asarray(band @ patches @ band.T)
