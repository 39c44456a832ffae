"""Features of a pose and the last poses of a track: the input of `TrackNetwork`.

One token a keypoint, as in Pose Entailment, but a position is relative to where each of the track's last poses would
have the keypoint now, in units of the person's size; one more token sums up the pair. The features do not depend on
place, scale or frame rate: time is in seconds.

Boxes are a second kind of evidence (`keytrack_ros.matching.boxes`): how the box of the pose lies to the expected boxes
of the track, and which keypoints another pose of the same frame claims too. All of these features are 0 where no box is
known, apart from the contested keypoints, which need none.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.geometry import box_iou
from keytrack_ros.matching import boxes as box_evidence
from keytrack_ros.matching.boxes import MOTION_BOXES, Overlap, box_centers, box_sizes, box_velocities, exists
from keytrack_ros.matching.motion import HORIZON_S, centroids, mean_offsets, pose_sizes, squared_lengths, velocities
from keytrack_ros.poses import BoolArray, FloatArray, IntArray, Poses

OBSERVATIONS = 6
"""K: number of last poses of a track that are compared with."""

TOKEN_WIDTH = 4 + 8 * OBSERVATIONS + 3 + OBSERVATIONS
SUMMARY_WIDTH = 10 + 8 * OBSERVATIONS + 10 + 7 * OBSERVATIONS

OKS_WIDTHS = np.array([1.5, 4.0], np.float32)
"""Multiples of the usual sigmas for OKS features: with the usual ones OKS is almost 0 after a quick step."""

FARTHEST = 2.5
"""Poses farther than so many sizes from where a track is expected do not belong to it."""


@dataclass(frozen=True)
class Histories:
    """The last poses of T tracks, newest first; all in the image coordinates of the newest remembered frame.

    Attributes:
        keypoints: [T, K, 15, 2] float32, pixels.
        scores: [T, K, 15] float32; 0 where missing, also where a track has fewer than K poses.
        seconds: [T, K] float32, how long ago; 0 where a track has fewer poses.
        frames: [T] float32, frames since the newest pose: 1 for the last frame.
        boxes: [T, M, 4] float32, M ≥ K; zeros where none is known. The first K are those of the poses.
        box_seconds: [T, M] float32, how long ago.
        contested: [T, K, 15] float32, how much another pose of that frame claimed the keypoint, see `Overlap`.
        overlapped: [T, K] float32, part of the box that another box of that frame overlapped.
    """

    keypoints: FloatArray
    scores: FloatArray
    seconds: FloatArray
    frames: FloatArray
    boxes: FloatArray
    box_seconds: FloatArray
    contested: FloatArray
    overlapped: FloatArray

    @property
    def visible(self) -> BoolArray:
        return np.asarray(self.scores > 0)

    @property
    def velocities(self) -> FloatArray:
        """[T, 2] pixels per second, of the keypoints."""
        return velocities(self.keypoints, self.visible, self.seconds)

    @cached_property
    def sizes(self) -> FloatArray:
        """[T, K] pixels, see `pose_sizes`."""
        return pose_sizes(self.keypoints, self.visible)

    @cached_property
    def box_velocities(self) -> FloatArray:
        """[T, 2] pixels per second, see `boxes.box_velocities`."""
        return box_velocities(self.boxes, self.box_seconds)

    def __getitem__(self, rows: IntArray) -> Histories:
        part = Histories(*(getattr(self, item.name)[rows] for item in fields(self)))
        for name in ("sizes", "box_velocities"):
            if name in vars(self):  # already computed for all
                vars(part)[name] = getattr(self, name)[rows]
        return part


def collect_histories(
    past: Poses,
    gaps: IntArray,
    seconds: FloatArray,
    track_ids: IntArray,
    contested: FloatArray | None = None,
    overlapped: FloatArray | None = None,
) -> Histories:
    """Sorts remembered poses into tracks.

    Args:
        past: Q remembered poses with ids, newest frame first; all poses of a frame, so that overlap can be seen. A box
            without area is no evidence.
        gaps: [Q] frames since each was seen.
        seconds: [Q] the same in seconds.
        track_ids: [T] ascending, all ids in `past`.
        contested, overlapped: [Q, 15] and [Q] of `Overlap` within their frames; worked out where they are None.
    """
    tracks, observations, motion = len(track_ids), OBSERVATIONS, max(MOTION_BOXES, OBSERVATIONS)
    keypoints = np.zeros((tracks, observations, skeleton.COUNT, 2), np.float32)
    scores = np.zeros((tracks, observations, skeleton.COUNT), np.float32)
    ages = np.zeros((tracks, observations), np.float32)
    frames = np.zeros(tracks, np.float32)
    boxes, box_ages = np.zeros((tracks, motion, 4), np.float32), np.zeros((tracks, motion), np.float32)
    claimed, covered = np.zeros_like(scores), np.zeros_like(ages)
    rows = np.flatnonzero(past.visible.any(1))
    track = np.searchsorted(track_ids, past.track_ids[rows])
    order = np.argsort(track, kind="stable")  # by track, newest first
    rows, track = rows[order], track[order]
    slot = np.arange(len(rows)) - np.searchsorted(track, track)  # index within its track, 0 = newest
    newest = slot == 0
    frames[track[newest]] = gaps[rows[newest]]
    kept = slot < motion
    rows, track, slot = rows[kept], track[kept], slot[kept]
    boxes[track, slot], box_ages[track, slot] = past.boxes[rows], seconds[rows]
    kept = slot < observations
    rows, to = rows[kept], (track[kept], slot[kept])
    keypoints[to], scores[to], ages[to] = past.keypoints[rows], past.scores[rows], seconds[rows]
    if contested is None or overlapped is None:
        claimed[to], covered[to] = _past_overlap(past, gaps, rows)
    else:
        claimed[to], covered[to] = contested[rows], overlapped[rows]
    return Histories(keypoints, scores, ages, frames, boxes, box_ages, claimed, covered)


def _past_overlap(past: Poses, gaps: IntArray, rows: IntArray) -> tuple[FloatArray, FloatArray]:
    """`contested` [N, 15] and `area` [N] of `Overlap` for rows of `past`, within their frames."""
    if len(rows) == 0:
        return np.zeros((0, skeleton.COUNT), np.float32), np.zeros(0, np.float32)
    wanted = np.isin(gaps, gaps[rows])
    members = np.flatnonzero(wanted)
    _, frame, people = np.unique(gaps[members], return_inverse=True, return_counts=True)
    order = np.argsort(frame, kind="stable")
    members, frame = members[order], frame[order]
    place = np.arange(len(members)) - np.searchsorted(frame, frame)
    shape = len(people), int(people.max())
    keypoints = np.zeros((*shape, skeleton.COUNT, 2), np.float32)
    scores, boxes = np.zeros((*shape, skeleton.COUNT), np.float32), np.zeros((*shape, 4), np.float32)
    keypoints[frame, place], scores[frame, place] = past.keypoints[members], past.scores[members]
    boxes[frame, place] = past.boxes[members]
    found = box_evidence.overlap(keypoints, scores, boxes, pose_sizes(keypoints, scores > 0))
    at = np.empty(len(gaps), np.int64)
    at[members] = frame * shape[1] + place
    return found.contested.reshape(-1, skeleton.COUNT)[at[rows]], found.area.reshape(-1)[at[rows]]


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


def expected_boxes(histories: Histories) -> FloatArray:
    """[T, M, 4] the last boxes of each track, moved to now: for at most `boxes.HORIZON_S` beyond the newest."""
    seconds = histories.box_seconds
    ahead = np.minimum(seconds[:, :1], box_evidence.HORIZON_S) + seconds - seconds[:, :1]
    step = histories.box_velocities[:, None] * ahead[..., None]
    known = exists(histories.boxes)[..., None]
    return np.asarray((histories.boxes + np.concatenate([step, step], -1)) * known, np.float32)


def box_distances(boxes: FloatArray, histories: Histories) -> FloatArray:
    """As `track_distances`, between the centres of boxes [S, P, 4] and the expected boxes; inf where one is unknown."""
    scenes = len(boxes)
    expected = expected_boxes(histories)[:, 0].reshape(scenes, -1, 4)
    offset = box_centers(boxes)[:, :, None] - box_centers(expected)[:, None]
    size = np.maximum(box_sizes(boxes)[:, :, None], box_sizes(expected)[:, None])
    known = exists(boxes)[:, :, None] & exists(expected)[:, None]
    return np.where(known, np.sqrt(squared_lengths(offset)) / size, np.inf).astype(np.float32)


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
    keypoints: FloatArray,
    scores: FloatArray,
    boxes: FloatArray,
    overlap: Overlap,
    histories: Histories,
    velocity: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Tokens of N pairs of a pose and a track.

    Args:
        keypoints, scores: [N, 15, 2] and [N, 15] of the pose, in the image coordinates of the histories.
        boxes: [N, 4] of the pose, in the same coordinates; zeros where none is known.
        overlap: of the pose with the other poses of its frame, N.
        histories: N.
        velocity: [N, 2] of the tracks' keypoints, pixels per second.

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
        return np.swapaxes(values, 1, 2).reshape(count, skeleton.COUNT, 2 * OBSERVATIONS)

    tokens = [
        scores[..., None],
        visible[..., None],
        shape,
        by_keypoint(_compressed(offset)),
        by_keypoint(_compressed(3 * residual)),
        np.swapaxes(shared, 1, 2),
        np.swapaxes(histories.scores, 1, 2),
        by_keypoint(np.swapaxes(likeness, 2, 3)),
        overlap.contested[..., None],
        overlap.claim[..., None],
        overlap.covered[..., None],
        np.swapaxes(histories.contested, 1, 2),
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
        *_box_features(boxes, histories),
        overlap.area[:, None],
        overlap.contested.sum(1, keepdims=True) / np.maximum(visible.sum(1, keepdims=True), 1),
        histories.overlapped,
        histories.contested.sum(-1) / np.maximum(past_visible.sum(-1), 1),
    ]
    return np.concatenate(tokens, -1).astype(np.float32), np.concatenate(summary, -1).astype(np.float32)


def _box_features(boxes: FloatArray, histories: Histories) -> list[FloatArray]:
    """[N, 8 + 5 K] in parts: how a box lies to the last boxes of a track, all moved to now; 0 where one is unknown."""
    expected = expected_boxes(histories)[:, :OBSERVATIONS]
    past = exists(expected)
    known = exists(boxes)[:, None] & past  # [N, K]
    sizes = box_sizes(expected) * past
    middle_one = np.maximum(past.sum(1) - 1, 0) // 2
    usual = np.maximum(-np.sort(-sizes, axis=1)[np.arange(len(boxes)), middle_one], 2)
    unit = np.maximum(usual, (box_sizes(boxes) + usual) / 2)[:, None]  # as for keypoints
    edges = (boxes[:, None] - expected) / unit[..., None] * known[..., None]  # [N, K, 4]
    center = box_centers(edges[:, 0])
    shape = np.log(np.maximum(boxes[:, 2:] - boxes[:, :2], 1) / np.maximum(expected[:, 0, 2:] - expected[:, 0, :2], 1))
    newest = known[:, :1]
    step = histories.box_velocities * np.minimum(histories.box_seconds[:, :1], box_evidence.HORIZON_S) / unit * newest
    return [
        newest,
        box_iou(boxes[:, None], expected) * known,
        _compressed(edges).reshape(len(boxes), 4 * OBSERVATIONS),
        _compressed(3 * center),
        np.log1p(3 * np.sqrt(squared_lengths(center)))[:, None],
        shape.clip(-2, 2) * newest,
        _compressed(step),
    ]


def _likeness(offset: FloatArray, widths: FloatArray) -> FloatArray:
    """OKS of single keypoints: [..., 15, 2] offsets in sizes → [..., len(widths), 15]."""
    distance2 = squared_lengths(offset)[..., None, :]
    return np.asarray(np.exp(-distance2 / (2 * np.square(2 * skeleton.SIGMAS * widths[:, None]))))


def _compressed(values: FloatArray) -> FloatArray:
    """Small offsets stay as they are, large ones grow like a logarithm."""
    return np.asarray(np.sign(values) * np.log1p(2 * np.abs(values)))
