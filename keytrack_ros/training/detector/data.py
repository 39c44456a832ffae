"""Images with boxes of people, as the detector is trained and validated on; formats: `annotations.image_labels`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keytrack_ros.annotations.image_labels import TRAIN, VALIDATION, read_sources
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray
from keytrack_ros.training.common.images import ImageCache, ImageFiles

CACHE_BYTES = 8 << 30


@dataclass(frozen=True)
class LabelledImage:
    """One image.

    Attributes:
        name: as the annotations name it.
        source: name of its source; sources have shares in what is drawn (see `samples`).
        images: a sequence with the image, first.
        boxes: [n, 4] float32 x_min, y_min, x_max, y_max in pixels.
        sure: [n] bool: a person; False: neither person nor background. An image without boxes shows no person.
        size: width and height in pixels, where known without decoding it.
    """

    name: str
    source: str
    images: Sequence[ImageArray] = field(repr=False)
    boxes: FloatArray
    sure: BoolArray
    size: tuple[int, int] | None = None

    @property
    def pixels(self) -> ImageArray:
        """[H, W, 3] uint8 BGR."""
        return self.images[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.size[1], self.size[0]) if self.size else (self.pixels.shape[0], self.pixels.shape[1])


def fingerprint(images: Sequence[LabelledImage]) -> str:
    """Hash of names and labels: two runs with the same one were trained on the same data."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{image.name}{image.source}{(*image.shape, 3)}".encode())
        digest.update(np.round(image.boxes, 1).tobytes() + image.sure.tobytes())
    return digest.hexdigest()[:16]


def load_images(data: Path) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """The images to train and to validate on, of all sources of a data folder.

    Raises DataError if there are none, or annotations are malformed or name an image that is missing.
    """
    cache = ImageCache(CACHE_BYTES)
    parts: dict[str, list[LabelledImage]] = {TRAIN: [], VALIDATION: []}
    for source in read_sources(data):
        for image in source.images:
            files = ImageFiles([image.file], cache)
            labelled = LabelledImage(image.name, source.name, files, image.boxes, ~image.ignored, image.size)
            parts[source.part].append(labelled)
    return parts[TRAIN], parts[VALIDATION]
