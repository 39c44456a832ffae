"""MOTA, MOTP and ID switches: the one implementation of CLEAR MOT, for keypoints, people and boxes.

Definition: Bernardin and Stiefelhagen, "Evaluating multiple object tracking performance: the CLEAR MOT metrics", 2008,
§2.1: an annotated object and a hypothesis may correspond where they are near enough. Correspondences of earlier frames
are kept while they are valid; the others minimise the sum of distances.
MOTA = 1 − (misses + switches + false positives) / objects. Public tools read this differently, see `Rule`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from keytrack_ros.poses import BoolArray, FloatArray, IntArray

Rule = Literal["definition", "motmetrics", "poseval", "trackeval"]
"""Which objects and hypotheses of a frame correspond.

`definition`: as above; where two objects claim the hypothesis that each had last, the one that had it more recently
keeps it. `motmetrics` (py-motmetrics): the same, but of two such objects the first in the file keeps it. `poseval`: as
py-motmetrics, and a frame where nobody is annotated or nobody is predicted is one miss and one false positive of each
kind, however many objects are in it. `trackeval` (TrackEval): the largest sum of similarities, in which only the
correspondences of the frame before are preferred.
"""
_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class ClearCounts:
    """What CLEAR MOT counts, each [K] for K kinds of objects (keypoints, or 1), summed over frames and sequences.

    Tracks are mostly tracked where more than 80 % of their frames are matched, mostly lost below 20 %; a fragmentation
    is a match after a frame without one. `distance_matched` is summed over matches; `distance_events` over the events
    that py-motmetrics notes for matches, several where a hypothesis is new to its object or taken from another one;
    `distance_raw` over all pairs that were near enough to match.
    """

    misses: IntArray
    switches: IntArray
    false_positives: IntArray
    objects: IntArray
    detections: IntArray
    mostly_tracked: IntArray
    partly_tracked: IntArray
    mostly_lost: IntArray
    fragmentations: IntArray
    distance_matched: FloatArray
    distance_events: FloatArray
    distance_raw: FloatArray

    def __add__(self, other: ClearCounts) -> ClearCounts:
        return ClearCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def mota(self) -> FloatArray:
        """[K] percent; NaN where nothing is annotated."""
        return 100 * (1 - _ratio(self.misses + self.switches + self.false_positives, self.objects))

    @property
    def motp(self) -> FloatArray:
        """[K] percent: 1 − the mean distance of matches; NaN without matches."""
        return 100 * (1 - _ratio(self.distance_matched, self.detections))

    @property
    def motp_events(self) -> FloatArray:
        """[K] percent: MOTP with the mean over py-motmetrics' events (`mot_events`), often quoted as MOTP."""
        return 100 * (1 - _ratio(self.distance_events, self.detections))

    @property
    def motp_poseval(self) -> FloatArray:
        """[K] percent: what poseval prints as MOTP, with all pairs near enough in the sum; 0 without matches."""
        total = self.distance_events + self.distance_raw
        return np.where(self.detections > 0, 100 * (1 - _ratio(total, self.detections)), 0.0)

    @property
    def precision(self) -> FloatArray:
        """[K] percent; NaN where nothing is predicted."""
        return 100 * _ratio(self.detections, self.detections + self.false_positives)

    @property
    def recall(self) -> FloatArray:
        """[K] percent; NaN where nothing is annotated."""
        return 100 * _ratio(self.detections, self.objects)

    @property
    def switch_rate(self) -> FloatArray:
        """[K] percent of annotated objects at which the id switches (%IDSW)."""
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
        kinds: K kinds of objects, which are matched independently of each other.
        rule: see `Rule`.
    """

    def __init__(self, tracks: tuple[int, int], kinds: int, *, rule: Rule) -> None:
        self._rule = rule
        self._kinds = kinds
        self._time = 0
        # For each kind and object the hypothesis that it had last, and when; the one that it had in the frame before;
        # for each hypothesis its last new object. −1: none yet.
        self._partner = np.full((kinds, tracks[0]), -1, np.int64)
        self._partner_time = np.full((kinds, tracks[0]), -1, np.int64)
        self._before = np.full((kinds, tracks[0]), -1, np.int64)
        self._owner = np.full((kinds, tracks[1]), -1, np.int64)
        self._column = np.full(tracks[1] + 1, -1, np.int64)
        self._counts = np.zeros((5, kinds), np.int64)
        self._seen, self._found, self._resumed = np.zeros((3, kinds, tracks[0]), np.int64)
        self._distances = np.zeros((3, kinds))
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
        seen = self._seen > 0
        share = np.divide(self._found, self._seen, out=np.zeros(seen.shape), where=seen)
        mostly, at_all = (seen & (share > 0.8)).sum(1), (seen & (share >= 0.2)).sum(1)
        misses, switches, false_positives, objects, detections = self._counts.copy()
        matched, events, raw = self._distances.copy()
        return ClearCounts(
            misses=misses,
            switches=switches,
            false_positives=false_positives,
            objects=objects,
            detections=detections,
            mostly_tracked=mostly,
            partly_tracked=at_all - mostly,
            mostly_lost=seen.sum(1) - at_all,
            fragmentations=np.maximum(self._resumed - 1, 0).sum(1),
            distance_matched=matched,
            distance_events=events,
            distance_raw=raw,
        )

    def update(
        self,
        frame: int,
        ids: tuple[IntArray, IntArray],
        present: tuple[BoolArray, BoolArray],
        distance: FloatArray,
        near: BoolArray,
        ranking: FloatArray | None = None,
    ) -> BoolArray:
        """Counts one frame of G annotated objects and P hypotheses, and returns which pairs match, [G, P, K] bool.

        Args:
            frame: its place in the sequence, for `switches`.
            ids: [G] and [P] tracks, numbered from 0, of the ground truth and of the prediction.
            present: [G, K] and [P, K] bool: which kinds there are.
            distance: [G, P, K] between them, in any unit.
            near: [G, P, K] bool: the pairs that may match.
            ranking: [G, P, K] what the rule `trackeval` maximises; by default 1 − distance.
        """
        self._time += 1
        if self._rule == "poseval" and not near.size:
            self._counts += np.array([1, 0, 1, 1, 0])[:, None]
            return near
        g_ids, p_ids = ids
        objects, hypotheses = present[0].sum(0), present[1].sum(0)
        near, distance = near.transpose(2, 0, 1), distance.transpose(2, 0, 1)  # [K, G, P]
        if self._rule == "trackeval":
            ranked = 1 - distance if ranking is None else ranking.transpose(2, 0, 1)
            new = matched = self._best_sum(near, ranked, g_ids, p_ids)
        else:
            kept = self._kept(g_ids, p_ids, near)
            free: BoolArray = near & ~kept.any(2, keepdims=True) & ~kept.any(1, keepdims=True)
            new = _assigned(free, distance, *present)
            matched = kept | new
        kind, g, p = np.nonzero(new)
        was, owner = self._partner[kind, g_ids[g]], self._owner[kind, p_ids[p]]
        switched: BoolArray = np.logical_and(was >= 0, was != p_ids[p])
        transferred = (owner >= 0) & (owner != g_ids[g])
        # py-motmetrics notes a match once more for each of: a switch to a new hypothesis (ascend), a hypothesis that
        # had another object (transfer), and such a one going to a new object (migrate).
        extra = (switched & (owner < 0)).astype(int) + transferred + (transferred & (was < 0))

        if switched.any():
            rows = (g_ids[g[switched]], was[switched], p_ids[p[switched]])
            self._switches += [(frame, *row) for row in zip(*(r.tolist() for r in rows), strict=True)]
        detections = matched.sum((1, 2))
        switches = np.bincount(kind[switched], minlength=self._kinds)
        self._counts += [objects - detections, switches, hypotheses - detections, objects, detections]
        in_matches = np.where(matched, distance, 0).sum((1, 2))
        noted_again = np.bincount(kind, extra * distance[kind, g, p], minlength=self._kinds)
        self._distances += [in_matches, in_matches + noted_again, np.where(near, distance, 0).sum((1, 2))]
        self._partner[kind, g_ids[g]] = p_ids[p]
        self._owner[kind, p_ids[p]] = g_ids[g]
        self._note_tracks(ids, present[0], matched)
        return matched.transpose(1, 2, 0)

    def _note_tracks(self, ids: tuple[IntArray, IntArray], present: BoolArray, matched: BoolArray) -> None:
        """What is counted of whole annotated tracks."""
        self._seen[:, ids[0]] += present.T
        if not matched[0].size:  # as TrackEval: a frame that is empty on one side interrupts nothing
            return
        kind, g, p = np.nonzero(matched)
        self._found[kind, ids[0][g]] += 1
        self._partner_time[kind, ids[0][g]] = self._time
        now = np.full_like(self._before, -1)
        now[kind, ids[0][g]] = ids[1][p]
        self._resumed += (self._before < 0) & (now >= 0)
        self._before = now

    def _kept(self, objects: IntArray, hypotheses: IntArray, near: BoolArray) -> BoolArray:
        """[K, G, P] bool: correspondences of earlier frames that are still valid."""
        if not near.size:
            return near
        self._column[hypotheses] = np.arange(len(hypotheses))
        column = self._column[self._partner[:, objects]]  # [K, G]; the last entry, for partner −1, is always −1
        self._column[hypotheses] = -1
        claims: BoolArray = np.logical_and(near, column[:, :, None] == np.arange(len(hypotheses)))
        for kind in np.flatnonzero((claims.sum(1) > 1).any(1)):
            recent = -self._partner_time[kind, objects]
            rank = recent if self._rule == "definition" else np.arange(len(objects))
            order = np.argsort(rank, kind="stable")
            ordered = claims[kind, order]
            claims[kind, order] = ordered & (ordered.cumsum(0) == 1)
        return claims

    def _best_sum(self, near: BoolArray, ranking: FloatArray, objects: IntArray, hypotheses: IntArray) -> BoolArray:
        """[K, G, P] bool: the one-to-one pairs with the largest sum, those of the frame before first (TrackEval)."""
        pairs = np.zeros(near.shape, np.bool_)
        if not near.size:
            return pairs
        again = self._before[:, objects, None] == hypotheses
        value = np.where(near, ranking + 1000.0 * again, 0)
        for kind in range(len(value)):
            chosen = linear_sum_assignment(value[kind], maximize=True)
            pairs[kind][chosen] = value[kind][chosen] > _EPS
        return pairs


def _assigned(free: BoolArray, distance: FloatArray, ground_truth: BoolArray, prediction: BoolArray) -> BoolArray:
    """[K, G, P] bool: of the pairs that may match, as many as possible, with the least sum of distances."""
    if not free.any():
        return free
    crowded = (free.sum(1) > 1).any(1) | (free.sum(2) > 1).any(1)
    for kind in np.flatnonzero(crowded):
        rows, columns = np.flatnonzero(ground_truth[:, kind]), np.flatnonzero(prediction[:, kind])
        allowed = free[kind][np.ix_(rows, columns)]
        costs = distance[kind][np.ix_(rows, columns)]
        # A forbidden pair costs more than any choice of allowed ones. The value is py-motmetrics' own, so that of
        # equally good solutions the same one is found.
        forbidden = 2 * min(costs.shape) * (costs[allowed].max() + 1) + 1
        chosen = linear_sum_assignment(np.where(allowed, costs, forbidden))
        pairs = np.zeros(allowed.shape, np.bool_)
        pairs[chosen] = allowed[chosen]
        free[kind] = False
        free[kind][np.ix_(rows, columns)] = pairs
    return free
