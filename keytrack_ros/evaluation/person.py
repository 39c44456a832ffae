"""Similarity of whole people: OKS and PCKh, and tracks scored by them."""

from __future__ import annotations

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.evaluation.frames import ScoredFrame
from keytrack_ros.evaluation.tracks import TrackAccumulator, TrackParts
from keytrack_ros.poses import BoolArray, FloatArray


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
    similarity = np.exp(-distance2 / (2 * area[:, None, None] * np.square(2 * sigmas)))
    both = ground_truth.present[:, None] & prediction.present[None]
    return _mean_over_annotated(np.where(both, similarity, 0.0), ground_truth.present)


def pckh_similarity(frame: ScoredFrame) -> FloatArray:
    """Share of the annotated keypoints that lie within half a head size, [G, P]."""
    return _mean_over_annotated(frame.near.astype(np.float64), frame.ground_truth.present)


def _mean_over_annotated(values: FloatArray, annotated: BoolArray) -> FloatArray:
    return np.asarray(values.sum(2) / np.maximum(annotated.sum(1), 1)[:, None], np.float64)


SIMILARITIES = {"OKS": oks_similarity, "PCKh": pckh_similarity}


class PersonAccumulator:
    """Collects one sequence frame by frame under one similarity, counted as TrackEval does.

    Shares of keypoints (PCKh) are often equal; TrackEval's choice then depends on the order of people, which `official`
    reproduces. Otherwise the pair with the higher OKS is preferred.
    """

    def __init__(self, tracks: tuple[int, int], similarity: str, *, official: bool) -> None:
        self._accumulator = TrackAccumulator(tracks)
        self._similarity = SIMILARITIES[similarity]
        self._prefer_oks = similarity == "PCKh" and not official

    def update(self, frame: ScoredFrame) -> None:
        tie_break = oks_similarity(frame) if self._prefer_oks else None
        ids = frame.ground_truth.ids, frame.prediction.ids
        self._accumulator.update(*ids, self._similarity(frame), tie_break, frame.index)

    def result(self) -> TrackParts:
        return self._accumulator.result()
