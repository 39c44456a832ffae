"""Average precision of keypoints (AP), as PoseTrack measures pose estimation in single frames.

Definition: Pishchulin et al., "DeepCut", CVPR 2016, §5.1 and Andriluka et al., "PoseTrack: A Benchmark for Human Pose
Estimation and Tracking", CVPR 2018, §4: predicted poses are assigned to annotated people by PCKh, one to one; then each
keypoint is a detection that is true if it lies within half a head size of its person's. AP is the area under the
monotone envelope of precision over recall (Everingham et al., IJCV 2010, as of VOC 2010).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.evaluation.frames import ScoredFrame
from keytrack_ros.poses import BoolArray, FloatArray, IntArray

MISSING_SCORE = -9999.0
"""Confidence of a keypoint that has none: below all others (poseval's value)."""


@dataclass(frozen=True)
class Detections:
    """All predicted people of one or more sequences, in order: D of them.

    Attributes:
        scores: [D, 15] float64 confidences of the keypoints.
        correct: [D, 15] bool: the keypoint is right.
        present: [D, 15] bool: there is such a keypoint.
        annotated: [15] int64, how often each keypoint is annotated.
    """

    scores: FloatArray
    correct: BoolArray
    present: BoolArray
    annotated: IntArray

    @staticmethod
    def concatenate(parts: list[Detections]) -> Detections:
        return Detections(
            np.concatenate([p.scores for p in parts]),
            np.concatenate([p.correct for p in parts]),
            np.concatenate([p.present for p in parts]),
            np.sum([p.annotated for p in parts], axis=0),
        )


class DetectionAccumulator:
    """Collects the detections of one sequence frame by frame."""

    def __init__(self, *, official: bool) -> None:
        self._official = official
        none = np.zeros((0, skeleton.COUNT))
        self._parts = [(none, none.astype(np.bool_), none.astype(np.bool_))]
        self._annotated = np.zeros(skeleton.COUNT, np.int64)

    def update(self, frame: ScoredFrame) -> None:
        person = assign_poses(frame, official=self._official)
        correct = np.zeros((len(person), skeleton.COUNT), np.bool_)
        rows = np.flatnonzero(person >= 0)
        correct[rows] = frame.near[person[rows], rows]
        scores = np.where(np.isnan(frame.prediction.scores), MISSING_SCORE, frame.prediction.scores)
        self._parts.append((scores, correct, frame.prediction.present))
        self._annotated += frame.ground_truth.present.sum(0)

    def result(self) -> Detections:
        scores, correct, present = (np.concatenate(arrays) for arrays in zip(*self._parts, strict=True))
        return Detections(scores, correct, present, self._annotated)


def assign_poses(frame: ScoredFrame, *, official: bool) -> IntArray:
    """Which annotated person each predicted one is, or −1.

    Every prediction turns to the person whose annotated keypoints it finds the largest share of (PCKh); every person
    takes the best of those that turned to them. Where two are equally good, poseval takes the first in the file
    (`official`); otherwise the one that is nearer in the mean of the keypoints found, so that order does not matter.

    Returns [P] int64.
    """
    count = len(frame.prediction)
    if not count or not len(frame.ground_truth):
        return np.full(count, -1, np.int64)
    near = frame.near
    found = near.sum(2)
    share = found / np.maximum(frame.ground_truth.present.sum(1), 1)[:, None]  # [G, P]
    if not official:
        mean_distance = np.where(near, frame.distance, 0).sum(2) / np.maximum(found, 1)
        share = share - 1e-3 * mean_distance  # shares of at most 15 keypoints differ by more than that, or not at all
    best_person = share.argmax(0)
    chosen = np.full(share.shape, -np.inf)
    chosen[best_person, np.arange(count)] = share[best_person, np.arange(count)]
    taken = chosen.argmax(1)  # [G]
    people = np.flatnonzero(chosen.max(1) > 0)
    person = np.full(count, -1, np.int64)
    person[taken[people]] = people
    return person


def average_precision(detections: Detections, *, official: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
    """AP, and precision and recall with all detections taken, each [15] in percent.

    A keypoint that is never annotated has no AP (NaN); poseval (`official`) gives it 0 if it is never predicted either.
    Of detections with equal confidence, poseval takes the later ones first; otherwise they count as one step of the
    curve.
    """
    results = np.full((3, skeleton.COUNT), np.nan)
    for joint in range(skeleton.COUNT):
        present = detections.present[:, joint]
        scores, correct = detections.scores[present, joint], detections.correct[present, joint]
        results[:, joint] = 100 * np.array(_curve_area(scores, correct, int(detections.annotated[joint]), official))
    return results[0], results[1], results[2]


def _curve_area(scores: FloatArray, correct: BoolArray, annotated: int, official: bool) -> tuple[float, float, float]:
    if len(scores) == 0:
        if official:
            return 0.0, 0.0, 0.0
        return (0.0, np.nan, 0.0) if annotated else (np.nan, np.nan, np.nan)
    if annotated == 0:
        return np.nan, 0.0, np.nan
    # The same call as poseval's, since the sort is not stable: equal scores must end in the same order.
    order = np.argsort(scores)[::-1]
    last_of_equals = None if official else np.append(np.diff(scores[order]) != 0, True)
    return curve_area(correct[order], annotated, last_of_equals)


def curve_area(correct: BoolArray, annotated: int, steps: BoolArray | None = None) -> tuple[float, float, float]:
    """Area under precision over recall, 0..1, with precision made monotone (PASCAL VOC 2010).

    Args:
        correct: [D] bool, D ≥ 1 detections, best first.
        annotated: how many there are to be found, at least 1.
        steps: [D] bool, the detections after which the curve has a point; by default all.

    Returns the area, and precision and recall with all detections taken.
    """
    hits = np.cumsum(correct)
    taken = np.arange(1, len(hits) + 1)
    if steps is not None:
        hits, taken = hits[steps], taken[steps]
    recall, precision = hits / annotated, hits / taken
    envelope = np.maximum.accumulate(np.append(precision, 0.0)[::-1])[::-1]
    widths = np.diff(np.concatenate([[0.0], recall, [1.0]]))
    return float((widths * envelope).sum()), float(precision[-1]), float(recall[-1])
