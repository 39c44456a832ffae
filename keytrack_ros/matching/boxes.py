"""Boxes as evidence beside keypoints: which boxes are known, how they move, and where people of one frame overlap.

A pose network gives a person who is occluded the limbs of the person in front. The box of the detector often still is
that person's own, and two poses that claim the same keypoint tell that one of them may be wrong about it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from keytrack_ros.matching.motion import SMALLEST_SIZE, squared_lengths
from keytrack_ros.poses import BoolArray, FloatArray, IntArray, Poses, keypoint_boxes

MOTION_BOXES = 12
"""So many last boxes of a track are used for its velocity."""

VELOCITY_MEMORY_S = 0.6
"""They count by exp(−age / this)."""

VELOCITY_PRIOR_S2 = 0.002
"""Variance of box centres over that of velocities, both in sizes of a person: shrinks the velocity of few boxes."""

HORIZON_S = 1.0
"""A box moves on for this long after it was last seen, then its expected place rests."""

CONTEST_WIDTH = 0.15
"""Two poses contest a keypoint if theirs are less than about this part of the person's size apart."""

CONTEST_REACH = 4 * CONTEST_WIDTH
"""In sizes: keypoints farther apart contest nothing; `contested` is below 0.0004 there."""

EDGE = 0.005
"""A box ends at the image's border if it comes as near to it as this part of the image's side."""

_FAR = np.float32(1e15)


def known_boxes(poses: Poses) -> FloatArray:
    """[P, 4] float32: boxes that say more than the keypoints; zeros for the others.

    Zeros where a box has no area, is not finite or is just the extent of the pose's keypoints, as `Poses` has it where
    no box was given.
    """
    boxes = poses.boxes
    given = np.flatnonzero(exists(boxes) & np.isfinite(boxes).all(1))
    known = np.zeros((len(boxes), 4), np.float32)
    if len(given) == 0:
        return known
    given = given[(boxes[given] != keypoint_boxes(poses.keypoints[given], poses.scores[given])).any(1)]
    known[given] = boxes[given]
    return known


def exists(boxes: FloatArray) -> BoolArray:
    """[...] which of the boxes [..., 4] have an area."""
    return np.asarray((boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1]))


def box_sizes(boxes: FloatArray) -> FloatArray:
    """[...] pixels, as `motion.pose_sizes`: root of the area, at least half the longer side."""
    width, height = np.maximum(boxes[..., 2] - boxes[..., 0], 0), np.maximum(boxes[..., 3] - boxes[..., 1], 0)
    size = np.maximum(np.sqrt(width * height), np.maximum(width, height) / 2)
    return np.asarray(np.maximum(size, SMALLEST_SIZE), np.float32)


def box_centers(boxes: FloatArray) -> FloatArray:
    """[..., 2] of boxes [..., 4]."""
    return np.asarray((boxes[..., :2] + boxes[..., 2:]) / 2)


def uncut(boxes: FloatArray, sizes: FloatArray, image: FloatArray) -> FloatArray:
    """Boxes as they would be if the image's border did not cut them off.

    A box that ends at the border and is smaller than the person goes on beyond it, as far as the person is large. One
    that reaches from border to border stays as it is: how far it goes on at either side is not known.

    Args:
        boxes: [..., 4]
        sizes: [..., 2] width and height of the people in pixels.
        image: [4] where the image is in the coordinates of the boxes.
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    missing = np.maximum(sizes - (high - low), 0)
    at_low, at_high = _at_border(boxes, image)
    low = np.where(at_low & ~at_high, low - missing, low)
    high = np.where(at_high & ~at_low, high + missing, high)
    return np.asarray(np.concatenate([low, high], -1), np.float32)


def cut_off(boxes: FloatArray, image: FloatArray) -> BoolArray:
    """[...] which of the boxes [..., 4] end at the border of the image [4]."""
    at_low, at_high = _at_border(boxes, image)
    return np.asarray(exists(boxes) & (at_low | at_high).any(-1))


def _at_border(boxes: FloatArray, image: FloatArray) -> tuple[BoolArray, BoolArray]:
    """[..., 2] each: whether a box ends at the left and upper border, and at the right and lower one."""
    edge = np.maximum(EDGE * (image[2:] - image[:2]), 1)
    return np.abs(boxes[..., :2] - image[:2]) <= edge, np.abs(boxes[..., 2:] - image[2:]) <= edge


def box_velocities(boxes: FloatArray, seconds: FloatArray) -> FloatArray:
    """[T, 2] pixels per second: weighted least squares through the last box centres, shrunk towards standing still.

    Args:
        boxes: [T, M, 4], newest first; zeros where there is none.
        seconds: [T, M], how long ago.
    """
    age = seconds - seconds[:, :1]
    weight = np.exp(-age / VELOCITY_MEMORY_S) * exists(boxes)
    total = np.maximum(weight.sum(1, keepdims=True), 1e-6)
    time = -(age - (weight * age).sum(1, keepdims=True) / total)
    center = box_centers(boxes)
    center = center - (weight[..., None] * center).sum(1, keepdims=True) / total[..., None]
    covariance = (weight[..., None] * time[..., None] * center).sum(1)
    return np.asarray(covariance / ((weight * time * time).sum(1) + VELOCITY_PRIOR_S2)[:, None], np.float32)


@dataclass(frozen=True)
class Overlap:
    """How the P poses of a frame, or of several frames [..., P], overlap.

    Attributes:
        contested: [..., P, 15] float32, 0..1: another pose of the frame has this keypoint at the same place.
        claim: [..., P, 15] float32, `contested` times the pose's score less that of the other pose.
        covered: [..., P, 15] float32, 1 where the keypoint lies in the box of another pose.
        area: [..., P] float32, 0..1: largest part of the pose's box that the box of another pose overlaps.
    """

    contested: FloatArray
    claim: FloatArray
    covered: FloatArray
    area: FloatArray

    def __getitem__(self, rows: IntArray | tuple[IntArray, IntArray]) -> Overlap:
        return Overlap(*(getattr(self, item.name)[rows] for item in fields(self)))


def overlap(keypoints: FloatArray, scores: FloatArray, boxes: FloatArray, sizes: FloatArray) -> Overlap:
    """Overlap of the poses of each frame.

    Args:
        keypoints, scores: [..., P, 15, 2] and [..., P, 15]; score 0 = missing.
        boxes: [..., P, 4], zeros where none is known.
        sizes: [..., P] in pixels, see `motion.pose_sizes`.
    """
    people, keypoint_count = scores.shape[-2:]
    cover = covered_parts(boxes)
    # Frame by frame; only pairs of poses that come near each other are looked at, which are few in most crowds.
    frames = int(np.prod(scores.shape[:-2]))
    points = keypoints.reshape(frames, people, keypoint_count, 2)
    shown = scores.reshape(frames, people, keypoint_count)
    near = _near(points, shown > 0, CONTEST_REACH * sizes.reshape(frames, people))
    frame, pose, other = np.nonzero(near | (cover.reshape(frames, people, people) > 0))
    visible = shown[frame, pose] > 0
    apart2 = squared_lengths(points[frame, pose] - points[frame, other])
    apart2 = np.where(visible & (shown[frame, other] > 0), apart2, _FAR)  # [M, 15]
    target = ((frame * people + pose) * keypoint_count)[:, None] + np.arange(keypoint_count)
    order = np.argsort(-apart2, axis=None)  # of several poses the nearest is written last
    nearest2, rival_score = np.full(shown.size, _FAR), np.zeros(shown.size, np.float32)
    nearest2[target.ravel()[order]] = apart2.ravel()[order]
    rival_score[target.ravel()[order]] = shown[frame, other].ravel()[order]
    contested = np.exp(-nearest2.reshape(scores.shape) / (2 * np.square(CONTEST_WIDTH * sizes[..., None])))
    box = boxes.reshape(frames, people, 4)[frame, other][:, None]
    x, y = points[frame, pose, :, 0], points[frame, pose, :, 1]
    inside = (x > box[..., 0]) & (y > box[..., 1]) & (x < box[..., 2]) & (y < box[..., 3]) & visible
    covered = np.zeros(shown.size, np.float32)
    covered[target[inside]] = 1
    return Overlap(
        contested.astype(np.float32),
        (contested * (scores - rival_score.reshape(scores.shape))).astype(np.float32),
        covered.reshape(scores.shape),
        cover.max(-1, initial=0),
    )


def covered_parts(boxes: FloatArray) -> FloatArray:
    """[..., P, P] part of each box [..., P, 4] that each other box covers; 0 of itself and of boxes without area."""
    low = np.maximum(boxes[..., :, None, :2], boxes[..., None, :, :2])
    high = np.minimum(boxes[..., :, None, 2:], boxes[..., None, :, 2:])
    size = np.maximum(high - low, 0)
    own = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    parts = size[..., 0] * size[..., 1] / np.maximum(own, 1e-6)[..., None]
    return np.asarray(np.where(np.eye(boxes.shape[-2], dtype=bool), 0, parts), np.float32)


def _near(keypoints: FloatArray, visible: BoolArray, reach: FloatArray) -> BoolArray:
    """[F, P, P] whether the extents of two poses, one grown by `reach` [F, P] pixels, overlap; False of itself."""
    near = np.broadcast_to(~np.eye(keypoints.shape[1], dtype=bool), (*visible.shape[:2], visible.shape[1]))
    for axis in (0, 1):
        places = keypoints[..., axis]
        low = np.where(visible, places, np.inf).min(-1, initial=np.inf)
        high = np.where(visible, places, -np.inf).max(-1, initial=-np.inf)
        near = near & ((low - reach)[:, :, None] < high[:, None]) & ((high + reach)[:, :, None] > low[:, None])
    return near
