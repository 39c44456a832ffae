"""The poses that tracks remember, as one table for the matcher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.matching.boxes import overlap
from keytrack_ros.matching.motion import pose_sizes
from keytrack_ros.poses import FloatArray, IntArray, Poses
from keytrack_ros.tracker.life import Sighting, Track


class Remembered(NamedTuple):
    """Q poses with the ids of their tracks, newest frame first, in the order of the tracks within a frame.

    Attributes:
        frames: [Q] int64, number of the frame of each.
        stamps: [Q] float64, seconds.
        camera: [Q, 2] float32, see `Sighting`.
        contested: [Q, 15] float32, how much another of these poses claimed the keypoint in that frame, see `Overlap`.
        overlapped: [Q] float32, part of the box that another one's overlapped.
    """

    poses: Poses
    frames: IntArray
    stamps: FloatArray
    camera: FloatArray
    contested: FloatArray
    overlapped: FloatArray


class _Frame(NamedTuple):
    """The rows of a frame's poses that tracks remember, and what is remembered of them."""

    rows: tuple[int, ...]
    keypoints: FloatArray
    scores: FloatArray
    boxes: FloatArray
    contested: FloatArray
    overlapped: FloatArray


class Memory:
    """Gathers what tracks remember; keeps each frame's part until it changes, which is when a track ends."""

    def __init__(self) -> None:
        self._known: dict[int, _Frame] = {}  # by number

    def poses(self, tracks: Sequence[Track], oldest: float) -> Remembered:
        """What the tracks remember of the frames from number `oldest` on."""
        by_frame: dict[int, list[tuple[Sighting, int]]] = {}
        for track in tracks:
            for sighting in track.sightings:
                if sighting.frame >= oldest:
                    by_frame.setdefault(sighting.frame, []).append((sighting, track.track_id))
        groups = [by_frame[number] for number in sorted(by_frame, reverse=True)]
        firsts, counts = [group[0][0] for group in groups], [len(group) for group in groups]
        self._known = {first.frame: self._frame(group) for first, group in zip(firsts, groups, strict=True)}
        frames = list(self._known.values())

        def joined(name: str, *shape: int) -> FloatArray:
            return np.concatenate([np.zeros((0, *shape), np.float32), *(getattr(frame, name) for frame in frames)])

        poses = Poses(
            joined("keypoints", skeleton.COUNT, 2),
            joined("scores", skeleton.COUNT),
            boxes=joined("boxes", 4),
            track_ids=np.array([track_id for group in groups for _, track_id in group], np.int64),
        )
        return Remembered(
            poses,
            np.repeat(np.array([first.frame for first in firsts], np.int64), counts),
            np.repeat(np.array([first.stamp for first in firsts], np.float64), counts),
            np.repeat(np.array([first.camera for first in firsts], np.float32).reshape(-1, 2), counts, 0),
            joined("contested", skeleton.COUNT),
            joined("overlapped"),
        )

    def _frame(self, group: list[tuple[Sighting, int]]) -> _Frame:
        first, rows = group[0][0], tuple(sighting.row for sighting, _ in group)
        known = self._known.get(first.frame)
        if known is not None and known.rows == rows:
            return known
        some, poses = list(rows), first.poses
        keypoints, scores, boxes = poses.keypoints[some], poses.scores[some], poses.boxes[some]
        rivals = overlap(keypoints, scores, boxes, pose_sizes(keypoints, scores > 0))
        return _Frame(rows, keypoints, scores, boxes, rivals.contested, rivals.area)
