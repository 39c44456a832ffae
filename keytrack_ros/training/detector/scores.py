"""Recall, precision and average precision of boxes of one class, with regions in which nothing counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keytrack_ros.evaluation.average_precision import curve_area
from keytrack_ros.geometry import box_iou
from keytrack_ros.poses import BoolArray, FloatArray


@dataclass(frozen=True)
class Matched:
    """Detections of many images, best first: scores [D], right [D] bool; those that do not count are left out.

    `people` is the number of people to be found, `images` that of the images.
    """

    scores: FloatArray
    right: BoolArray
    people: int
    images: int

    def at(self, threshold: float) -> tuple[float, float, float]:
        """Recall, precision and false boxes an image from a score on."""
        kept = self.scores >= threshold
        right = int((self.right & kept).sum())
        wrong = int(kept.sum()) - right
        return right / max(self.people, 1), right / max(right + wrong, 1), wrong / max(self.images, 1)

    def threshold(self, false_boxes: float) -> float:
        """The lowest score threshold with at most so many false boxes an image."""
        wrong = np.flatnonzero(~self.right)
        allowed = int(false_boxes * self.images + 1e-9)
        return float(np.nextafter(self.scores[wrong[allowed]], np.inf)) if len(wrong) > allowed else 0.0

    def average_precision(self) -> float:
        """0..1, see `curve_area`; 0 without detections."""
        return curve_area(self.right, max(self.people, 1))[0] if len(self.right) else 0.0


def matched(
    found: Sequence[tuple[FloatArray, FloatArray]], labels: Sequence[tuple[FloatArray, BoolArray]], iou: float = 0.5
) -> Matched:
    """Matches detections to people, image by image, best score first, each person once.

    Args:
        found: boxes [n, 4] and scores [n] of every image.
        labels: boxes [m, 4] and sure [m] of every image. A detection that fits no free person is left out if it fits a
            doubtful box, or lies in one by more than half of its area.
        iou: a detection fits from this overlap on.
    """
    scores: list[FloatArray] = [np.zeros(0)]
    right = [np.zeros(0, bool)]
    for (boxes, score), (ground_truth, sure) in zip(found, labels, strict=True):
        order = np.argsort(-score, kind="stable")
        overlap = box_iou(boxes[order][:, None], ground_truth[None])  # [n, m]
        doubtful = ground_truth[~sure]
        covered = (_part_inside(boxes[order], doubtful) > 0.5).any(1) | (overlap[:, ~sure] >= iou).any(1)
        free = sure.copy()
        hit = np.zeros(len(order), bool)
        for row in range(len(order)):
            candidates = np.where(free, overlap[row], 0)
            if len(candidates) and candidates.max() >= iou:
                free[candidates.argmax()] = False
                hit[row] = True
        counts = hit | ~covered
        scores.append(score[order][counts])
        right.append(hit[counts])
    joined, hits = np.concatenate(scores), np.concatenate(right)
    order = np.argsort(-joined, kind="stable")
    people = sum(int(sure.sum()) for _, sure in labels)
    return Matched(joined[order], hits[order], people, len(labels))


def _part_inside(boxes: FloatArray, regions: FloatArray) -> FloatArray:
    """[n, r] part of each box's area that lies in each region."""
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    area = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-6)
    return np.asarray(np.maximum(high - low, 0).prod(2) / area[:, None])
