"""Labels from teachers: what two networks agree on, and what neither sees."""

from __future__ import annotations

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.poses import BoolArray, FloatArray

SEEN = 0.2
"""Score from which a teacher's point counts."""
_CLOSE = 0.09  # of the box's longer side: the teachers mean the same point
_STEADY = 0.06  # the same, between a teacher's answers to the image and to its mirror image
_HEAD = (skeleton.INDEX["head_bottom"], skeleton.INDEX["head_top"])
_NOSE = skeleton.INDEX["nose"]
_LIMBS = [k for k, name in enumerate(skeleton.NAMES) if name.startswith(("left_", "right_"))]


def merged_teachers(
    first: FloatArray,
    first_score: FloatArray,
    first_gap: FloatArray,
    second: FloatArray,
    second_score: FloatArray,
    *,
    extent: FloatArray,
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Keypoints of N people from two teachers.

    A limb is known where both see it within 9 % of the box's longer side, or where the first is very sure and steady
    and the second does not contradict. It is known to be absent where neither sees it. Head points come from the
    first teacher (the second has none), the nose from the second.

    Args:
        first, second: [N, 15, 2], pixels; NaN where a teacher has no such keypoint.
        first_score, second_score: [N, 15].
        first_gap: [N, 15], pixels between the answers to the image and to its mirror image.
        extent: [N], longer side of each box, pixels.

    Returns:
        Keypoints [N, 15, 2] (0 where unknown), weights [N, 15], presence [N, 15]; see `People`.
    """
    a, b = np.nan_to_num(first), np.nan_to_num(second)
    apart = np.linalg.norm(a - b, axis=2) / extent[:, None]
    gap = np.nan_to_num(first_gap, nan=np.inf) / extent[:, None]
    agreed = (first_score >= SEEN) & (second_score >= SEEN) & (apart <= _CLOSE) & (gap <= _STEADY)
    contradicted = (second_score >= 0.5) & (apart > 0.15)
    alone = (first_score >= 0.35) & (gap <= 0.03) & ~contradicted & ~agreed
    points = np.where(agreed[..., None], (2 * a + b) / 3, a)
    weights = np.where(agreed, 1.0, np.where(alone, 0.7, 0.0))
    present = agreed | alone

    head = (first_score >= 0.25) & (gap <= 0.05)
    for k in _HEAD:
        points[:, k], weights[:, k], present[:, k] = a[:, k], head[:, k], head[:, k]
    points[:, _NOSE], sure = nose_beside_head(
        b[:, _NOSE], second_score[:, _NOSE], a[:, list(_HEAD)], head[:, _HEAD[0]] & head[:, _HEAD[1]]
    )
    weights[:, _NOSE], present[:, _NOSE] = sure, sure

    unseen = (first_score < 0.1) & (second_score < 0.15)
    unseen[:, _HEAD] = first_score[:, _HEAD] < 0.1
    unseen[:, _NOSE] = second_score[:, _NOSE] < 0.1
    weights = np.where(unseen & ~present, 0.5, weights)
    points = np.where(present[..., None], points, 0)
    return points.astype(np.float32), weights.astype(np.float32), present


def nose_beside_head(
    nose: FloatArray, score: FloatArray, head: FloatArray, head_known: BoolArray
) -> tuple[FloatArray, BoolArray]:
    """Which of a teacher's noses to believe: sure ones that lie within 0.8 head lengths of the head's middle.

    Args:
        nose: [N, 2]; NaN = none.
        score: [N].
        head: [N, 2, 2], head_bottom and head_top.
        head_known: [N]; where False, only very sure noses are believed.

    Returns the noses [N, 2] (0 where not believed) and [N] bool.
    """
    nose = np.nan_to_num(nose)
    length = np.linalg.norm(head[:, 0] - head[:, 1], axis=1)
    near = np.linalg.norm(nose - head.mean(1), axis=1) <= 0.8 * length
    sure = np.where(head_known, (score >= 0.35) & near, score >= 0.55)
    return np.where(sure[:, None], nose, 0).astype(np.float32), sure


def exchanged_sides(
    keypoints: FloatArray, known: BoolArray, teachers: list[tuple[FloatArray, FloatArray]]
) -> BoolArray:
    """Whose left and right the annotator exchanged, by the teachers' judgement.

    A limb speaks where a teacher's point lies within half a head of its label, or of the label of its mirror joint, and
    these two are well apart. Someone is exchanged if five or more of the teachers' limbs are on the other side and no
    more than one is on its own.

    Args:
        keypoints: [N, 15, 2], pixels.
        known: [N, 15].
        teachers: points [N, 15, 2] (NaN = none) and scores [N, 15] of each.

    Returns [N] bool.
    """
    mirrored = list(skeleton.MIRRORED)
    reach = 0.5 * np.linalg.norm(keypoints[:, _HEAD[0]] - keypoints[:, _HEAD[1]], axis=1)[:, None]
    apart = np.linalg.norm(keypoints - keypoints[:, mirrored], axis=2) > 3 * reach
    head_known = (known[:, _HEAD[0]] & known[:, _HEAD[1]])[:, None]
    asked = known & known[:, mirrored] & apart & head_known
    own, other = np.zeros((2, len(keypoints)), int)
    for points, scores in teachers:
        points, sure = np.nan_to_num(points), asked & (scores >= 0.3)
        own += (sure & (np.linalg.norm(points - keypoints, axis=2) < reach))[:, _LIMBS].sum(1)
        other += (sure & (np.linalg.norm(points - keypoints[:, mirrored], axis=2) < reach))[:, _LIMBS].sum(1)
    return (other >= 5) & (own <= 1)
