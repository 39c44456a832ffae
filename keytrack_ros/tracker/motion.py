"""Expected boxes of tracks: a Kalman filter with a velocity that decays, in seconds and body heights.

The velocity of a box is an Ornstein-Uhlenbeck process: it decays towards zero with the time constant
`VELOCITY_MEMORY_S`, while its uncertainty grows to `SPEED`, that of a person about whom nothing is known. Nothing
depends on the frame rate or on a person's size in the image. The logarithms of width and height follow a random walk.
"""

from __future__ import annotations

import numpy as np

from keytrack_ros.geometry import overlap_of_smaller
from keytrack_ros.matching.boxes import box_centers
from keytrack_ros.matching.matcher import ExpectedBoxes
from keytrack_ros.poses import BoolArray, FloatArray, IntArray

VELOCITY_MEMORY_S = 8.0
"""Time constant of the decay of a velocity."""

SPEED = 0.5
"""Standard deviation of a velocity along one axis, body heights per second."""

CENTER_NOISE = 0.06
"""Standard deviation of the center of a detected box along one axis, body heights."""

SIZE_NOISE = 0.1
"""Standard deviation of the logarithms of a detected width and height."""

SIZE_DRIFT = 0.15
"""Standard deviation of their change in one second."""

TAIL = 4.0
"""Degrees of freedom of the t-distribution of the sizes of boxes: one that is cut off or holds two people moves a track
little."""

MERGE_OVERLAP = 0.3
"""People whose boxes overlap by so much of the smaller one may get a box that holds both."""


MERGED_NOISE = 2.0
"""The center of a box that is known to hold two people lies this many times as far off; its size says nothing."""


class BoxMotion:
    """Filters of T tracks, row by row, all predicted to the same time. A body height is the longer side of a box."""

    def __init__(self) -> None:
        self._centers = np.zeros((0, 2))
        self._velocities = np.zeros((0, 2))
        self._log_sizes = np.zeros((0, 2))
        self._covariance = np.zeros((0, 2, 2))  # of center and velocity along one axis, in body heights
        self._size_variance = np.zeros((0, 2))

    def __len__(self) -> int:
        return len(self._centers)

    def predict(self, seconds: float) -> None:
        """Moves all tracks on by `seconds` ≥ 0."""
        tau, decay = VELOCITY_MEMORY_S, np.exp(-seconds / VELOCITY_MEMORY_S)
        reach = tau * (1 - decay)
        self._centers = self._centers + reach * self._velocities
        self._velocities = decay * self._velocities
        step = np.array([[1.0, reach], [0.0, decay]])
        center = tau**2 * (2 * seconds / tau - 3 + 4 * decay - decay**2)
        noise = SPEED**2 * np.array([[center, reach**2 / tau], [reach**2 / tau, 1 - decay**2]])
        self._covariance = step @ self._covariance @ step.T + noise
        self._size_variance = self._size_variance + SIZE_DRIFT**2 * seconds

    def shift(self, pixels: FloatArray) -> None:
        """Moves all tracks by `pixels` [2]: the camera turned."""
        self._centers = self._centers + pixels

    def expected(self) -> ExpectedBoxes:
        """Expected boxes and how far detected ones may lie from them."""
        sizes = np.exp(self._log_sizes)
        center_std = np.sqrt(self._covariance[:, 0, 0] + CENTER_NOISE**2) * sizes.max(1)
        size_std = np.sqrt(self._size_variance + SIZE_NOISE**2)
        return ExpectedBoxes(*(np.asarray(a, np.float32) for a in (self._centers, sizes, center_std, size_std)))

    def correct(self, rows: IntArray, boxes: FloatArray, noise: FloatArray, merged: BoolArray | None = None) -> None:
        """Tracks `rows` [N] were detected in `boxes` [N, 4]; `noise` [N] multiplies the usual standard deviations.

        Boxes of `merged` [N] hold another person too.

        Where people overlap, a box of surprising size is cut off or holds two of them, and its center is off too: its
        noise is larger, as of a t-distribution of sizes (one step of the reweighting that finds the likeliest state
        under it). Elsewhere sizes change quickly too, as in a moving camera, and then count in full.
        """
        covariance, variance = self._covariance[rows], self._size_variance[rows]
        merged = np.zeros(len(rows), bool) if merged is None else merged
        noise = np.where(merged, MERGED_NOISE, 1) * noise
        surprise = np.where(self._near_others(rows, boxes), self._size_surprise(rows, boxes, noise), 0)
        noise = noise * np.sqrt(np.maximum((TAIL + surprise) / (TAIL + 2), 1))
        gain = covariance[:, :, 0] / (covariance[:, 0, 0] + np.square(CENTER_NOISE * noise))[:, None]  # [N, 2]
        residual = box_centers(boxes) - self._centers[rows]
        self._centers[rows] += gain[:, :1] * residual
        self._velocities[rows] += gain[:, 1:] * residual
        self._covariance[rows] = covariance - gain[:, :, None] * covariance[:, :1]
        size_gain = variance / (variance + np.square(SIZE_NOISE * noise)[:, None]) * ~merged[:, None]
        self._log_sizes[rows] += size_gain * (_log_sizes(boxes) - self._log_sizes[rows])
        self._size_variance[rows] = (1 - size_gain) * variance

    def _size_surprise(self, rows: IntArray, boxes: FloatArray, noise: FloatArray) -> FloatArray:
        """[N] squares of the differences of width and height from those expected, in variances, summed."""
        variance = self._size_variance[rows] + np.square(SIZE_NOISE * noise)[:, None]
        return np.asarray((np.square(_log_sizes(boxes) - self._log_sizes[rows]) / variance).sum(1))

    def _near_others(self, rows: IntArray, boxes: FloatArray) -> BoolArray:
        """[N] whether a box and the expected box of another track overlap by `MERGE_OVERLAP` of the smaller one."""
        half = np.exp(self._log_sizes) / 2
        overlap = overlap_of_smaller(boxes, np.concatenate([self._centers - half, self._centers + half], 1))
        overlap[np.arange(len(rows)), rows] = 0
        return np.asarray(overlap.max(1, initial=0) > MERGE_OVERLAP)

    def begin(self, boxes: FloatArray) -> None:
        """Adds tracks first detected in `boxes` [N, 4]."""
        count = len(boxes)
        covariance = np.zeros((count, 2, 2))
        covariance[:, 0, 0], covariance[:, 1, 1] = CENTER_NOISE**2, SPEED**2
        self._centers = np.concatenate([self._centers, box_centers(boxes)])
        self._velocities = np.concatenate([self._velocities, np.zeros((count, 2))])
        self._log_sizes = np.concatenate([self._log_sizes, _log_sizes(boxes)])
        self._covariance = np.concatenate([self._covariance, covariance])
        self._size_variance = np.concatenate([self._size_variance, np.full((count, 2), SIZE_NOISE**2)])

    def keep(self, rows: IntArray) -> None:
        """Ends all tracks but `rows`."""
        for name, values in vars(self).items():
            setattr(self, name, values[rows])


def _log_sizes(boxes: FloatArray) -> FloatArray:
    """[N, 2] logarithms of width and height of boxes [N, 4]; a side of less than a pixel counts as one."""
    return np.log(np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0))
