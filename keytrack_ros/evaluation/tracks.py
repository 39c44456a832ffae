"""Whole tracks under any similarity of objects 0..1: HOTA, IDF1 and CLEAR MOT of people, boxes, or known owners.

HOTA as in Luiten et al., IJCV 2021, with the alignment of whole tracks in the matching (its Eq. 7 and §4.3); IDF1 as in
Ristani et al., 2016; CLEAR as in Bernardin and Stiefelhagen, 2008. With the rule `trackeval` all numbers equal those of
TrackEval (github.com/JonathonLuiten/TrackEval).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keytrack_ros.evaluation.clear_mot import ClearAccumulator, ClearCounts, Rule, Switch
from keytrack_ros.evaluation.hota import HotaAccumulator, HotaParts
from keytrack_ros.evaluation.identity import IdentityAccumulator, IdentityCounts
from keytrack_ros.poses import FloatArray, IntArray

SIMILARITY_THRESHOLD = 0.5
"""Two objects at least this similar may be one, in CLEAR MOT and IDF1."""
_EPS = float(np.finfo(float).eps)
_HOTA = ("HOTA", "DetA", "AssA", "LocA", "DetRe", "DetPr", "AssRe", "AssPr")


@dataclass(frozen=True)
class TrackParts:
    """What a sequence contributes to the scores; sequences are combined by adding."""

    hota: HotaParts
    identity: IdentityCounts
    clear: ClearCounts

    def __add__(self, other: TrackParts) -> TrackParts:
        return TrackParts(self.hota + other.hota, self.identity + other.identity, self.clear + other.clear)

    def scores(self) -> dict[str, float]:
        """In percent unless they are counts; 0 where nothing is annotated or predicted, as in TrackEval."""
        hota = {name: float(100 * values.mean()) for name, values in self.hota.scores().items() if name in _HOTA}
        identity, clear = self.identity, self.clear
        percent = {
            "IDF1": identity.idf1,
            "IDP": identity.idp,
            "IDR": identity.idr,
            "MOTA": clear.mota,
            "MOTP": clear.motp,
            "precision": clear.precision,
            "recall": clear.recall,
        }
        counts = {
            "IDSW": clear.switches,
            "MT": clear.mostly_tracked,
            "PT": clear.partly_tracked,
            "ML": clear.mostly_lost,
            "Frag": clear.fragmentations,
        }
        return {
            **hota,
            **{name: float(np.nan_to_num(values[0])) for name, values in percent.items()},
            **{name: int(values[0]) for name, values in counts.items()},
        }


@dataclass(frozen=True)
class _Frame:
    index: int
    ground_truth_ids: IntArray
    prediction_ids: IntArray
    similarity: FloatArray
    preference: FloatArray


class TrackAccumulator:
    """Collects one sequence frame by frame.

    Args:
        tracks: how many tracks the ground truth and the prediction have.
        rule: of CLEAR MOT, see `keytrack_ros.evaluation.clear_mot.Rule`.
    """

    def __init__(self, tracks: tuple[int, int], *, rule: Rule = "trackeval") -> None:
        self._tracks = tracks
        self._frames: list[_Frame] = []
        self._clear = ClearAccumulator(tracks, 1, rule=rule)
        self.matches = np.zeros(tracks, np.int64)
        """[annotated tracks, predicted tracks]: in how many frames two tracks match, by CLEAR MOT."""

    def update(
        self,
        ground_truth_ids: IntArray,
        prediction_ids: IntArray,
        similarity: FloatArray,
        tie_break: FloatArray | None = None,
        frame: int | None = None,
    ) -> None:
        """One frame: tracks [G] and [P], numbered from 0, and similarities 0..1 [G, P].

        `tie_break` 0..1 [G, P] decides between pairs of equal similarity; without it the order of objects does.
        `frame` is the place in the sequence for `switches`, by default how many frames came before.
        """
        # Too little to matter between pairs that are not equal.
        preference = np.ones_like(similarity) if tie_break is None else 1 + 1e-6 * tie_break
        index = len(self._frames) if frame is None else frame
        self._frames.append(_Frame(index, ground_truth_ids, prediction_ids, similarity, preference))
        matched = self._clear.update(
            index,
            (ground_truth_ids, prediction_ids),
            (np.ones((len(ground_truth_ids), 1), np.bool_), np.ones((len(prediction_ids), 1), np.bool_)),
            1 - similarity[..., None],
            similarity[..., None] >= SIMILARITY_THRESHOLD - _EPS,
            (similarity * preference)[..., None],
        )
        self.matches[ground_truth_ids[:, None], prediction_ids[None]] += matched[..., 0]

    def switches(self, ground_truth_ids: IntArray, prediction_ids: IntArray) -> tuple[Switch, ...]:
        """See `ClearAccumulator.switches`."""
        return self._clear.switches(ground_truth_ids, prediction_ids)

    def result(self) -> TrackParts:
        alignment = self._alignment()
        hota, identity = HotaAccumulator(self._tracks, 1), IdentityAccumulator(self._tracks, 1)
        for frame in self._frames:
            g, p = frame.ground_truth_ids, frame.prediction_ids
            everyone = np.ones((len(g), 1), np.bool_), np.ones((len(p), 1), np.bool_)
            weights = alignment[g[:, None], p[None]] * frame.preference
            hota.update(g, p, frame.similarity[..., None], *everyone, weights)
            identity.update(g, p, (frame.similarity >= SIMILARITY_THRESHOLD)[..., None], *everyone)
        return TrackParts(hota.result(), identity.result(), self._clear.result())

    def _alignment(self) -> FloatArray:
        """[annotated tracks, predicted tracks]: how much of the two tracks is common, 0..1 (Jaccard index)."""
        common = np.zeros(self._tracks)
        annotated, predicted = np.zeros((self._tracks[0], 1)), np.zeros((1, self._tracks[1]))
        for frame in self._frames:
            similarity = frame.similarity
            union = similarity.sum(0)[None] + similarity.sum(1)[:, None] - similarity
            share = np.divide(similarity, union, out=np.zeros_like(similarity), where=union > _EPS)
            common[frame.ground_truth_ids[:, None], frame.prediction_ids[None]] += share
            annotated[frame.ground_truth_ids] += 1
            predicted[0, frame.prediction_ids] += 1
        union = annotated + predicted - common
        return np.divide(common, union, out=np.zeros_like(common), where=union > 0)
