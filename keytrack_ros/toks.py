"""Temporal OKS (TOKS, paper §3.3 and Algorithm 1): people that the detector misses are recovered at their last box.

The poses of t−1 propose boxes for t; the estimator runs on both kinds of boxes; of duplicates by OKS a detected pose is
kept rather than a carried-over one, or, as in Algorithm 1, the one with the higher mean keypoint score. Box scores are
not used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keytrack_ros.geometry import box_iou, oks, overlap_of_smaller
from keytrack_ros.options import Options, option
from keytrack_ros.poses import FloatArray, IntArray, Poses, keypoint_boxes

DETECTED_RANK = 2.0
"""Added to mean keypoint scores, which are 1 at most, to rank detected poses first."""


@dataclass(frozen=True)
class ToksOptions(Options):
    """Temporal OKS (paper §3.3, A.4)."""

    enabled: bool = option(
        True, "re-run the pose network at the boxes of t−1, where the detector may have missed a person"
    )
    dilation: float = option(1.25, "factor α by which a keypoint box of t−1 grows", at_least=1.0, at_most=2.0)
    oks_threshold: float = option(0.35, "OKS above which two poses are duplicates", at_least=0.0, at_most=1.0)
    minimum_score: float = option(
        0.45,
        "mean keypoint score that a carried-over pose must reach, so that empty boxes end",
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
        "a carried-over box that overlaps a detected one by more than this IoU is not estimated; 1 = all are, as in "
        "the paper",
        at_least=0.0,
        at_most=1.0,
    )
    detected_first: bool = option(
        True, "of duplicates keep the detected pose; false = the one with the higher keypoint scores, as in the paper"
    )
    keypoint_threshold: float = option(
        0.1, "keypoints of t−1 with a lower score are not part of its box", at_least=0.0, at_most=1.0
    )


def carried_boxes(previous: Poses, frame_size: tuple[int, int], options: ToksOptions) -> FloatArray:
    """The boxes that the poses of t−1 propose for t: extent of their keypoints, grown by α, inside the image.

    Poses with fewer than two keypoints above the threshold, or outside the image, propose none.

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

    Algorithm 1 estimates all of them. Where boxes nearly agree a second estimate rarely adds information, and it is
    most of the cost of TOKS.
    """
    covered = box_iou(carried[:, None], detected[None]).max(1, initial=0)
    return np.asarray(carried[covered <= options.skip_iou])


def keep_best(poses: Poses, options: ToksOptions) -> IntArray:
    """Rows of the poses that are kept, ascending: non-maximum suppression by OKS, highest mean keypoint score first.

    Where people overlap, the pose network may give the keypoints of the person in front for both boxes; two detected
    boxes that hardly overlap are then still two people (`duplicate_overlap`). With `detected_first` all detected poses
    rank before all carried-over ones.

    Args:
        poses: detected and carried-over poses of one frame together.
    """
    scores = poses.mean_scores
    candidates = np.flatnonzero(~poses.carried | (scores >= options.minimum_score))
    ranks = scores + DETECTED_RANK * (options.detected_first & ~poses.carried)
    # A carried-over box is where a person was, not evidence of a second person.
    together = overlap_of_smaller(poses.boxes, poses.boxes) >= options.duplicate_overlap
    together |= poses.carried[:, None] | poses.carried[None]
    similarity = np.where(together, oks(poses, poses), 0)
    kept: list[int] = []
    for row in candidates[np.argsort(-ranks[candidates], kind="stable")]:
        if not kept or similarity[row, kept].max() <= options.oks_threshold:
            kept.append(int(row))
    return np.array(sorted(kept), np.int64)
