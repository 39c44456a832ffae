"""IDF1: how much of the tracks is right under the best one-to-one pairing of whole tracks.

Definition: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", ECCV
Workshops 2016, §3: tracks are paired so that the number of detections of one track found by its partner (IDTP) is
largest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from keytrack_ros.poses import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class IdentityCounts:
    """True positives, annotated and predicted detections, each [K] for K kinds of objects (keypoints, or 1)."""

    true_positives: IntArray
    annotated: IntArray
    predicted: IntArray

    def __add__(self, other: IdentityCounts) -> IdentityCounts:
        return IdentityCounts(
            self.true_positives + other.true_positives,
            self.annotated + other.annotated,
            self.predicted + other.predicted,
        )

    @property
    def idf1(self) -> FloatArray:
        """[K] percent: 2 IDTP / (annotated + predicted); NaN where there is neither."""
        return self._percent(2 * self.true_positives, self.annotated + self.predicted)

    @property
    def idp(self) -> FloatArray:
        """[K] percent: IDTP / predicted."""
        return self._percent(self.true_positives, self.predicted)

    @property
    def idr(self) -> FloatArray:
        """[K] percent: IDTP / annotated."""
        return self._percent(self.true_positives, self.annotated)

    @staticmethod
    def _percent(a: IntArray, b: IntArray) -> FloatArray:
        return np.asarray(100 * np.divide(a, b, out=np.full(len(b), np.nan), where=b > 0), np.float64)


class IdentityAccumulator:
    """Counts one sequence; `tracks` are the numbers of annotated and predicted tracks, `kinds` is K."""

    def __init__(self, tracks: tuple[int, int], kinds: int) -> None:
        self._together = np.zeros((*tracks, kinds), np.int32)
        self._annotated = np.zeros(kinds, np.int64)
        self._predicted = np.zeros(kinds, np.int64)

    def update(
        self,
        ground_truth_ids: IntArray,
        prediction_ids: IntArray,
        near: BoolArray,
        ground_truth: BoolArray,
        prediction: BoolArray,
    ) -> None:
        """One frame: ids [G] and [P], which pairs may match [G, P, K], and what is present, [G, K] and [P, K]."""
        self._together[ground_truth_ids[:, None], prediction_ids[None]] += near
        self._annotated += ground_truth.sum(0)
        self._predicted += prediction.sum(0)

    def result(self) -> IdentityCounts:
        true_positives = np.zeros(self._together.shape[2], np.int64)
        for kind in range(len(true_positives)):
            together = self._together[..., kind]
            true_positives[kind] = together[linear_sum_assignment(together, maximize=True)].sum()
        return IdentityCounts(true_positives, self._annotated, self._predicted)
