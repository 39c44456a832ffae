"""What a track was like in its last poses, and what a new pose is like beside it: the input of `TrackNetwork`.

One token a keypoint, as in Pose Entailment, but position is told by where the keypoint is relative to where each of
the track's last poses would have it now, in units of the person's size; one more token sums up the pair. Nothing
depends on where in the picture, how large or at which frame rate people are seen: time is in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.matching.motion import HORIZON_S, centroids, mean_offsets, pose_sizes, squared_lengths, velocities
from keytrack_ros.poses import BoolArray, FloatArray, IntArray, Poses

OBSERVATIONS = 6
"""K: so many last poses of a track are looked at."""

TOKEN_WIDTH = 4 + 8 * OBSERVATIONS
SUMMARY_WIDTH = 10 + 8 * OBSERVATIONS

OKS_WIDTHS = np.array([1.5, 4.0], np.float32)
"""OKS with these multiples of the usual sigmas is told: the usual ones are almost 0 after a quick step."""

FARTHEST = 2.5
"""Poses farther than so many sizes from where a track is expected do not belong to it."""


@dataclass(frozen=True)
class Histories:
    """The last poses of T tracks, newest first; all in the picture as the camera saw it last.

    Attributes:
        keypoints: [T, K, 15, 2] float32, pixels.
        scores: [T, K, 15] float32; 0 where missing, also where a track has fewer than K poses.
        seconds: [T, K] float32, how long ago; 0 where a track has fewer poses.
        frames: [T] float32, frames since the newest pose: 1 for the last frame.
    """

    keypoints: FloatArray
    scores: FloatArray
    seconds: FloatArray
    frames: FloatArray

    @property
    def visible(self) -> BoolArray:
        return np.asarray(self.scores > 0)

    @property
    def velocities(self) -> FloatArray:
        """[T, 2] pixels per second."""
        return velocities(self.keypoints, self.visible, self.seconds)

    @cached_property
    def sizes(self) -> FloatArray:
        """[T, K] pixels, see `pose_sizes`."""
        return pose_sizes(self.keypoints, self.visible)

    def __getitem__(self, rows: IntArray) -> Histories:
        part = Histories(self.keypoints[rows], self.scores[rows], self.seconds[rows], self.frames[rows])
        if "sizes" in vars(self):  # what is known of all is known of some
            vars(part)["sizes"] = self.sizes[rows]
        return part


def collect_histories(
    past: Poses, gaps: IntArray, seconds: FloatArray, track_ids: IntArray, observations: int = OBSERVATIONS
) -> Histories:
    """Sorts remembered poses into tracks.

    Args:
        past: Q remembered poses with ids, newest frame first.
        gaps: [Q] frames since each was seen.
        seconds: [Q] the same in seconds.
        track_ids: [T] ascending, all ids in `past`.
    """
    tracks = len(track_ids)
    keypoints = np.zeros((tracks, observations, skeleton.COUNT, 2), np.float32)
    scores = np.zeros((tracks, observations, skeleton.COUNT), np.float32)
    ages = np.zeros((tracks, observations), np.float32)
    frames = np.zeros(tracks, np.float32)
    rows = np.flatnonzero(past.visible.any(1))
    track = np.searchsorted(track_ids, past.track_ids[rows])
    order = np.argsort(track, kind="stable")  # by track, newest first
    rows, track = rows[order], track[order]
    slot = np.arange(len(rows)) - np.searchsorted(track, track)  # the how manieth pose of its track
    newest = slot == 0
    frames[track[newest]] = gaps[rows[newest]]
    kept = slot < observations
    rows, to = rows[kept], (track[kept], slot[kept])
    keypoints[to], scores[to], ages[to] = past.keypoints[rows], past.scores[rows], seconds[rows]
    return Histories(keypoints, scores, ages, frames)


def expected_poses(histories: Histories, velocity: FloatArray) -> FloatArray:
    """[T, 15, 2] the newest pose of each track, moved on at `velocity` [T, 2] for at most `HORIZON_S`."""
    ahead = np.minimum(histories.seconds[:, 0], HORIZON_S)
    return np.asarray(histories.keypoints[:, 0] + (velocity * ahead[:, None])[:, None], np.float32)


def track_distances(
    keypoints: FloatArray, visible: BoolArray, expected: FloatArray, histories: Histories
) -> FloatArray:
    """How far poses are from where tracks are expected, for one scene or several at once.

    Args:
        keypoints, visible: [S, P, 15, 2] and [S, P, 15].
        expected: [S · T, 15, 2], see `expected_poses`.
        histories: S · T, scene by scene.

    Returns:
        [S, P, T] float32, in sizes of the larger of both: length of the mean offset of the keypoints that both show, or
        of the offset of their centroids where they share none; inf where one of them shows none.
    """
    scenes = len(keypoints)
    newest = histories.visible[:, 0].reshape(scenes, -1, skeleton.COUNT)
    expected = expected.reshape(*newest.shape, 2)
    offsets, shared = mean_offsets(keypoints, visible, expected, newest)
    apart = centroids(keypoints, visible)[:, :, None] - centroids(expected, newest)[:, None]
    offsets = np.where(shared[..., None] > 0, offsets, apart)
    largest = histories.sizes.max(1).reshape(scenes, 1, -1)
    distance = np.sqrt(squared_lengths(offsets)) / np.maximum(pose_sizes(keypoints, visible)[:, :, None], largest)
    shown, newest_shown = (visible.sum(-1) > 0)[:, :, None], (newest.sum(-1) > 0)[:, None]
    return np.where(shown & newest_shown, distance, np.inf).astype(np.float32)


def near_pairs(distance: FloatArray, nearest: int | None = None) -> IntArray:
    """Poses and tracks that may belong together.

    Args:
        distance: [S, P, T], see `track_distances`.
        nearest: how many tracks a pose is paired with at most; None for all that are near enough.

    Returns:
        [M, 3] scene, pose, track (0 … T − 1).
    """
    near = distance < FARTHEST
    if nearest is not None and nearest < near.shape[2]:
        rank = np.argsort(np.argsort(np.where(near, distance, np.inf), axis=2, kind="stable"), axis=2)
        near &= rank < nearest
    return np.argwhere(near)


def pair_features(
    keypoints: FloatArray, scores: FloatArray, histories: Histories, velocity: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Tokens of N pairs of a pose and a track.

    Args:
        keypoints, scores: [N, 15, 2] and [N, 15] of the pose, in the same picture as the histories.
        histories: N.
        velocity: [N, 2] of the tracks, pixels per second.

    Returns:
        [N, 15, TOKEN_WIDTH] float32 for the keypoints; column 1 says whether the pose shows it. [N, SUMMARY_WIDTH]
        float32 for the pair as a whole.
    """
    count = len(keypoints)
    visible, past_visible = scores > 0, histories.visible
    exists = past_visible.sum(-1) > 0  # [N, K]
    size = pose_sizes(keypoints, visible)
    past_sizes = histories.sizes * exists  # [N, K]
    # The median: one pose of half a person or of a false one does not make everything look near or far.
    middle_one = np.maximum(exists.sum(1) - 1, 0) // 2
    usual = np.maximum(-np.sort(-past_sizes, axis=1)[np.arange(count), middle_one], 2)
    unit = np.maximum(usual, (size + usual) / 2)

    # Every past pose is moved to now: the older ones up to the newest, that one for at most the horizon.
    newest = histories.seconds[:, :1]
    ahead = np.where(exists, np.minimum(newest, HORIZON_S) + histories.seconds - newest, 0)
    moved = histories.keypoints + (velocity[:, None] * ahead[..., None])[:, :, None]
    shared = visible[:, None] & past_visible  # [N, K, 15]
    number = shared.sum(-1)
    divisor = np.maximum(number, 1)
    offset = (keypoints[:, None] - moved) / unit[:, None, None, None] * shared[..., None]  # [N, K, 15, 2]
    likeness = _likeness(offset, OKS_WIDTHS) * shared[:, :, None]  # [N, K, 2, 15]
    middle = centroids(keypoints, visible)
    apart = (middle[:, None] - centroids(moved, past_visible)) / unit[:, None, None] * exists[..., None]
    mean_offset = np.where((number > 0)[..., None], offset.sum(2) / divisor[..., None], apart)  # [N, K, 2]
    residual = (offset - mean_offset[:, :, None]) * shared[..., None]
    shape = (keypoints - middle[:, None]) / unit[:, None, None] * visible[..., None]

    def by_keypoint(values: FloatArray) -> FloatArray:
        """[N, K, 15, 2] → [N, 15, 2 K]."""
        return np.moveaxis(values, 1, 2).reshape(count, skeleton.COUNT, 2 * OBSERVATIONS)

    tokens = [
        scores[..., None],
        visible[..., None],
        shape,
        by_keypoint(_compressed(offset)),
        by_keypoint(_compressed(3 * residual)),
        np.moveaxis(shared, 1, 2),
        np.moveaxis(histories.scores, 1, 2),
        by_keypoint(np.moveaxis(likeness, 2, 3)),
    ]
    step = velocity * ahead[:, :1] / unit[:, None]
    to_middle = np.sqrt(squared_lengths(middle[:, None] - moved[:, 0])) / unit[:, None]
    unmoved = (keypoints - histories.keypoints[:, 0]) / unit[:, None, None] * shared[:, 0, :, None]
    resting = (_likeness(unmoved, OKS_WIDTHS[1:])[:, 0] * shared[:, 0]).sum(-1) / divisor[:, 0]
    summary = [
        exists,
        np.log1p(10 * histories.seconds) * exists,
        np.log1p(histories.frames)[:, None],
        _compressed(step),
        np.log1p(np.linalg.norm(step, axis=1, keepdims=True)),
        np.log(size / np.maximum(past_sizes[:, 0], 2))[:, None].clip(-2, 2),
        np.log(size / usual)[:, None].clip(-2, 2),
        (likeness.sum(-1) / divisor[..., None]).reshape(count, 2 * OBSERVATIONS),
        _compressed(mean_offset).reshape(count, 2 * OBSERVATIONS),
        resting[:, None],
        np.where(past_visible[:, 0], to_middle, 3).min(1, keepdims=True).clip(0, 3),
        number / skeleton.COUNT,
        visible.sum(1, keepdims=True) / skeleton.COUNT,
        (scores.sum(1) / np.maximum(visible.sum(1), 1))[:, None],
        histories.scores.sum(-1) / np.maximum(past_visible.sum(-1), 1),
    ]
    return np.concatenate(tokens, -1).astype(np.float32), np.concatenate(summary, -1).astype(np.float32)


def _likeness(offset: FloatArray, widths: FloatArray) -> FloatArray:
    """OKS of single keypoints: [..., 15, 2] offsets in sizes → [..., len(widths), 15]."""
    distance2 = squared_lengths(offset)[..., None, :]
    return np.asarray(np.exp(-distance2 / (2 * np.square(2 * skeleton.SIGMAS * widths[:, None]))))


def _compressed(values: FloatArray) -> FloatArray:
    """Small offsets stay as they are, large ones grow like a logarithm."""
    return np.asarray(np.sign(values) * np.log1p(2 * np.abs(values)))
