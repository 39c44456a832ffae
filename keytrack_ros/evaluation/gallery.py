"""Pictures of ID switches: the frame before, the frame of the switch, annotated and predicted poses drawn into both."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.annotations.files import is_bag
from keytrack_ros.annotations.sequence import LabelledSequence
from keytrack_ros.errors import InputError
from keytrack_ros.evaluation.clear_mot import Switch
from keytrack_ros.evaluation.frames import SequencePair
from keytrack_ros.media.drawing import draw_poses
from keytrack_ros.media.image_source import read_image
from keytrack_ros.media.sources import open_source
from keytrack_ros.poses import ImageArray

logger = logging.getLogger(__name__)

LARGEST = 24
"""Switches that are shown: those of most keypoints first."""
_AROUND = 1.0
"""What is shown around the person, in heights of the person."""
_HEIGHT = 280
_QUALITY = 80


@dataclass(frozen=True)
class Picture:
    """A switch, and JPEGs of the frames around it, each with the frame's number (`SequencePair.frame_numbers`)."""

    sequence: str
    switch: Switch
    images: tuple[tuple[int, bytes], ...]


def gallery(
    sequences: Sequence[tuple[SequencePair, Sequence[Switch]]], images: Path, topic: str | None = None
) -> list[Picture]:
    """The `LARGEST` switches of all sequences that have images.

    Args:
        sequences: each with its switches.
        images: a folder from which the file names in the annotations lead to the images, with all of their folders or
            the last ones only; for a single sequence also its bag or video.
        topic: of images, if that is a bag with several.

    Raises InputError if there is no such folder or recording.
    """
    if not images.exists():
        raise InputError(f"{images}: there is no such file or folder")
    ranked = sorted(
        ((pair, switch) for pair, switches in sequences for switch in switches), key=lambda item: -item[1].joints
    )
    chosen = ranked[:LARGEST]
    recorded: dict[int, ImageArray] = {}
    if images.is_file() or is_bag(images):
        if len(sequences) > 1:
            raise InputError(f"{images}: the images of one recording for {len(sequences)} sequences; give a folder")
        wanted = {pair.frame_numbers[k] for pair, switch in chosen for k in _around(switch)}
        recorded = _recorded(images, wanted, topic)
    pictures, missing = [], 0
    for pair, switch in chosen:
        shown, numbers = [], pair.frame_numbers
        for k in _around(switch):
            image = recorded.get(numbers[k]) if recorded else image_of(images, pair.ground_truth, k)
            if image is not None:
                shown.append((numbers[k], _drawn(image, pair, k, switch)))
        missing += not shown
        if shown:
            pictures.append(Picture(pair.ground_truth.name, switch, tuple(shown)))
    if missing:
        logger.warning("%s: there are no images for %d of %d ID switches", images, missing, len(chosen))
    return pictures


def _around(switch: Switch) -> tuple[int, int]:
    """Places in the sequence of the frame before a switch and of its own; the first frame has no switches."""
    return switch.frame - 1, switch.frame


def _recorded(recording: Path, wanted: set[int], topic: str | None) -> dict[int, ImageArray]:
    """The images with these numbers."""
    with open_source(recording, topic=topic, in_stamp_order=True) as source:
        return {frame.index: frame.image_bgr for frame in source if frame.index in wanted}


def image_of(folder: Path, sequence: LabelledSequence, k: int) -> ImageArray | None:
    if not sequence.images[k].file_name:
        return None
    parts = PurePosixPath(sequence.images[k].file_name).parts
    for path in [folder.joinpath(*parts[start:]) for start in range(len(parts))]:
        if path.is_file():
            return read_image(path)
    return None


def _drawn(image: ImageArray, pair: SequencePair, k: int, switch: Switch) -> bytes:
    """The surroundings of the person as a JPEG: annotated people in white lines, predicted ones in colour with id."""
    canvas = draw_poses(image, pair.prediction.poses(k))
    for row in range(*pair.ground_truth.rows(k).indices(pair.ground_truth.people)):
        own = pair.ground_truth.track_ids[row] == switch.person
        points, present = pair.ground_truth.keypoints[row], pair.ground_truth.present[row]
        for a, b in skeleton.EDGES:
            if present[a] and present[b]:
                ends = [tuple(np.clip(points[j], -9999, 9999).round().astype(int).tolist()) for j in (a, b)]
                for color, width in (((0, 0, 0), 3), ((255, 255, 255), 1)) if own else (((255, 255, 255), 1),):
                    cv2.line(canvas, ends[0], ends[1], color, width, cv2.LINE_AA)
    x_min, y_min, x_max, y_max = _window(pair.ground_truth, switch, canvas)
    cut = canvas[y_min:y_max, x_min:x_max]
    scale = _HEIGHT / cut.shape[0]
    shown = cv2.resize(cut, (max(1, round(cut.shape[1] * scale)), _HEIGHT), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())


def _window(ground_truth: LabelledSequence, switch: Switch, image: ImageArray) -> tuple[int, int, int, int]:
    """The same part of the image in both frames: around the person as annotated at the switch."""
    rows = ground_truth.rows(switch.frame)
    row = rows.start + int(np.flatnonzero(ground_truth.track_ids[rows] == switch.person)[0])
    points = ground_truth.keypoints[row][ground_truth.present[row]]
    low, high = points.min(0), points.max(0)
    margin = _AROUND * max(high[1] - low[1], 40)
    height, width = image.shape[:2]
    x_min, y_min = np.clip(low - margin, 0, (width - 2, height - 2)).astype(int).tolist()
    x_max, y_max = np.clip(high + margin, (x_min + 1, y_min + 1), (width, height)).astype(int).tolist()
    return x_min, y_min, x_max, y_max
