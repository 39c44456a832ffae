"""Images with boxes of people, as the detector is trained and validated on: reading, labels, what is held back.

A data folder holds `images/` (tar files of JPEGs), `pseudo/` (a teacher's boxes for every tar) and `models/` (that
teacher). docs/models/person_detector.md describes them.
"""

from __future__ import annotations

import csv
import hashlib
import json
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keytrack_ros.errors import DataError
from keytrack_ros.geometry import box_iou
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray

FRAMES = "people_frames"
HELD_BACK_PERCENT = 10
HELD_BACK_SOURCES = ("jhmdb", "coco", "coco_negative")
"""Sources of which a part is held back; the others are single videos, single images without annotation, or crops."""

DOUBLE_IOU = 0.4
"""A doubtful box that overlaps a sure one by more than this is the teacher's second box of the same person."""

JOINT_MARGIN = 0.1
"""A box of joints grows by this part of its sides on each side: hands, feet and hair reach beyond the joints."""

Boxes = tuple[FloatArray, FloatArray]
"""[n, 4] x_min, y_min, x_max, y_max in pixels, and [n] scores."""


@dataclass(frozen=True)
class LabelledImage:
    """One image.

    Attributes:
        name: source and member.
        source: jhmdb, video, coco, coco_negative, coco_unlabelled or lspet.
        group: images of one group show the same scene; a group is held back whole or not at all.
        pixels: [H, W, 3] uint8 BGR.
        boxes: [n, 4] float32 x_min, y_min, x_max, y_max in pixels.
        sure: [n] bool: a person; False: perhaps one, to be neither rewarded nor punished.
    """

    name: str
    source: str
    group: str
    pixels: ImageArray
    boxes: FloatArray
    sure: BoolArray


def is_held_back(image: LabelledImage) -> bool:
    """Whether an image is kept from training: about a tenth of the groups, by hash of the name."""
    if image.source not in HELD_BACK_SOURCES:
        return False
    digest = hashlib.sha256(image.group.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELD_BACK_PERCENT


def fingerprint(images: list[LabelledImage]) -> str:
    """Hash of names and labels: two runs with the same one have seen the same."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{image.name}{image.pixels.shape}".encode())
        digest.update(np.round(image.boxes, 1).tobytes() + image.sure.tobytes())
    return digest.hexdigest()[:16]


def load_images(data: Path, sure_score: float, crop_boxes: Mapping[str, Boxes]) -> list[LabelledImage]:
    """All images of a data folder with their labels.

    Args:
        data: the folder.
        sure_score: a teacher's box is a person from this score on.
        crop_boxes: the teacher's boxes in the LSPET crops, by name of the member; see `label_crops`.

    Raises:
        DataError: a file is missing, damaged, or names an image that is not there; file and key are named.
    """
    if not (data / "images").is_dir():
        raise DataError(f"{data}: has no folder 'images'; name the folder that holds images, pseudo and models")
    return [*_frames(data, sure_score), *_coco(data, sure_score), *_crops(data, sure_score, crop_boxes)]


def label_crops(
    data: Path, file: Path, detect: Callable[[ImageArray], Boxes], report: Callable[[int], None] = lambda _: None
) -> dict[str, Boxes]:
    """The teacher's boxes in the LSPET crops, where `pseudo/` has only the one labelled person; written to `file`.

    `detect` is the teacher; `report` is told the number of crops after each.
    """
    names: list[str] = []
    boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
    count = 0
    for tar in sorted((data / "images/lspet").glob("lspet_*.tar")):
        for name, image in _members(tar):
            found, score = detect(image)
            names += [name] * len(found)
            boxes.append(found)
            scores.append(score)
            count += 1
            report(count)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    with part.open("wb") as stream:
        np.savez_compressed(stream, name=np.array(names, str), box=np.concatenate(boxes), score=np.concatenate(scores))
    part.replace(file)
    return read_boxes(file)


def read_boxes(file: Path) -> dict[str, Boxes]:
    """Boxes and scores by image from an .npz with `name` [N], `box` [N, 4] and `score` [N].

    Raises DataError that names file and key.
    """
    arrays: dict[str, Any] = {}
    try:
        with np.load(file) as content:
            for key, shape in (("name", ()), ("box", (4,)), ("score", ())):
                if key not in content:
                    raise DataError(f"{file}: key '{key}' is missing; it has {', '.join(content.files)}")
                arrays[key] = content[key]
                if arrays[key].shape != (len(arrays["name"]), *shape):
                    raise DataError(f"{file}: key '{key}' has shape {arrays[key].shape}; {('N', *shape)} is needed")
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}") from None
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{file}: not an .npz file: {error}") from None
    if not np.isfinite(arrays["box"]).all():
        raise DataError(f"{file}: key 'box' holds numbers that are not finite")
    rows = defaultdict(list)
    for row, name in enumerate(arrays["name"]):
        rows[str(name)].append(row)
    return {
        name: (arrays["box"][index].astype(np.float32), arrays["score"][index].astype(np.float32))
        for name, index in rows.items()
    }


def taught(boxes: Boxes, sure_score: float) -> tuple[FloatArray, BoolArray]:
    """Labels from a teacher's boxes: sure from `sure_score` on, doubtful below, second boxes of sure people dropped."""
    found, scores = boxes
    sure = scores >= sure_score
    double = np.zeros(len(found), bool)
    if sure.any():
        double = ~sure & (box_iou(found[:, None], found[None, sure]) > DOUBLE_IOU).any(1)
    return found[~double], sure[~double]


def _frames(data: Path, sure_score: float) -> Iterator[LabelledImage]:
    folder = data / "images" / FRAMES
    index = folder / "index.csv"
    try:
        with index.open(newline="", encoding="utf-8") as stream:
            sources = {row["member"]: row["source"] for row in csv.DictReader(stream)}
    except OSError as error:
        raise DataError(f"{index}: {error.strerror}") from None
    except (KeyError, UnicodeDecodeError):
        raise DataError(f"{index}: not a table with the columns member and source") from None
    for tar in sorted(folder.glob("*.tar")):
        for name, pixels, boxes in _labelled(tar, data):
            if name not in sources:
                raise DataError(f"{tar}: member '{name}' is not in {index}")
            source, _, clip = sources[name].partition("/")
            # HMDB's names end in six properties of the clip; what stands before them names the video.
            group = clip.split("/")[-1].rsplit("_", 6)[0] if source == "jhmdb" else source
            found, sure = taught(boxes, sure_score)
            yield LabelledImage(name, "jhmdb" if source == "jhmdb" else "video", group, pixels, found, sure)


def _coco(data: Path, sure_score: float) -> Iterator[LabelledImage]:
    folder = data / "images/coco_mini"
    file = folder / "person_keypoints.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        names = {image["id"]: image["file_name"] for image in content["images"]}
        people = defaultdict(list)
        for person in content["annotations"]:
            x, y, width, height = person["bbox"]
            people[names[person["image_id"]]].append((x, y, x + width, y + height, person["iscrowd"]))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: not COCO annotations: {error!r}") from None
    known = set(names.values())
    for name, pixels in _members(folder / "coco_mini.tar"):
        if name not in known:
            raise DataError(f"{folder / 'coco_mini.tar'}: member '{name}' is not in {file.name}")
        rows = np.array(people[name], np.float32).reshape(-1, 5)
        source = "coco" if len(rows) else "coco_negative"
        yield LabelledImage(name, source, name, pixels, rows[:, :4], rows[:, 4] == 0)
    for name, pixels, boxes in _labelled(folder / "coco_mini_unlabelled.tar", data):
        yield LabelledImage(name, "coco_unlabelled", name, pixels, *taught(boxes, sure_score))


def _crops(data: Path, sure_score: float, crop_boxes: Mapping[str, Boxes]) -> Iterator[LabelledImage]:
    """The labelled person's box is the teacher's where it found them, the box of the joints otherwise."""
    for tar in sorted((data / "images/lspet").glob("lspet_*.tar")):
        for name, pixels, (joints, _) in _labelled(tar, data):
            height, width = pixels.shape[:2]
            margin = JOINT_MARGIN * (joints[:, 2:] - joints[:, :2])
            labelled = np.concatenate([joints[:, :2] - margin, joints[:, 2:] + margin], 1)
            labelled = np.clip(labelled, 0, [width, height, width, height]).astype(np.float32)
            boxes, scores = crop_boxes.get(name, (np.zeros((0, 4), np.float32), np.zeros(0, np.float32)))
            overlap = box_iou(labelled[:, None], boxes[None]).max(0, initial=0)
            scores = np.where(overlap >= 0.5, 1, scores)
            found, sure = taught((boxes, scores.astype(np.float32)), sure_score)
            if not (overlap >= 0.5).any():
                found, sure = np.concatenate([found, labelled]), np.append(sure, np.ones(len(labelled), bool))
            yield LabelledImage(name, "lspet", name, pixels, found, sure)


def _labelled(tar: Path, data: Path) -> Iterator[tuple[str, ImageArray, Boxes]]:
    """Members of a tar with what `pseudo/` says of them."""
    file = data / "pseudo" / f"{tar.stem}.npz"
    boxes = read_boxes(file)
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    for name, pixels in _members(tar):
        yield name, pixels, boxes.pop(name, none)
    if boxes:
        raise DataError(f"{file}: names '{next(iter(boxes))}', which is not in {tar}")


def _members(tar: Path) -> Iterator[tuple[str, ImageArray]]:
    try:
        with tarfile.open(tar) as archive:
            for member in archive:
                stream = archive.extractfile(member)
                if stream is None:
                    continue
                image = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_COLOR)
                if image is None:
                    raise DataError(f"{tar}: member '{member.name}' is not an image")
                yield member.name, np.asarray(image, np.uint8)
    except OSError as error:
        raise DataError(f"{tar}: {error.strerror or error}") from None
    except tarfile.TarError as error:
        raise DataError(f"{tar}: damaged: {error}") from None
