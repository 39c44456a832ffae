"""Whole people rather than keypoints: HOTA, IDF1 and CLEAR MOT with OKS or PCKh as similarity of two poses.

HOTA as in Luiten et al., IJCV 2021, with the alignment of whole tracks in the matching (its Eq. 7 and §4.3); IDF1 as in
Ristani et al., 2016; CLEAR as in Bernardin and Stiefelhagen, 2008, with the reading of TrackEval
(github.com/JonathonLuiten/TrackEval), whose numbers these equal: only correspondences of the frame before are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.optimize import linear_sum_assignment

from keytrack_ros import skeleton
from keytrack_ros.evaluation.frames import ScoredFrame
from keytrack_ros.evaluation.hota import HotaAccumulator, HotaParts
from keytrack_ros.evaluation.identity import IdentityAccumulator, IdentityCounts
from keytrack_ros.poses import BoolArray, FloatArray, IntArray

SIMILARITY_THRESHOLD = 0.5
"""Two poses at least this alike may be one person, in CLEAR MOT and IDF1."""
_EPS = float(np.finfo(float).eps)


def oks_similarity(frame: ScoredFrame) -> FloatArray:
    """Object keypoint similarity [G, P] of each annotated with each predicted person.

    OKS = mean over the annotated keypoints of exp(−d² / (2 area (2σ)²)); a keypoint that is not predicted gives 0; the
    area is that of the box around the annotated keypoints, at least 1 px². (COCO keypoint evaluation.)
    """
    ground_truth, prediction = frame.ground_truth, frame.prediction
    low = np.where(ground_truth.present[..., None], ground_truth.keypoints, np.inf).min(1, initial=np.inf)
    high = np.where(ground_truth.present[..., None], ground_truth.keypoints, -np.inf).max(1, initial=-np.inf)
    area = np.maximum((high - low).clip(0).prod(1), 1.0)
    distance2 = np.square(ground_truth.keypoints[:, None] - prediction.keypoints[None]).sum(-1)  # [G, P, 15]
    sigmas = np.array([round(float(sigma), 3) for sigma in skeleton.SIGMAS])
    likeness = np.exp(-distance2 / (2 * area[:, None, None] * np.square(2 * sigmas)))
    both = ground_truth.present[:, None] & prediction.present[None]
    return _mean_over_annotated(np.where(both, likeness, 0.0), ground_truth.present)


def pckh_similarity(frame: ScoredFrame) -> FloatArray:
    """Share of the annotated keypoints that lie within half a head size, [G, P]."""
    return _mean_over_annotated(frame.near.astype(np.float64), frame.ground_truth.present)


def _mean_over_annotated(values: FloatArray, annotated: BoolArray) -> FloatArray:
    return np.asarray(values.sum(2) / np.maximum(annotated.sum(1), 1)[:, None], np.float64)


SIMILARITIES = {"OKS": oks_similarity, "PCKh": pckh_similarity}


@dataclass(frozen=True)
class PersonClear:
    """What CLEAR MOT counts of whole people, summed over frames and sequences."""

    detections: int = 0
    misses: int = 0
    false_positives: int = 0
    switches: int = 0
    mostly_tracked: int = 0
    partly_tracked: int = 0
    mostly_lost: int = 0
    fragmentations: int = 0
    similarity: float = 0.0

    def __add__(self, other: PersonClear) -> PersonClear:
        return PersonClear(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def scores(self) -> dict[str, float]:
        """MOTA, MOTP (mean similarity of matches), precision and recall, in percent."""
        objects, found = self.detections + self.misses, self.detections + self.false_positives
        return {
            "MOTA": 100 * (self.detections - self.false_positives - self.switches) / max(1, objects),
            "MOTP": 100 * self.similarity / max(1, self.detections),
            "precision": 100 * self.detections / max(1, found),
            "recall": 100 * self.detections / max(1, objects),
        }


@dataclass(frozen=True)
class PersonParts:
    """Everything about whole people under one similarity; sequences are combined by adding."""

    hota: HotaParts
    identity: IdentityCounts
    clear: PersonClear

    def __add__(self, other: PersonParts) -> PersonParts:
        return PersonParts(self.hota + other.hota, self.identity + other.identity, self.clear + other.clear)


@dataclass(frozen=True)
class _Frame:
    ground_truth_ids: IntArray
    prediction_ids: IntArray
    similarity: FloatArray
    preference: FloatArray


class PersonAccumulator:
    """Collects one sequence frame by frame under one similarity.

    Shares of keypoints (PCKh) are often equal; TrackEval's choice then depends on the order of people, which `official`
    reproduces. Otherwise the pair with the higher OKS is preferred.
    """

    def __init__(self, tracks: tuple[int, int], similarity: str, *, official: bool) -> None:
        self._tracks = tracks
        self._similarity = SIMILARITIES[similarity]
        self._prefer_oks = similarity == "PCKh" and not official
        self._frames: list[_Frame] = []

    def update(self, frame: ScoredFrame) -> None:
        similarity = self._similarity(frame)
        # Too little to matter between pairs that are not equal.
        preference = 1 + 1e-6 * oks_similarity(frame) if self._prefer_oks else np.ones_like(similarity)
        self._frames.append(_Frame(frame.ground_truth.ids, frame.prediction.ids, similarity, preference))

    def result(self) -> PersonParts:
        alignment = self._alignment()
        hota, identity = HotaAccumulator(self._tracks, 1), IdentityAccumulator(self._tracks, 1)
        for frame in self._frames:
            g, p = frame.ground_truth_ids, frame.prediction_ids
            everyone = np.ones((len(g), 1), np.bool_), np.ones((len(p), 1), np.bool_)
            weights = alignment[g[:, None], p[None]] * frame.preference
            hota.update(g, p, frame.similarity[..., None], *everyone, weights)
            identity.update(g, p, (frame.similarity >= SIMILARITY_THRESHOLD)[..., None], *everyone)
        return PersonParts(hota.result(), identity.result(), self._clear())

    def _alignment(self) -> FloatArray:
        """[annotated tracks, predicted tracks]: how much of the two tracks is common, 0..1 (Jaccard index)."""
        common = np.zeros(self._tracks)
        annotated, predicted = np.zeros((self._tracks[0], 1)), np.zeros((1, self._tracks[1]))
        for frame in self._frames:
            alike = frame.similarity
            union = alike.sum(0)[None] + alike.sum(1)[:, None] - alike
            share = np.divide(alike, union, out=np.zeros_like(alike), where=union > _EPS)
            common[frame.ground_truth_ids[:, None], frame.prediction_ids[None]] += share
            annotated[frame.ground_truth_ids] += 1
            predicted[0, frame.prediction_ids] += 1
        union = annotated + predicted - common
        return np.divide(common, union, out=np.zeros_like(common), where=union > 0)

    def _clear(self) -> PersonClear:
        last = np.full(self._tracks[0], -1)  # the prediction that a track had last, however long ago
        before = np.full(self._tracks[0], -1)  # … in the last frame in which anybody could be matched
        seen, found, begun = (np.zeros(self._tracks[0], np.int64) for _ in range(3))
        misses = false_positives = detections = switches = 0
        total = 0.0
        for frame in self._frames:
            g, p, alike = frame.ground_truth_ids, frame.prediction_ids, frame.similarity
            seen[g] += 1
            rows = columns = np.zeros(0, np.int64)
            if len(g) and len(p):
                value = alike * frame.preference + 1000.0 * (before[g][:, None] == p)
                value = np.where(alike >= SIMILARITY_THRESHOLD - _EPS, value, 0)
                rows, columns = linear_sum_assignment(value, maximize=True)
                good = value[rows, columns] > _EPS
                rows, columns = rows[good], columns[good]
                switches += int(((last[g[rows]] >= 0) & (last[g[rows]] != p[columns])).sum())
                last[g[rows]] = p[columns]
                now = np.full(self._tracks[0], -1)
                now[g[rows]] = p[columns]
                begun += (before < 0) & (now >= 0)
                before = now
                found[g[rows]] += 1
                total += float(alike[rows, columns].sum())
            detections += len(rows)
            misses += len(g) - len(rows)
            false_positives += len(p) - len(rows)
        share = found[seen > 0] / seen[seen > 0]
        mostly, at_all = int((share > 0.8).sum()), int((share >= 0.2).sum())
        return PersonClear(
            detections=detections,
            misses=misses,
            false_positives=false_positives,
            switches=switches,
            mostly_tracked=mostly,
            partly_tracked=at_all - mostly,
            mostly_lost=len(share) - at_all,
            fragmentations=int((begun[begun > 0] - 1).sum()),
            similarity=total,
        )
