"""Labels from teachers: what two networks agree on, noses, and sides that an annotator exchanged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.poses import BoolArray, FloatArray

SEEN = 0.2
"""Score from which a teacher's point counts."""
_HEAD = (skeleton.INDEX["head_bottom"], skeleton.INDEX["head_top"])
_LIMBS = [k for k, name in enumerate(skeleton.NAMES) if name.startswith(("left_", "right_"))]


def agreed_points(
    answers: Sequence[tuple[FloatArray, FloatArray]], pairs: Sequence[tuple[int, int]], reach: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """What two of several teachers agree on: the mean of the closest pair of points.

    A pair agrees where both scores are at least `SEEN` and the points lie within `reach`. The mean of all teachers
    would be worse than the best of them.

    Args:
        answers: of each teacher, points [N, 15, 2] in pixels (NaN where it has no such keypoint) and scores [N, 15].
        pairs: indices of the teachers that are compared; two of one family make the same errors.
        reach: [N], pixels.

    Returns points [N, 15, 2] (0 where no pair agrees) and [N, 15] bool.
    """
    shape = answers[0][1].shape
    best, points = np.full(shape, np.inf), np.zeros((*shape, 2), np.float32)
    for first, second in pairs:
        (a, a_score), (b, b_score) = answers[first], answers[second]
        apart = np.linalg.norm(np.nan_to_num(a, nan=np.inf) - np.nan_to_num(b, nan=-np.inf), axis=2)
        nearer = (a_score >= SEEN) & (b_score >= SEEN) & (apart <= reach[:, None]) & (apart < best)
        points[nearer], best[nearer] = (a[nearer] + b[nearer]) / 2, apart[nearer]
    return points, np.isfinite(best)


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
