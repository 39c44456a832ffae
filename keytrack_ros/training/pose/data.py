"""People to learn poses from, in COCO's keypoint form.

A data folder holds `images/` and `annotations/`: files NAME_train.json and NAME_val.json, whose `file_name`s lie below
`images/`; NAME is the source. The category's `keypoints` name the joints; those that are not among PoseTrack's 15 are
ignored, and what a file lacks is unknown. People with `iscrowd`, or without a labelled keypoint, are not learned from,
but no background is drawn where they are.

An annotation may have `keypoint_weights`, one number per keypoint: how much is known of it, by default 1 where it is
labelled and 0 elsewhere. A weight without visibility says that the keypoint is known not to be in the image.

All coordinates are pixels of the image. The images lie decoded in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.errors import DataError
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray, IntArray

TRAIN, VALIDATION = "train", "val"
SMALLEST_BOX = 8.0
"""Pixels; people with a shorter side below are not learned from."""


@dataclass
class People:
    """N people with their images.

    Attributes:
        keypoints: [N, 15, 2] float32.
        weights: [N, 15] float32: how much is known about each keypoint; 0 = nothing.
        present: [N, 15] bool: whether it is in the image; where it is not and the weight is positive, the network
            learns to show nothing.
        boxes: [N, 4] float32.
        images: for each person the index of its image.
        sources: for each person the name of its source.
        held_back: for each person whether it is of the validation part.
        pictures: the images, [H, W, 3] uint8 BGR.
        taken: for each image the boxes [n, 4] float32 of all people in it, also of those that are not among the N.
        held_back_pictures: for each image whether it is of the validation part.
    """

    keypoints: FloatArray
    weights: FloatArray
    present: BoolArray
    boxes: FloatArray
    images: IntArray
    sources: np.ndarray[Any, np.dtype[np.str_]]
    held_back: BoolArray
    pictures: list[ImageArray] = field(repr=False)
    taken: list[FloatArray] = field(repr=False)
    held_back_pictures: BoolArray

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
        for array in (self.keypoints, self.weights, self.present, self.boxes, self.images, self.held_back):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:12]


def load_people(data: Path) -> People:
    """All people of a data folder.

    Raises DataError if there are no annotation files, or one is damaged or names an image that is not there.
    """
    files = [
        (file, part) for part in (TRAIN, VALIDATION) for file in sorted((data / "annotations").glob(f"*_{part}.json"))
    ]
    if not files:
        raise DataError(f"{data}: has no annotations/*_{TRAIN}.json; name a folder with images/ and annotations/")
    return _joined([_read(data, file, file.stem.removesuffix(f"_{part}"), part == VALIDATION) for file, part in files])


def backgrounds(people: People) -> list[ImageArray]:
    """Training images without people, to put behind crops whose surroundings are not known."""
    return [
        picture
        for picture, taken, held_back in zip(people.pictures, people.taken, people.held_back_pictures, strict=True)
        if not len(taken) and not held_back
    ]


def _read(data: Path, file: Path, source: str, held_back: bool) -> People:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        slots = {c["id"]: _slots(c["keypoints"]) for c in content["categories"] if c["name"] == "person"}
        place = {image["id"]: index for index, image in enumerate(content["images"])}
        names = [image["file_name"] for image in content["images"]]
        taken: list[list[list[float]]] = [[] for _ in names]
        rows = []
        for item in content["annotations"]:
            if item["category_id"] not in slots:
                continue
            x, y, width, height = item["bbox"]
            box = [x, y, x + width, y + height]
            taken[place[item["image_id"]]].append(box)
            if item.get("iscrowd") or not item.get("num_keypoints") or min(width, height) < SMALLEST_BOX:
                continue
            rows.append((place[item["image_id"]], box, *_keypoints(item, slots[item["category_id"]])))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{file}: not COCO keypoint annotations: {error!r}") from None
    pictures = [_picture(data, file, name) for name in names]
    weights = np.array([row[3] for row in rows], np.float32).reshape(-1, skeleton.COUNT)
    return People(
        np.array([row[2] for row in rows], np.float32).reshape(-1, skeleton.COUNT, 2),
        weights,
        np.array([row[4] for row in rows], bool).reshape(-1, skeleton.COUNT),
        np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[0] for row in rows], np.int64),
        np.full(len(rows), source),
        np.full(len(rows), held_back),
        pictures,
        [np.array(boxes, np.float32).reshape(-1, 4) for boxes in taken],
        np.full(len(pictures), held_back),
    )


def _slots(names: Sequence[str]) -> list[int]:
    """For each of PoseTrack's 15 its place in a file's keypoints; −1 = the file lacks it."""
    return [names.index(name) if name in names else -1 for name in skeleton.NAMES]


def _keypoints(item: dict[str, Any], slots: list[int]) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Keypoints [15, 2], weights [15] and presence [15] of an annotation."""
    table = np.array(item["keypoints"], np.float32).reshape(-1, 3)
    there = np.array(slots) >= 0
    present = (table[slots, 2] > 0) & there
    weights = np.array(item.get("keypoint_weights") or (table[:, 2] > 0), np.float32)[slots] * there
    return np.where(present[:, None], table[slots, :2], 0), weights, present & (weights > 0)


def _picture(data: Path, file: Path, name: str) -> ImageArray:
    pixels = cv2.imread(str(data / "images" / name), cv2.IMREAD_COLOR)
    if pixels is None:
        raise DataError(f"{file}: names '{name}', which is not an image below {data / 'images'}")
    return np.asarray(pixels, np.uint8)


def _joined(parts: Sequence[People]) -> People:
    offsets = np.cumsum([0, *(len(part.pictures) for part in parts)])
    return People(
        np.concatenate([p.keypoints for p in parts]),
        np.concatenate([p.weights for p in parts]),
        np.concatenate([p.present for p in parts]),
        np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.images + offset for p, offset in zip(parts, offsets, strict=False)]),
        np.concatenate([p.sources for p in parts]),
        np.concatenate([p.held_back for p in parts]),
        [picture for p in parts for picture in p.pictures],
        [boxes for p in parts for boxes in p.taken],
        np.concatenate([p.held_back_pictures for p in parts]),
    )
