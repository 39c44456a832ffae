"""How fast people move, from their last positions."""

from __future__ import annotations

from collections import deque

import numpy as np

from keytrack_ros.poses import FloatArray, IntArray

WINDOW_S = 0.5
"""The velocity is that of the last half second: at 30 Hz, positions with 3 cm of noise give 6 cm/s."""
MEMORY_S = 2.0
"""Older positions are forgotten, and so are tracks without a younger one."""
_POSITIONS = 64
"""A track remembers no more positions than this, however high the rate."""


class Velocities:
    """Velocity per track: slope of the least-squares line through the positions of the last `WINDOW_S`.

    At low rates the last two positions are used if they are not more than `MEMORY_S` apart.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, deque[tuple[float, FloatArray]]] = {}
        self._time_s = -np.inf

    def __len__(self) -> int:
        """How many tracks are remembered."""
        return len(self._tracks)

    def update(self, track_ids: IntArray, positions: FloatArray, time_s: float) -> FloatArray:
        """Takes the positions of one frame; all is forgotten when time goes back.

        Args:
            track_ids: [P].
            positions: [P, 3] metres; those with NaN are left out.
            time_s: of the frame.

        Returns:
            [P, 3] float32, metres a second; NaN for a person without a position now or with one position only.
        """
        if time_s < self._time_s:
            self._tracks.clear()
        self._time_s = time_s
        known = np.isfinite(positions).all(1)
        for row in np.flatnonzero(known):
            track = self._tracks.setdefault(int(track_ids[row]), deque(maxlen=_POSITIONS))
            if track and track[-1][0] == time_s:
                track.pop()
            track.append((time_s, np.array(positions[row], np.float64)))
        for track_id in [key for key, track in self._tracks.items() if track[-1][0] < time_s - MEMORY_S]:
            del self._tracks[track_id]
        velocities = np.full((len(track_ids), 3), np.nan, np.float32)
        for row in np.flatnonzero(known):
            velocities[row] = _slope(self._tracks[int(track_ids[row])])
        return velocities


def _slope(track: deque[tuple[float, FloatArray]]) -> FloatArray:
    """[3] metres a second; forgets positions that are too old."""
    now = track[-1][0]
    while len(track) > 2 and track[0][0] < now - WINDOW_S:
        track.popleft()
    if len(track) > 1 and track[0][0] < now - MEMORY_S:
        track.popleft()
    if len(track) < 2:
        return np.full(3, np.nan)
    times = np.array([time for time, _ in track])
    times -= times.mean()
    places = np.array([place for _, place in track])
    return np.asarray(times @ (places - places.mean(0)) / (times @ times))
