"""The interface of everything that scores whether two poses in two frames are one person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from keytrack_ros.poses import FloatArray, IntArray, Poses


@dataclass(frozen=True)
class MatchQuery:
    """What a tracker asks of a matcher in one frame: Q remembered poses, P current ones, M pairs to score.

    Keypoints that are too uncertain for matching already have score 0 here.

    Attributes:
        current: the P poses of this frame.
        past: the Q poses of the remembered frames, one after another, newest frame first; `track_ids` are set.
        gaps: [Q] int64, how many frames ago each past pose was seen: 1 … δ.
        seconds: [Q] float32, the same in seconds, by the images' stamps.
        pairs: [M, 2] int64, row in `current` and row in `past` of each pair to score.
        frame_size: width and height of the image in pixels.
    """

    current: Poses
    past: Poses
    gaps: IntArray
    seconds: FloatArray
    pairs: IntArray
    frame_size: tuple[int, int]


class Matcher(Protocol):
    """Scores pairs of poses; has no memory of its own."""

    def score(self, query: MatchQuery) -> FloatArray:
        """[M] float32 in 0..1: how surely each pair of `query.pairs` is one person."""
        ...
