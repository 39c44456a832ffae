"""Box evidence and pose evidence in one score: the only place where they are mixed.

Both are log-odds that a pose continues a track rather than none. The box says how well a detection lies where the
tracker expects the track, in standard deviations of its motion filter. The network says it of the keypoints. Where
another pose of the frame claims the same keypoints, the pose network has probably given one person the limbs of the
other; then the network counts for less and the box decides.
"""

from __future__ import annotations

import numpy as np

from keytrack_ros.matching.boxes import Overlap, box_centers, exists
from keytrack_ros.matching.matcher import ExpectedBoxes
from keytrack_ros.poses import BoolArray, FloatArray

TAIL = 4.0
"""Degrees of freedom of the t-distributions of box errors: detectors also make gross ones."""

GROSS_ERROR = 0.01
"""Share of boxes that are cut off or hold two people: they lie anywhere around the person and have any size."""

GROSS_CENTER = 0.35
GROSS_SIZE = 0.6
"""Standard deviations of their centers, in body heights of the larger box, and of the logarithms of their sizes."""

POSE_WEIGHT = 1.0
"""Weight of the network's log-odds where no keypoint is contested …"""

CONTESTED_WEIGHT = 0.0
"""… and where all are."""

LARGEST_LOGIT = 6.0
"""The network's log-odds are cut off here: it is sometimes sure and wrong."""

NOT_ASKED_LOGIT = -3.0
"""Stands for the network's answer about poses too far away to be asked about."""

HOPELESS_LOGIT = -10.0
"""The network is not asked about pairs whose boxes say less than this; it could not make up for them."""

SETTLED_BY_BOXES = 0.95
"""Mutual probability from which boxes alone settle a case: people stand apart, and the network is not asked."""


def box_logits(boxes: FloatArray, expected: ExpectedBoxes) -> FloatArray:
    """[P, T] float32 log-odds of boxes [P, 4] against expected ones; −inf where a box is unknown (zeros)."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    distance2 = np.square(box_centers(boxes)[:, None] - expected.centers[None]).sum(-1)
    logs = np.log(np.maximum(sizes, 1)[:, None] / expected.sizes[None])
    spread = expected.center_std / expected.sizes.max(1)  # in body heights: wide expectations say less
    usual = (
        -_surprise(distance2 / np.square(expected.center_std), 2)
        - 2 * np.log(spread)
        - _surprise(np.square(logs / expected.size_std[None]), 1).sum(-1)
    )
    larger = np.maximum(sizes.max(1, initial=1)[:, None], expected.sizes.max(1))
    gross_spread = np.hypot(GROSS_CENTER, spread)
    gross = (
        np.log(GROSS_ERROR)
        - distance2 / np.square(gross_spread * larger) / 2
        - 2 * np.log(gross_spread)
        - _surprise(np.square(logs / GROSS_SIZE), 1).sum(-1)
    )
    logits = np.logaddexp(usual, gross)
    return np.where(exists(boxes)[:, None], logits, -np.inf).astype(np.float32)


def _surprise(squares: FloatArray, axes: int) -> FloatArray:
    """Negative log-density of a t-distribution, less that of its mode; `squares` in variances."""
    return np.asarray((TAIL + axes) / 2 * np.log1p(squares / TAIL))


def combined_logits(network: FloatArray, box: FloatArray, rivals: Overlap, visible: BoolArray) -> FloatArray:
    """Log-odds [P, T] of all evidence.

    Args:
        network: [P, T], −inf where it was not asked.
        box: [P, T], −inf where a box is unknown: then the network alone decides.
        rivals: of the P poses.
        visible: [P, 15] bool.
    """
    contested = rivals.contested.sum(-1) / np.maximum(visible.sum(-1), 1)
    weight = POSE_WEIGHT + (CONTESTED_WEIGHT - POSE_WEIGHT) * contested
    asked = np.isfinite(network)
    pose = np.where(asked, np.clip(network, -LARGEST_LOGIT, LARGEST_LOGIT), NOT_ASKED_LOGIT)
    mixed = box + weight[:, None] * pose
    return np.where(np.isfinite(box), mixed, network).astype(np.float32)
