"""MOTA and MOTP of each keypoint.

Definition: Bernardin and Stiefelhagen, "Evaluating multiple object tracking performance: the CLEAR MOT metrics", 2008,
§2.1, per keypoint as in Andriluka et al., "PoseTrack", CVPR 2018, §4: an annotated keypoint is the object, a predicted
one the hypothesis, and they may correspond within half a head size. Correspondences of earlier frames are kept while
they are valid; the others minimise the sum of distances. MOTA = 1 − (misses + switches + false positives) / objects.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from keytrack_ros import skeleton
from keytrack_ros.evaluation.frames import ScoredFrame
from keytrack_ros.poses import BoolArray, FloatArray, IntArray

_JOINTS = skeleton.COUNT


@dataclass(frozen=True)
class ClearCounts:
    """What CLEAR MOT counts, each [15], summed over frames and sequences.

    The distances are sums in head sizes. `distance_matched`: over matches. `distance_events`: over the events that
    py-motmetrics notes for matches, several where a hypothesis is new to its object or taken from another one.
    `distance_raw`: over all pairs that were near enough to match.
    """

    misses: IntArray
    switches: IntArray
    false_positives: IntArray
    objects: IntArray
    detections: IntArray
    distance_matched: FloatArray
    distance_events: FloatArray
    distance_raw: FloatArray

    def __add__(self, other: ClearCounts) -> ClearCounts:
        return ClearCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def mota(self) -> FloatArray:
        """[15] percent; NaN where nothing is annotated."""
        return 100 * (1 - _ratio(self.misses + self.switches + self.false_positives, self.objects))

    @property
    def motp(self) -> FloatArray:
        """[15] percent: 1 − the mean distance of matches in head sizes; NaN without matches."""
        return 100 * (1 - _ratio(self.distance_matched, self.detections))

    @property
    def motp_events(self) -> FloatArray:
        """[15] percent: MOTP with the mean over py-motmetrics' events (`mot_events`), often quoted as MOTP."""
        return 100 * (1 - _ratio(self.distance_events, self.detections))

    @property
    def motp_poseval(self) -> FloatArray:
        """[15] percent: what poseval prints as MOTP, with all pairs near enough in the sum; 0 without matches."""
        total = self.distance_events + self.distance_raw
        return np.where(self.detections > 0, 100 * (1 - _ratio(total, self.detections)), 0.0)

    @property
    def precision(self) -> FloatArray:
        """[15] percent; NaN where nothing is predicted."""
        return 100 * _ratio(self.detections, self.detections + self.false_positives)

    @property
    def recall(self) -> FloatArray:
        """[15] percent; NaN where nothing is annotated."""
        return 100 * _ratio(self.detections, self.objects)

    @property
    def switch_rate(self) -> FloatArray:
        """[15] percent of annotated keypoints at which the id switches (%IDSW)."""
        return 100 * _ratio(self.switches, self.objects)


def _ratio(a: Any, b: Any) -> FloatArray:
    return np.asarray(np.divide(a, b, out=np.full(np.shape(b), np.nan), where=np.asarray(b) > 0), np.float64)


@dataclass(frozen=True)
class Switch:
    """An annotated person who is found under another id than before.

    Attributes:
        frame: place in the sequence.
        person, before, after: track ids as the files have them, of the annotation and of the prediction then and now;
            where keypoints differ, those of most of them.
        joints: how many keypoints of the person switch.
    """

    frame: int
    person: int
    before: int
    after: int
    joints: int


class ClearAccumulator:
    """Counts one sequence, frame by frame.

    Args:
        tracks: how many tracks the ground truth and the prediction have.
        official: count as poseval does with py-motmetrics: a frame where nobody is annotated or nobody is predicted is
            one miss and one false positive of each keypoint, whoever is in it; where two objects claim the hypothesis
            that each had last, the first in the file gets it. Otherwise the one that had it more recently does.
    """

    def __init__(self, tracks: tuple[int, int], *, official: bool) -> None:
        self._official = official
        self._time = 0
        # For each keypoint and object the hypothesis that it had last, and when; for each hypothesis its last new
        # object. −1: none yet.
        self._partner = np.full((_JOINTS, tracks[0]), -1, np.int64)
        self._partner_time = np.full((_JOINTS, tracks[0]), -1, np.int64)
        self._owner = np.full((_JOINTS, tracks[1]), -1, np.int64)
        self._column = np.full(tracks[1] + 1, -1, np.int64)
        self._counts = np.zeros((5, _JOINTS), np.int64)
        self._distances = np.zeros((3, _JOINTS))
        self._switches: list[tuple[int, int, int, int]] = []

    def switches(self, ground_truth_ids: IntArray, prediction_ids: IntArray) -> tuple[Switch, ...]:
        """The switches so far, given the names of the tracks that the frames number from 0."""
        by_person: dict[tuple[int, int], Counter[tuple[int, int]]] = {}
        for frame, person, before, after in self._switches:
            by_person.setdefault((frame, person), Counter())[before, after] += 1
        found = []
        for (frame, person), joints in sorted(by_person.items()):
            before, after = joints.most_common(1)[0][0]
            names = int(ground_truth_ids[person]), int(prediction_ids[before]), int(prediction_ids[after])
            found.append(Switch(frame, *names, joints.total()))
        return tuple(found)

    def result(self) -> ClearCounts:
        return ClearCounts(*self._counts.copy(), *self._distances.copy())

    def update(self, frame: ScoredFrame) -> None:
        self._time += 1
        ground_truth, prediction = frame.ground_truth, frame.prediction
        if self._official and (not len(ground_truth) or not len(prediction)):
            self._counts += np.array([1, 0, 1, 1, 0])[:, None]
            return
        objects, hypotheses = ground_truth.present.sum(0), prediction.present.sum(0)
        near: BoolArray = frame.near.transpose(2, 0, 1)  # [15, G, P]
        distance = frame.distance.transpose(2, 0, 1)
        kept = self._kept(ground_truth.ids, prediction.ids, near)
        free: BoolArray = near & ~kept.any(2, keepdims=True) & ~kept.any(1, keepdims=True)
        new = _assigned(free, distance, ground_truth.present, prediction.present)
        joint, g, p = np.nonzero(new)
        was, owner = self._partner[joint, ground_truth.ids[g]], self._owner[joint, prediction.ids[p]]
        switched: BoolArray = np.logical_and(was >= 0, was != prediction.ids[p])
        transferred = (owner >= 0) & (owner != ground_truth.ids[g])
        # py-motmetrics notes a match once more for each of: a switch to a new hypothesis (ascend), a hypothesis that
        # had another object (transfer), and such a one going to a new object (migrate).
        extra = (switched & (owner < 0)).astype(int) + transferred + (transferred & (was < 0))

        if switched.any():
            rows = (ground_truth.ids[g[switched]], was[switched], prediction.ids[p[switched]])
            self._switches += [(frame.index, *row) for row in zip(*(r.tolist() for r in rows), strict=True)]
        matched = kept | new
        detections = matched.sum((1, 2))
        switches = np.bincount(joint[switched], minlength=_JOINTS)
        self._counts += [objects - detections, switches, hypotheses - detections, objects, detections]
        in_matches = np.where(matched, distance, 0).sum((1, 2))
        noted_again = np.bincount(joint, extra * distance[joint, g, p], minlength=_JOINTS)
        self._distances += [in_matches, in_matches + noted_again, np.where(near, distance, 0).sum((1, 2))]
        self._partner[joint, ground_truth.ids[g]] = prediction.ids[p]
        self._owner[joint, prediction.ids[p]] = ground_truth.ids[g]
        joint, g, _ = np.nonzero(matched)
        self._partner_time[joint, ground_truth.ids[g]] = self._time

    def _kept(self, objects: IntArray, hypotheses: IntArray, near: BoolArray) -> BoolArray:
        """[15, G, P] bool: correspondences of earlier frames that are still valid."""
        if not near.size:
            return near
        self._column[hypotheses] = np.arange(len(hypotheses))
        column = self._column[self._partner[:, objects]]  # [15, G]; the last entry, for partner −1, is always −1
        self._column[hypotheses] = -1
        claims: BoolArray = np.logical_and(near, column[:, :, None] == np.arange(len(hypotheses)))
        for joint in np.flatnonzero((claims.sum(1) > 1).any(1)):
            rank = np.arange(len(objects)) if self._official else -self._partner_time[joint, objects]
            order = np.argsort(rank, kind="stable")
            ordered = claims[joint, order]
            claims[joint, order] = ordered & (ordered.cumsum(0) == 1)
        return claims


def _assigned(free: BoolArray, distance: FloatArray, ground_truth: BoolArray, prediction: BoolArray) -> BoolArray:
    """[15, G, P] bool: of the pairs that may match, as many as possible, with the least sum of distances."""
    if not free.any():
        return free
    crowded = (free.sum(1) > 1).any(1) | (free.sum(2) > 1).any(1)
    for joint in np.flatnonzero(crowded):
        rows, columns = np.flatnonzero(ground_truth[:, joint]), np.flatnonzero(prediction[:, joint])
        allowed = free[joint][np.ix_(rows, columns)]
        costs = distance[joint][np.ix_(rows, columns)]
        # A forbidden pair costs more than any choice of allowed ones. The value is py-motmetrics' own, so that of
        # equally good solutions the same one is found.
        forbidden = 2 * min(costs.shape) * (costs[allowed].max() + 1) + 1
        chosen = linear_sum_assignment(np.where(allowed, costs, forbidden))
        pairs = np.zeros(allowed.shape, np.bool_)
        pairs[chosen] = allowed[chosen]
        free[joint] = False
        free[joint][np.ix_(rows, columns)] = pairs
    return free
