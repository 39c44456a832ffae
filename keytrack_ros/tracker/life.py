"""The life of a track: tentative, confirmed, lost, taken up again or ended.

detection ──begins──▶ TENTATIVE ──seen confirm_frames times──▶ CONFIRMED ◀──taken up again── LOST ──lost_s──▶ ends
                          │                                        └────────not seen──────────▶
                          └──not seen for δ frames──▶ ends
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from keytrack_ros.poses import FloatArray

HISTORY = 12
"""So many of its poses a track remembers, however long ago they were seen."""


@dataclass(frozen=True)
class Sighting:
    """A pose of a track, as the matcher may see it.

    Attributes:
        frame: its number.
        stamp: seconds.
        camera: [2] pixels by which the camera had moved the picture since the tracker began.
        keypoints, scores, box: [15, 2], [15], [4]; zeros where the box is not known.
    """

    frame: int
    stamp: float
    camera: FloatArray
    keypoints: FloatArray
    scores: FloatArray
    box: FloatArray


@dataclass
class Track:
    """One person, as the tracker knows them.

    Attributes:
        born: number of the first frame.
        confirmed: whether it was ever confirmed.
        seen: in how many frames.
        plausible: in how many of them the detection could have begun a track.
        detected: number of the last frame in which it was not only carried over (TOKS).
        sightings: newest first.
    """

    track_id: int
    born: int
    confirmed: bool = False
    seen: int = 0
    plausible: int = 0
    detected: int = 0
    sightings: deque[Sighting] = field(default_factory=lambda: deque(maxlen=HISTORY))

    @property
    def last(self) -> Sighting:
        return self.sightings[0]

    def add(self, sighting: Sighting, *, plausible: bool, carried: bool, confirm_frames: int) -> None:
        """The track is seen. It is confirmed once seen often enough and at least once in a plausible detection."""
        self.sightings.appendleft(sighting)
        self.seen += 1
        self.plausible += plausible
        if not carried:
            self.detected = sighting.frame
        self.confirmed = self.confirmed or (self.seen >= confirm_frames and self.plausible > 0)

    def ended(self, frame: int, stamp: float, delta: int, lost_s: float) -> bool:
        """Whether the track can no longer be continued in this frame."""
        if stamp - self.last.stamp > lost_s:
            return True
        return not self.confirmed and frame - self.last.frame > delta
