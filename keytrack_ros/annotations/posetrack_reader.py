"""Reads PoseTrack files: 2018 JSON (`images`, `annotations`, `categories`) and 2017 JSON (`annolist`).

A list at the top is taken for COCO keypoint results.

Formats: https://posetrack.net and the loaders of poseval (github.com/leonid-pishchulin/poseval).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.annotations.coco_results import read_coco_results
from keytrack_ros.annotations.records import get, load_json, numbers, of_kind, only, shortened
from keytrack_ros.annotations.sequence import Image, LabelledSequence, fitting_ids
from keytrack_ros.errors import InputError, ModelError
from keytrack_ros.poses import FloatArray

POSETRACK17_IDS: tuple[str, ...] = (
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "head_bottom",
    "nose",
    "head_top",
)
"""The keypoint of each id in PoseTrack 2017's `annopoints`; also the order in which poseval lists its results."""


def read_posetrack(path: Path) -> LabelledSequence:
    """The sequence of a PoseTrack 2018 or 2017 file, or of COCO keypoint results; the content tells which it is.

    Raises InputError, naming the file and the frame, if it is empty, no JSON, or not of these formats; if a coordinate
    is not finite, or two people of a frame have one track id.
    """
    data = load_json(path)
    if isinstance(data, list):
        return read_coco_results(path, data)
    if isinstance(data, dict) and "annolist" in data:
        sequence = _read_2017(path, data)
    elif isinstance(data, dict) and "images" in data:
        sequence = _read_2018(path, data)
    else:
        raise InputError(f"{path}: neither PoseTrack 2018 ('images', 'annotations') nor 2017 ('annolist')")
    return sequence.checked()


def _read_2018(path: Path, data: dict[str, Any]) -> LabelledSequence:
    images = [
        of_kind(image, dict, f"{path}: image {k}") for k, image in enumerate(get(data, "images", list, f"{path}"))
    ]
    places: dict[int, int] = {}
    for k, image in enumerate(images):
        number = get(image, "id", int, f"{path}: image {k}")
        if places.setdefault(number, k) != k:
            raise InputError(f"{path}: images {places[number]} and {k} have one id, {number}")
    videos = {str(image["vid_id"]) for image in images if "vid_id" in image}
    if len(videos) > 1:
        raise InputError(
            f"{path}: holds {len(videos)} videos ({', '.join(sorted(videos)[:3])}, …); one per file is read"
        )
    slots, channels = _slots(path, data)

    people = get(data, "annotations", list, f"{path}")
    image_index, points, scores, boxes, head_boxes = [], [], [], [], []
    for k, person in enumerate(people):
        here = f"{path}: annotation {k}"
        place = places.get(get(of_kind(person, dict, here), "image_id", int, here))
        if place is None:
            raise InputError(f"{here}: there is no image with id {person['image_id']}")
        here = f"{path}: frame {place} ({images[place].get('file_name', '')}), annotation {k}"
        get(person, "track_id", int, here)
        image_index.append(place)
        points.append(numbers(get(person, "keypoints", list, here), 3 * slots, f"{here}: keypoints"))
        given = person.get("scores") or []
        scores.append(numbers(given, slots, f"{here}: scores") if given else np.full(slots, np.nan))
        boxes.append(_box(person.get("bbox"), f"{here}: bbox"))
        head_boxes.append(_box(person.get("bbox_head"), f"{here}: bbox_head"))
    order = np.argsort(np.array(image_index, np.int64), kind="stable")
    table = np.array(points, np.float64).reshape(-1, slots, 3)[order][:, channels]
    present = (table != 0).any(-1)
    counts = np.bincount(image_index, minlength=len(images)) if image_index else np.zeros(len(images), int)
    return LabelledSequence(
        name=path.stem,
        source=str(path),
        images=tuple(_image_2018(path, image, k, bool(counts[k])) for k, image in enumerate(images)),
        image_index=np.array(image_index, np.int64)[order],
        track_ids=fitting_ids([person["track_id"] for person in people])[order],
        keypoints=table[..., :2],
        present=present,
        visibility=np.nan_to_num(table[..., 2]).astype(np.int64),
        scores=np.where(present, np.array(scores, np.float64).reshape(-1, slots)[order][:, channels], np.nan),
        boxes=np.array(boxes, np.float64).reshape(-1, 4)[order],
        head_boxes=np.array(head_boxes, np.float64).reshape(-1, 4)[order],
        listed=np.ones(len(people), np.bool_),
        video=next(iter(videos), ""),
    )


def _slots(path: Path, data: dict[str, Any]) -> tuple[int, list[int]]:
    """How many keypoints a person of the file has, and which of them are our 15."""
    names: tuple[str, ...] = skeleton.POSETRACK17
    if "categories" in data:
        categories = get(data, "categories", list, f"{path}")
        if len(categories) != 1:
            raise InputError(f"{path}: has {len(categories)} categories; one, person, is needed")
        names = tuple(map(str, get(of_kind(categories[0], dict, f"{path}: category"), "keypoints", list, f"{path}")))
    try:
        channels = list(skeleton.channels_of(names))
    except ModelError as error:
        raise InputError(f"{path}: categories: {error}") from None
    missing = [name for name, channel in zip(skeleton.NAMES, channels, strict=True) if channel < 0]
    if missing:
        raise InputError(f"{path}: categories: the keypoints {', '.join(missing)} are not among those of a person")
    return len(names), channels


def _image_2018(path: Path, image: dict[str, Any], k: int, has_people: bool) -> Image:
    here = f"{path}: image {k}"
    size = (image.get("width"), image.get("height"))
    xs, ys = (_polygons(image.get(f"ignore_regions_{axis}") or [], f"{here}: ignore_regions_{axis}") for axis in "xy")
    if len(xs) != len(ys) or any(len(x) != len(y) for x, y in zip(xs, ys, strict=True)):
        raise InputError(f"{here}: ignore_regions_x and ignore_regions_y have different lengths")
    return Image(
        file_name=str(image.get("file_name", "")),
        image_id=image["id"],
        labelled=bool(image.get("is_labeled", has_people)),
        ignore_regions=tuple(_polygon(list(zip(x, y, strict=True)), here) for x, y in zip(xs, ys, strict=True)),
        size=(size[0], size[1]) if isinstance(size[0], int) and isinstance(size[1], int) else None,
    )


def _read_2017(path: Path, data: dict[str, Any]) -> LabelledSequence:
    images, image_index, track_ids, points, head_boxes, listed = [], [], [], [], [], []
    for k, entry in enumerate(get(data, "annolist", list, f"{path}")):
        names = get(of_kind(entry, dict, f"{path}: frame {k}"), "image", list, f"{path}: frame {k}")
        name = str(of_kind(names[0], dict, f"{path}: frame {k}: image").get("name", "")) if names else ""
        here = f"{path}: frame {k} ({name})"
        people = entry.get("annorect") or []
        images.append(_image_2017(entry, name, bool(people), here))
        for person in of_kind(people, list, here):
            rectangle = of_kind(person, dict, f"{here}: annorect")
            parts = rectangle.get("annopoints") or []
            has_list = bool(parts) and isinstance(parts[0], dict) and "point" in parts[0]
            image_index.append(k)
            track_ids.append(of_kind(only(get(rectangle, "track_id", object, here)), int, f"{here}: track_id"))
            points.append(_points_2017(parts[0]["point"] if has_list else [], here))
            corners = [only(rectangle.get(corner)) for corner in ("x1", "y1", "x2", "y2")]
            head_boxes.append(np.full(4, np.nan) if None in corners else numbers(corners, 4, f"{here}: head box"))
            listed.append(has_list)
    table = np.array(points, np.float64).reshape(-1, skeleton.COUNT, 5)
    return LabelledSequence(
        name=path.stem,
        source=str(path),
        images=tuple(images),
        image_index=np.array(image_index, np.int64),
        track_ids=fitting_ids(track_ids),
        keypoints=table[..., :2],
        present=table[..., 4] > 0,
        visibility=np.nan_to_num(table[..., 2]).astype(np.int64),
        scores=table[..., 3],
        boxes=np.full((len(points), 4), np.nan),
        head_boxes=np.array(head_boxes, np.float64).reshape(-1, 4),
        listed=np.array(listed, np.bool_),
    )


def _image_2017(entry: dict[str, Any], name: str, has_people: bool, here: str) -> Image:
    regions = []
    for region in entry.get("ignore_regions") or []:
        corners = get(of_kind(region, dict, f"{here}: ignore_regions"), "point", list, f"{here}: ignore_regions")
        regions.append(_polygon([(only(p.get("x")), only(p.get("y"))) for p in corners], here))
    return Image(name, labelled=bool(only(entry.get("is_labeled", has_people))), ignore_regions=tuple(regions))


def _points_2017(points: list[Any], here: str) -> FloatArray:
    """[15, 5]: x, y, visibility, score and 1 for each keypoint that is there."""
    table = np.tile(np.array([0.0, 0, 0, np.nan, 0]), (skeleton.COUNT, 1))
    for point in points:
        number = only(get(of_kind(point, dict, f"{here}: point"), "id", object, f"{here}: point"))
        if not isinstance(number, int) or not 0 <= number < len(POSETRACK17_IDS):
            continue
        joint = skeleton.INDEX[POSETRACK17_IDS[number]]
        if table[joint, 4]:
            continue  # poseval takes the first of two points with one id
        x, y = (only(point.get(axis)) for axis in "xy")
        visible, score = only(point.get("is_visible", 1)), only(point.get("score"))
        row = [x, y, visible if isinstance(visible, (int, float)) else 1, np.nan if score is None else score, 1]
        table[joint] = numbers(row, 5, f"{here}: point {number}")
    return table


def _box(values: Any, here: str) -> FloatArray:
    """x, y, width, height as x_min, y_min, x_max, y_max; NaN where there is none."""
    if not values:
        return np.full(4, np.nan)
    box = numbers(values, 4, here)
    return np.concatenate([box[:2], box[:2] + box[2:]])


def _polygons(values: Any, here: str) -> list[list[Any]]:
    if not isinstance(values, list) or not all(isinstance(polygon, list) for polygon in values):
        raise InputError(f"{here}: a list of polygons is needed, each a list of numbers, not {shortened(values)}")
    return values


def _polygon(corners: list[Any], here: str) -> FloatArray:
    flat = [number for corner in corners for number in corner]
    polygon = numbers(flat, len(flat), f"{here}: ignore region").reshape(-1, 2)
    if not np.isfinite(polygon).all():
        raise InputError(f"{here}: a corner of an ignore region is not finite")
    return polygon
