"""Motion of people and of the camera, from keypoints alone.

Constant velocity says where a track should be now. What is left over and common to all people is the camera's motion:
`camera_shift` finds it without identities, as the one offset that brings the largest number of people onto tracks.
"""

from __future__ import annotations

import numpy as np

from keytrack_ros.poses import BoolArray, FloatArray

SMALLEST_SIZE = 2.0
"""Pixels; a pose of one keypoint has a size too."""

VELOCITY_MEMORY_S = 0.2
"""Steps of a track count for its velocity by exp(−age / this)."""

VELOCITY_PRIOR_S = 0.05
"""So many seconds of standing still are added to what was seen: a velocity from one short step is mostly jitter."""

HORIZON_S = 0.3
"""A track moves on for this long after it was last seen, then its expected place rests."""

VOTE_WIDTH = 0.25
"""Two offsets agree if they differ by less than about this part of a person's size."""

VOTE_COST = 0.3
"""Votes that an offset by one person's size must win by over no offset."""

VOTE_REACH = 1.5
"""Largest offset of the camera between two frames, in sizes of the median person."""

VOTE_PRIOR = 1.5
"""So many people who say "no offset" are added to the mean of those who agree: with few people it is half jitter."""

MIN_SHARED = 2
"""Keypoints that a pose and a track must share to have a vote."""

MAX_VOTERS = 16
MAX_OFFSETS = 128
"""Bounds of the work in a crowd: poses with the most keypoints vote, on the shortest offsets."""

_FAR = np.float32(1e30)


def pose_sizes(keypoints: FloatArray, visible: BoolArray) -> FloatArray:
    """[...] size in pixels of poses [..., 15, 2]: root of the box's area, at least half its longer side."""
    by_axis = np.array([keypoints[..., 0], keypoints[..., 1]])  # NumPy is three times as fast along the last axis
    low, high = np.where(visible, by_axis, _FAR).min(-1), np.where(visible, by_axis, -_FAR).max(-1)
    width, height = np.maximum(high - low, 0)
    size = np.maximum(np.sqrt(width * height), np.maximum(width, height) / 2)
    return np.asarray(np.maximum(size, SMALLEST_SIZE), np.float32)


def squared_lengths(vectors: FloatArray) -> FloatArray:
    """[..., 2] → [...]; NumPy's sum over so short an axis takes several times as long."""
    x, y = vectors[..., 0], vectors[..., 1]
    return np.asarray(x * x + y * y)


def centroids(keypoints: FloatArray, visible: BoolArray) -> FloatArray:
    """[..., 2] mean of the visible keypoints; 0 where there is none."""
    weight = visible[..., None].astype(np.float32)
    return np.asarray((keypoints * weight).sum(-2) / np.maximum(weight.sum(-2), 1), np.float32)


def mean_offsets(
    current: FloatArray, current_visible: BoolArray, past: FloatArray, past_visible: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Mean offset of the keypoints that two poses share, every current pose with every past one.

    Takes [..., P, 15, 2] and [..., T, 15, 2]; returns [..., P, T, 2] pixels, 0 where none is shared, and
    [..., P, T] how many are.
    """
    a, b = current_visible.astype(np.float32), np.swapaxes(past_visible.astype(np.float32), -1, -2)
    shared = a @ b
    sums = [(current[..., axis] * a) @ b - a @ (np.swapaxes(past[..., axis], -1, -2) * b) for axis in (0, 1)]
    return np.stack(sums, -1) / np.maximum(shared, 1)[..., None], shared


def velocities(keypoints: FloatArray, visible: BoolArray, seconds: FloatArray) -> FloatArray:
    """[N, 2] pixels per second of tracks whose last K poses are [N, K, 15, 2], newest first, `seconds` [N, K] ago.

    Mean motion of shared keypoints from pose to pose, newer steps counting more, shrunk towards standing still.
    Steps between frames with the same stamp are left out.
    """
    shared = visible[:, :-1] & visible[:, 1:]
    count = shared.sum(-1)
    step = ((keypoints[:, :-1] - keypoints[:, 1:]) * shared[..., None]).sum(2) / np.maximum(count, 1)[..., None]
    time = seconds[:, 1:] - seconds[:, :-1]
    weight = np.exp((seconds[:, :1] - seconds[:, :-1]) / VELOCITY_MEMORY_S) * ((count > 0) & (time > 0))
    total = (weight * time).sum(1) + VELOCITY_PRIOR_S
    return np.asarray((step * weight[..., None]).sum(1) / total[:, None], np.float32)


def camera_shift(
    current: FloatArray, current_visible: BoolArray, expected: FloatArray, expected_visible: BoolArray
) -> FloatArray:
    """[S, 2] pixels by which the picture has moved against what was expected, for S scenes at once.

    Every pose with every track gives an offset. The one that wins is the one by which most poses find a track of their
    own: its votes are how well each pose then fits its best track (and each track its best pose, whichever is less).

    Args:
        current, current_visible: [S, P, 15, 2] and [S, P, 15]; a pose without keypoints does not vote.
        expected, expected_visible: [S, T, 15, 2] and [S, T, 15], where the tracks would be under a resting camera.
    """
    voters = np.argsort(-current_visible.sum(-1), axis=1, kind="stable")[:, :MAX_VOTERS]
    current = np.take_along_axis(current, voters[..., None, None], 1)
    current_visible = np.take_along_axis(current_visible, voters[..., None], 1)
    offsets, shared = mean_offsets(current, current_visible, expected, expected_visible)  # [S, P, T, 2], [S, P, T]
    voting = shared >= MIN_SHARED
    a, b = pose_sizes(current, current_visible)[:, :, None], pose_sizes(expected, expected_visible)[:, None]
    weight = voting * np.square(np.minimum(a, b) / np.maximum(a, b))  # people of other sizes say little
    size = (a + b) / 2
    person = np.array([np.median(s[v]) if v.any() else 1.0 for s, v in zip(size, voting, strict=True)], np.float32)

    scenes = np.arange(len(current))
    choices = np.concatenate([np.zeros((len(current), 1, 2), np.float32), offsets.reshape(len(current), -1, 2)], 1)
    length = np.sqrt(squared_lengths(choices)) / person[:, None]
    possible = np.concatenate([np.ones((len(current), 1), bool), voting.reshape(len(current), -1)], 1)
    length = np.where(possible & (length < VOTE_REACH), length, np.inf)
    asked = min(int(np.isfinite(length).sum(1).max(initial=1)), MAX_OFFSETS)
    shortest = np.argsort(length, axis=1, kind="stable")[:, :asked]
    choices, length = np.take_along_axis(choices, shortest[..., None], 1), np.take_along_axis(length, shortest, 1)

    agreement = np.zeros((*choices.shape[:2], *size.shape[1:]), np.float32)  # [S, choices, P, T]; made in place
    for axis in (0, 1):
        apart = offsets[:, None, ..., axis] - choices[:, :, None, None, axis]
        agreement -= np.square(apart, out=apart)
    agreement /= 2 * np.square(VOTE_WIDTH * size[:, None])
    np.exp(agreement, out=agreement)
    agreement *= weight[:, None]
    votes = np.minimum(agreement.max(3).sum(2), agreement.max(2).sum(2)) - VOTE_COST * length
    won = agreement[scenes, votes.argmax(1)]  # [S, P, T]
    mutual = won * (won == won.max(2, keepdims=True)) * (won == won.max(1, keepdims=True))
    total = mutual.sum((1, 2)) + VOTE_PRIOR
    return np.asarray((offsets * mutual[..., None]).sum((1, 2)) / total[:, None], np.float32)
