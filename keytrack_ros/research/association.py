"""A tracker for comparisons: any matcher, any length of memory, greedy or optimal assignment.

It searches as the paper does (§3.2): the nearest poses of each remembered frame are scored, and the best score with a
track counts. What a product needs besides (gaps in time, changes of size, reset) is `PoseTracker`'s.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from scipy.optimize import linear_sum_assignment

from keytrack_ros.matching.matcher import Matcher, MatchQuery
from keytrack_ros.poses import FloatArray, IntArray, Poses
from keytrack_ros.tracker.assignment import assign_greedily, candidate_pairs

ASSIGNMENTS = ("greedy", "hungarian")


class Associator:
    """Gives the poses of one sequence track ids from 1, frame by frame.

    Args:
        matcher: scores pairs.
        memory_frames: how many past frames are searched.
        assignment: `greedy` as the paper, or `hungarian`: the largest sum of scores.
        threshold: a pose whose score is lower begins a new track.
        candidates: nearest poses of each past frame that are scored.
        keypoint_threshold: keypoints with a lower score are not used.
    """

    def __init__(
        self,
        matcher: Matcher,
        memory_frames: int = 4,
        assignment: str = "greedy",
        threshold: float = 0.5,
        candidates: int = 5,
        keypoint_threshold: float = 0.1,
    ) -> None:
        self._matcher = matcher
        self._assign = assign_optimally if assignment == "hungarian" else assign_greedily
        self._threshold = threshold
        self._candidates = candidates
        self._keypoint_threshold = keypoint_threshold
        self._memory: deque[tuple[float, Poses]] = deque(maxlen=memory_frames)
        self._ids = 0

    def update(self, poses: Poses, frame_size: tuple[int, int], stamp: float) -> IntArray:
        """[P] int64 ids of the next frame's poses; to be called for empty frames, too."""
        seen = poses.with_fields(scores=np.where(poses.scores >= self._keypoint_threshold, poses.scores, 0))
        ids = self._continued(seen, frame_size, stamp)
        new = np.flatnonzero(ids < 0)
        ids[new] = np.arange(self._ids + 1, self._ids + 1 + len(new))
        self._ids += len(new)
        self._memory.appendleft((stamp, seen.with_fields(track_ids=ids)))
        return ids

    def _continued(self, seen: Poses, frame_size: tuple[int, int], stamp: float) -> IntArray:
        lengths = [len(poses) for _, poses in self._memory]
        past = Poses.concatenate([poses for _, poses in self._memory])
        gaps = np.repeat(np.arange(1, len(lengths) + 1), lengths)
        seconds = np.repeat([stamp - then for then, _ in self._memory], lengths).astype(np.float32)
        pairs = candidate_pairs(seen, past, gaps, self._candidates)
        if not len(pairs):
            return np.full(len(seen), -1, np.int64)
        scores = self._matcher.score(MatchQuery(seen, past, gaps, seconds, pairs, frame_size))
        track_ids, column = np.unique(past.track_ids, return_inverse=True)
        best = np.full((len(seen), len(track_ids)), -np.inf, np.float32)
        np.maximum.at(best, (pairs[:, 0], column[pairs[:, 1]]), scores)
        return self._assign(best, track_ids, self._threshold)[0]


def assign_optimally(scores: FloatArray, track_ids: IntArray, threshold: float) -> tuple[IntArray, FloatArray]:
    """The one-to-one assignment with the largest sum of scores, among pairs that reach the threshold.

    Takes and returns what `assign_greedily` does.
    """
    ids, won = np.full(len(scores), -1, np.int64), np.zeros(len(scores), np.float32)
    allowed = scores >= threshold
    poses, tracks = linear_sum_assignment(np.where(allowed, scores, 0), maximize=True)
    chosen = allowed[poses, tracks]
    poses, tracks = poses[chosen], tracks[chosen]
    ids[poses], won[poses] = track_ids[tracks], scores[poses, tracks]
    return ids, won
