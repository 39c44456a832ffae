"""Annotated poses with a simulated detector's errors, for comparisons without a detector."""

from __future__ import annotations

import zlib

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.annotations.sequence import LabelledSequence
from keytrack_ros.poses import BoolArray, IntArray, Poses, keypoint_boxes

MISSED = 0.15
"""Share of the people who are not seen."""
FALSE = 0.05
"""Share of the people who are seen elsewhere: a pose of the sequence, a quarter to one height away from its place."""
MISSED_KEYPOINTS = 0.15
JITTER = 0.1
"""Standard deviation of keypoints in lengths of the head; of one in ten keypoints 1.5 to 3 times as much."""


def perturbed(ground_truth: LabelledSequence, seed: int = 0) -> list[Poses]:
    """The poses of every frame, in random order and without ids; the same at every call with the same arguments."""
    rng = np.random.default_rng([seed, zlib.crc32(ground_truth.name.encode())])
    frames = []
    for k in range(len(ground_truth)):
        rows = np.arange(*ground_truth.rows(k).indices(ground_truth.people))
        draw = rng.random(len(rows))
        seen, false = draw >= MISSED, (draw >= MISSED) & (draw < MISSED + FALSE)
        source = np.where(false, rng.integers(0, max(ground_truth.people, 1), len(rows)), rows)[seen]
        poses = _detected(ground_truth, source, false[seen], rng)
        poses = poses[poses.visible.any(1)]
        frames.append(poses[rng.permutation(len(poses))])
    return frames


def annotated_poses(ground_truth: LabelledSequence, seed: int = 0) -> list[Poses]:
    """The poses of every frame as annotated, with confidence 1, in random order and without ids."""
    rng = np.random.default_rng([seed, zlib.crc32(ground_truth.name.encode())])
    frames = []
    for k in range(len(ground_truth)):
        rows = ground_truth.rows(k)
        poses = Poses(ground_truth.keypoints[rows], ground_truth.present[rows].astype(np.float32))
        poses = poses[poses.visible.any(1)]
        frames.append(poses[rng.permutation(len(poses))])
    return frames


def _detected(ground_truth: LabelledSequence, rows: IntArray, false: BoolArray, rng: np.random.Generator) -> Poses:
    points, present = ground_truth.keypoints[rows].astype(np.float64), ground_truth.present[rows]
    count = len(rows)
    boxes = keypoint_boxes(points, present.astype(np.float32))
    height = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1, initial=0), 20)
    angle, reach = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.25, 1, count) * height
    points = points + np.where(false, reach * np.stack([np.cos(angle), np.sin(angle)]), 0).T[:, None]
    neck, top = skeleton.INDEX["head_bottom"], skeleton.INDEX["head_top"]
    head = np.linalg.norm(points[:, neck] - points[:, top], axis=-1)
    known = present[:, neck] & present[:, top] & (head > 0)
    sigma = np.maximum(JITTER * np.where(known, head, 0.15 * height), 0.5)
    poor = rng.random(present.shape) < 0.1
    factor = np.where(poor, rng.uniform(1.5, 3, present.shape), rng.uniform(0.5, 1.5, present.shape))
    error = rng.normal(size=points.shape) * (sigma[:, None] * factor)[..., None]
    # Confidence falls with the error; false poses have less.
    score = 1 - 0.2 * np.linalg.norm(error, axis=-1) / sigma[:, None] + rng.normal(0, 0.1, present.shape)
    score *= np.where(false, rng.uniform(0.3, 0.9, count), 1)[:, None]
    kept = present & (rng.random(present.shape) >= MISSED_KEYPOINTS)
    return Poses(points + error, np.where(kept, np.clip(score, 0.05, 1), 0))
