"""Frames held back in recordings, so that a track is shown from its first frame, before it was confirmed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from keytrack_ros.media.frames import Frame
from keytrack_ros.poses import Poses, TrackState
from keytrack_ros.tracker import TrackerOptions


class HeldBack:
    """Frames whose tentative tracks may still be confirmed; they come out in order.

    A track that is not confirmed within `confirm_frames` · δ frames of its first one is left out there; what it is
    seen in afterwards may still be written.
    """

    def __init__(self, options: TrackerOptions) -> None:
        self._limit = 0 if options.publish_tentative else options.confirm_frames * options.delta
        self._everything = options.publish_tentative
        self._waiting: deque[tuple[Frame, Poses]] = deque()
        self._confirmed: set[int] = set()

    def add(self, frame: Frame, tracked: Poses) -> Iterator[tuple[Frame, Poses]]:
        """Takes the next frame, with the poses of all tracks; gives the frames that are decided."""
        self._waiting.append((frame, tracked))
        self._confirmed |= set(tracked.track_ids[tracked.states == TrackState.CONFIRMED].tolist())
        while self._waiting and (len(self._waiting) > self._limit or self._decided(self._waiting[0][1])):
            yield self._next()

    def rest(self) -> Iterator[tuple[Frame, Poses]]:
        """The frames still held back, at the end of a recording."""
        while self._waiting:
            yield self._next()

    def _decided(self, tracked: Poses) -> bool:
        tentative = tracked.track_ids[tracked.states == TrackState.TENTATIVE].tolist()
        return self._confirmed.issuperset(tentative)

    def _next(self) -> tuple[Frame, Poses]:
        frame, tracked = self._waiting.popleft()
        known = tracked.states != TrackState.UNTRACKED
        if not self._everything:
            known &= np.isin(tracked.track_ids, list(self._confirmed))
        return frame, tracked[known]
