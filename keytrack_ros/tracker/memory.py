"""The poses that tracks remember, as one table for the matcher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.poses import FloatArray, IntArray, Poses
from keytrack_ros.tracker.life import Sighting, Track


class Remembered(NamedTuple):
    """Q poses with the ids of their tracks, newest frame first, in the order of the tracks within a frame.

    Attributes:
        frames: [Q] int64, number of the frame of each.
        stamps: [Q] float64, seconds.
        camera: [Q, 2] float32, see `Sighting`.
    """

    poses: Poses
    frames: IntArray
    stamps: FloatArray
    camera: FloatArray


def remembered_poses(tracks: Sequence[Track], oldest: float) -> Remembered:
    """What the tracks remember of the frames from number `oldest` on.

    Whole frames are indexed: gathering the arrays of some hundred single poses takes several times as long.
    """
    by_frame: dict[int, list[tuple[Sighting, int]]] = {}
    for track in tracks:
        for sighting in track.sightings:
            if sighting.frame >= oldest:
                by_frame.setdefault(sighting.frame, []).append((sighting, track.track_id))
    groups = [by_frame[number] for number in sorted(by_frame, reverse=True)]
    firsts, counts = [group[0][0] for group in groups], [len(group) for group in groups]
    rows = [[sighting.row for sighting, _ in group] for group in groups]

    def joined(name: str, *shape: int) -> FloatArray:
        parts = [getattr(first.poses, name)[some] for first, some in zip(firsts, rows, strict=True)]
        return np.concatenate([np.zeros((0, *shape), np.float32), *parts])

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
    )
