"""Brings the data pack's people with keypoints into COCO form, once, as pack_to_coco.py does with its boxes.

    python scripts/pack_to_coco_keypoints.py PACK OUT

OUT/images/SOURCE/*.jpg and OUT/annotations/SOURCE_{train,val}.json with the 15 keypoints of PoseTrack. The key
`keypoint_weights` says how much is known of each one: none of what is not labelled and on which no two teachers agree;
a weight without visibility means that the keypoint is known not to be there. docs/models/hrnet_w16.md describes the
sources, their licences and the teachers.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pack_to_coco import decoded, members, share

from keytrack_ros import skeleton
from keytrack_ros.poses import BoolArray, FloatArray
from keytrack_ros.training.pose.labels import agreed_points, exchanged_sides, nose_beside_head

HEAD = [skeleton.INDEX["head_bottom"], skeleton.INDEX["head_top"]]
NOSE = skeleton.INDEX["nose"]
HEAD_PART = 0.2
"""Two teachers agree within this part of the head's length, as measured on annotated video: 95 % of such are right."""
BOX_PART = 0.03
"""The same where the head is not known: part of the box's longer side."""
ABSENT_WEIGHT = 0.5
THUNDER_WEIGHT = 0.5
"""Of LSPET joints that nobody labelled and MoveNet Thunder is sure of."""


class Source:
    """One COCO keypoint file in the making."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.images: dict[str, dict[str, Any]] = {}
        self.annotations: list[dict[str, Any]] = []

    def image(self, name: str, data: bytes) -> None:
        source = self.name.rsplit("_", 1)[0]
        file = self.folder / "images" / source / f"{Path(name).stem}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        height, width = decoded(data).shape[:2]
        entry = {"id": len(self.images) + 1, "file_name": f"{source}/{file.name}", "width": width, "height": height}
        self.images[name] = entry

    def person(self, name: str, box: FloatArray, points: FloatArray, weights: FloatArray, present: BoolArray) -> None:
        """Somebody in an image: box [4] x_min, y_min, x_max, y_max, keypoints [15, 2], weights and presence [15]."""
        keypoints = np.column_stack([np.where(present[:, None], points, 0), 2 * present])
        self.annotations.append(
            {
                "id": len(self.annotations) + 1,
                "image_id": self.images[name]["id"],
                "category_id": 1,
                "bbox": [round(float(v), 1) for v in (*box[:2], *(box[2:] - box[:2]))],
                "iscrowd": 0,
                "num_keypoints": int((present & (weights > 0)).sum()),
                "keypoints": [round(v, 1) for v in keypoints.ravel().tolist()],
                "keypoint_weights": [round(v, 2) for v in weights.tolist()],
            }
        )

    def write(self) -> None:
        category = {"id": 1, "name": "person", "keypoints": list(skeleton.NAMES)}
        content = {"images": [*self.images.values()], "annotations": self.annotations, "categories": [category]}
        file = self.folder / "annotations" / f"{self.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
        known = [a["num_keypoints"] for a in self.annotations if a["num_keypoints"]]
        print(f"{file}: {len(self.images)} images, {len(known)} people with {np.mean(known or [0]):.1f} keypoints each")


def main(pack: Path, out: Path) -> None:
    lspet(pack, out)
    coco(pack, out)
    frames(pack, out)
    person_boxes(pack, out)


def lspet(pack: Path, out: Path) -> None:
    """Its own labels; Thunder's joints where none is labelled; every seventh image is held back, unchanged."""
    labels = np.load(pack / "images/lspet/labels.npz")
    teachers = [np.load(file) for file in sorted((pack / "pseudo").glob("lspet_*.npz"))]
    thunders = [np.load(file) for file in sorted((pack / "pseudo").glob("thunder_lspet_*.npz"))]
    names = np.concatenate([t["name"] for t in teachers]).tolist()
    place = {name: row for row, name in enumerate(names)}
    order = np.array([place[str(name)] for name in labels["filename"]])
    thunder, sure = (np.concatenate([t[key] for t in thunders])[order] for key in ("thunder", "thunder_score"))
    mov, mov_score = (np.concatenate([t[key] for t in teachers])[order] for key in ("mov", "mov_score"))
    points, known = np.asarray(labels["joints"][..., :2], np.float32), np.asarray(labels["joints"][..., 2] > 0)
    held_back = labels["index"] % 7 == 3
    swapped = exchanged_sides(points, known, [(thunder, sure), (mov, mov_score)]) & ~held_back
    mirrored = list(skeleton.MIRRORED)
    points[swapped], known[swapped] = points[swapped][:, mirrored], known[swapped][:, mirrored]
    low = np.where(known[..., None], points, np.inf).min(1)
    high = np.where(known[..., None], points, -np.inf).max(1)
    boxes = np.concatenate([low, high], 1)
    usable = (known.sum(1) >= 4) & (high - low > 8).all(1)
    weights = known.astype(np.float32)
    nose, believed = nose_beside_head(thunder[:, NOSE], sure[:, NOSE], points[:, HEAD], known[:, HEAD].all(1))
    points[:, NOSE], weights[:, NOSE] = nose, believed
    missing = ~known & (sure >= 0.4) & np.isfinite(thunder).all(2) & ~held_back[:, None]
    missing[:, [NOSE, *HEAD]] = False
    points, weights = np.where(missing[..., None], thunder, points), np.where(missing, THUNDER_WEIGHT, weights)
    rows = {str(name): row for row, name in enumerate(labels["filename"]) if usable[row]}
    parts = {False: Source(out, "lspet_train"), True: Source(out, "lspet_val")}
    for tar in sorted((pack / "images/lspet").glob("*.tar")):
        for name, data in members(tar):
            if name in rows:
                row = rows[name]
                part = parts[bool(held_back[row])]
                part.image(name, data)
                part.person(name, boxes[row], points[row], weights[row], weights[row] > 0)
    for part in parts.values():
        part.write()
    print(f"left and right exchanged back: {int(swapped.sum())}; joints added: {int(missing.sum())}")


def coco(pack: Path, out: Path) -> None:
    """COCO's own keypoints; head points are EfficientPose's where its box is the same. Also images without people."""
    folder = pack / "images/coco_mini"
    content = json.loads((folder / "person_keypoints.json").read_text())
    teacher = np.load(pack / "pseudo/coco_mini.npz")
    channels = np.array([skeleton.COCO17.index(n) if n in skeleton.COCO17 else -1 for n in skeleton.NAMES])
    names = {image["id"]: image["file_name"] for image in content["images"]}
    rows = defaultdict(list)
    for item in content["annotations"]:
        rows[names[item["image_id"]]].append(item)
    source = Source(out, "coco_train")
    for name, data in members(folder / "coco_mini.tar"):
        source.image(name, data)
        for item in rows[name]:
            x, y, width, height = item["bbox"]
            box = np.array([x, y, x + width, y + height], np.float32)
            table = np.array(item.get("keypoints") or [0] * 51, np.float32).reshape(-1, 3)[channels]
            known = (table[:, 2] > 0) & (channels >= 0) & (min(width, height) >= 16) & (not item["iscrowd"])
            points = table[:, :2]
            same = np.flatnonzero(teacher["name"] == name)
            near = same[np.abs(teacher["box"][same] - box).max(1) < 0.15 * max(width, height)]
            for k in HEAD if len(near) and known.any() else ():
                if teacher["eff_score"][near[0], k] > 0.3 and teacher["eff_gap"][near[0], k] < 0.04 * max(
                    width, height
                ):
                    points[k], known[k] = teacher["eff"][near[0], k], True
            source.person(name, box, points, known.astype(np.float32), known)
    source.write()


def frames(pack: Path, out: Path) -> None:
    """Frames without labels: what two of three teachers agree on; about every sixteenth clip held back; no vtest."""
    parts = {False: Source(out, "frames_train"), True: Source(out, "frames_val")}
    with (pack / "images/people_frames/index.csv").open(newline="") as stream:
        clips = {row["member"]: row["source"] for row in csv.DictReader(stream)}
    tars = [*sorted((pack / "images/people_frames").glob("*.tar")), pack / "images/coco_mini/coco_mini_unlabelled.tar"]
    for tar in tars:
        first = np.load(pack / "pseudo" / f"{tar.stem}.npz")
        second = np.load(pack / "pseudo" / f"thunder_{tar.stem}.npz")
        box = first["box"]
        extent = (box[:, 2:] - box[:, :2]).max(1)
        steady = np.nan_to_num(first["eff_gap"], nan=np.inf) <= 0.05 * extent[:, None]
        eff_score = np.where(steady, first["eff_score"], 0)
        answers = [
            (first["eff"], eff_score),
            (second["thunder"], second["thunder_score"]),
            (first["mov"], first["mov_score"]),
        ]
        points, weights, present = labelled(answers, ((0, 1), (0, 2)), extent, least_head=0.25)
        rows = defaultdict(list)
        for row, name in enumerate(first["name"].tolist()):
            rows[name].append(row)
        for name, data in members(tar):
            if clips.get(name, "").startswith("vtest") or name not in rows:
                continue
            held_back = hashlib.sha256(name.rsplit("_f", 1)[0].encode()).digest()[0] % 16 == 0
            parts[held_back].image(name, data)
            for row in rows[name]:
                sure = first["score"][row] >= 0.3 and (box[row, 2:] - box[row, :2]).min() > 12
                add_person(parts[held_back], name, box[row], points[row], weights[row], present[row], sure)
    for part in parts.values():
        part.write()


def person_boxes(pack: Path, out: Path) -> None:
    """True boxes with what two of three teachers agree on; a fifth of the images held back, as for the detector."""
    content = np.load(pack / "images/person_boxes/boxes.npz")
    boxes = defaultdict(list)
    for name, box in zip(content["name"].tolist(), content["box"], strict=True):
        boxes[name].append(box)
    parts = {False: Source(out, "person_boxes_train"), True: Source(out, "person_boxes_val")}
    for tar in sorted((pack / "images/person_boxes").glob("*.tar")):
        taught = np.load(pack / "pseudo" / f"{tar.stem}.npz")
        extent = (taught["box"][:, 2:] - taught["box"][:, :2]).max(1)
        answers = [(taught["eff"], taught["eff_score"]), (taught["thunder"], taught["thunder_score"])]
        answers.append((taught["blaze"], taught["blaze_visible"] * (taught["blaze_person"][:, None] >= 0.5)))
        points, weights, present = labelled(answers, ((0, 1), (0, 2), (1, 2)), extent, least_head=0.4)
        for name, data in members(tar):
            part = parts[share(f"{tar.name}/{name}") < 0.2]
            part.image(name, data)
            same = np.flatnonzero(taught["name"] == name)
            for box in boxes[f"{tar.name}/{name}"]:
                row = next((r for r in same if np.abs(taught["box"][r] - box).max() < 1), None)
                if row is None:
                    add_person(part, name, box, np.zeros((15, 2)), np.zeros(15), np.zeros(15, bool), False)
                else:
                    add_person(part, name, box, points[row], weights[row], present[row], True)
    for part in parts.values():
        part.write()


def add_person(
    part: Source, name: str, box: FloatArray, points: FloatArray, weights: FloatArray, present: BoolArray, use: bool
) -> None:
    """With keypoints if `use` and five or more are known; else as a box that is nobody's background."""
    use = use and int(present.sum()) >= 5
    part.person(name, box, points, weights * use, present & use)


def labelled(
    answers: list[tuple[FloatArray, FloatArray]],
    pairs: tuple[tuple[int, int], ...],
    extent: FloatArray,
    least_head: float,
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Keypoints [N, 15, 2], weights and presence [N, 15] of N people from the points and scores of each teacher.

    Teachers are EfficientPose, Thunder and a third one. Head points are the first one's, the nose the second one's, all
    else what a pair of `pairs` agrees on.
    """
    (eff, eff_score), (thunder, thunder_score) = answers[:2]
    head = np.nan_to_num(eff[:, HEAD])
    length = np.linalg.norm(head[:, 0] - head[:, 1], axis=1)
    head_known = (eff_score[:, HEAD] >= least_head).all(1) & (length < 0.7 * extent)
    reach = np.where(head_known, HEAD_PART * length, BOX_PART * extent)
    points, present = agreed_points(answers, pairs, reach)
    points[:, HEAD], present[:, HEAD] = head, head_known[:, None]
    points[:, NOSE], present[:, NOSE] = nose_beside_head(thunder[:, NOSE], thunder_score[:, NOSE], head, head_known)
    unseen = np.stack([np.nan_to_num(score) < 0.12 for _, score in answers]).all(0)
    return points, np.where(present, 1, np.where(unseen, ABSENT_WEIGHT, 0)).astype(np.float32), present


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    cv2.setNumThreads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
