"""The life of a track: tentative, confirmed, lost, taken up again or ended.

detection ──begins──▶ TENTATIVE ──seen confirm_frames times──▶ CONFIRMED ◀──taken up again── LOST ──lost_s──▶ ends
                          │                                        └────────not seen──────────▶
                          └──not seen for δ frames──▶ ends
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from keytrack_ros.poses import FloatArray, Poses
from keytrack_ros.tracker.options import TrackerOptions

HISTORY = 12
"""So many of its poses a track remembers, however long ago they were seen."""


@dataclass(frozen=True)
class Sighting:
    """A pose of a track, as the matcher may see it.

    Attributes:
        frame: its number.
        stamp: seconds.
        camera: [2] pixels by which the camera had moved the picture since the tracker began.
        poses: of that frame; boxes are zeros where none is known.
        row: the pose's row in them.
    """

    frame: int
    stamp: float
    camera: FloatArray
    poses: Poses
    row: int

    @property
    def keypoints(self) -> FloatArray:
        """[15, 2]"""
        return np.asarray(self.poses.keypoints[self.row])

    @property
    def scores(self) -> FloatArray:
        """[15]"""
        return np.asarray(self.poses.scores[self.row])

    @property
    def box(self) -> FloatArray:
        """[4]"""
        return np.asarray(self.poses.boxes[self.row])


@dataclass
class Track:
    """One person, as the tracker knows them.

    Attributes:
        born: number of the first frame.
        confirmed: whether it was ever confirmed.
        seen: in how many frames.
        detected: number of the last frame in which it was not only carried over (TOKS).
        sightings, pose_scores: newest first.
    """

    track_id: int
    born: int
    confirmed: bool = False
    seen: int = 0
    detected: int = 0
    sightings: deque[Sighting] = field(default_factory=lambda: deque(maxlen=HISTORY))
    pose_scores: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))

    @property
    def last(self) -> Sighting:
        return self.sightings[0]

    def add(self, sighting: Sighting, *, pose_score: float, carried: bool, options: TrackerOptions) -> None:
        """The track is seen; it is confirmed once seen often enough, in poses that are plausible on average.

        `pose_score` is the mean score of the pose's keypoints: a signpost may look like a person to the detector, but
        the pose network finds no body there.
        """
        self.sightings.appendleft(sighting)
        self.pose_scores.appendleft(pose_score)
        self.seen += 1
        if not carried:
            self.detected = sighting.frame
        plausible = sum(self.pose_scores) / len(self.pose_scores) >= options.birth_pose_score
        self.confirmed = self.confirmed or (self.seen >= options.confirm_frames and plausible)

    def ended(self, frame: int, stamp: float, delta: int, lost_s: float) -> bool:
        """Whether the track can no longer be continued in this frame."""
        if stamp - self.last.stamp > lost_s:
            return True
        return not self.confirmed and frame - self.last.frame > delta
