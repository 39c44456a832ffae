"""The geometry of YOLOX-style detectors: letterbox on the way in, grid decoding on the way out (Ge et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from keytrack_ros.poses import FloatArray, ImageArray


def letterbox(image: ImageArray, size: tuple[int, int], fill: int) -> tuple[ImageArray, float]:
    """Scales the image to fit into `size` (width, height), puts it into the top left corner and fills the rest.

    Returns [height, width, 3] uint8 and the scale: network pixels = scale · image pixels.
    """
    height, width = image.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    inner = max(round(width * scale), 1), max(round(height * scale), 1)
    boxed = np.full((size[1], size[0], 3), fill, np.uint8)
    boxed[: inner[1], : inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    return boxed, scale


def cell_grid(size: tuple[int, int], strides: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Column and row [cells, 2] of every output row, and its stride [cells, 1]; grids follow each other row-major."""
    corners, scales = [], []
    for stride in strides:
        rows, columns = np.mgrid[: size[1] // stride, : size[0] // stride]
        corners.append(np.stack([columns.ravel(), rows.ravel()], 1))
        scales.append(np.full((rows.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(scales).astype(np.float32)


def decode(
    rows: FloatArray, corners: FloatArray, strides: FloatArray, person_class: int
) -> tuple[FloatArray, FloatArray]:
    """Boxes and scores of raw rows cx, cy, w, h, objectness, class scores.

    cx = (row_cx + column) · stride, w = exp(row_w) · stride; score = objectness · class score.

    Returns [cells, 4] float32 x_min, y_min, x_max, y_max in network pixels, and [cells] float32.
    """
    centre = (rows[:, :2] + corners) * strides
    half = np.exp(np.minimum(rows[:, 2:4], 20.0)) * strides / 2  # e²⁰ is beyond any image; more would overflow
    return np.concatenate([centre - half, centre + half], 1), rows[:, 4] * rows[:, 5 + person_class]
