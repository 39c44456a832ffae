"""Brings the data pack into COCO form, once: images as files, boxes and keypoints as COCO instance and keypoint JSON.

    python scripts/pack_to_coco.py PACK OUT

OUT/images/SOURCE/*.jpg and OUT/annotations/SOURCE_train.json (and SOURCE_val.json where a part is held back). Boxes
that are neither people nor background are `iscrowd`. docs/models/person_detector.md describes the sources and their
licences. The teachers' boxes that the pack lacks (RTMDet-nano's; YOLOX-nano's in the LSPET crops) are computed and kept
in OUT/teachers. OUT/vtest.avi must be there, or PACK's copy of it as video.avi.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keytrack_ros.geometry import box_iou
from keytrack_ros.poses import FloatArray, ImageArray

AGREEMENT_IOU = 0.6
"""Two teachers mean the same person from this overlap on; the label is the mean of their boxes."""

AGREEMENT_SCORE = 0.3
"""Lowest score of each of two teachers that agree."""

DOUBTFUL_SCORE = 0.25
"""What only one teacher sees with at least this score is doubtful, and background below."""

JOINT_MARGIN = 0.1
"""A box of joints grows by this part of its sides on each side: hands, feet and hair reach beyond the joints."""

LSPET_EVERY = 4
"""Every fourth LSPET crop is used by the detector: one large person each, and poses that streets do not show."""

BACKGROUND_CROPS = 300
BACKGROUND_FRAMES = 397
"""Of PETS09-S2L1, the frames that are not kept for checks."""


@dataclass
class Source:
    """One COCO file in the making: `images` and `annotations` as in the file."""

    folder: Path
    name: str
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, jpeg: bytes | ImageArray, boxes: FloatArray, sure: FloatArray) -> None:
        """An image (its file's bytes, or pixels) with boxes [n, 4] x_min, y_min, x_max, y_max and `sure` [n] bool."""
        data = jpeg if isinstance(jpeg, bytes) else cv2.imencode(".jpg", jpeg)[1].tobytes()
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        source = self.name.rsplit("_", 1)[0]
        file = self.folder / "images" / source / f"{Path(name).stem}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        image = {
            "id": len(self.images) + 1,
            "file_name": f"{source}/{file.name}",
            "width": pixels.shape[1],
            "height": pixels.shape[0],
        }
        self.images.append(image)
        for box, person in zip(boxes.tolist(), sure, strict=True):
            width, height = box[2] - box[0], box[3] - box[1]
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": image["id"],
                    "category_id": 1,
                    "bbox": [round(v, 2) for v in (box[0], box[1], width, height)],
                    "area": round(width * height, 1),
                    "iscrowd": int(not person),
                }
            )

    def write(self) -> None:
        content = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": [{"id": 1, "name": "person"}],
        }
        file = self.folder / "annotations" / f"{self.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
        people = sum(not a["iscrowd"] for a in self.annotations)
        print(f"{file}: {len(self.images)} images, {people} people, {len(self.annotations) - people} doubtful")


def main(pack: Path, out: Path) -> None:
    person_boxes(pack, out)
    coco(pack, out)
    frames(pack, out)
    lspet(pack, out)
    background(pack, out)


def person_boxes(pack: Path, out: Path) -> None:
    """True boxes; a fifth of the images is held back, by a hash of the name."""
    content = np.load(pack / "images/person_boxes/boxes.npz")
    boxes = by_name(content["name"], content["box"])
    parts = {part: Source(out, f"person_boxes_{part}") for part in ("train", "val")}
    for tar in sorted((pack / "images/person_boxes").glob("*.tar")):
        for name, data in members(tar):
            found = boxes.get(f"{tar.name}/{name}", np.zeros((0, 4), np.float32))
            held_back = share(f"{tar.name}/{name}") < 0.2
            parts["val" if held_back else "train"].add(f"{tar.stem[-1]}_{name}", data, found, np.ones(len(found), bool))
    for part in parts.values():
        part.write()


def coco(pack: Path, out: Path) -> None:
    """COCO's own boxes, with crowds as they are; images without people in a file of their own."""
    folder = pack / "images/coco_mini"
    content = json.loads((folder / "person_keypoints.json").read_text())
    rows = defaultdict(list)
    names = {image["id"]: image["file_name"] for image in content["images"]}
    for person in content["annotations"]:
        x, y, w, h = person["bbox"]
        rows[names[person["image_id"]]].append((x, y, x + w, y + h, 1 - person["iscrowd"]))
    people, nobody = Source(out, "coco_train"), Source(out, "nobody_train")
    for name, data in members(folder / "coco_mini.tar"):
        table = np.array(rows[name], np.float32).reshape(-1, 5)
        (people if len(table) else nobody).add(name, data, table[:, :4], table[:, 4] > 0)
    people.write()
    nobody.write()


def frames(pack: Path, out: Path) -> None:
    """Frames and COCO images without labels: boxes on which YOLOX-nano and RTMDet-nano agree; no frame of vtest."""
    parts = {name: Source(out, name) for name in ("jhmdb_train", "video_train", "coco_taught_train")}
    tars = [*sorted((pack / "images/people_frames").glob("*.tar")), pack / "images/coco_mini/coco_mini_unlabelled.tar"]
    with (pack / "images/people_frames/index.csv").open(newline="") as stream:
        clips = {row["member"]: row["source"] for row in csv.DictReader(stream)}
    for tar in tars:
        first = np.load(pack / "pseudo" / f"{tar.stem}.npz")
        first_boxes = by_name(first["name"], np.column_stack([first["box"], first["score"]]))
        second = rtmdet_boxes(pack, out, tar)
        for name, data in members(tar):
            clip = clips.get(name, "coco_taught")
            if clip.startswith("vtest"):
                continue
            nothing = np.zeros((0, 5), np.float32)
            boxes, sure = agreed(first_boxes.get(name, nothing), second.get(name, nothing))
            source = "coco_taught" if clip == "coco_taught" else "jhmdb" if clip.startswith("jhmdb") else "video"
            parts[f"{source}_train"].add(name, data, boxes, sure)
    for part in parts.values():
        part.write()


def lspet(pack: Path, out: Path) -> None:
    """Crops of one person: YOLOX-nano's box of the labelled person, or that of the joints; others are doubtful."""
    source = Source(out, "lspet_train")
    file = out / "teachers" / "yolox_lspet.npz"
    if not file.is_file():
        detector = reference(pack).YoloxNano()
        found = {
            name: detector(decoded(data), 0.15)
            for tar in sorted((pack / "images/lspet").glob("*.tar"))
            for name, data in members(tar)
            if lspet_number(name) % LSPET_EVERY == 0
        }
        save_boxes(file, found)
    taught = load_boxes(file)
    for tar in sorted((pack / "images/lspet").glob("*.tar")):
        content = np.load(pack / "pseudo" / f"{tar.stem}.npz")
        joints = by_name(content["name"], content["box"])
        for name, data in members(tar):
            if lspet_number(name) % LSPET_EVERY or name not in joints:
                continue
            height, width = decoded(data).shape[:2]
            box = joints[name]
            margin = JOINT_MARGIN * (box[:, 2:] - box[:, :2])
            box = np.clip(np.concatenate([box[:, :2] - margin, box[:, 2:] + margin], 1), 0, [width, height] * 2)
            others = taught.get(name, np.zeros((0, 5), np.float32))[:, :4]
            same = box_iou(box[:, None], others[None])[0] >= 0.5
            person = others[same][:1] if same.any() else box
            apart = others[~same]
            boxes = np.concatenate([person, apart]).astype(np.float32)
            source.add(name, data, boxes, np.arange(len(boxes)) < 1)
    source.write()


def background(pack: Path, out: Path) -> None:
    """Crops of PETS09-S2L1's first frames without people, around what was taken for one: sign, tripods, post."""
    folder = pack / "videos/PETS09-S2L1_first"
    rows = np.loadtxt(folder / "gt.txt", delimiter=",")
    people = by_name(rows[:, 0].astype(int), rows[:, 2:6])
    places = np.array([(38, 125), (38, 125), (38, 125), (508, 400), (445, 150), (430, 250)])  # sign, tripods, post
    rng = np.random.default_rng(0)
    source = Source(out, "background_train")
    video = cv2.VideoCapture(str(next(f for f in (folder / "video.avi", out / "vtest.avi") if f.is_file())))
    every = max(BACKGROUND_FRAMES // BACKGROUND_CROPS, 1)
    for frame in range(1, BACKGROUND_FRAMES + 1):
        _, pixels = video.read()
        if frame % every:
            continue
        taken = people.get(frame, np.zeros((0, 4)))
        taken = np.column_stack([taken[:, :2] - 12, taken[:, :2] + taken[:, 2:] + 12])
        for _ in range(20):
            x, y = places[rng.integers(len(places))] + rng.integers(-30, 31, 2)
            w, h = rng.integers(80, 280, 2)
            left, top = max(int(x - rng.uniform(0.2, 0.8) * w), 0), max(int(y - rng.uniform(0.2, 0.8) * h), 40)
            right, bottom = min(left + int(w), 768), min(top + int(h), 576)
            clear = (taken[:, 2] < left) | (taken[:, 0] > right) | (taken[:, 3] < top) | (taken[:, 1] > bottom)
            if clear.all():
                crop = np.ascontiguousarray(pixels[top:bottom, left:right])
                source.add(f"{frame:04d}", crop, np.zeros((0, 4), np.float32), np.zeros(0, bool))
                break
    source.write()


def agreed(first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Labels of two teachers' rows x_min, y_min, x_max, y_max, score: people are pairs that overlap, at the mean box.

    Every box is used once, in the order of the first teacher's scores. Boxes without a partner are doubtful, or dropped
    where they overlap a person (IoU 0.4: a second box of the same one).
    """
    order = np.argsort(-first[:, 4], kind="stable")
    overlap = box_iou(first[:, None, :4], second[None, :, :4])
    free = second[:, 4] >= AGREEMENT_SCORE
    people, used = [], np.zeros(len(first), bool)
    for row in order:
        if first[row, 4] < AGREEMENT_SCORE or not free.any():
            continue
        partner = int(np.where(free, overlap[row], 0).argmax())
        if overlap[row, partner] >= AGREEMENT_IOU and free[partner]:
            free[partner], used[row] = False, True
            people.append((first[row, :4] + second[partner, :4]) / 2)
    sure = np.array(people, np.float32).reshape(-1, 4)
    left = np.concatenate([first[~used], second[free | (second[:, 4] < AGREEMENT_SCORE)]])
    rest = left[left[:, 4] >= DOUBTFUL_SCORE, :4]
    doubtful = rest[(box_iou(rest[:, None], sure[None]) <= 0.4).all(1)] if len(rest) else rest
    return np.concatenate([sure, doubtful]).astype(np.float32), np.arange(len(sure) + len(doubtful)) < len(sure)


def rtmdet_boxes(pack: Path, out: Path, tar: Path) -> dict[str, FloatArray]:
    """RTMDet-nano's boxes and scores [n, 5] in the images of a tar; at 320 pixels for JHMDB's frames, else 640."""
    file = out / "teachers" / f"rtmdet_{tar.stem}.npz"
    if not file.is_file():
        detector = reference(pack).RtmdetNano(size=320 if tar.stem.startswith("jhmdb") else 640)
        save_boxes(file, {name: detector(decoded(data), 0.15) for name, data in members(tar)})
    return load_boxes(file)


def reference(pack: Path) -> Any:
    """The pack's `models/decode_reference.py`."""
    spec = importlib.util.spec_from_file_location("decode_reference", pack / "models/decode_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save_boxes(file: Path, boxes: dict[str, FloatArray]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = np.concatenate([np.zeros((0, 5), np.float32), *boxes.values()])
    names = [name for name, found in boxes.items() for _ in found]
    np.savez_compressed(file, name=np.array(names, str), box=rows[:, :4], score=rows[:, 4])


def load_boxes(file: Path) -> dict[str, FloatArray]:
    content = np.load(file)
    return by_name(content["name"], np.column_stack([content["box"], content["score"]]))


def by_name(names: Any, rows: FloatArray) -> dict[Any, FloatArray]:
    place = defaultdict(list)
    for row, name in enumerate(names.tolist()):
        place[name].append(row)
    return {name: np.asarray(rows[index], np.float32) for name, index in place.items()}


def members(tar: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(tar) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is not None:
                yield member.name, stream.read()


def decoded(data: bytes) -> ImageArray:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def lspet_number(name: str) -> int:
    return int(Path(name).stem.removeprefix("im"))


def share(name: str) -> float:
    """A number in 0..1 that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
