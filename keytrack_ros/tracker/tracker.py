"""Who is who: the memory of the last frames, the candidates, the greedy assignment, births of tracks (paper §3.2, §4).

The tracker knows nothing of images or networks. It asks a `TrackMatcher` how surely poses continue tracks, or a
`Matcher` how alike two poses are (a track is then as alike as its most alike pose, as in the paper), and keeps the
books.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from keytrack_ros.matching.boxes import known_boxes
from keytrack_ros.matching.gating import SETTLED_SCORE, clear_cases, open_cases
from keytrack_ros.matching.histories import collect_histories, expected_poses, track_distances
from keytrack_ros.matching.matcher import Matcher, MatchQuery, TrackMatcher, TrackQuery, TrackScores
from keytrack_ros.options import Options, option
from keytrack_ros.poses import BoolArray, FloatArray, IntArray, Poses

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackerOptions(Options):
    """Assignment of identities (paper §3.2 and A.4; numbers that it leaves open are named in docs/decisions.md)."""

    model: str = option(
        "auto",
        "name or model file of the matcher; auto = the first that is found",
        live=False,
    )
    memory_frames: int = option(
        8,
        "δ: how many past frames are searched for a person",
        at_least=1,
        at_most=100,
    )
    candidates: int = option(
        5,
        "n: how many nearest tracks, or poses of each past frame, a pose is compared with",
        at_least=1,
        at_most=50,
    )
    gating: bool = option(
        True,
        "settle clear cases (one pose where one track was expected, nobody else around) by geometry, without network",
    )
    match_threshold: float = option(
        0.1,
        "a pose whose best remaining match score is lower begins a new track",
        at_least=0.0,
        at_most=1.0,
    )
    keypoint_threshold: float = option(
        0.1,
        "keypoints with a lower score are not used for matching",
        at_least=0.0,
        at_most=1.0,
    )
    maximum_gap_s: float = option(
        3.0,
        "frames older than this many seconds are forgotten, whatever δ says",
        at_least=0.01,
        at_most=3600.0,
    )


@dataclass(frozen=True)
class _Remembered:
    """A past frame; `poses` are as the matcher may see them, ids included; `camera` [2] is where the picture stood."""

    number: int
    stamp: float
    poses: Poses
    camera: FloatArray


@dataclass(frozen=True)
class Comparison:
    """What the poses of a frame were compared with and what the matcher answered: all that their ids rest on.

    Attributes:
        query: P current poses, Q remembered ones of T tracks.
        found: scores of poses with tracks; a `Matcher` finds a track as alike as its most alike pose.
        pairs: [M, 2] int64, row in `query.current` and in `query.past` of the pairs that a `Matcher` was asked about.
        pair_scores: [M] float32, its answers.
    """

    query: TrackQuery
    found: TrackScores
    pairs: IntArray
    pair_scores: FloatArray


class PoseTracker:
    """Gives every pose of every frame a track id, online.

    Ids start at 1 and are never used again while the tracker lives, also not after `reset`. Calls are not thread-safe.

    Args:
        options: defaults are those of config/tracker.yaml.
        matcher: by default the one that `options.model` names.

    Attributes:
        comparison: of the last frame, for whoever wants to know why a pose got its id; see `keytrack_ros.explanation`.

    Raises:
        ModelError: that network cannot be loaded.
    """

    def __init__(self, options: TrackerOptions | None = None, matcher: Matcher | TrackMatcher | None = None) -> None:
        self.options = options or TrackerOptions()
        if matcher is None:
            from keytrack_ros.matching.open_matcher import open_matcher

            matcher = open_matcher(self.options.model)
        self.matcher = matcher
        self.comparison: Comparison | None = None
        self._memory: deque[_Remembered] = deque()
        self._births: dict[int, int] = {}
        self._next_id = 1
        self._frame_number = 0
        self._frame_size: tuple[int, int] | None = None
        self._stamp = -math.inf
        self._camera: FloatArray = np.zeros(2, np.float32)

    def reset(self) -> None:
        """Forgets everyone. Whoever is seen next gets a new id."""
        self._memory.clear()
        self._births.clear()
        self._stamp = -math.inf
        self._frame_size = None
        self._camera = np.zeros(2, np.float32)

    def update(self, poses: Poses, frame_size: tuple[int, int], stamp: float) -> Poses:
        """Assigns identities to the poses of the next frame; to be called for empty frames too.

        Frames with the same stamp as the last are taken in order of arrival. If the stamp lies before the last one or
        the frame size has changed, past and present cannot be compared: everyone is forgotten first, with a warning.

        Args:
            poses: P people; `track_ids`, `match_scores` and `ages` are ignored.
            frame_size: width and height of the image in pixels.
            stamp: time of the image in seconds.

        Returns:
            The same rows in the same order, with `track_ids`, `match_scores` and `ages` set.

        Raises:
            ValueError: the frame size is not positive or the stamp is not finite; nothing has changed then.
        """
        width, height = int(frame_size[0]), int(frame_size[1])
        if width <= 0 or height <= 0:
            raise ValueError(f"frame_size is {width}x{height}; both must be positive")
        if not math.isfinite(stamp):
            raise ValueError(f"stamp is {stamp}; a finite number of seconds is needed")
        if stamp < self._stamp:
            logger.warning("time went back by %.3f s; tracks are forgotten", self._stamp - stamp)
            self.reset()
        elif self._frame_size is not None and self._frame_size != (width, height):
            logger.warning(
                "image size changed from %dx%d to %dx%d; tracks are forgotten",
                *self._frame_size,
                width,
                height,
            )
            self.reset()
        self._frame_number += 1
        self._frame_size = (width, height)
        self._stamp = stamp
        self._forget(stamp)

        scores = np.where(poses.scores >= self.options.keypoint_threshold, poses.scores, 0)
        seen = poses.with_fields(scores=scores, boxes=known_boxes(poses))
        compared = self.comparison = self._compare(seen, (width, height), stamp)
        self._camera = self._camera + compared.found.shift
        threshold = self.options.match_threshold
        ids, match_scores = assign_greedily(compared.found.scores, compared.query.track_ids, threshold)
        for row in np.flatnonzero(ids < 0):
            ids[row] = self._next_id
            self._births[self._next_id] = self._frame_number
            self._next_id += 1
        ages = np.array([self._frame_number - self._births[int(i)] for i in ids], np.int64)
        self._memory.appendleft(_Remembered(self._frame_number, stamp, seen.with_fields(track_ids=ids), self._camera))
        return poses.with_fields(track_ids=ids, match_scores=match_scores, ages=ages)

    def _forget(self, stamp: float) -> None:
        """Drops frames beyond δ or too old, and the books of tracks that are in none of the rest."""
        limit = self._frame_number - self.options.memory_frames
        while self._memory and (
            self._memory[-1].number < limit or stamp - self._memory[-1].stamp > self.options.maximum_gap_s
        ):
            self._memory.pop()
        alive = {int(i) for frame in self._memory for i in frame.poses.track_ids}
        self._births = {i: born for i, born in self._births.items() if i in alive}

    def _compare(self, seen: Poses, frame_size: tuple[int, int], stamp: float) -> Comparison:
        """Asks the matcher which of the remembered tracks the poses may continue."""
        past = Poses.concatenate([frame.poses for frame in self._memory])
        lengths = [len(frame.poses) for frame in self._memory]
        gaps = np.repeat([self._frame_number - frame.number for frame in self._memory], lengths).astype(np.int64)
        seconds = np.repeat([stamp - frame.stamp for frame in self._memory], lengths).astype(np.float32)
        camera = np.repeat([self._camera - frame.camera for frame in self._memory], lengths, 0).reshape(-1, 2)
        track_ids, column = np.unique(past.track_ids, return_inverse=True)
        query = TrackQuery(seen, past, gaps, seconds, camera, track_ids, self.options.candidates, self.options.gating)
        found = TrackScores.none(len(seen), len(track_ids))
        pairs, pair_scores = np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
        if len(seen) > 0 and len(past) > 0:
            if isinstance(self.matcher, TrackMatcher):
                found = self.matcher.score_tracks(query)
            else:
                pairs = candidate_pairs(seen, past, gaps, self.options.candidates)
                if query.gating:
                    found = _settled(query)
                    pairs = pairs[open_cases(found.scores > 0)[pairs[:, 0], column[pairs[:, 1]]]]
                if len(pairs):
                    pair_scores = self.matcher.score(MatchQuery(seen, past, gaps, seconds, pairs, frame_size))
                    np.maximum.at(found.scores, (pairs[:, 0], column[pairs[:, 1]]), pair_scores)
        return Comparison(query, found, pairs, pair_scores)


def _settled(query: TrackQuery) -> TrackScores:
    """Scores of the clear cases alone, for matchers of pairs, which know no tracks."""
    histories = collect_histories(query.past, query.gaps, query.seconds, query.track_ids)
    expected = expected_poses(histories, histories.velocities)
    current = query.current
    distance = track_distances(current.keypoints[None], current.visible[None], expected, histories)[0]
    clear = clear_cases(distance, histories.frames)
    none = TrackScores.none(len(current), len(query.track_ids))
    return replace(none, scores=np.where(clear, SETTLED_SCORE, none.scores), settled=clear)


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
