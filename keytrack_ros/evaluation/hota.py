"""HOTA: higher order tracking accuracy, the geometric mean of detection and association accuracy.

Definition: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021, §4-5; per
keypoint, and with fragments (FragA), as in Döring et al., "PoseTrack21", CVPR 2022, §5 and its published code.
All results are fractions for each of the 19 thresholds alpha = 0.05, 0.10, … 0.95 of similarity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from keytrack_ros.poses import BoolArray, FloatArray, IntArray

ALPHAS: FloatArray = np.arange(0.05, 0.99, 0.05)
_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class HotaParts:
    """What HOTA is made of, each [19, K] for K kinds of objects (keypoints and their total, or 1).

    `association`, `association_recall`, `association_precision`, `fragments` and `localisation` are sums over the true
    positives, so that sequences are combined by adding.
    """

    true_positives: FloatArray
    false_negatives: FloatArray
    false_positives: FloatArray
    association: FloatArray
    association_recall: FloatArray
    association_precision: FloatArray
    fragments: FloatArray
    localisation: FloatArray

    def __add__(self, other: HotaParts) -> HotaParts:
        return HotaParts(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def with_total(self, counted: BoolArray | None = None) -> HotaParts:
        """With one more column, the total of a sequence as PoseTrack21's code has it.

        Counts are summed over keypoints; association and localisation are averaged over keypoints, each counting the
        same however often it was found. To be called for each sequence, before sequences are added.

        Args:
            counted: [K] bool, the keypoints that are annotated in any sequence. The others are left out of the counts,
                and those that this sequence does not annotate out of its averages. By default none is left out, as in
                PoseTrack21's code.
        """
        summed = np.ones(self.true_positives.shape[1], np.bool_) if counted is None else counted
        tp, fn, fp = self.true_positives, self.false_negatives, self.false_positives
        averaged = np.ones(len(summed), np.bool_) if counted is None else (tp + fn).any(0)
        weight = tp[:, summed].sum(1)

        def total(column: FloatArray, nothing: float) -> FloatArray:
            values = np.where(tp > 0, column / np.maximum(tp, 1), nothing)[:, averaged]
            mean = values.sum(1) / max(1, values.shape[1])
            return np.concatenate([column, (mean * weight)[:, None]], 1)

        counts = [np.concatenate([x, x[:, summed].sum(1, keepdims=True)], 1) for x in (tp, fn, fp)]
        return HotaParts(
            true_positives=counts[0],
            false_negatives=counts[1],
            false_positives=counts[2],
            association=total(self.association, 0.0),
            association_recall=total(self.association_recall, 0.0),
            association_precision=total(self.association_precision, 0.0),
            fragments=total(self.fragments, 0.0),
            localisation=total(self.localisation, 1.0),
        )

    def scores(self) -> dict[str, FloatArray]:
        """The measures by their published names, each [19, K], 0..1."""
        tp, fn, fp = self.true_positives, self.false_negatives, self.false_positives
        found = np.maximum(tp, 1)
        det_a, det_re = tp / np.maximum(1, tp + fn + fp), tp / np.maximum(1, tp + fn)
        ass_a, frag_a = self.association / found, self.fragments / found
        return {
            "HOTA": np.sqrt(det_a * ass_a),
            "DetA": det_a,
            "AssA": ass_a,
            "LocA": np.where(tp > 0, self.localisation / found, 1.0),
            "DetRe": det_re,
            "DetPr": tp / np.maximum(1, tp + fp),
            "AssRe": self.association_recall / found,
            "AssPr": self.association_precision / found,
            "FragA": frag_a,
            "RHOTA": np.sqrt(det_re * ass_a),
            "FA-HOTA": np.sqrt(det_a * np.sqrt(ass_a * frag_a)),
            "FA-RHOTA": np.sqrt(det_re * np.sqrt(ass_a * frag_a)),
        }


class HotaAccumulator:
    """Counts one sequence, frame by frame.

    Args:
        tracks: how many tracks the ground truth and the prediction have.
        kinds: K.
        whole_sequence_for_empty_frames: PoseTrack21's code counts, for a frame where nobody is annotated (predicted),
            all that is predicted (annotated) in the whole sequence as false, rather than what is in the frame.
    """

    def __init__(self, tracks: tuple[int, int], kinds: int, *, whole_sequence_for_empty_frames: bool = False) -> None:
        self._tracks, self._kinds = tracks, kinds
        self._whole = whole_sequence_for_empty_frames
        self._annotated = np.zeros((tracks[0], kinds), np.int64)
        self._predicted = np.zeros((tracks[1], kinds), np.int64)
        self._matches: list[tuple[IntArray, IntArray, IntArray, FloatArray]] = []
        self._without_ground_truth = self._without_prediction = 0
        self._any_ground_truth = self._any_prediction = False
        self._in_full_frames = np.zeros((2, kinds), np.int64)

    def update(
        self,
        ground_truth_ids: IntArray,
        prediction_ids: IntArray,
        similarity: FloatArray,
        ground_truth: BoolArray,
        prediction: BoolArray,
        weights: FloatArray | None = None,
    ) -> None:
        """One frame: ids [G] and [P], similarities 0..1 [G, P, K], and what is present, [G, K] and [P, K].

        Pairs are matched so that the sum of similarities (times `weights` [G, P], where given) is largest.
        """
        self._annotated[ground_truth_ids] += ground_truth
        self._predicted[prediction_ids] += prediction
        self._any_ground_truth |= len(ground_truth_ids) > 0
        self._any_prediction |= len(prediction_ids) > 0
        if not len(ground_truth_ids):
            self._without_ground_truth += 1
            return
        if not len(prediction_ids):
            self._without_prediction += 1
            return
        self._in_full_frames += np.stack([ground_truth.sum(0), prediction.sum(0)])
        value = similarity if weights is None else similarity * weights[:, :, None]
        g, p, kind = _matched(value)
        matched_similarity = similarity[g, p, kind]
        good = matched_similarity >= ALPHAS[0] - _EPS
        self._matches.append((kind[good], ground_truth_ids[g[good]], prediction_ids[p[good]], matched_similarity[good]))

    def result(self) -> HotaParts:
        empty = (np.zeros(0, np.int64),) * 3 + (np.zeros(0),)
        kind, ground_truth, prediction, matched_similarity = (
            np.concatenate(x) for x in zip(empty, *self._matches, strict=True)
        )
        passed = (matched_similarity[:, None] >= ALPHAS - _EPS).T  # [19, M]
        tp = self._summed(passed, kind)
        annotated, predicted = self._totals()
        pair, inverse = np.unique(
            (kind * self._tracks[0] + ground_truth) * max(self._tracks[1], 1) + prediction, return_inverse=True
        )
        together = np.stack([np.bincount(inverse, weights=row, minlength=len(pair)) for row in passed])  # [19, pairs]
        first = np.zeros(len(pair), np.int64)
        first[inverse] = np.arange(len(inverse))
        pair_kind = kind[first]
        of_ground_truth = self._annotated[ground_truth[first], pair_kind]
        of_prediction = self._predicted[prediction[first], pair_kind]
        union = np.maximum(1, of_ground_truth + of_prediction - together)
        return HotaParts(
            true_positives=tp,
            false_negatives=annotated - tp,
            false_positives=predicted - tp,
            association=self._summed(together * together / union, pair_kind),
            association_recall=self._summed(together * together / np.maximum(1, of_ground_truth), pair_kind),
            association_precision=self._summed(together * together / np.maximum(1, of_prediction), pair_kind),
            fragments=self._fragments(passed, kind, ground_truth, inverse, union, pair_kind),
            localisation=self._summed(passed * matched_similarity, kind),
        )

    def _summed(self, values: FloatArray | BoolArray, kind: IntArray) -> FloatArray:
        """[19, K]: `values` [19, n] summed over those of one kind [n]."""
        return np.stack([np.bincount(kind, weights=row, minlength=self._kinds) for row in values])

    def _totals(self) -> tuple[IntArray, IntArray]:
        """[K] annotated and predicted objects that count."""
        annotated, predicted = self._annotated.sum(0), self._predicted.sum(0)
        if not self._whole:
            return annotated, predicted
        if not self._any_prediction:
            return annotated, np.zeros_like(predicted)
        if not self._any_ground_truth:
            return np.zeros_like(annotated), predicted
        return (
            self._in_full_frames[0] + self._without_prediction * annotated,
            self._in_full_frames[1] + self._without_ground_truth * predicted,
        )

    def _fragments(
        self,
        passed: BoolArray,
        kind: IntArray,
        ground_truth: IntArray,
        pair: IntArray,
        union: FloatArray,
        pair_kind: IntArray,
    ) -> FloatArray:
        """[19, K]: like `association`, with each uninterrupted run of a pair counted by itself (FragA)."""
        track = kind * max(self._tracks[0], 1) + ground_truth
        order = np.argsort(track, kind="stable")  # by track, within a track by time
        sums = np.zeros((len(passed), self._kinds))
        for alpha, good in enumerate(passed):
            rows = order[good[order]]
            changes = (np.diff(track[rows]) != 0) | (np.diff(pair[rows]) != 0)
            run = np.concatenate([np.zeros(min(len(rows), 1), np.int64), np.cumsum(changes)])
            length = np.bincount(run)
            of_run = pair[rows[np.unique(run, return_index=True)[1]]]
            sums[alpha] = np.bincount(pair_kind[of_run], length**2 / union[alpha, of_run], minlength=self._kinds)
        return sums


def _matched(value: FloatArray) -> tuple[IntArray, IntArray, IntArray]:
    """Rows, columns and kinds of the pairs that maximise the sum of `value` [G, P, K] in each kind."""
    edges = value > 0
    crowded = (edges.sum(0) > 1).any(0) | (edges.sum(1) > 1).any(0)
    for kind in np.flatnonzero(crowded):
        chosen = linear_sum_assignment(value[:, :, kind], maximize=True)
        pairs = np.zeros(edges.shape[:2], np.bool_)
        pairs[chosen] = edges[:, :, kind][chosen]
        edges[:, :, kind] = pairs
    rows, columns, kinds = np.nonzero(edges)
    return rows, columns, kinds


def joint_similarity(distance: FloatArray) -> FloatArray:
    """Similarity of keypoints 0..1 from their distance in head sizes: 1 at 0, falling to 0 at 0.5 (PoseTrack21)."""
    return np.asarray(np.maximum(1 - distance / 0.5001, 0), np.float64)
