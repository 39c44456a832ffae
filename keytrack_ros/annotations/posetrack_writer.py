"""Writes a `LabelledSequence` as PoseTrack 2018 or 2017 JSON, with head boxes, ignore regions and unlabelled frames."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.annotations.posetrack_reader import POSETRACK17_IDS
from keytrack_ros.annotations.sequence import Image, LabelledSequence
from keytrack_ros.media.files import require_free, write_text
from keytrack_ros.media.posetrack_writer import PoseTrackWriter, keypoint_slots, score_slots

_FALLBACK_SCORE = -9999.0
"""What poseval takes for a keypoint without confidence, so that a file means the same to it after conversion."""
_OFFICIAL_NAME = re.compile(r"(?:^|/)(\d{1,6})_(mpii|bonn|mpiinew)_[^/]*/0*(\d{1,4})\.[^/]*$")
_SOURCES = {"mpii": 1, "bonn": 2, "mpiinew": 3}


def write_posetrack18(sequence: LabelledSequence, path: Path, *, overwrite: bool = False) -> None:
    """Writes PoseTrack 2018 JSON: 17 slots, of which the two ears are never known.

    Raises OutputError if the file exists or cannot be written.
    """
    frames = [(_image18(sequence, k), _people18(sequence, k)) for k in range(len(sequence))]
    with PoseTrackWriter(path, sequence.video or sequence.name, overwrite=overwrite) as writer:
        for image, people in frames:
            writer.append(image, people)


def _image18(sequence: LabelledSequence, k: int) -> dict[str, Any]:
    image = sequence.images[k]
    number = _image_id(image, sequence, k)
    record: dict[str, Any] = {
        "file_name": _file_name(sequence, k),
        "id": number,
        "frame_id": number,
        "vid_id": sequence.video or sequence.name,
        "is_labeled": image.labelled,
        "has_no_densepose": True,
        "ignore_regions_x": [region[:, 0].tolist() for region in image.ignore_regions],
        "ignore_regions_y": [region[:, 1].tolist() for region in image.ignore_regions],
    }
    if image.size is not None:
        record["width"], record["height"] = image.size
    return record


def _people18(sequence: LabelledSequence, k: int) -> list[dict[str, Any]]:
    number = _image_id(sequence.images[k], sequence, k)
    people = []
    for place, row in enumerate(range(*sequence.rows(k).indices(sequence.people))):
        present = sequence.present[row]
        person: dict[str, Any] = {
            "id": number * 100 + place,
            "track_id": int(sequence.track_ids[row]),
            "keypoints": keypoint_slots(sequence.keypoints[row], present, sequence.visibility[row]),
            "scores": [],
        }
        given = present & np.isfinite(sequence.scores[row])
        if given.any():
            absent = np.where(present, _FALLBACK_SCORE, 0.0)
            person["scores"] = score_slots(np.where(given, sequence.scores[row], absent))
        for key, box in (("bbox", sequence.boxes[row]), ("bbox_head", sequence.head_boxes[row])):
            if np.isfinite(box).all():
                person[key] = [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]
        people.append(person)
    return people


def write_posetrack17(sequence: LabelledSequence, path: Path, *, overwrite: bool = False) -> None:
    """Writes PoseTrack 2017 JSON. It has no place for boxes of whole people and for the size of images.

    Raises OutputError if the file exists or cannot be written.
    """
    entries = []
    for k, image in enumerate(sequence.images):
        entry: dict[str, Any] = {
            "image": [{"name": _file_name(sequence, k)}],
            "imgnum": [k + 1],
            "is_labeled": [int(image.labelled)],
            "annorect": [_person17(sequence, row) for row in range(*sequence.rows(k).indices(sequence.people))],
        }
        if image.ignore_regions:
            entry["ignore_regions"] = [
                {"point": [{"x": [x], "y": [y]} for x, y in region.tolist()]} for region in image.ignore_regions
            ]
        entries.append(entry)
    require_free(path, overwrite=overwrite)
    write_text(path, json.dumps({"annolist": entries}))


def _person17(sequence: LabelledSequence, row: int) -> dict[str, Any]:
    points = []
    for number, name in enumerate(POSETRACK17_IDS):
        joint = skeleton.INDEX[name]
        if not sequence.present[row, joint]:
            continue
        x, y = sequence.keypoints[row, joint].tolist()
        point = {"id": [number], "x": [x], "y": [y], "is_visible": [int(sequence.visibility[row, joint])]}
        if np.isfinite(sequence.scores[row, joint]):
            point["score"] = [float(sequence.scores[row, joint])]
        points.append(point)
    person: dict[str, Any] = {
        "track_id": [int(sequence.track_ids[row])],
        "annopoints": [{"point": points}] if sequence.listed[row] else [],
    }
    if np.isfinite(sequence.head_boxes[row]).all():
        corners = zip(("x1", "y1", "x2", "y2"), sequence.head_boxes[row].tolist(), strict=True)
        person.update({corner: [value] for corner, value in corners})
    return person


def _file_name(sequence: LabelledSequence, k: int) -> str:
    return sequence.images[k].file_name or f"images/{sequence.name}/{k:06d}.jpg"


def _image_id(image: Image, sequence: LabelledSequence, k: int) -> int:
    """The image's own number; else PoseTrack's for names such as 000001_mpii_test/000002.jpg; else its place."""
    official = _OFFICIAL_NAME.search(_file_name(sequence, k))
    if image.image_id is not None:
        return image.image_id
    if official is None:
        return k
    return _SOURCES[official[2]] * 10**10 + int(official[1]) * 10**4 + int(official[3])
