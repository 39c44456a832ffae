"""Scenes as an estimator and a detector would give them, and the pairs of a pose and a track to learn from.

The camera's motion is compensated frame by frame with the function that the tracker uses; tracks are the annotated
ones. In the last frame (and in some scenes in an earlier one, which costs little) every pose is paired with every track
that is near.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.matching.boxes import Overlap, overlap
from keytrack_ros.matching.histories import (
    OBSERVATIONS,
    Histories,
    box_distances,
    expected_poses,
    near_pairs,
    pair_features,
    track_distances,
)
from keytrack_ros.matching.motion import camera_shift, centroids, pose_sizes
from keytrack_ros.matching.track_entailment import moved_boxes
from keytrack_ros.poses import BoolArray, FloatArray, IntArray, keypoint_boxes
from keytrack_ros.training.matcher.augment import (
    HEAD_SPREAD,
    LEFT,
    LEGS,
    LIMB_PAIRS,
    LOWER_BODY,
    heights,
    with_head_points,
)
from keytrack_ros.training.matcher.occlusion import (
    captured,
    depth_order,
    detected_boxes,
    duplicates,
    full_boxes,
    runs_of_misses,
    shifted_boxes,
)
from keytrack_ros.training.matcher.scene_composition import HISTORY, MAX_PEOPLE, SceneComposer, Scenes

STRANGERS = 3
"""Tracks of false poses that a scene remembers."""

FPS = 25.0
"""No source states a rate; the time between frames is made to vary."""

NOISY_SHARE = 0.6
"""Scenes with a detector's errors; the others are as annotated, as a very good detector would be."""

EARLIER = 4
"""In every second scene, poses of the frame so many before the current one are paired too."""

CAPTURE_SHARE = 0.5
"""Scenes in which people who overlap get each other's keypoints, see `occlusion`."""

BOX_SHARES = (0.35, 0.1, 0.15, 0.4)
"""Scenes without boxes; with boxes that are the keypoints' extents; with exact boxes; with boxes of a detector."""

DUPLICATE_SHARE = 0.5
"""Noisy scenes with second, weak detections of people."""

STANDING_SHARE = 0.12
"""Scenes with something that is found as a person though it is none, and stands still."""


@dataclass(frozen=True)
class Detections:
    """S scenes as detected: F frames (the current one first), P poses.

    Attributes:
        keypoints: [S, F, P, 15, 2] float32.
        scores: [S, F, P, 15] float32; 0 = missing.
        boxes: [S, F, P, 4] float32; zeros where none is known.
        identity: [S, F, P] int64, whose track the pose belongs to; −1 for a false pose.
        seconds: [S, F] float32, how long before the current frame.
    """

    keypoints: FloatArray
    scores: FloatArray
    boxes: FloatArray
    identity: IntArray
    seconds: FloatArray


@dataclass(frozen=True)
class TrackBatch:
    """N pairs of scenes' poses and tracks.

    Attributes:
        tokens, summary: [N, 15, …] and [N, …], see `pair_features`.
        pose, track: [N] int64, frame · MAX_PEOPLE + pose and frame · TRACKS + track: pairs that compete.
        same: [N] bool, one person.
        frames: how many frames were looked at.
    """

    tokens: FloatArray
    summary: FloatArray
    pose: IntArray
    track: IntArray
    same: BoolArray
    frames: int


TRACKS = MAX_PEOPLE + STRANGERS


class SceneSampler:
    """Draws batches of pairs from a composer."""

    def __init__(self, composer: SceneComposer) -> None:
        self._composer = composer

    def batch(self, scenes: int, rng: np.random.Generator) -> TrackBatch:
        """All near pairs of `scenes` scenes."""
        return track_pairs(detected(self._composer, self._composer.draw(scenes, rng), rng))


def detected(composer: SceneComposer, scenes: Scenes, rng: np.random.Generator) -> Detections:
    """What a moving camera, a detector and a pose network make of scenes."""
    points, present = _mirrored(scenes, rng)
    hidden = scenes.hidden  # only makes some keypoints less sure: not worth mirroring
    points, present = _completed_heads(points, present, rng)
    points, present, standing = _with_standing(composer, points, present, scenes.size, rng)
    points = points + _camera(scenes, rng)[:, :, None, None]
    count = len(points)
    level = rng.uniform(0.2, 1.3, count) * (rng.random(count) < NOISY_SHARE)
    noise = level[:, None, None, None]  # [S, 1, 1, 1]
    stretch = np.exp(rng.normal(0, 0.15, count))[:, None]
    seconds = scenes.back / FPS * stretch
    points, present = _swapped_limbs(points, present, noise[..., 0], rng)
    false = (rng.random(present.shape[:3]) < 0.05 * np.minimum(noise[..., 0], 1)) & present.any(-1)
    points, present = _false_poses(composer, points, present, false, scenes.size, rng)
    identity = np.where(false, -1, np.arange(MAX_PEOPLE))
    # Now and then a track has taken a false pose, as it happens to trackers.
    swallowed = false & (rng.random(false.shape) < 0.15)
    swallowed[:, 0] = False
    identity = np.where(swallowed, np.arange(MAX_PEOPLE), identity)
    boxes = full_boxes(points, present, rng)
    behind = depth_order(boxes, rng)

    shape = present.shape
    sigma = np.maximum(0.022 * heights(points, present), 0.5)[..., None] * noise
    quality = np.where(rng.random(shape) < 0.1, rng.uniform(1.5, 3, shape), rng.uniform(0.5, 1.5, shape))
    error = rng.normal(size=points.shape) * (sigma * quality)[..., None]
    scores = 1 - 0.2 * np.linalg.norm(error, axis=-1) / np.maximum(sigma, 1e-6) + rng.normal(0, 0.1, shape)
    doubtful = false | standing[:, None]
    scores = np.where(doubtful[..., None], scores * rng.uniform(0.3, 0.9, false.shape)[..., None], scores)
    scores = np.clip(scores - 0.15 * hidden * rng.random(shape), 0.05, 1)
    noisy = noise > 0
    scores = np.where(noisy, scores, 1)
    capture = rng.random(count) < CAPTURE_SHARE
    points, scores, present = captured(points + error, scores, present, boxes, behind, seconds, capture, rng)
    lost = noisy * (rng.uniform(0.03, 0.2, count)[:, None, None, None] + 0.2 * hidden)
    missed = noisy[..., 0] * 0.15 * rng.uniform(0.5, 1.3, count)[:, None, None]
    missed = np.where(standing[:, None], np.maximum(missed, 0.4), missed)
    kept = present & (rng.random(shape) >= lost) & (rng.random(shape[:3]) >= missed)[..., None]
    kept &= ~_out_of_sight(noisy[..., 0], shape[:3], rng)
    kept &= ~runs_of_misses(boxes, behind, seconds, noisy[:, 0, 0, 0], rng)[..., None]
    kind = rng.choice(len(BOX_SHARES), count, p=BOX_SHARES)
    boxes, merged = detected_boxes(boxes, behind, points, kept, np.maximum(level, 0.3) * (kind == 3), rng)
    kept &= ~merged[..., None]
    added, of = duplicates(np.asarray(kept.any(-1)), (level > 0) & (rng.random(count) < DUPLICATE_SHARE), rng)
    rows = np.nonzero(added)
    source = (*rows[:2], of[rows])
    spread = 0.03 * np.sqrt(np.maximum(np.prod(boxes[source][:, 2:] - boxes[source][:, :2], -1), 1))
    points[rows] = points[source] + rng.normal(size=points[source].shape) * spread[:, None, None]
    scores[rows] = scores[source] * rng.uniform(0.5, 1, (len(spread), 1))
    kept[rows] = kept[source]
    boxes[rows] = shifted_boxes(boxes[source], rng)
    identity[rows] = -1
    keypoints = (points * kept[..., None]).astype(np.float32)
    return Detections(
        keypoints=keypoints,
        scores=(np.clip(scores, 0.05, 1) * kept).astype(np.float32),
        boxes=_known(boxes, keypoints, kept, kind),
        identity=identity.astype(np.int64),
        seconds=seconds.astype(np.float32),
    )


def _known(boxes: FloatArray, keypoints: FloatArray, kept: BoolArray, kind: IntArray) -> FloatArray:
    """The boxes that a tracker gets, by `BOX_SHARES`; none of people who are not found."""
    extents = keypoint_boxes(keypoints.reshape(-1, skeleton.COUNT, 2), kept.reshape(-1, skeleton.COUNT))
    boxes = np.where((kind == 1)[:, None, None, None], extents.reshape(boxes.shape), boxes)
    return np.asarray(boxes * ((kind > 0)[:, None, None] & kept.any(-1))[..., None], np.float32)


def _with_standing(
    composer: SceneComposer, points: FloatArray, present: BoolArray, size: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, BoolArray, BoolArray]:
    """Adds a pose that stands still to some scenes with a free last place. Returns also where, [S, P]."""
    free = ~present[:, :, -1].any((1, 2)) & (rng.random(len(points)) < STANDING_SHARE)
    scene = np.flatnonzero(free)
    row = rng.integers(0, len(composer.tracks), len(scene))
    there = present[scene, 0].any(-1)  # [N, P]
    host = np.where(there.any(1), (rng.random(there.shape) * there).argmax(1), 0)
    height = np.where(there.any(1), heights(points[scene, 0, host], present[scene, 0, host]), 100)
    at = np.where(there.any(1)[:, None], centroids(points[scene, 0, host], present[scene, 0, host]), size[scene] / 2)
    place = at + rng.normal(0, 0.7, at.shape) * height[:, None]
    scale = height / composer.heights[row] * np.exp(rng.normal(0, 0.3, len(row)))
    pose = (composer.tracks.keypoints[row] - composer.centers[row][:, None]) * scale[:, None, None] + place[:, None]
    points, present = points.copy(), present.copy()
    points[scene, :, -1], present[scene, :, -1] = pose[:, None], composer.tracks.present[row][:, None]
    standing = np.zeros((len(points), points.shape[2]), bool)
    standing[scene, -1] = True
    return points, present, standing


def _mirrored(scenes: Scenes, rng: np.random.Generator) -> tuple[FloatArray, BoolArray]:
    order = np.array(skeleton.MIRRORED)
    chosen = (rng.random(len(scenes.size)) < 0.5)[:, None, None, None]
    flipped = scenes.keypoints[..., order, :].copy()
    flipped[..., 0] = scenes.size[:, 0, None, None, None] - flipped[..., 0]
    points = np.where(chosen[..., None], flipped, scenes.keypoints)
    return points, np.where(chosen, scenes.present[..., order], scenes.present)


def _completed_heads(points: FloatArray, present: BoolArray, rng: np.random.Generator) -> tuple[FloatArray, BoolArray]:
    """Head points that a source lacks: noses in half of the scenes, the ends of heads in seven of ten."""
    noise = rng.normal(0, HEAD_SPREAD, (*points.shape[:3], 3, 2))
    nose, ends = ((rng.random(len(points)) < share)[:, None, None] for share in (0.5, 0.7))
    return with_head_points(points, present, noise, nose, ends)


def _camera(scenes: Scenes, rng: np.random.Generator) -> FloatArray:
    """[S, F, 2] pixels: in four of ten scenes the camera pans and shakes more than it did."""
    count, frames = scenes.back.shape
    stride = np.maximum(scenes.back[:, 1], 1)[:, None, None]
    unit = 3 * np.sqrt(scenes.size.mean(1))[:, None, None]
    pan = rng.normal(0, 0.012, (count, 1, 2)) * stride
    shake = rng.normal(0, 0.01, (count, frames, 2)) * np.sqrt(stride)
    moves = rng.random((count, 1, 1)) < 0.4
    return np.cumsum((pan + shake) * unit * moves, 1).astype(np.float32)


def _swapped_limbs(
    points: FloatArray, present: BoolArray, noise: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, BoolArray]:
    for limbs in LIMB_PAIRS:
        left = [skeleton.INDEX[f"left_{joint}"] for joint in limbs]
        right = [skeleton.INDEX[f"right_{joint}"] for joint in limbs]
        order = np.arange(skeleton.COUNT)
        order[left], order[right] = right, left
        swap = (rng.random(present.shape[:3]) < 0.03 * noise)[..., None]
        points = np.where(swap[..., None], points[..., order, :], points)
        present = np.where(swap, present[..., order], present)
    return points, present


def _false_poses(
    composer: SceneComposer,
    points: FloatArray,
    present: BoolArray,
    false: BoolArray,
    size: FloatArray,
    rng: np.random.Generator,
) -> tuple[FloatArray, BoolArray]:
    """In place of the `false` poses: foreign ones, half of them beside the person and as large, the others anywhere."""
    scene, frame, person = np.nonzero(false)
    number = len(scene)
    row = rng.integers(0, len(composer.tracks), number)
    foreign, there = composer.tracks.keypoints[row], composer.tracks.present[row]
    height = heights(points[false], present[false])
    beside = rng.random(number) < 0.5
    scale = np.where(beside, height / composer.heights[row] * np.exp(rng.normal(0, 0.2, number)), 1)
    angle, distance = rng.uniform(0, 2 * np.pi, number), rng.uniform(0.25, 1, number) * height
    near = centroids(points[false], present[false]) + distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    place = np.where(beside[:, None], near, rng.random((number, 2)) * size[scene])
    points, present = points.copy(), present.copy()
    centre = composer.centers[row]
    points[scene, frame, person] = (foreign - centre[:, None]) * scale[:, None, None] + place[:, None]
    present[scene, frame, person] = there
    return points, present


def _out_of_sight(noisy: BoolArray, shape: tuple[int, ...], rng: np.random.Generator) -> BoolArray:
    """[S, F, P, 15]: legs, lower body or one side of a person, now and then."""
    parts = np.zeros((4, skeleton.COUNT), bool)
    for row, part in enumerate((LEGS, LOWER_BODY, LEFT, [skeleton.MIRRORED[i] for i in LEFT])):
        parts[row, part] = True
    chosen = rng.random(shape) < 0.04 * noisy
    return np.asarray(parts[rng.integers(0, len(parts), shape)] & chosen[..., None])


def track_pairs(detections: Detections) -> TrackBatch:
    """Lets the frames pass as a tracker would see them, and pairs the poses of the last with the tracks."""
    count, frames = detections.seconds.shape
    past = _Past(count)
    camera: FloatArray = np.zeros((count, 2), np.float32)
    parts: list[tuple[FloatArray, FloatArray, IntArray, IntArray, BoolArray]] = []
    for frame in reversed(range(frames)):
        scores = detections.scores[:, frame]
        visible = scores > 0
        histories = past.histories(detections.seconds[:, frame], frame)
        velocity = histories.velocities
        expected = expected_poses(histories, velocity)
        newest = histories.visible[:, 0].reshape(count, TRACKS, skeleton.COUNT)
        keypoints = detections.keypoints[:, frame] - camera[:, None, None]
        shift = camera_shift(keypoints, visible, expected.reshape(*newest.shape, 2), newest)
        camera = camera + shift
        keypoints = (keypoints - shift[:, None, None]) * visible[..., None]
        boxes = moved_boxes(detections.boxes[:, frame].reshape(-1, 4), -camera.repeat(MAX_PEOPLE, 0))
        boxes = boxes.reshape(count, MAX_PEOPLE, 4)
        rivals = overlap(keypoints, scores, boxes, pose_sizes(keypoints, visible))
        if frame in (0, EARLIER):
            distance = track_distances(keypoints, visible, expected, histories)
            distance = np.where(np.isfinite(distance), np.minimum(distance, box_distances(boxes, histories)), np.inf)
            scene, pose, track = near_pairs(distance).T
            if frame == EARLIER:
                half = scene % 2 == 0
                scene, pose, track = scene[half], pose[half], track[half]
            slot = scene * TRACKS + track
            at = scene, pose
            tokens, summary = pair_features(
                keypoints[at], scores[at], boxes[at], rivals[at], histories[slot], velocity[slot]
            )
            same = detections.identity[scene, frame, pose] == track
            at = scene + len(parts) * count
            parts.append((tokens, summary, at * MAX_PEOPLE + pose, at * TRACKS + track, same))
        past.add(keypoints, scores, boxes, rivals, detections, frame)
    tokens, summary, pose, track, same = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return TrackBatch(tokens, summary, pose, track, same, len(parts) * count)


class _Past:
    """The tracks of S scenes: those of the people, then those of false poses, which are seen once."""

    def __init__(self, scenes: int) -> None:
        shape = scenes, TRACKS, HISTORY
        self.keypoints = np.zeros((*shape, skeleton.COUNT, 2), np.float32)
        self.scores = np.zeros((*shape, skeleton.COUNT), np.float32)
        self.boxes = np.zeros((*shape, 4), np.float32)
        self.contested = np.zeros_like(self.scores)
        self.overlapped = np.zeros(shape, np.float32)
        self.before = np.zeros(shape, np.float32)  # seconds before the current frame
        self.frame = np.zeros(shape[:2], np.int64)

    def histories(self, before: FloatArray, frame: int) -> Histories:
        """S · TRACKS tracks, as seen from a frame that lies `before` [S] seconds before the current one."""
        exists = (self.scores > 0).any(-1)
        seconds = np.where(exists, self.before - before[:, None, None], 0).astype(np.float32)

        def flat(values: FloatArray, length: int = OBSERVATIONS) -> FloatArray:
            return values[:, :, :length].reshape(-1, length, *values.shape[3:])

        return Histories(
            flat(self.keypoints),
            flat(self.scores),
            flat(seconds),
            (self.frame - frame).reshape(-1).astype(np.float32),
            flat(self.boxes, HISTORY),
            flat(seconds, HISTORY),
            flat(self.contested),
            flat(self.overlapped),
        )

    def add(
        self,
        keypoints: FloatArray,
        scores: FloatArray,
        boxes: FloatArray,
        rivals: Overlap,
        detections: Detections,
        frame: int,
    ) -> None:
        scenes = np.arange(len(scores))[:, None]
        seen = (scores > 0).any(-1)
        identity = detections.identity[:, frame]
        here = np.concatenate([seen & (identity >= 0), np.zeros((len(scores), STRANGERS), bool)], 1)
        pose = np.broadcast_to(np.arange(TRACKS) % MAX_PEOPLE, here.shape).copy()
        scene, stranger = np.nonzero(seen & (identity < 0))
        slot = MAX_PEOPLE + stranger % STRANGERS
        here[scene, slot], pose[scene, slot] = True, stranger
        forgotten = here.copy()
        forgotten[:, :MAX_PEOPLE] = False
        self.scores[forgotten] = 0  # another false pose is another stranger
        self.boxes[forgotten] = 0
        before = np.broadcast_to(detections.seconds[:, frame, None], here.shape)
        for held, new in (
            (self.keypoints, keypoints[scenes, pose]),
            (self.scores, scores[scenes, pose]),
            (self.boxes, boxes[scenes, pose]),
            (self.contested, rivals.contested[scenes, pose]),
            (self.overlapped, rivals.area[scenes, pose]),
            (self.before, before),
        ):
            held[here] = np.concatenate([new[here][:, None], held[here][:, :-1]], 1)
        self.frame[here] = frame
