"""Overlap of boxes (IoU) and similarity of poses (OKS), both 0..1."""

from __future__ import annotations

import numpy as np

from keytrack_ros.poses import FloatArray, Poses, keypoint_boxes
from keytrack_ros.skeleton import SIGMAS


def box_iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union of boxes x_min, y_min, x_max, y_max; 0 for empty boxes.

    Leading axes are broadcast; float32.
    """
    size = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = np.prod(np.maximum(size, 0), -1)
    union = np.prod(a[..., 2:] - a[..., :2], -1) + np.prod(b[..., 2:] - b[..., :2], -1) - intersection
    return np.where(union > 0, intersection / np.maximum(union, 1e-9), 0).astype(np.float32)


def overlap_of_smaller(a: FloatArray, b: FloatArray) -> FloatArray:
    """[A, B] intersection of boxes [A, 4] and [B, 4] over the area of the smaller one; 0 for empty boxes."""
    size = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    smaller = np.minimum(np.prod(a[:, 2:] - a[:, :2], -1)[:, None], np.prod(b[:, 2:] - b[:, :2], -1)[None])
    return np.asarray(np.prod(np.maximum(size, 0), -1) / np.maximum(smaller, 1e-9), np.float32)


def oks(a: Poses, b: Poses, sigmas: FloatArray = SIGMAS) -> FloatArray:
    """Object keypoint similarity of every pose in `a` with every pose in `b`.

    OKS = mean over shared visible keypoints of exp(−d² / (2 s² (2σ)²)), with s² the mean area of the two keypoint
    boxes (COCO's definition; the mean area as in HRNet's pose NMS).

    Returns [len(a), len(b)] float32 in 0..1; 0 where two poses share no visible keypoint.
    """
    shared = np.logical_and(a.visible[:, None], b.visible[None])  # [A, B, 15]
    distance2 = np.square(a.keypoints[:, None] - b.keypoints[None]).sum(-1)
    area = (_areas(a)[:, None] + _areas(b)[None]) / 2  # [A, B]
    likeness = np.exp(-distance2 / (2 * area[..., None] * np.square(2 * sigmas)))
    count = shared.sum(-1)
    return np.asarray((likeness * shared).sum(-1) / np.maximum(count, 1), np.float32)


def _areas(poses: Poses) -> FloatArray:
    """Areas of the keypoint boxes in px²; at least one pixel, so that a lone keypoint still has a size."""
    boxes = keypoint_boxes(poses.keypoints, poses.scores)
    size = boxes[:, 2:] - boxes[:, :2]
    return np.maximum(size[:, 0] * size[:, 1], 1.0)
