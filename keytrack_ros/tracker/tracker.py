"""Track ids, online: what poses are compared with, assignment in stages, and the life of tracks (paper §3.2, §4).

The tracker knows nothing of images or networks. A `TrackMatcher` scores poses against tracks, by keypoints and boxes; a
`Matcher` scores pairs of poses, and the score of a track is then that of its most similar pose, as in the paper.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

import numpy as np

from keytrack_ros.events import TrackEvent, events_between
from keytrack_ros.matching.boxes import exists, known_boxes, uncut
from keytrack_ros.matching.gating import open_cases, settled_scores
from keytrack_ros.matching.matcher import Matcher, MatchQuery, TrackMatcher, TrackQuery, TrackScores
from keytrack_ros.poses import BoolArray, FloatArray, IntArray, Poses, TrackState, keypoint_boxes
from keytrack_ros.tracker.assignment import Stage, assign_in_stages, candidate_pairs
from keytrack_ros.tracker.hidden import hidden_poses
from keytrack_ros.tracker.life import Sighting, Track
from keytrack_ros.tracker.memory import Memory
from keytrack_ros.tracker.motion import BoxMotion
from keytrack_ros.tracker.options import TrackerOptions

logger = logging.getLogger(__name__)

_TINY = 0.02
"""Part of the frame's shorter side; where all keypoints lie closer to the corner than that, they are not pixels."""


WEAK_NOISE = 2.0
"""Boxes of weak detections lie this many times as far off."""

WEAK_SHARE = 0.9
"""Their match scores count for so much beside those of strong ones: a duplicate that fits as well comes second."""

BOX_SHARE = 0.5
"""Part of the way from the motion filter's box to the detected one at which a box is given out: the filter lags behind
turns, the detector jitters."""

LOST_SHARE = 0.8
"""Match scores of lost tracks count for so much beside those of tracks seen in the last δ frames."""


@dataclass(frozen=True)
class Comparison:
    """What the poses of a frame were compared with and what the matcher answered: all that their ids rest on.

    Attributes:
        query: P current poses, Q remembered ones of T tracks.
        found: scores of poses with tracks; a `Matcher` finds a track as similar as its most similar pose.
        pairs: [M, 2] int64, row in `query.current` and in `query.past` of the pairs that a `Matcher` was asked about.
        pair_scores: [M] float32, its answers.
        states: [T] int64, `TrackState` of the tracks before this frame.
        thresholds: [T] float32, score from which each track is continued.
        tracked: what the tracker answered.
    """

    query: TrackQuery
    found: TrackScores
    pairs: IntArray
    pair_scores: FloatArray
    states: IntArray
    thresholds: FloatArray
    tracked: Poses


class PoseTracker:
    """Gives the poses of every frame track ids, online.

    Ids start at 1 and are never used again while the tracker lives, also not after `reset`. Calls are not thread-safe.

    Args:
        options: defaults are those of config/tracker.yaml.
        matcher: by default the one that `options.model` names.

    Attributes:
        comparison: of the last frame, see `keytrack_ros.explanation`.
        events: what happened to tracks in the last frame; tracks that a reset ended are in the next one.

    Raises:
        ModelError: that network cannot be loaded.
    """

    def __init__(self, options: TrackerOptions | None = None, matcher: Matcher | TrackMatcher | None = None) -> None:
        self.options = options or TrackerOptions()
        if matcher is None:
            from keytrack_ros.matching.open_matcher import open_matcher

            matcher = open_matcher(self.options.model)
        self.matcher = matcher
        self._by_tracks = isinstance(matcher, TrackMatcher)
        self.comparison: Comparison | None = None
        self.events: tuple[TrackEvent, ...] = ()
        self._states: dict[int, TrackState] = {}  # of the last frame; outlives a reset, so that its ends are events
        self._next_id = 1
        self._units_known = False  # whether coordinates have been looked at
        self._frame = 0
        self.reset()

    def reset(self) -> None:
        """Ends all tracks; `events` says so with the next frame."""
        self._tracks: list[Track] = []  # by ascending id; rows of `_motion`
        self._motion = BoxMotion()
        self._memory = Memory()
        self._frame_size = (0, 0)  # of no frame
        self._stamp = -math.inf
        self._camera: FloatArray = np.zeros(2, np.float32)

    def update(self, poses: Poses, frame_size: tuple[int, int], stamp: float) -> Poses:
        """Assigns identities to the poses of the next frame; to be called for empty frames too.

        Frames with the same stamp as the last are taken in order of arrival. If the stamp lies before the last one or
        the frame size has changed, past and present cannot be compared: all tracks end, with a warning.

        Args:
            poses: P people; `track_ids`, `match_scores`, `ages` and `states` are ignored. A box that is not finite, has
                no area or is only the extent of the keypoints is no evidence.
            frame_size: width and height of the image in pixels.
            stamp: time of the image in seconds.

        Returns:
            The same rows in the same order, with `track_ids`, `match_scores`, `ages` and `states` set. A pose that
            continues no track and may not begin one (its box score is below `birth_score`) is untracked: its id is its
            own and is not used again. Boxes that were evidence are steadied, `BOX_SHARE` of the way from the box of the
            motion filter to the detected one; of one that holds two people, each has the filter's.

        Raises:
            ValueError: the frame size is not positive or the stamp is not finite; nothing has changed then.
        """
        width, height = int(frame_size[0]), int(frame_size[1])
        if width <= 0 or height <= 0:
            raise ValueError(f"frame_size is {width}x{height}; both must be positive")
        if not math.isfinite(stamp):
            raise ValueError(f"stamp is {stamp}; a finite number of seconds is needed")
        self._warn_of_units(poses, min(width, height))
        self._begin_frame((width, height), stamp)

        options = self.options
        scores = np.where(poses.scores >= options.keypoint_threshold, poses.scores, 0)
        seen = poses.with_fields(scores=scores, boxes=_evident_boxes(poses, options.use_boxes))
        strong = np.nan_to_num(poses.box_scores) >= options.birth_score
        compared = self._compare(seen, strong, (width, height), stamp)
        self._camera = self._camera + compared.found.shift
        self._motion.shift(compared.found.shift)
        ids, match_scores = self._assign(compared, strong, poses.carried)
        merged = self._merged(compared, ids)
        self._see(seen, poses, ids, merged, strong, stamp)
        known = {track.track_id: track for track in self._tracks}
        tracks = [known.get(int(track_id)) for track_id in ids]
        tracked = poses.with_fields(
            boxes=self._steadied(poses.boxes, exists(seen.boxes), ids, merged),
            track_ids=ids,
            match_scores=match_scores,
            ages=np.array([0 if track is None else self._frame - track.born for track in tracks], np.int64),
            states=np.array([TrackState.UNTRACKED if track is None else _state(track) for track in tracks], np.uint8),
        )
        self.comparison = replace(compared, tracked=tracked)
        states = {track.track_id: self._state_now(track) for track in self._tracks}
        self.events, self._states = events_between(self._states, states), states
        return tracked

    def hidden(self) -> Poses:
        """The poses of confirmed tracks that somebody hid in the last frame, where they are expected.

        Their state is LOST; see `hidden_poses`.
        """
        if self.comparison is None or not any(self._frame_size):
            return Poses.empty()
        tracked = self.comparison.tracked
        seen = tracked[tracked.states == TrackState.CONFIRMED]
        return hidden_poses(self._tracks, self._motion.expected(), seen, self._frame, self._frame_size)

    @property
    def _image(self) -> FloatArray:
        """[4] the image as a box."""
        return np.array([0, 0, *self._frame_size], np.float32)

    def _state_now(self, track: Track) -> TrackState:
        lost = track.confirmed and track.last.frame < self._frame
        return TrackState.LOST if lost else _state(track)

    def _warn_of_units(self, poses: Poses, shorter_side: int) -> None:
        """Logs once that coordinates look like fractions of the frame, or metres, instead of pixels."""
        if self._units_known or not poses.visible.any() or shorter_side < 100:
            return
        self._units_known = True
        largest = float(np.abs(poses.keypoints[poses.visible]).max())
        if largest <= _TINY * shorter_side:
            logger.warning(
                "no keypoint lies beyond %.2g pixels in a frame of %d and more: coordinates must be pixels, not "
                "fractions of the frame or metres",
                largest,
                shorter_side,
            )

    def _begin_frame(self, frame_size: tuple[int, int], stamp: float) -> None:
        """Counts the frame, moves all tracks on to its time and ends those that have not been seen for too long."""
        if stamp < self._stamp:
            logger.warning("time went back by %.3f s; tracks are forgotten", self._stamp - stamp)
            self.reset()
        elif any(self._frame_size) and self._frame_size != frame_size:
            logger.warning(
                "image size changed from %dx%d to %dx%d; tracks are forgotten", *self._frame_size, *frame_size
            )
            self.reset()
        self._frame += 1
        if self._tracks:
            self._motion.predict(stamp - self._stamp)
        self._frame_size, self._stamp = frame_size, stamp
        delta, lost_s = self.options.delta, self.options.lost_s
        self._keep([k for k, t in enumerate(self._tracks) if not t.ended(self._frame, stamp, delta, lost_s)])

    def _keep(self, rows: list[int]) -> None:
        if len(rows) < len(self._tracks):
            self._tracks = [self._tracks[row] for row in rows]
            self._motion.keep(np.array(rows, np.int64))

    def _compare(self, seen: Poses, strong: BoolArray, frame_size: tuple[int, int], stamp: float) -> Comparison:
        """Asks the matcher which tracks the poses may continue."""
        delta = self.options.delta
        if not self._by_tracks:  # pairs are compared over δ frames at most
            self._keep([k for k, track in enumerate(self._tracks) if self._frame - track.last.frame <= delta])
        query = self._query(seen, strong, stamp)
        found = TrackScores.none(len(seen), len(query.track_ids))
        pairs, pair_scores = np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
        if len(seen) > 0 and len(query.past) > 0:
            if isinstance(self.matcher, TrackMatcher):
                found = self.matcher.score_tracks(query)
            else:
                column = np.searchsorted(query.track_ids, query.past.track_ids)
                pairs = candidate_pairs(seen, query.past, query.gaps, self.options.candidates)
                if query.gating:
                    found = settled_scores(query)
                    pairs = pairs[open_cases(found.scores > 0)[pairs[:, 0], column[pairs[:, 1]]]]
                if len(pairs):
                    asked = MatchQuery(seen, query.past, query.gaps, query.seconds, pairs, frame_size)
                    pair_scores = self.matcher.score(asked)
                    np.maximum.at(found.scores, (pairs[:, 0], column[pairs[:, 1]]), pair_scores)
        states = np.array([_state(track) for track in self._tracks], np.int64)
        lost = np.array([self._frame - track.last.frame > delta for track in self._tracks], bool)
        states[lost] = TrackState.LOST
        thresholds = np.where(lost, self.options.rebirth_threshold, self.options.match_threshold).astype(np.float32)
        return Comparison(query, found, pairs, pair_scores, states, thresholds, seen)

    def _query(self, seen: Poses, strong: BoolArray, stamp: float) -> TrackQuery:
        """The remembered poses of all tracks, newest frame first; for a `Matcher` of the last δ frames alone."""
        oldest = -math.inf if self._by_tracks else self._frame - self.options.delta
        past = self._memory.poses(self._tracks, oldest)
        return TrackQuery(
            current=seen,
            past=past.poses,
            gaps=self._frame - past.frames,
            seconds=(stamp - past.stamps).astype(np.float32),
            camera=self._camera - past.camera,
            track_ids=np.array([track.track_id for track in self._tracks], np.int64),
            candidates=self.options.candidates,
            gating=self.options.gating,
            expected=self._motion.expected() if self.options.use_boxes else None,
            weak=~strong,
            contested=past.contested,
            overlapped=past.overlapped,
            frame_size=self._frame_size,
        )

    def _assign(self, compared: Comparison, strong: BoolArray, carried: BoolArray) -> tuple[IntArray, FloatArray]:
        """Confirmed and lost tracks come first, then tentative ones; carried poses take what is left.

        Strong and weak detections compete, since of two people who come apart the one behind has the weaker box; a weak
        one must fit better. Lost tracks compete too: the first of two hidden people who reappears may be the one who
        was seen last longer ago.
        """
        options = self.options
        tentative, lost = compared.states == TrackState.TENTATIVE, compared.states == TrackState.LOST
        confirmed = compared.states == TrackState.CONFIRMED
        tired = np.array([self._frame - track.detected > options.carry_frames for track in self._tracks], bool)
        weak = ~strong & ~carried
        scores = compared.found.scores
        least = np.where(weak[:, None], np.maximum(compared.thresholds, options.weak_threshold), compared.thresholds)
        share = np.where(weak, WEAK_SHARE, 1)[:, None] * np.where(lost, LOST_SHARE, 1)
        scores = np.where(scores >= least, share * scores, -np.inf)
        stages = [
            Stage(strong | weak, confirmed | lost),
            Stage(strong, tentative),
            Stage(weak, tentative),
            Stage(carried, (confirmed | tentative) & ~tired),
        ]
        track_ids = compared.query.track_ids
        ids, won = assign_in_stages(scores, track_ids, stages)
        continued = np.flatnonzero(ids >= 0)
        won[continued] = compared.found.scores[continued, np.searchsorted(track_ids, ids[continued])]
        return ids, won

    @staticmethod
    def _merged(compared: Comparison, ids: IntArray) -> BoolArray:
        """[P] poses whose box holds another person beside that of their track."""
        merged = np.zeros(len(ids), bool)
        if compared.found.merged is not None:
            rows = np.flatnonzero(ids >= 0)
            merged[rows] = compared.found.merged[rows, np.searchsorted(compared.query.track_ids, ids[rows])]
        return merged

    def _steadied(self, boxes: FloatArray, evident: BoolArray, ids: IntArray, merged: BoolArray) -> FloatArray:
        """Boxes [P, 4] to give out; `update` says which."""
        row_of = {track.track_id: row for row, track in enumerate(self._tracks)}
        poses = np.array([k for k in np.flatnonzero(evident) if ids[k] in row_of], np.int64)
        filtered = self._motion.expected().boxes[[row_of[int(track_id)] for track_id in ids[poses]]]
        filtered = np.clip(filtered, self._image[[0, 1, 0, 1]], self._image[[2, 3, 2, 3]])
        steadied, share = boxes.copy(), np.where(merged[poses], 0, BOX_SHARE)[:, None]
        steadied[poses] = filtered + share * (boxes[poses] - filtered)
        return steadied

    def _see(
        self, seen: Poses, poses: Poses, ids: IntArray, merged: BoolArray, strong: BoolArray, stamp: float
    ) -> None:
        """Tracks take their new poses; a track begins with each strong detection that continues none. Sets `ids`.

        Keypoints of a box that holds two people are not remembered: they may be those of the other one.
        """
        options = self.options
        row_of = {track.track_id: row for row, track in enumerate(self._tracks)}
        boxes = np.where(exists(seen.boxes)[:, None], seen.boxes, keypoint_boxes(seen.keypoints, seen.scores))
        continued = np.flatnonzero((ids >= 0) & ~poses.carried)
        rows = np.array([row_of[int(track_id)] for track_id in ids[continued]], np.int64)
        noise = np.where(strong[continued], 1.0, WEAK_NOISE)
        whole = uncut(boxes[continued], self._motion.expected().sizes[rows], self._image)
        self._motion.correct(rows, whole, noise, merged[continued])
        begun = np.flatnonzero((ids < 0) & strong)
        self._motion.begin(boxes[begun])
        for row in begun:
            ids[row] = self._next_id
            row_of[self._next_id] = len(self._tracks)
            self._tracks.append(Track(self._next_id, self._frame))
            self._next_id += 1
        for row in np.flatnonzero(ids < 0):  # untracked
            ids[row] = self._next_id
            self._next_id += 1
        pose_scores = seen.mean_scores.tolist()
        remembered = seen.with_fields(scores=np.where(merged[:, None], 0, seen.scores)) if merged.any() else seen
        for pose, track_id in enumerate(ids.tolist()):
            if track_id not in row_of:
                continue
            self._tracks[row_of[track_id]].add(
                Sighting(self._frame, stamp, self._camera, remembered, pose),
                pose_score=pose_scores[pose],
                carried=bool(poses.carried[pose]),
                options=options,
            )


def published(tracked: Poses, options: TrackerOptions) -> Poses:
    """The poses that are given out: those of confirmed tracks, and of tentative ones with `publish_tentative`."""
    return tracked[tracked.states >= (TrackState.TENTATIVE if options.publish_tentative else TrackState.CONFIRMED)]


def _state(track: Track) -> TrackState:
    return TrackState.CONFIRMED if track.confirmed else TrackState.TENTATIVE


def _evident_boxes(poses: Poses, use_boxes: bool) -> FloatArray:
    """[P, 4] boxes of detections; zeros where none is known or it was carried over, which tells nothing new."""
    known = known_boxes(poses) * ~poses.carried[:, None]
    return known if use_boxes else np.zeros_like(known)
