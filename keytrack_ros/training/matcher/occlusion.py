"""What estimators and detectors do where people overlap: captured keypoints, merged and halved boxes, runs of misses.

The rates were measured on a pose network in known boxes of image composites (people cut out of a static-camera video
and pasted over each other) and compared with two annotated videos, see `bench/capture.py` and docs/decisions.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.matching.boxes import covered_parts, exists
from keytrack_ros.poses import BoolArray, FloatArray, IntArray, keypoint_boxes

CAPTURE_BEHIND = (-5.2, 6.2, 1.4)
CAPTURE_IN_FRONT = (-6.1, 2.9, 0.7)
"""Log-odds that the other person's keypoint is found instead of the own one: constant, times the part of the box that
the other box covers, and added if the keypoint lies in the other box; of the person behind and of the one in front."""

CAPTURE_SPREAD = 1.7
"""Standard deviation of these log-odds from pose to pose: keypoints of one pose are captured together."""

CAPTURE_MEMORY_S = 0.35
"""The deviation of a pose from the mean is forgotten by exp(−t / this)."""

CAPTURE_JITTER = 0.03
"""Median distance of a captured keypoint from the other person's, in sizes of the box."""

ELSEWHERE = (0.01, 0.08)
"""Probability that a keypoint is found at neither place: constant, and times the covered part of the box."""

FRAME_SIDES = np.array([1, 1, -1, -1], np.float32)


def full_boxes(points: FloatArray, present: BoolArray, rng: np.random.Generator) -> FloatArray:
    """[S, F, P, 4] boxes of whole people around their annotated keypoints, with the margins of one detector a scene.

    Zeros for people who are not there.
    """
    shape = present.shape[:3]
    extent = keypoint_boxes(points.reshape(-1, skeleton.COUNT, 2), present.reshape(-1, skeleton.COUNT))
    extent = extent.reshape(*shape, 4)
    size = extent[..., 2:] - extent[..., :2]
    height = np.maximum(size.max(-1), 4)[..., None]
    margin = np.stack([rng.uniform(low, high, shape[0]) for low, high in ((0.01, 0.09), (-0.03, 0.08))], -1)
    bottom = np.asarray(rng.uniform(0.02, 0.13, shape[0]))
    grown = np.concatenate([-margin, margin[:, :1], bottom[:, None]], 1)[:, None, None] * height
    return np.asarray((extent + grown) * np.asarray(present.any(-1))[..., None], np.float32)


def depth_order(boxes: FloatArray, rng: np.random.Generator) -> BoolArray:
    """[S, P, P] bool, whether person i is behind person j: whose feet are lower is in front, with some exceptions."""
    there = exists(boxes)
    feet = np.where(there, boxes[..., 3], 0).sum(1) / np.maximum(there.sum(1), 1)  # [S, P], mean over the frames
    height = np.where(there, boxes[..., 3] - boxes[..., 1], 0).sum(1) / np.maximum(there.sum(1), 1)
    feet = feet + rng.normal(0, 0.08, feet.shape) * height
    return np.asarray(feet[:, :, None] < feet[:, None, :])


def captured(
    points: FloatArray,
    scores: FloatArray,
    present: BoolArray,
    boxes: FloatArray,
    behind: BoolArray,
    seconds: FloatArray,
    chosen: BoolArray,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Replaces keypoints of people who overlap by those of the other, as a pose network in their boxes does.

    Args:
        points, scores, present: [S, F, P, 15, 2] as estimated without overlap, [S, F, P, 15] and [S, F, P, 15].
        boxes: [S, F, P, 4] of whole people, zeros where someone is not there.
        behind: [S, P, P], see `depth_order`.
        seconds: [S, F] before the first frame, ascending.
        chosen: [S] scenes in which this happens.

    Returns:
        The same three; a missing keypoint of the own pose is present where the other's is found instead.
    """
    cover = covered_parts(boxes)  # [S, F, P, P]
    other = cover.argmax(-1)  # [S, F, P]: the one that covers most
    part = cover.max(-1)
    is_behind = _is_behind(behind, other)
    there = (part > 0) & chosen[:, None, None]
    taken = _of_others(points, other), _of_others(scores, other), _of_others(present, other)
    box = np.take_along_axis(boxes, other[..., None], 2)[..., None, :]
    inside = ((points > box[..., :2]) & (points < box[..., 2:])).all(-1)

    weights = np.where(is_behind[..., None], CAPTURE_BEHIND, CAPTURE_IN_FRONT)[..., None, :]  # [S, F, P, 1, 3]
    # The measured network is one of several: the level differs from scene to scene.
    level = rng.normal(0.7, 0.7, (len(points), 1, 1, 1))
    odds = weights[..., 0] + weights[..., 1] * part[..., None] + weights[..., 2] * inside + level
    odds = odds + CAPTURE_SPREAD * _persistent(part.shape, seconds, rng)[..., None]
    capture = there[..., None] & taken[2] & (rng.random(odds.shape) < 1 / (1 + np.exp(-odds)))
    size = np.sqrt(np.maximum(np.prod(boxes[..., 2:] - boxes[..., :2], -1), 1))[..., None]
    jitter = rng.normal(size=points.shape) * (CAPTURE_JITTER / 1.18 * size)[..., None]
    lower = np.clip(rng.normal(0.5 + 0.3 * part[..., None], 0.15, odds.shape), 0.1, 1)
    new_points = np.where(capture[..., None], taken[0] + jitter, points)
    new_scores = np.where(capture, taken[1] * lower, scores * np.where(there[..., None], 1 - 0.25 * part[..., None], 1))

    astray = there[..., None] & ~capture & (rng.random(odds.shape) < ELSEWHERE[0] + ELSEWHERE[1] * part[..., None])
    within = boxes[..., None, :2] + rng.random(points.shape) * (boxes[..., 2:] - boxes[..., :2])[..., None, :]
    new_points = np.where(astray[..., None], within, new_points)
    new_scores = np.where(astray, rng.uniform(0.15, 0.6, odds.shape), new_scores)
    return new_points, new_scores, present | capture


def _of_others(values: Any, other: IntArray) -> Any:
    """Values [S, F, P, …] of the people that `other` [S, F, P] names."""
    extra = values.ndim - other.ndim
    return np.take_along_axis(values, other.reshape(*other.shape, *(1,) * extra), 2)


def _is_behind(behind: BoolArray, other: IntArray) -> BoolArray:
    """[S, F, P] whether each person is behind the one that `other` [S, F, P] names."""
    every_frame = behind[:, None].repeat(other.shape[1], 1)
    return np.asarray(np.take_along_axis(every_frame, other[..., None], 3)[..., 0])


def _persistent(shape: tuple[int, ...], seconds: FloatArray, rng: np.random.Generator) -> FloatArray:
    """[S, F, P] normal, correlated over time by exp(−t / `CAPTURE_MEMORY_S`)."""
    values = rng.normal(size=shape)
    for frame in range(1, shape[1]):
        kept = np.exp(-(seconds[:, frame] - seconds[:, frame - 1]) / CAPTURE_MEMORY_S)[:, None]
        values[:, frame] = kept * values[:, frame - 1] + np.sqrt(1 - kept**2) * values[:, frame]
    return np.asarray(values)


def runs_of_misses(
    boxes: FloatArray, behind: BoolArray, seconds: FloatArray, noisy: BoolArray, rng: np.random.Generator
) -> BoolArray:
    """[S, F, P] bool: people that the detector misses for a while, most of them behind others.

    In noisy scenes, each person is lost once with probability 0.12, for 0.1 to 2 s; and one who is covered by more than
    half is lost with probability 0.4 as long as this lasts.
    """
    count, _, people = boxes.shape[:3]
    begin = rng.uniform(0, 1, (count, 1, people)) * np.maximum(seconds[:, -1, None, None], 0.1)
    length = np.exp(rng.uniform(np.log(0.1), np.log(2.0), begin.shape))
    lost = (seconds[:, :, None] >= begin) & (seconds[:, :, None] < begin + length)
    lost &= rng.random(begin.shape) < 0.12
    part = (covered_parts(boxes) * behind[:, None]).max(-1)
    lost |= (part > 0.5) & (rng.random(begin.shape) < 0.4)
    return np.asarray(lost & noisy[:, None, None])


def detected_boxes(
    boxes: FloatArray,
    behind: BoolArray,
    keypoints: FloatArray,
    kept: BoolArray,
    level: FloatArray,
    rng: np.random.Generator,
) -> tuple[FloatArray, BoolArray]:
    """Boxes as a detector gives them: jitter, halves, and two people in one box.

    Args:
        boxes: [S, F, P, 4] of whole people; zeros where someone is not there.
        behind: [S, P, P], see `depth_order`.
        keypoints, kept: [S, F, P, 15, 2] and [S, F, P, 15], those that are detected.
        level: [S] 0 for exact boxes.

    Returns:
        [S, F, P, 4], and [S, F, P] bool: people who have no box of their own, because one with another holds both.
    """
    shape = boxes.shape[:3]
    noise = level[:, None, None]
    seen = kept.any(-1)
    size = (boxes[..., 2:] - boxes[..., :2]).max(-1)
    out = boxes.copy()

    # Two in one box: the union, for the one in front.
    cover = covered_parts(boxes)
    union_of = np.minimum(cover, np.swapaxes(cover, -1, -2)).argmax(-1)
    alike = np.minimum(cover, np.swapaxes(cover, -1, -2)).max(-1)
    is_behind = _is_behind(behind, union_of)
    pair = np.minimum(union_of, np.arange(shape[2]))  # both of a pair draw the same
    drawn = np.take_along_axis(rng.random((shape[0], 1, shape[2])).repeat(shape[1], 1), pair, 2)
    mutual = np.take_along_axis(union_of, union_of, 2) == np.arange(shape[2])
    merged = (alike > 0.45) & mutual & (drawn < 0.25 * np.minimum(noise, 1))
    partner = np.take_along_axis(boxes, union_of[..., None], 2)
    together = np.concatenate(
        [np.minimum(boxes[..., :2], partner[..., :2]), np.maximum(boxes[..., 2:], partner[..., 2:])], -1
    )
    out = np.where((merged & ~is_behind)[..., None], together, out)

    # Halves: the box ends where the keypoints that are seen end, or the lower part is cut off.
    extent = keypoint_boxes(keypoints.reshape(-1, skeleton.COUNT, 2), kept.reshape(-1, skeleton.COUNT))
    extent = extent.reshape(*shape, 4) - 0.04 * size[..., None] * FRAME_SIDES
    half = rng.random(shape) < 0.04 * noise
    cut = out.copy()
    cut[..., 3] = out[..., 1] + rng.uniform(0.4, 0.8, shape) * (out[..., 3] - out[..., 1])
    out = np.where((half & (rng.random(shape) < 0.5))[..., None], cut, np.where((half & seen)[..., None], extent, out))

    # Jitter of each edge, half of which stays the same for some frames.
    steady = rng.normal(size=(shape[0], 1, shape[2], 4))
    jitter = 0.02 * (steady + rng.normal(size=boxes.shape)) * noise[..., None] * size[..., None]
    poor = np.where(rng.random(shape) < 0.1, 3, 1)[..., None]
    out = (out + jitter * poor) * exists(boxes)[..., None]
    out = np.where(exists(out)[..., None], out, 0)
    return np.asarray(out, np.float32), np.asarray(merged & is_behind)


def duplicates(seen: BoolArray, chosen: BoolArray, rng: np.random.Generator) -> tuple[BoolArray, IntArray]:
    """Second, weak detections of people: [S, F, P] bool, in free places, and [S, F, P] the person of each.

    A detector at a low threshold finds parts of people and shifted boxes beside the right ones. They belong to no
    track, not even to that of a person who is occluded nearby.

    Args:
        seen: [S, F, P] people who are detected.
        chosen: [S] scenes in which this happens: in each free place with probability 0.06.
    """
    added = ~seen & seen.any(-1, keepdims=True) & chosen[:, None, None] & (rng.random(seen.shape) < 0.06)
    # Each draws its person among those seen in the frame.
    lots = rng.random((*seen.shape, seen.shape[-1])) * seen[..., None, :]
    return np.asarray(added), np.asarray(lots.argmax(-1), np.int64)


def shifted_boxes(boxes: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Boxes [..., 4] of duplicates: half of them shifted by about a fifth of the size, the others a part of the box."""
    size = boxes[..., 2:] - boxes[..., :2]
    offset = rng.normal(0, 0.2, size.shape) * size
    moved = boxes + np.concatenate([offset, offset], -1)
    low, high = rng.uniform(0, 0.4, size.shape), rng.uniform(0.6, 1, size.shape)
    part = np.concatenate([boxes[..., :2] + low * size, boxes[..., :2] + high * size], -1)
    return np.where(rng.random(boxes.shape[:-1])[..., None] < 0.5, moved, part)
