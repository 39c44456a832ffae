"""Images with people's boxes and keypoints, as image networks are trained on: COCO, PoseTrack 2018 and MOTChallenge.

A data folder has any of these sources, each with a part `train` and, or, a part `val`:

    annotations/NAME_train.json         COCO instances or keypoints, or PoseTrack 2018; also NAME_train2017.json
    annotations/train/*.json            PoseTrack 2018, a file for each video
    NAME_train/SEQUENCE/gt/gt.txt       MOTChallenge, with the frames in SEQUENCE/img1; also train/SEQUENCE/…

Image names of a JSON file are looked for in images/, in the data folder, and in the subfolder of either that is named
as the part (images/train2017). Where no source has a part `val`, a tenth of the images is held back, by a hash of the
video's name (COCO: of the image's).

COCO's keypoints have two extensions. An annotation may have `keypoint_weights`, one number per keypoint: how much is
known of it, by default 1 where it is labelled and 0 elsewhere. A weight without visibility means that the keypoint is
known not to be in the image. And it may have `teacher_keypoints`, x, y and score (0..1) per keypoint as in COCO's
results: what another network says, which is learned beside the label. A score of 0 means that it says nothing.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.errors import DataError
from keytrack_ros.poses import BoolArray, FloatArray, IntArray

TRAIN, VALIDATION = "train", "val"
HELD_BACK_PERCENT = 10
"""Of the images, where no source has a validation part."""

_PART = re.compile(r"^(?:(?P<name>.+)_)?(?P<part>train|val)(?P<year>\d*)$")
_MOT_IGNORED = (2, 7, 8, 12)
"""MOTChallenge's classes of people who are not scored: on a vehicle, static, distractor, reflection."""
_MOT_PERSON = 1
_POSE_MARGIN = 0.1
"""A box of keypoints, where the file has none, grows by this part of its sides on each side."""


@dataclass(frozen=True)
class ImageLabels:
    """An image file and its P people.

    Attributes:
        file: of the image.
        name: as the annotations name it.
        group: images of one group show the same scene: the video, or the image's own name.
        size: width and height in pixels, or None where the annotations do not tell.
        boxes: [P, 4] float32 x_min, y_min, x_max, y_max, pixels.
        ignored: [P] bool: a crowd or a region that is not annotated: neither person nor background.
        keypoints: [P, 15, 2] float32 pixels; 0 where absent.
        weights: [P, 15] float32: how much is known about each keypoint; 0 = nothing.
        present: [P, 15] bool: whether it is in the image.
        labelled: [P] int64: how many keypoints the annotator labelled.
        taught: [P, 15, 3] float32: a teacher's x, y and score; score 0 = no answer.
    """

    file: Path
    name: str
    group: str
    size: tuple[int, int] | None
    boxes: FloatArray
    ignored: BoolArray
    keypoints: FloatArray
    weights: FloatArray
    present: BoolArray
    labelled: IntArray
    taught: FloatArray


@dataclass(frozen=True)
class Source:
    """Images of one origin: those of one annotation file, or of one folder of files."""

    name: str
    part: str
    images: tuple[ImageLabels, ...]


def read_sources(data: Path) -> list[Source]:
    """All sources of a data folder, those of training first.

    Raises DataError, naming the file, if there is none, one is malformed, or an image that it names is missing.
    """
    places = {part: [*_places(data, part)] for part in (TRAIN, VALIDATION)}
    if not places[TRAIN]:
        raise DataError(
            f"{data}: has neither annotations/*_{TRAIN}.json nor {TRAIN}/*/gt/gt.txt; name a folder with images and "
            "annotations"
        )
    sources = [Source(name, part, tuple(_read(data, place))) for part in places for name, place in places[part]]
    if places[VALIDATION]:
        return sources
    split = [Source(s.name, part, _held_back(s.images, part)) for part in places for s in sources]
    return [source for source in split if source.images]


def is_held_back(group: str) -> bool:
    """Whether a video or image is kept from training where no source has a validation part."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") % 100 < HELD_BACK_PERCENT


def _held_back(images: Sequence[ImageLabels], part: str) -> tuple[ImageLabels, ...]:
    return tuple(image for image in images if is_held_back(image.group) == (part == VALIDATION))


def _places(data: Path, part: str) -> Iterator[tuple[str, Path]]:
    """Names of the sources of a part with the file or folder of each."""
    files = sorted((data / "annotations").glob("*")) + sorted(entry for entry in data.glob("*") if entry.is_dir())
    whole = {file.stem.replace("person_keypoints", "instances") for file in files if "person_keypoints" in file.stem}
    for file in files:
        match = _PART.match(file.stem if file.suffix == ".json" else file.name)
        if match is None or match["part"] != part:
            continue
        if file.stem in whole or file.stem.startswith("captions_"):  # COCO describes its images three times
            continue
        if file.suffix == ".json" or next(file.glob("*.json" if file.parent != data else "*/gt/gt.txt"), None):
            yield match["name"] or data.resolve().name, file


def _read(data: Path, place: Path) -> Iterator[ImageLabels]:
    if place.suffix == ".json":
        yield from _read_json(data, place, place.stem)
    elif place.parent == data:
        for file in sorted(place.glob("*/gt/gt.txt")):
            yield from _read_mot(file)
    else:
        for file in sorted(place.glob("*.json")):
            yield from _read_json(data, file, place.name)


def _read_json(data: Path, file: Path, part: str) -> Iterator[ImageLabels]:
    part = part.rpartition("_")[2]  # train2017 of person_keypoints_train2017
    folders = [data / "images", data, data / "images" / part, data / part]
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        slots = {c["id"]: _slots(c.get("keypoints", ())) for c in content["categories"] if c["name"] == "person"}
        people: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for item in content["annotations"]:
            if item["category_id"] in slots:
                people[item["image_id"]].append(item)
        for image in content["images"]:
            if image.get("is_labeled", True):  # PoseTrack 2018 annotates a part of the frames
                yield _image(image, people[image["id"]], slots, _found(file, folders, image["file_name"]))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{file}: not COCO annotations: {error!r}") from None


def _image(
    image: Mapping[str, Any], items: Sequence[Mapping[str, Any]], slots: Mapping[Any, list[int]], file: Path
) -> ImageLabels:
    rows = [_person(item, slots[item["category_id"]]) for item in items]
    regions = zip(image.get("ignore_regions_x", ()), image.get("ignore_regions_y", ()), strict=True)
    ignored = [[min(x), min(y), max(x), max(y)] for x, y in regions if len(x) > 2]
    empty = np.zeros((len(ignored), skeleton.COUNT), np.float32)
    people = (-1, skeleton.COUNT)
    return ImageLabels(
        file=file,
        name=image["file_name"],
        group=str(image.get("vid_id") or image["file_name"]),
        size=(int(image["width"]), int(image["height"])) if "width" in image and "height" in image else None,
        boxes=np.array([*(row[0] for row in rows), *ignored], np.float32).reshape(-1, 4),
        ignored=np.array([*(bool(item.get("iscrowd")) for item in items), *(True for _ in ignored)], bool),
        keypoints=np.array([*(row[1] for row in rows), *np.stack([empty] * 2, 2)], np.float32).reshape(*people, 2),
        weights=np.array([*(row[2] for row in rows), *empty], np.float32).reshape(people),
        present=np.array([*(row[3] for row in rows), *(empty > 0)], bool).reshape(people),
        labelled=np.array([*(row[4] for row in rows), *(0 for _ in ignored)], np.int64),
        taught=np.array([*(row[5] for row in rows), *np.stack([empty] * 3, 2)], np.float32).reshape(*people, 3),
    )


def _slots(names: Sequence[str]) -> list[int]:
    """For each of the 15 keypoints its place in a file's; −1 = the file lacks it."""
    return [names.index(name) if name in names else -1 for name in skeleton.NAMES]


def _person(
    item: Mapping[str, Any], slots: list[int]
) -> tuple[Any, FloatArray, FloatArray, BoolArray, int, FloatArray]:
    """Of an annotation: box, keypoints [15, 2], weights [15], presence [15], labelled keypoints, teacher [15, 3]."""
    table = np.array(item.get("keypoints", ()), np.float32).reshape(-1, 3)
    there = np.array(slots) >= 0
    taught = np.zeros((skeleton.COUNT, 3), np.float32)
    if item.get("teacher_keypoints"):
        answer = np.nan_to_num(np.array(item["teacher_keypoints"], np.float32).reshape(-1, 3))
        taught[there] = answer[slots][there]
    if len(table):
        present = (table[slots, 2] > 0) & there
        weights = np.array(item.get("keypoint_weights") or (table[:, 2] > 0), np.float32)[slots] * there
        points = np.where(present[:, None], table[slots, :2], 0)
        present &= weights > 0
    else:
        points, weights = np.zeros((skeleton.COUNT, 2), np.float32), np.zeros(skeleton.COUNT, np.float32)
        present = np.zeros(skeleton.COUNT, bool)
    labelled = int(item.get("num_keypoints", (table[:, 2] > 0).sum()))
    if "bbox" in item:
        x, y, width, height = item["bbox"]
        return (x, y, x + width, y + height), points, weights, present, labelled, taught
    if not present.any():
        return (0, 0, 0, 0), points, weights, present, labelled, taught
    low, high = points[present].min(0), points[present].max(0)  # some people of PoseTrack 2018 have no box
    margin = _POSE_MARGIN * (high - low)
    return (*(low - margin), *(high + margin)), points, weights, present, labelled, taught


def _found(file: Path, folders: Sequence[Path], name: str) -> Path:
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{file}: names '{name}', which is not in {' or '.join(str(folder) for folder in folders[:2])}")


def _read_mot(file: Path) -> Iterator[ImageLabels]:
    """The frames of a sequence that have a line in gt.txt: frame, id, left, top, width, height, flag, class, …

    Lines with flag 0 and people who are not scored are ignored regions; other classes are left out. Without classes
    (MOTChallenge 2015) all are people.
    """
    sequence = file.parent.parent
    try:
        rows = np.loadtxt(file, delimiter=",", ndmin=2)
        info = configparser.ConfigParser()
        info.read(sequence / "seqinfo.ini")
        about = dict(info["Sequence"]) if info.has_section("Sequence") else {}
        folder, suffix = sequence / about.get("imdir", "img1"), about.get("imext", ".jpg")
        size = (int(about["imwidth"]), int(about["imheight"])) if "imwidth" in about else None
        classes = rows[:, 7].astype(int) if rows.shape[1] == 9 else np.full(len(rows), _MOT_PERSON)
    except (OSError, ValueError, IndexError, configparser.Error) as error:
        raise DataError(f"{file}: not MOTChallenge ground truth: {error}") from None
    ignored = (rows[:, 6] == 0) | np.isin(classes, _MOT_IGNORED)
    rows[:, 2:4] -= 1  # coordinates begin with 1
    for frame in np.unique(rows[:, 0].astype(int)):
        here = np.flatnonzero((rows[:, 0] == frame) & ((classes == _MOT_PERSON) | np.isin(classes, _MOT_IGNORED)))
        image = folder / f"{frame:06d}{suffix}"
        if not image.is_file():
            raise DataError(f"{file}: names frame {frame}, but {image} is missing")
        corners = np.concatenate([rows[here, 2:4], rows[here, 2:4] + rows[here, 4:6]], 1)
        people = (len(here), skeleton.COUNT)
        yield ImageLabels(
            file=image,
            name=f"{sequence.name}/{image.name}",
            group=sequence.name,
            size=size,
            boxes=corners.astype(np.float32),
            ignored=ignored[here],
            keypoints=np.zeros((*people, 2), np.float32),
            weights=np.zeros(people, np.float32),
            present=np.zeros(people, bool),
            labelled=np.zeros(len(here), np.int64),
            taught=np.zeros((*people, 3), np.float32),
        )
