"""Assignment of poses to tracks: candidates, and greedy matching in stages (paper §3.2, ByteTrack's order)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keytrack_ros.poses import BoolArray, FloatArray, IntArray, Poses


@dataclass(frozen=True)
class Stage:
    """Poses and tracks that are matched together; those of earlier stages are no longer free.

    Attributes:
        poses: [P] bool.
        tracks: [T] bool.
    """

    poses: BoolArray
    tracks: BoolArray


def assign_in_stages(scores: FloatArray, track_ids: IntArray, stages: list[Stage]) -> tuple[IntArray, FloatArray]:
    """`assign_greedily` in each stage, among the poses and tracks that are still free; same result.

    Pairs whose score is −inf or NaN are not assigned.
    """
    ids = np.full(len(scores), -1, np.int64)
    won = np.zeros(len(scores), np.float32)
    free = np.ones(len(track_ids), bool)
    for stage in stages:
        rows, columns = np.flatnonzero(stage.poses & (ids < 0)), np.flatnonzero(stage.tracks & free)
        if len(rows) and len(columns):
            ids[rows], won[rows] = assign_greedily(scores[np.ix_(rows, columns)], track_ids[columns], 0.0)
            free &= ~np.isin(track_ids, ids[rows])
    return ids, won


def candidate_pairs(current: Poses, past: Poses, gaps: IntArray, nearest: int) -> IntArray:
    """For every current pose the `nearest` closest poses of each past frame.

    Distance is the mean distance of the keypoints that both poses show; where they share none, that of their centroids.

    Args:
        gaps: [Q] frames since each past pose; poses with the same gap are one frame.

    Returns:
        [M, 2] int64, row in `current` and row in `past`, ordered by current row, gap and distance.
    """
    if len(current) == 0 or len(past) == 0:
        return np.zeros((0, 2), np.int64)
    distance = _pose_distances(current, past)
    pairs = []
    for gap in np.unique(gaps):
        rows = np.flatnonzero(gaps == gap)
        order = np.argsort(distance[:, rows], axis=1, kind="stable")[:, :nearest]
        a = np.repeat(np.arange(len(current)), order.shape[1])
        pairs.append(np.stack([a, rows[order].ravel()], 1))
    found: IntArray = np.concatenate(pairs).astype(np.int64)
    matchable = (current.visible.sum(1) > 0)[found[:, 0]] & (past.visible.sum(1) > 0)[found[:, 1]]
    found = found[matchable]
    return found[np.argsort(found[:, 0], kind="stable")]


def _pose_distances(a: Poses, b: Poses) -> FloatArray:
    """[A, B] mean distance in pixels of shared visible keypoints, or of centroids where none is shared."""
    shared: BoolArray = a.visible[:, None] & b.visible[None]  # [A, B, 15]
    count = shared.sum(-1)
    apart = np.linalg.norm(a.keypoints[:, None] - b.keypoints[None], axis=-1)
    centroids = np.linalg.norm(_centroids(a)[:, None] - _centroids(b)[None], axis=-1)
    mean: FloatArray = (apart * shared).sum(-1) / np.maximum(count, 1)
    return np.where(count > 0, mean, centroids)


def _centroids(poses: Poses) -> FloatArray:
    weight = poses.visible[..., None].astype(np.float32)
    return np.asarray((poses.keypoints * weight).sum(1) / np.maximum(weight.sum(1), 1), np.float32)


def assign_greedily(scores: FloatArray, track_ids: IntArray, threshold: float) -> tuple[IntArray, FloatArray]:
    """All pairs by descending score; a pose and an id are used once; the loser gets its next best (paper §3.2).

    Args:
        scores: [P, T] match score of every pose with every track; −inf where they were not compared.
        track_ids: [T] distinct ids.
        threshold: pairs with a lower score are not assigned.

    Returns:
        [P] int64 ids, −1 where nothing reached the threshold, and [P] float32 the winning scores, 0 there.
    """
    ids = np.full(len(scores), -1, np.int64)
    won = np.zeros(len(scores), np.float32)
    taken = np.zeros(len(track_ids), bool)
    for flat in np.argsort(-scores, axis=None, kind="stable"):
        pose, track = divmod(int(flat), len(track_ids))
        score = scores[pose, track]
        if not score >= threshold:  # also ends at NaN, which sorts last
            break
        if ids[pose] < 0 and not taken[track]:
            ids[pose], won[pose], taken[track] = track_ids[track], score, True
    return ids, won
