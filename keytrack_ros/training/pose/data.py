"""People to learn poses from: LSPET and COCO labels, and what two teachers agree on where nobody labelled.

All coordinates are pixels of the image; keypoints are the 15 of PoseTrack. The images, small as they are, lie decoded
in memory (1.5 GB).
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.errors import DataError
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray, IntArray
from keytrack_ros.training.pose.labels import exchanged_sides, merged_teachers, nose_beside_head

LSPET, FRAMES, COCO = "lspet", "frames", "coco"
"""The sources."""
_LSPET_PERIOD, _LSPET_HELD_BACK = 7, 3  # every seventh image by its number
_CLIP_PERIOD = 16  # and about every sixteenth clip of the frames
_TEACHER_BOX_SCORE = 0.3


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
        sources: for each person LSPET, FRAMES or COCO.
        held_back: for each person whether it is of the validation part.
        pictures: the images, [H, W, 3] uint8 BGR.
    """

    keypoints: FloatArray
    weights: FloatArray
    present: BoolArray
    boxes: FloatArray
    images: IntArray
    sources: np.ndarray[Any, np.dtype[np.str_]]
    held_back: BoolArray
    pictures: list[ImageArray] = field(repr=False)

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
    """All people of the data folder (`images/` and `pseudo/`).

    Raises DataError, naming the file, if something is missing or malformed.
    """
    parts = [_lspet(data), _coco(data), *(_frames(data))]
    return _joined([part for part in parts if len(part)])


def decoded(jpeg: bytes, name: str) -> ImageArray:
    """An image file's content as [H, W, 3] uint8 BGR. Raises DataError if it is not an image."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{name}: cannot be decoded as an image")
    return np.asarray(image, np.uint8)


def backgrounds(data: Path) -> list[ImageArray]:
    """Images without people, to put behind crops whose surroundings are not known."""
    labels = _json(data / "images/coco_mini/person_keypoints.json")
    peopled = {item["image_id"] for item in labels["annotations"]}
    files = _tar(data / "images/coco_mini/coco_mini.tar")
    return [decoded(files[i["file_name"]], i["file_name"]) for i in labels["images"] if i["id"] not in peopled]


def _lspet(data: Path) -> People:
    """Labels of Leeds Sports Pose Extended; the nose, which they lack, is the teacher's.

    Where both teachers contradict them, left and right are exchanged back; held-back labels stay as they are.
    """
    labels = _npz(data / "images/lspet/labels.npz", "filename", "joints", "index")
    names = [str(name) for name in labels["filename"]]
    known = np.asarray(labels["joints"][..., 2] > 0)
    keypoints = np.asarray(labels["joints"][..., :2], np.float32)
    files: dict[str, bytes] = {}
    for archive in _listed(data / "images/lspet", "*.tar"):
        files.update(_tar(archive))
    teacher = _stacked(_listed(data / "pseudo", "lspet_*.npz"), "name", *_TEACHERS)
    place = {str(name): row for row, name in enumerate(teacher["name"])}
    rows = np.array([place[name] for name in names])
    nose, sure = nose_beside_head(
        teacher["mov"][rows, 0], teacher["mov_score"][rows, 0], keypoints[:, 1:3], known[:, 1] & known[:, 2]
    )
    keypoints[:, 0], known[:, 0] = np.where(sure[:, None], nose, 0), sure
    held_back = labels["index"] % _LSPET_PERIOD == _LSPET_HELD_BACK
    answers = [(teacher[which][rows], teacher[f"{which}_score"][rows]) for which in ("eff", "mov")]
    exchanged = exchanged_sides(keypoints, known, answers) & ~held_back
    mirrored = list(skeleton.MIRRORED)
    keypoints[exchanged], known[exchanged] = keypoints[exchanged][:, mirrored], known[exchanged][:, mirrored]
    shown = known.copy()
    shown[:, 0] = False  # boxes are those of the labelled joints
    enough = shown.sum(1) >= 4
    low = np.where(shown[..., None], keypoints, np.inf).min(1)
    high = np.where(shown[..., None], keypoints, -np.inf).max(1)
    enough &= (high - low > 8).all(1)
    keep = np.flatnonzero(enough)
    return People(
        keypoints[keep],
        known[keep].astype(np.float32),
        known[keep],
        np.concatenate([low, high], 1)[keep].astype(np.float32),
        np.arange(len(keep)),
        np.full(len(keep), LSPET),
        held_back[keep],
        [decoded(files[names[k]], names[k]) for k in keep],
    )


def _coco(data: Path) -> People:
    """COCO's own labels; head points come from the teacher whose box is the same."""
    content = _json(data / "images/coco_mini/person_keypoints.json")
    files = _tar(data / "images/coco_mini/coco_mini.tar")
    names = {image["id"]: image["file_name"] for image in content["images"]}
    teacher = _npz(data / "pseudo/coco_mini.npz", "name", "box", "score", "eff", "eff_score", "eff_gap")
    channels = np.array([skeleton.COCO17.index(n) if n in skeleton.COCO17 else -1 for n in skeleton.NAMES])
    rows = []
    for item in content["annotations"]:
        if item.get("iscrowd") or not item.get("num_keypoints"):
            continue
        points = np.array(item["keypoints"], np.float32).reshape(-1, 3)[channels]
        points[channels < 0] = 0
        x, y, width, height = item["bbox"]
        if min(width, height) < 16:
            continue
        box = np.array([x, y, x + width, y + height], np.float32)
        known = points[:, 2] > 0
        same = np.flatnonzero(teacher["name"] == names[item["image_id"]])
        near = same[np.abs(teacher["box"][same] - box).max(1) < 0.15 * max(width, height)] if len(same) else same
        for k in (1, 2) if len(near) else ():
            if teacher["eff_score"][near[0], k] > 0.3 and teacher["eff_gap"][near[0], k] < 0.04 * max(width, height):
                points[k, :2], known[k] = teacher["eff"][near[0], k], True
        rows.append((names[item["image_id"]], box, points[:, :2], known))
    images = sorted({row[0] for row in rows})
    known = np.array([row[3] for row in rows])
    return People(
        np.array([row[2] for row in rows]),
        known.astype(np.float32),
        known,
        np.array([row[1] for row in rows]),
        np.array([images.index(row[0]) for row in rows]),
        np.full(len(rows), COCO),
        np.zeros(len(rows), bool),
        [decoded(files[name], name) for name in images],
    )


def _frames(data: Path) -> Iterator[People]:
    """Frames that nobody labelled: keypoints on which the teachers agree."""
    for archive in (
        *_listed(data / "images/people_frames", "*.tar"),
        data / "images/coco_mini/coco_mini_unlabelled.tar",
    ):
        files = _tar(archive)
        teacher = _npz(data / "pseudo" / f"{archive.stem}.npz", "name", "box", "score", *_TEACHERS)
        sizes = teacher["box"][:, 2:] - teacher["box"][:, :2]
        extent = sizes.max(1)
        keypoints, weights, present = merged_teachers(*(teacher[key] for key in _TEACHERS), extent=extent)
        useful = (present & (weights > 0)).sum(1) >= 4
        keep = np.flatnonzero((teacher["score"] >= _TEACHER_BOX_SCORE) & (sizes.min(1) > 12) & useful)
        names = [str(name) for name in teacher["name"][keep]]
        images = sorted(set(names))
        place = {name: index for index, name in enumerate(images)}
        yield People(
            keypoints[keep],
            weights[keep],
            present[keep],
            teacher["box"][keep].astype(np.float32),
            np.array([place[name] for name in names], np.int64),
            np.full(len(keep), FRAMES),
            np.array([_clip_held_back(name) for name in names], bool),
            [decoded(files[name], name) for name in images],
        )


_TEACHERS = ("eff", "eff_score", "eff_gap", "mov", "mov_score")


def _clip_held_back(name: str) -> bool:
    """The split is by clip (the name up to the frame's number), as frames of a clip look alike."""
    return hashlib.sha256(name.rsplit("_f", 1)[0].encode()).digest()[0] % _CLIP_PERIOD == 0


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
    )


def _listed(folder: Path, pattern: str) -> list[Path]:
    files = sorted(folder.glob(pattern))
    if not files:
        raise DataError(f"{folder}: there is no {pattern}; name the folder that holds images/ and pseudo/ with --data")
    return files


def _stacked(files: Sequence[Path], *keys: str) -> dict[str, np.ndarray[Any, Any]]:
    parts = [_npz(file, *keys) for file in files]
    return {key: np.concatenate([part[key] for part in parts]) for key in keys}


def _npz(file: Path, *keys: str) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with np.load(file, allow_pickle=False) as content:
            missing = [key for key in keys if key not in content]
            if missing:
                raise DataError(f"{file}: {', '.join(missing)} missing")
            return {key: content[key] for key in keys}
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:
        raise DataError(f"{file}: not a readable npz file: {error}") from None


def _tar(file: Path) -> dict[str, bytes]:
    try:
        with tarfile.open(file, "r:") as archive:
            members = [member for member in archive if member.isfile()]
            return {member.name: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{file}: not a readable tar file: {error}") from None


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{file}: not JSON: {error}") from None
