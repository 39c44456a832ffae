"""Box evidence and pose evidence in one score: the only place where they are mixed.

Both are log-odds that a pose continues a track rather than none. The box says how well a detection lies where the
tracker expects the track, in standard deviations of its motion filter. The network says it of the keypoints. Where
another pose of the frame claims the same keypoints, the pose network has probably given one person the limbs of the
other; then the network counts for less and the box decides.
"""

from __future__ import annotations

import numpy as np

from keytrack_ros.geometry import overlap_of_smaller
from keytrack_ros.matching.boxes import Overlap, box_centers, cut_off, exists, uncut
from keytrack_ros.matching.matcher import ExpectedBoxes
from keytrack_ros.poses import BoolArray, FloatArray

TAIL = 4.0
"""Degrees of freedom of the t-distributions of box errors: detectors also make gross ones."""

GROSS_ERROR = 0.01
"""Share of boxes that are cut off or hold two people: they lie anywhere around the person and have any size."""

GROSS_CENTER = 0.35
GROSS_SIZE = 0.6
"""Standard deviations of their centers, in body heights of the larger box, and of the logarithms of their sizes."""

ARRIVALS = 55.0
"""Rate, a second, at which somebody else may come in where a track has left the image, beside its own return: the
log-odds of a box at the border fall by log(1 + this times the seconds since the track was seen)."""

MERGED_SHARE = 0.14
"""Share of the boxes of people who overlap that hold two of them."""

MERGE_OVERLAP = 0.3
"""Two tracks may share a box if their expected boxes overlap by so much of the smaller one …"""

MERGE_SPREAD = 0.3
"""… and neither is more uncertain than so many body heights."""

FITTED_LOGIT = 2.0
"""A track that another box of the frame fits so well has a box of its own."""

POSE_WEIGHT = 1.0
"""Weight of the network's log-odds where no keypoint is contested …"""

CONTESTED_WEIGHT = 0.5
"""… and where all are."""

LARGEST_LOGIT = 6.0
"""The network's log-odds are cut off here: it is sometimes sure and wrong."""

NOT_ASKED_LOGIT = -3.0
"""Stands for the network's answer about poses too far away to be asked about."""

HOPELESS_LOGIT = -10.0
"""The network is not asked about pairs whose boxes say less than this; it could not make up for them."""

SETTLED_BY_BOXES = 0.95
"""Probability from which boxes alone settle a case: people stand apart, and the network is not asked."""


def box_logits(boxes: FloatArray, expected: ExpectedBoxes, image: FloatArray | None = None) -> FloatArray:
    """[P, T] float32 log-odds of boxes [P, 4] against expected ones; −inf where a box is unknown (zeros).

    `image` [4] is where the image is whose border may cut boxes off; None where it is not known.
    """
    known = exists(boxes)[:, None]
    boxes = _pairwise(boxes, expected, image)
    distance2 = _distances2(boxes, expected)
    sizes, spread = boxes[..., 2:] - boxes[..., :2], _spread(expected)
    logs = _size_ratios(boxes, expected)
    larger = np.maximum(sizes.max(-1, initial=1), expected.sizes.max(1))
    gross_spread = np.hypot(GROSS_CENTER, spread)
    gross = (
        np.log(GROSS_ERROR)
        - distance2 / np.square(gross_spread * larger) / 2
        - 2 * np.log(gross_spread)
        - _surprise(np.square(logs / GROSS_SIZE), 1).sum(-1)
    )
    logits = np.logaddexp(_usual_logits(boxes, expected), gross)
    return np.where(known, logits, -np.inf).astype(np.float32)


def arrival_logits(boxes: FloatArray, seconds: FloatArray, image: FloatArray) -> FloatArray:
    """[P, T] float32 log-odds, at most 0, that boxes [P, 4] are not of somebody who has just come into the image.

    `seconds` [T] is how long ago each track was seen. Away from the border nobody comes in.
    """
    return np.where(cut_off(boxes, image)[:, None], -np.log1p(ARRIVALS * seconds), 0).astype(np.float32)


def merged_logits(boxes: FloatArray, expected: ExpectedBoxes, image: FloatArray | None = None) -> FloatArray:
    """[P, T] float32 log-odds that each box holds two people: that of the track and one of an overlapping track.

    Such a box covers both expected boxes. −inf where no other track is near, and where another box of the frame fits
    the track. Boxes are [P, 4].
    """
    out = np.full((len(boxes), len(expected.sizes)), -np.inf)
    alone, spread = expected.boxes, _spread(expected)
    near = (overlap_of_smaller(alone, alone) > MERGE_OVERLAP) & (np.maximum(spread[:, None], spread) < MERGE_SPREAD)
    a, b = np.nonzero(np.triu(near, 1))
    if len(a):
        low, high = np.minimum(alone[a, :2], alone[b, :2]), np.maximum(alone[a, 2:], alone[b, 2:])
        union = ExpectedBoxes(
            (low + high) / 2,
            high - low,
            np.maximum(expected.center_std[a], expected.center_std[b]),
            np.maximum(expected.size_std[a], expected.size_std[b]),
        )
        logits = _usual_logits(_pairwise(boxes, union, image), union) + np.log(MERGED_SHARE)
        for track in (a, b):
            np.maximum.at(out.T, track, logits.T)
    usual = _usual_logits(_pairwise(boxes, expected, image), expected)
    fit = np.where(exists(boxes)[:, None], usual, -np.inf)
    ranked = np.sort(np.concatenate([np.full((2, fit.shape[1]), -np.inf), fit]), axis=0)
    others = np.where(fit == ranked[-1], ranked[-2], ranked[-1])  # of the best of the other boxes
    return np.where(exists(boxes)[:, None] & (others < FITTED_LOGIT), out, -np.inf).astype(np.float32)


def _pairwise(boxes: FloatArray, expected: ExpectedBoxes, image: FloatArray | None) -> FloatArray:
    """[P, T, 4]: each box as that of each track, see `uncut`."""
    every = np.broadcast_to(boxes[:, None], (len(boxes), len(expected.sizes), 4))
    return every if image is None else uncut(every, expected.sizes[None], image)


def _usual_logits(boxes: FloatArray, expected: ExpectedBoxes) -> FloatArray:
    """[P, T] log-odds of boxes [P, T, 4] that are no gross error."""
    return np.asarray(
        -_surprise(_distances2(boxes, expected) / np.square(expected.center_std), 2)
        - 2 * np.log(_spread(expected))
        - _surprise(np.square(_size_ratios(boxes, expected) / expected.size_std[None]), 1).sum(-1)
    )


def _distances2(boxes: FloatArray, expected: ExpectedBoxes) -> FloatArray:
    """[P, T] squared distances of the centers, px²."""
    return np.asarray(np.square(box_centers(boxes) - expected.centers[None]).sum(-1))


def _size_ratios(boxes: FloatArray, expected: ExpectedBoxes) -> FloatArray:
    """[P, T, 2] logarithms of width and height over those expected."""
    return np.asarray(np.log(np.maximum(boxes[..., 2:] - boxes[..., :2], 1) / expected.sizes[None]))


def _spread(expected: ExpectedBoxes) -> FloatArray:
    """[T] standard deviation of a center in body heights: wide expectations say less."""
    return np.asarray(expected.center_std / expected.sizes.max(1))


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
