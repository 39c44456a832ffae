"""Annotated poses as a poor detector would see them, for comparisons without a detector."""

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


def perturbed(truth: LabelledSequence, seed: int = 0) -> list[Poses]:
    """The poses of every frame, in random order and without ids; the same at every call with the same arguments."""
    chance = np.random.default_rng([seed, zlib.crc32(truth.name.encode())])
    frames = []
    for k in range(len(truth)):
        rows = np.arange(*truth.rows(k).indices(truth.people))
        fate = chance.random(len(rows))
        seen, false = fate >= MISSED, (fate >= MISSED) & (fate < MISSED + FALSE)
        source = np.where(false, chance.integers(0, max(truth.people, 1), len(rows)), rows)[seen]
        poses = _detected(truth, source, false[seen], chance)
        poses = poses[poses.visible.any(1)]
        frames.append(poses[chance.permutation(len(poses))])
    return frames


def true_poses(truth: LabelledSequence, seed: int = 0) -> list[Poses]:
    """The poses of every frame as annotated, with confidence 1, in random order and without ids."""
    chance = np.random.default_rng([seed, zlib.crc32(truth.name.encode())])
    frames = []
    for k in range(len(truth)):
        rows = truth.rows(k)
        poses = Poses(truth.keypoints[rows], truth.present[rows].astype(np.float32))
        poses = poses[poses.visible.any(1)]
        frames.append(poses[chance.permutation(len(poses))])
    return frames


def _detected(truth: LabelledSequence, rows: IntArray, false: BoolArray, chance: np.random.Generator) -> Poses:
    points, present = truth.keypoints[rows].astype(np.float64), truth.present[rows]
    count = len(rows)
    boxes = keypoint_boxes(points, present.astype(np.float32))
    height = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1, initial=0), 20)
    angle, reach = chance.uniform(0, 2 * np.pi, count), chance.uniform(0.25, 1, count) * height
    points = points + np.where(false, reach * np.stack([np.cos(angle), np.sin(angle)]), 0).T[:, None]
    neck, top = skeleton.INDEX["head_bottom"], skeleton.INDEX["head_top"]
    head = np.linalg.norm(points[:, neck] - points[:, top], axis=-1)
    known = present[:, neck] & present[:, top] & (head > 0)
    sigma = np.maximum(JITTER * np.where(known, head, 0.15 * height), 0.5)
    poor = chance.random(present.shape) < 0.1
    factor = np.where(poor, chance.uniform(1.5, 3, present.shape), chance.uniform(0.5, 1.5, present.shape))
    error = chance.normal(size=points.shape) * (sigma[:, None] * factor)[..., None]
    # Nearer keypoints are surer; false poses are less sure.
    score = 1 - 0.2 * np.linalg.norm(error, axis=-1) / sigma[:, None] + chance.normal(0, 0.1, present.shape)
    score *= np.where(false, chance.uniform(0.3, 0.9, count), 1)[:, None]
    kept = present & (chance.random(present.shape) >= MISSED_KEYPOINTS)
    return Poses(points + error, np.where(kept, np.clip(score, 0.05, 1), 0))
