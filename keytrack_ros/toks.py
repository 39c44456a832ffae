"""Temporal OKS (TOKS, paper §3.3 and Algorithm 1): people that the detector missed are looked for where they were.

The poses of t−1 propose boxes for t; both kinds of boxes go through the estimator; of poses that are one person by OKS
a detected one stays rather than one carried over, or, as in Algorithm 1, the one whose keypoints are surer. Box scores
play no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keytrack_ros.geometry import box_iou, oks, overlap_of_smaller
from keytrack_ros.options import Options, option
from keytrack_ros.poses import FloatArray, IntArray, Poses, keypoint_boxes

DETECTED_RANK = 2.0
"""Beside mean keypoint scores, which are 1 at most: lifts one pose above all others."""


@dataclass(frozen=True)
class ToksOptions(Options):
    """Temporal OKS (paper §3.3, A.4)."""

    enabled: bool = option(True, "look for the people of t−1 where they were")
    dilation: float = option(1.25, "factor α by which a keypoint box of t−1 grows", at_least=1.0, at_most=2.0)
    oks_threshold: float = option(0.35, "poses more alike than this are one person", at_least=0.0, at_most=1.0)
    minimum_score: float = option(
        0.45,
        "mean keypoint score that a carried-over pose must reach, or ghosts would never die",
        at_least=0.0,
        at_most=1.0,
    )
    duplicate_overlap: float = option(
        0.7,
        "detected poses are duplicates only if their boxes overlap by at least this part of the smaller one; "
        "0 = by keypoints alone, as in the paper",
        at_least=0.0,
        at_most=1.0,
    )
    skip_iou: float = option(
        0.6,
        "a box carried over that overlaps a detected one by more than this IoU is not estimated again; "
        "1 = all are, as in the paper",
        at_least=0.0,
        at_most=1.0,
    )
    detected_first: bool = option(
        True, "of poses that are one person a detected one stays; false = the surer one, as in the paper"
    )
    keypoint_threshold: float = option(
        0.1, "keypoints of t−1 with a lower score do not count for its box", at_least=0.0, at_most=1.0
    )


def carried_boxes(previous: Poses, frame_size: tuple[int, int], options: ToksOptions) -> FloatArray:
    """The boxes that the poses of t−1 propose for t: extent of their keypoints, grown by α, inside the image.

    People with fewer than two sure keypoints, or outside the image, propose none.

    Args:
        previous: poses of t−1.
        frame_size: width and height of the image in pixels.

    Returns:
        [C, 4] float32 x_min, y_min, x_max, y_max.
    """
    scores = np.where(previous.scores >= options.keypoint_threshold, previous.scores, 0)
    boxes = keypoint_boxes(previous.keypoints, scores)[(scores > 0).sum(1) >= 2]
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * options.dilation
    grown = np.concatenate([centre - half, centre + half], 1)
    width, height = frame_size
    grown = np.clip(grown, 0, [width, height, width, height])
    return np.asarray(grown[(grown[:, 2:] - grown[:, :2]).min(1, initial=np.inf) >= 1], np.float32)


def not_detected(carried: FloatArray, detected: FloatArray, options: ToksOptions) -> FloatArray:
    """Those of the carried-over boxes [C, 4] that no detected box [D, 4] covers already (IoU above `skip_iou`).

    Algorithm 1 estimates all of them. Where the boxes nearly agree the second estimate seldom tells more, and it is
    most of the time that TOKS costs.
    """
    covered = box_iou(carried[:, None], detected[None]).max(1, initial=0)
    return np.asarray(carried[covered <= options.skip_iou])


def keep_best(poses: Poses, options: ToksOptions) -> IntArray:
    """Rows of the poses that stay, in order of row: non-maximum suppression by OKS, surest keypoints first.

    Where people overlap, the pose network gives the one behind the keypoints of the one in front; their boxes tell that
    they are two (`duplicate_overlap`). With `detected_first` all detected poses come before all that are carried over.

    Args:
        poses: detected and carried-over poses of one frame together.
    """
    scores = poses.mean_scores
    candidates = np.flatnonzero(~poses.carried | (scores >= options.minimum_score))
    ranks = scores + DETECTED_RANK * (options.detected_first & ~poses.carried)
    # A carried-over box tells where a person was, not that there are two.
    together = overlap_of_smaller(poses.boxes, poses.boxes) >= options.duplicate_overlap
    together |= poses.carried[:, None] | poses.carried[None]
    similarity = np.where(together, oks(poses, poses), 0)
    kept: list[int] = []
    for row in candidates[np.argsort(-ranks[candidates], kind="stable")]:
        if not kept or similarity[row, kept].max() <= options.oks_threshold:
            kept.append(int(row))
    return np.array(sorted(kept), np.int64)
