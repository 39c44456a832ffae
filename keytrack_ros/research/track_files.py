"""Track files without images as annotated sequences: the videos held back from training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.annotations.sequence import Image, LabelledSequence
from keytrack_ros.poses import BoolArray, FloatArray, keypoint_boxes
from keytrack_ros.training.matcher.tracks import Tracks, held_back_videos, load_tracks, track_files

_HEAD_OF_PERSON = 0.13
"""Length of a head in heights of the person, where the head is not annotated."""


def holds_tracks(folder: Path) -> bool:
    """Whether a folder has the files of `held_back_sequences`."""
    return bool(track_files(folder))


def held_back_sequences(folder: Path) -> list[LabelledSequence]:
    """The videos that no training has seen.

    They have no head boxes: a box is put around the head so that the head size that PCKh takes from it is the distance
    from the neck to the top of the head, as the box of a real head gives about.

    Raises DataError if a file is malformed.
    """
    tracks = load_tracks(folder)
    tracks = tracks.select(held_back_videos(tracks))
    return [_sequence(tracks, video, str(folder)) for video in range(len(tracks.names))]


def _sequence(tracks: Tracks, video: int, source: str) -> LabelledSequence:
    rows = np.flatnonzero(tracks.video == video)
    first, last = int(tracks.frame[rows].min()), int(tracks.frame[rows].max())
    width, height = (int(side) for side in tracks.sizes[video])
    present = tracks.present[rows]
    keypoints = np.where(present[..., None], tracks.keypoints[rows], 0).astype(np.float64)
    count = len(rows)
    return LabelledSequence(
        name=tracks.names[video].replace("/", "_"),
        source=source,
        images=tuple(Image(image_id=k, size=(width, height)) for k in range(first, last + 1)),
        image_index=tracks.frame[rows] - first,
        track_ids=tracks.person[rows],
        keypoints=keypoints,
        present=present,
        visibility=present.astype(np.int64),
        scores=np.full((count, skeleton.COUNT), np.nan),
        boxes=np.full((count, 4), np.nan),
        head_boxes=_head_boxes(keypoints, present),
        listed=np.ones(count, np.bool_),
    )


def _head_boxes(keypoints: FloatArray, present: BoolArray) -> FloatArray:
    neck, top = skeleton.INDEX["head_bottom"], skeleton.INDEX["head_top"]
    boxes = keypoint_boxes(keypoints.astype(np.float32), present.astype(np.float32))
    known = present[:, neck] & present[:, top]
    length = np.linalg.norm(keypoints[:, neck] - keypoints[:, top], axis=1)
    length = np.where(known & (length > 1), length, _HEAD_OF_PERSON * np.maximum(boxes[:, 3] - boxes[:, 1], 10))
    middle = np.where(known[:, None], (keypoints[:, neck] + keypoints[:, top]) / 2, boxes[:, :2])
    half = (length / 0.6 / np.sqrt(2) / 2)[:, None]  # head size is 0.6 of the diagonal
    return np.concatenate([middle - half, middle + half], 1)
