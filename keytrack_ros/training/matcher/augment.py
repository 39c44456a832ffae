"""What is done to pairs of poses so that a matcher trained on annotations works with detectors and other cameras.

All functions take and return `PairArrays`; they change neither their input nor the label of a pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.poses import BoolArray, FloatArray

NOSE, HEAD_BOTTOM, HEAD_TOP = (skeleton.INDEX[name] for name in ("nose", "head_bottom", "head_top"))
SHOULDERS = [skeleton.INDEX["left_shoulder"], skeleton.INDEX["right_shoulder"]]
LIMB_PAIRS = (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
LEGS = [i for i, name in enumerate(skeleton.NAMES) if name.endswith(("knee", "ankle"))]
LOWER_BODY = [i for i, name in enumerate(skeleton.NAMES) if name.endswith(("hip", "knee", "ankle"))]
LEFT = [i for i, name in enumerate(skeleton.NAMES) if name.startswith("left_")]

HEAD_SPREAD = 0.06
"""Standard deviation of a completed head point around its mean place, in lengths of the head or of the neck."""


@dataclass(frozen=True)
class PairArrays:
    """N pairs of poses. Axis 1 of the first three: 0 the current pose, 1 the past one.

    Attributes:
        keypoints: [N, 2, 15, 2] float32, pixels.
        present: [N, 2, 15] bool.
        hidden: [N, 2, 15] bool, guessed by an annotator.
        frame: [N, 2, 2] float32, top left corner and size of the frame in the same pixels.
    """

    keypoints: FloatArray
    present: BoolArray
    hidden: BoolArray
    frame: FloatArray


def heights(keypoints: FloatArray, present: BoolArray) -> FloatArray:
    """[...] longer side of the keypoints' extent, at least one pixel; from [..., 15, 2] and [..., 15]."""
    low = np.where(present[..., None], keypoints, np.inf).min(-2)
    high = np.where(present[..., None], keypoints, -np.inf).max(-2)
    return np.asarray(np.where(present.any(-1), np.maximum((high - low).max(-1), 1), 1), np.float32)


def completed_heads(pairs: PairArrays, rng: np.random.Generator, probability: float = 0.5) -> PairArrays:
    """Adds the head points that a source lacks, see `with_head_points`, to both poses of a pair."""
    chosen = rng.random((len(pairs.present), 1)) < probability  # [N, 1]
    noise = rng.normal(0, HEAD_SPREAD, (*pairs.present.shape[:2], 3, 2)).astype(np.float32)
    points, present = with_head_points(pairs.keypoints, pairs.present, noise, chosen, chosen)
    return replace(pairs, keypoints=points, present=present)


def with_head_points(
    points: FloatArray, present: BoolArray, noise: FloatArray, nose: BoolArray, ends: BoolArray
) -> tuple[FloatArray, BoolArray]:
    """Poses with the head points that a source lacks, at the mean place that they have elsewhere.

    Detectors give all 15; public tracks have no nose, or the head's centre as nose and no other (Penn Action).

    Args:
        points, present: [..., 15, 2] and [..., 15]; copied.
        noise: [..., 3, 2], added to nose, head_bottom and head_top; in lengths of the head or of the neck.
        nose: who gets a nose between head_bottom and head_top; broadcast with [...].
        ends: who gets head_bottom and head_top on the line from the shoulders to the nose.
    """
    points, present = points.copy(), present.copy()
    bottom, top = points[..., HEAD_BOTTOM, :], points[..., HEAD_TOP, :]
    add = nose & ~present[..., NOSE] & present[..., HEAD_BOTTOM] & present[..., HEAD_TOP]
    length = np.linalg.norm(top - bottom, axis=-1, keepdims=True)
    between = bottom + 0.46 * (top - bottom) + noise[..., 0, :] * length
    points[..., NOSE, :] = np.where(add[..., None], between, points[..., NOSE, :])

    middle = points[..., SHOULDERS, :].mean(-2)
    neck = points[..., NOSE, :] - middle
    length = np.linalg.norm(neck, axis=-1, keepdims=True)
    derive = ends & present[..., NOSE] & present[..., SHOULDERS].all(-1)
    present[..., NOSE] |= add
    for order, (joint, along) in enumerate(((HEAD_BOTTOM, 0.28), (HEAD_TOP, 1.47)), start=1):
        missing = derive & ~present[..., joint]
        place = middle + along * neck + noise[..., order, :] * length
        points[..., joint, :] = np.where(missing[..., None], place, points[..., joint, :])
        present[..., joint] |= missing
    return points, present


def mirrored(pairs: PairArrays, rng: np.random.Generator, probability: float = 0.5) -> PairArrays:
    """Mirrors the scene, left and right of the people with it."""
    chosen = rng.random(len(pairs.present)) < probability
    order = np.array(skeleton.MIRRORED)
    points = pairs.keypoints[:, :, order].copy()
    middle2 = 2 * pairs.frame[:, 0, 0] + pairs.frame[:, 1, 0]
    points[..., 0] = middle2[:, None, None] - points[..., 0]
    pick = chosen[:, None, None]
    return replace(
        pairs,
        keypoints=np.where(pick[..., None], points, pairs.keypoints),
        present=np.where(pick, pairs.present[:, :, order], pairs.present),
        hidden=np.where(pick, pairs.hidden[:, :, order], pairs.hidden),
    )


def reframed(pairs: PairArrays, rng: np.random.Generator, probability: float = 0.6) -> PairArrays:
    """Another frame around the same scene: people become larger or smaller, move about, and may be cut off."""
    count = len(pairs.present)
    chosen = rng.random((count, 1)) < probability
    corner, size = pairs.frame[:, 0], pairs.frame[:, 1]
    zoom = np.exp(rng.uniform(np.log(0.6), np.log(2.5), (count, 1)))
    stretch = np.exp(rng.normal(0, 0.1, (count, 1)))
    new_size = size * zoom * np.concatenate([stretch, 1 / stretch], 1)
    # The pair's centre comes to lie anywhere in the middle 90 % of the new frame.
    weight = pairs.present[..., None].astype(np.float32)
    centre = (pairs.keypoints * weight).sum((1, 2)) / np.maximum(weight.sum((1, 2)), 1)
    new_corner = centre - rng.uniform(0.05, 0.95, (count, 2)) * new_size
    frame = np.stack([np.where(chosen, new_corner, corner), np.where(chosen, new_size, size)], 1)
    return replace(pairs, frame=frame.astype(np.float32))


def camera_moved(pairs: PairArrays, rng: np.random.Generator, probability: float = 0.3) -> PairArrays:
    """Pans and zooms a little between the two frames, for people who match as for people who do not."""
    count = len(pairs.present)
    chosen = rng.random(count) < probability
    size = pairs.frame[:, 1]
    shift = rng.normal(0, 0.03, (count, 2)) * size * chosen[:, None]
    zoom = np.exp(rng.normal(0, 0.03, count) * chosen)[:, None, None]
    middle = (pairs.frame[:, 0] + size / 2)[:, None]
    points = pairs.keypoints.copy()
    points[:, 1] = (points[:, 1] - middle) * zoom + middle + shift[:, None]
    return replace(pairs, keypoints=points)


def truncated(pairs: PairArrays, rng: np.random.Generator, probability: float = 0.15) -> PairArrays:
    """Legs, lower body or the left or right side out of sight, in one pose or both."""
    count = len(pairs.present)
    parts = np.zeros((4, skeleton.COUNT), bool)
    for row, part in enumerate((LEGS, LOWER_BODY, LEFT, [skeleton.MIRRORED[i] for i in LEFT])):
        parts[row, part] = True
    lost = parts[rng.integers(0, len(parts), count)][:, None]  # [N, 1, 15]
    chosen = (rng.random(count) < probability)[:, None] & (rng.random((count, 2)) < 0.7)
    rest = pairs.present & ~lost
    return replace(pairs, present=np.where(chosen[..., None] & (rest.sum(-1) >= 3)[..., None], rest, pairs.present))


def disturbed(pairs: PairArrays, rng: np.random.Generator, probability: float = 0.65) -> PairArrays:
    """A detector's errors: jitter, keypoints not found, left and right limbs mistaken for each other.

    The strength differs from pair to pair. Hidden keypoints are lost more often than others.
    """
    count = len(pairs.present)
    level = (rng.uniform(0, 1, count) * (rng.random(count) < probability)).astype(np.float32)[
        :, None, None
    ]  # [N, 1, 1]
    points, present = pairs.keypoints.copy(), pairs.present.copy()
    for limbs in LIMB_PAIRS:
        left = [skeleton.INDEX[f"left_{joint}"] for joint in limbs]
        right = [skeleton.INDEX[f"right_{joint}"] for joint in limbs]
        swap = rng.random((count, 2)) < 0.06 * level[..., 0]
        order = np.arange(skeleton.COUNT)
        order[left], order[right] = right, left
        points = np.where(swap[..., None, None], points[:, :, order], points)
        present = np.where(swap[..., None], present[:, :, order], present)
    shape = present.shape
    quality = np.where(rng.random(shape) < 0.1, rng.uniform(1.5, 3.0, shape), rng.uniform(0.5, 1.5, shape))
    sigma = 0.03 * level * heights(points, present)[..., None] * quality
    points = points + rng.normal(size=points.shape) * sigma[..., None]
    kept = rng.random(shape) >= 0.3 * level + 0.3 * (level > 0) * pairs.hidden
    kept = np.where((present & kept).any(-1, keepdims=True), kept, True)
    return replace(pairs, keypoints=points.astype(np.float32), present=present & kept)


AUGMENTATIONS = {
    "views": (completed_heads, mirrored, reframed),
    "detector": (completed_heads, mirrored, camera_moved, reframed, truncated, disturbed),
}
"""What changes only the view of annotated poses; and all of the above, in the order in which a camera and a detector
would bring them about."""


def augmented(pairs: PairArrays, rng: np.random.Generator, kind: str = "detector") -> PairArrays:
    """The changes of `AUGMENTATIONS[kind]`, one after another."""
    for change in AUGMENTATIONS[kind]:
        pairs = change(pairs, rng)
    return pairs
