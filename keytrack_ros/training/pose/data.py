"""People with keypoints, as the pose network is trained and validated on; formats: `annotations.image_labels`.

The joints of a file that are not among the 15 are ignored, and what a file lacks is unknown. Crowds, and people without
a labelled keypoint, are not trained on, but no background is drawn where they are.

All coordinates are pixels of the image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.annotations.image_labels import VALIDATION, ImageLabels, read_sources
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray, IntArray
from keytrack_ros.training.common.images import ImageCache, ImageFiles

CACHE_BYTES = 8 << 30
SMALLEST_BOX = 8.0
"""Pixels; people with a shorter side below are not trained on."""


@dataclass
class People:
    """N people with their images.

    Attributes:
        keypoints: [N, 15, 2] float32.
        weights: [N, 15] float32: how much is known about each keypoint; 0 = nothing.
        present: [N, 15] bool: whether it is in the image; where it is not and the weight is positive, the target is an
            empty heatmap.
        boxes: [N, 4] float32.
        images: for each person the index of its image.
        sources: for each person the name of its source.
        held_back: for each person whether it is of the validation part.
        pictures: the images, [H, W, 3] uint8 BGR.
        taken: for each image the boxes [n, 4] float32 of all people in it, also of those that are not among the N.
        held_back_pictures: for each image whether it is of the validation part.
        taught: [N, 15, 3] float32: x, y and score of a teacher's answers that the annotations hold; score 0 = none.
    """

    keypoints: FloatArray
    weights: FloatArray
    present: BoolArray
    boxes: FloatArray
    images: IntArray
    sources: np.ndarray[Any, np.dtype[np.str_]]
    held_back: BoolArray
    pictures: ImageFiles = field(repr=False)
    taken: list[FloatArray] = field(repr=False)
    held_back_pictures: BoolArray
    taught: FloatArray

    def __len__(self) -> int:
        return len(self.boxes)

    def image(self, person: int) -> ImageArray:
        """The image of a person, [H, W, 3] uint8 BGR."""
        return self.pictures[int(self.images[person])]

    def rows(self, held_back: bool, source: str | None = None) -> IntArray:
        """Indices of the people of one part, of one source or of all."""
        wanted = self.held_back == held_back
        return np.flatnonzero(wanted if source is None else wanted & (self.sources == source))

    @property
    def fingerprint(self) -> str:
        """Hash of labels and split: two runs with the same one saw the same data."""
        digest = hashlib.sha256()
        for name in ("keypoints", "weights", "present", "boxes", "images", "held_back", "taught"):
            array = getattr(self, name)
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:12]


def load_people(data: Path) -> People:
    """All people of a data folder, of all sources.

    Raises DataError if there are none, or annotations are malformed or name an image that is missing.
    """
    sources = read_sources(data)
    images = [(source, image) for source in sources for image in source.images]
    kept = [_trained_on(image) for _, image in images]
    counts = [len(rows) for rows in kept]

    def joined(name: str, shape: tuple[int, ...], kind: type[np.generic]) -> Any:
        parts = [getattr(image, name)[rows] for (_, image), rows in zip(images, kept, strict=True)]
        return np.concatenate([np.zeros((0, *shape), kind), *parts])

    return People(
        keypoints=joined("keypoints", (skeleton.COUNT, 2), np.float32),
        weights=joined("weights", (skeleton.COUNT,), np.float32),
        present=joined("present", (skeleton.COUNT,), np.bool_),
        boxes=joined("boxes", (4,), np.float32),
        images=np.repeat(np.arange(len(images)), counts),
        sources=np.repeat([source.name for source, _ in images], counts),
        held_back=np.repeat([source.part == VALIDATION for source, _ in images], counts),
        pictures=ImageFiles([image.file for _, image in images], ImageCache(CACHE_BYTES)),
        taken=[image.boxes for _, image in images],
        held_back_pictures=np.array([source.part == VALIDATION for source, _ in images], bool),
        taught=joined("taught", (skeleton.COUNT, 3), np.float32),
    )


def backgrounds(people: People) -> Sequence[ImageArray]:
    """Training images without people, to put behind crops whose surroundings are not known."""
    empty = [
        index
        for index, (taken, held_back) in enumerate(zip(people.taken, people.held_back_pictures, strict=True))
        if not len(taken) and not held_back
    ]
    return people.pictures.subset(empty)


def _trained_on(image: ImageLabels) -> IntArray:
    """The people of an image with a labelled keypoint and a box that is large enough."""
    large = (image.boxes[:, 2:] - image.boxes[:, :2]).min(1) >= SMALLEST_BOX
    return np.flatnonzero(~image.ignored & (image.labelled > 0) & large)
