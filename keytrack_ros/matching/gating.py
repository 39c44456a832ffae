"""Clear cases, which need no network: a pose where one track was expected, and no other pose or track around."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keytrack_ros.matching.histories import collect_histories, expected_poses, track_distances
from keytrack_ros.matching.matcher import TrackQuery, TrackScores
from keytrack_ros.poses import BoolArray, FloatArray

CLOSE = 0.15
"""In a clear case the pose lies within so many sizes of the person from where the track was expected …"""

ALONE = 0.6
"""… and within so many sizes there is no other track for the pose, and no other pose for the track."""

SURE = 0.99
"""Others may be around if so much of the probability is on one pair, by the extents of poses that have no box."""

SETTLED_SCORE = np.float32(0.99)
"""Score of a clear case."""


def clear_cases(distance: FloatArray, frames: FloatArray, chance: FloatArray | None = None) -> BoolArray:
    """Which poses continue which tracks beyond doubt; only tracks that were seen in the last frame.

    Args:
        distance: [P, T] of every pose from where every track is expected, see `histories.track_distances`.
        frames: [T] since each track was seen: 1 for the last frame.
        chance: [P, T] probabilities that pose and track belong together; None where they are not known.

    Returns [P, T] bool, at most one True in a row and in a column.
    """
    around = distance < ALONE
    lonely = (around.sum(1, keepdims=True) == 1) & (around.sum(0, keepdims=True) == 1)
    certain = lonely if chance is None else lonely | (chance >= SURE)
    clear: BoolArray = certain & (distance < CLOSE) & (frames == 1)
    return clear


def open_cases(clear: BoolArray) -> BoolArray:
    """[P, T] bool: pairs of a pose and a track that no clear case has."""
    return np.logical_not(np.logical_or(clear.any(1, keepdims=True), clear.any(0, keepdims=True)))


def settled_scores(query: TrackQuery) -> TrackScores:
    """Scores of the clear cases alone, for matchers of pairs, which know no tracks."""
    histories = collect_histories(
        query.past, query.gaps, query.seconds, query.track_ids, query.contested, query.overlapped
    )
    expected = expected_poses(histories, histories.velocities)
    current = query.current
    distance = track_distances(current.keypoints[None], current.visible[None], expected, histories)[0]
    clear = clear_cases(distance, histories.frames)
    none = TrackScores.none(len(current), len(query.track_ids))
    return replace(none, scores=np.where(clear, SETTLED_SCORE, none.scores), settled=clear)
