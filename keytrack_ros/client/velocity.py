"""How fast boxes move in the image, from the last second of their centres."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median

WINDOW_S = 1.0
"""Older places say nothing about the present velocity; somebody who was not seen for as long is forgotten."""
_PLACES = 20
"""At most so many places of somebody are kept, however fast images come."""
_FEWEST = 3
"""With two places, one bad box would be the whole velocity."""
_SHORTEST_S = 0.15
"""Over less time a box's own jitter is most of its motion."""

Vector = tuple[float, float]


@dataclass
class _Path:
    age: int
    places: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=_PLACES))
    """Seconds, x, y; seconds grow."""


class BoxVelocities:
    """The velocities of one tracker's people, as messages come.

    A velocity is the median of the slopes between all pairs of places within the last second (Theil and Sen): one box
    in four may be wrong without effect. Where stamps or the age of an id go back or stand still, the tracker began
    again or the messages are of several; what was known is forgotten then. Memory is bounded: who was not seen for a
    second is forgotten, at the next message.
    """

    def __init__(self) -> None:
        self._stamp = -math.inf
        self._paths: dict[int, _Path] = {}

    def __len__(self) -> int:
        """How many people are remembered."""
        return len(self._paths)

    def update(self, stamp: float, centres: Mapping[int, Vector], ages: Mapping[int, int]) -> dict[int, Vector | None]:
        """Takes the people of the next image.

        Args:
            stamp: of the image, seconds.
            centres: of each box by track id; pixels.
            ages: frames since the track began, by track id.

        Returns:
            The velocity of each, x and y in pixels a second; None where fewer than three places are known, or their
            time is too short.
        """
        if stamp <= self._stamp:
            self._paths.clear()
        self._stamp = stamp
        for track_id, (x, y) in centres.items():
            path = self._paths.get(track_id)
            if path is None or ages[track_id] <= path.age:
                path = self._paths[track_id] = _Path(ages[track_id])
            path.age = ages[track_id]
            if math.isfinite(x) and math.isfinite(y):
                path.places.append((stamp, x, y))
        for path in self._paths.values():
            while path.places and stamp - path.places[0][0] > WINDOW_S:
                path.places.popleft()
        self._paths = {key: path for key, path in self._paths.items() if path.places}
        return {track_id: self._velocity(track_id) for track_id in centres}

    def _velocity(self, track_id: int) -> Vector | None:
        path = self._paths.get(track_id)
        if path is None or len(path.places) < _FEWEST or path.places[-1][0] - path.places[0][0] < _SHORTEST_S:
            return None
        pairs = list(combinations(path.places, 2))
        return (
            median((late[1] - early[1]) / (late[0] - early[0]) for early, late in pairs),
            median((late[2] - early[2]) / (late[0] - early[0]) for early, late in pairs),
        )
