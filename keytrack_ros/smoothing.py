"""The 1€ filter on keypoints: little jitter for people who stand, little lag for those who move.

G. Casiez, N. Roussel, D. Vogel: "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012. A first-order low-pass filter whose cutoff frequency grows with the speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.options import Options, option
from keytrack_ros.poses import FloatArray, Poses


@dataclass(frozen=True)
class SmoothingOptions(Options):
    """The 1€ filter on keypoints (Casiez et al., 2012)."""

    enabled: bool = option(
        False,
        "publish keypoints that are smoothed over time on `~/poses_smoothed`, too",
        live=False,
    )
    min_cutoff: float = option(
        1.0,
        "cutoff frequency for a keypoint at rest, Hz: lower is smoother",
        at_least=0.01,
        at_most=100.0,
    )
    beta: float = option(
        0.02,
        "by how many Hz the cutoff grows with each pixel a second: higher is less lag in motion",
        at_least=0.0,
        at_most=10.0,
    )
    derivative_cutoff: float = option(
        1.0,
        "cutoff frequency of the speed that sets the cutoff, Hz",
        at_least=0.01,
        at_most=100.0,
    )


class OneEuroSmoother:
    """Smooths the keypoints of the people of one camera, frame by frame.

    Each keypoint of each track has a filter of its own; its x and y share one cutoff, set by the speed, so that the
    direction of a motion does not matter. A keypoint that was missing in the last frame, or whose track was, begins
    again at its measured place. Memory is that of the people of one frame.
    """

    def __init__(self) -> None:
        self._stamp = -math.inf
        self._rows: dict[int, int] = {}  # of the arrays below, by track id
        self._measured: FloatArray = np.zeros((0, skeleton.COUNT, 2))
        self._smoothed: FloatArray = np.zeros((0, skeleton.COUNT, 2))
        self._velocities: FloatArray = np.zeros((0, skeleton.COUNT, 2))  # smoothed, pixels a second
        self._present = np.zeros((0, skeleton.COUNT), bool)

    def update(self, poses: Poses, stamp: float, options: SmoothingOptions) -> Poses:
        """Takes the people of the next frame.

        Args:
            poses: P people with track ids, each once.
            stamp: seconds. Where it is not later than the last one, all filters begin again.
            options: may differ from frame to frame.

        Returns:
            The same people with smoothed keypoints; scores, boxes and missing keypoints are as they were.
        """
        step = stamp - self._stamp
        if not (0 < step < math.inf):
            self._rows, step = {}, 1.0
        ids = poses.track_ids.tolist()
        rows = np.array([self._rows.get(track_id, -1) for track_id in ids], np.int64)
        known, before = rows >= 0, rows[rows >= 0]
        measured = poses.keypoints.astype(np.float64)
        smoothed, velocities = measured.copy(), np.zeros_like(measured)

        # Of the tracks that were there before: [B, 15, 2].
        continued = (self._present[before] & poses.visible[known])[..., None]
        raw_velocities = (measured[known] - self._measured[before]) / step
        share = _share(options.derivative_cutoff, step)
        velocity = self._velocities[before] + share * (raw_velocities - self._velocities[before])
        speed = np.linalg.norm(velocity, axis=-1, keepdims=True)
        share = _share(options.min_cutoff + options.beta * speed, step)
        place = self._smoothed[before] + share * (measured[known] - self._smoothed[before])
        smoothed[known] = np.where(continued, place, measured[known])
        velocities[known] = np.where(continued, velocity, 0)

        self._stamp, self._rows = stamp, {track_id: row for row, track_id in enumerate(ids)}
        self._measured, self._smoothed, self._velocities = measured, smoothed, velocities
        self._present = poses.visible
        return poses.with_fields(keypoints=smoothed)


def _share(cutoff: FloatArray | float, step: float) -> FloatArray:
    """α of a low-pass filter with this cutoff in Hz: which part of the way to the measured value it goes in `step`."""
    return np.asarray(1 / (1 + 1 / (2 * math.pi * np.asarray(cutoff) * step)), np.float64)
