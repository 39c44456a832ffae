"""Brings the data pack into COCO form, once: images as files, boxes or keypoints as COCO JSON.

    python scripts/pack_to_coco.py boxes PACK OUT          for the detector (docs/models/person_detector.md)
    python scripts/pack_to_coco.py keypoints PACK OUT      for the pose network (docs/models/hrnet_w24.md)

Writes OUT/images/SOURCE/*.jpg and OUT/annotations/SOURCE_train.json (and SOURCE_val.json where a part is held back).
The cards describe the sources, their licences and the teachers.

Boxes that are neither people nor background are `iscrowd`. The teachers' boxes that the pack lacks (RTMDet-nano's;
YOLOX-nano's in the LSPET crops) are computed and kept in OUT/teachers. vtest.avi must be in OUT, or as video.avi beside
PACK's boxes of it.

Keypoints are the 15 of PoseTrack. The key `keypoint_weights` says how much is known of each one: none of what is not
labelled and on which no two teachers agree; a weight without visibility means that the keypoint is known not to be
there.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import typer

from keytrack_ros import skeleton
from keytrack_ros.geometry import box_iou
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray
from keytrack_ros.training.pose.labels import agreed_points, exchanged_sides, nose_beside_head

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

HEAD = [skeleton.INDEX["head_bottom"], skeleton.INDEX["head_top"]]
NOSE = skeleton.INDEX["nose"]

HEAD_PART = 0.2
"""Two teachers agree within this part of the head's length, as measured on annotated video: 95 % of such are right."""

BOX_PART = 0.03
"""The same where the head is not known: part of the box's longer side."""

ABSENT_WEIGHT = 0.5

THUNDER_WEIGHT = 0.5
"""Of LSPET joints that nobody labelled and MoveNet Thunder is sure of."""

app = typer.Typer(no_args_is_help=True, help=__doc__, rich_markup_mode=None)


@app.command()
def boxes(pack: Path, out: Path) -> None:
    """People as boxes, for the detector."""
    person_boxes(pack, out)
    coco_boxes(pack, out)
    frame_boxes(pack, out)
    lspet_boxes(pack, out)
    background(pack, out)


@app.command()
def keypoints(pack: Path, out: Path) -> None:
    """People with keypoints, for the pose network."""
    cv2.setNumThreads(1)
    lspet_keypoints(pack, out)
    coco_keypoints(pack, out)
    frame_keypoints(pack, out)
    person_box_keypoints(pack, out)


class Source:
    """One COCO file in the making."""

    def __init__(self, folder: Path, name: str, joints: tuple[str, ...] = ()) -> None:
        self.folder, self.name = folder, name
        self.images: dict[str, dict[str, Any]] = {}
        self.annotations: list[dict[str, Any]] = []
        self.category: dict[str, Any] = {"id": 1, "name": "person", **({"keypoints": list(joints)} if joints else {})}

    def image(self, name: str, data: bytes) -> None:
        source = self.name.rsplit("_", 1)[0]
        file = self.folder / "images" / source / f"{Path(name).stem}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        height, width = decoded(data).shape[:2]
        entry = {"id": len(self.images) + 1, "file_name": f"{source}/{file.name}", "width": width, "height": height}
        self.images[name] = entry

    def people(self, name: str, boxes: FloatArray, sure: BoolArray) -> None:
        """Boxes [n, 4] x_min, y_min, x_max, y_max in an image, and whether they are people [n]."""
        for box, person in zip(boxes.tolist(), sure, strict=True):
            area = (box[2] - box[0]) * (box[3] - box[1])
            self._annotate(name, box, 2, {"area": round(area, 1), "iscrowd": int(not person)})

    def person(
        self,
        name: str,
        box: FloatArray,
        points: FloatArray,
        weights: FloatArray,
        present: BoolArray,
        taught: FloatArray | None = None,
    ) -> None:
        """Somebody in an image: box [4], keypoints [15, 2], weights and presence [15], a teacher's answer [15, 3]."""
        table = np.column_stack([np.where(present[:, None], points, 0), 2 * present])
        about = {
            "iscrowd": 0,
            "num_keypoints": int((present & (weights > 0)).sum()),
            "keypoints": [round(v, 1) for v in table.ravel().tolist()],
            "keypoint_weights": [round(v, 2) for v in weights.tolist()],
        }
        if taught is not None:
            about["teacher_keypoints"] = [round(v, 2) for v in taught.ravel().tolist()]
        self._annotate(name, box, 1, about)

    def _annotate(self, name: str, box: Any, digits: int, about: Mapping[str, Any]) -> None:
        place = {"id": len(self.annotations) + 1, "image_id": self.images[name]["id"], "category_id": 1}
        corner_and_size = (box[0], box[1], box[2] - box[0], box[3] - box[1])
        self.annotations.append({**place, "bbox": [round(float(v), digits) for v in corner_and_size], **about})

    def write(self) -> None:
        content = {"images": [*self.images.values()], "annotations": self.annotations, "categories": [self.category]}
        file = self.folder / "annotations" / f"{self.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
        doubtful = sum(a["iscrowd"] for a in self.annotations)
        known = [a["num_keypoints"] for a in self.annotations if a.get("num_keypoints")]
        about = f"{len(known)} of them with {np.mean(known):.1f} keypoints each" if known else f"{doubtful} doubtful"
        print(f"{file}: {len(self.images)} images, {len(self.annotations) - doubtful} people, {about}")


def person_boxes(pack: Path, out: Path) -> None:
    """True boxes; a fifth of the images is held back."""
    parts = {False: Source(out, "person_boxes_train"), True: Source(out, "person_boxes_val")}
    for tar, name, data, true, held_back in person_box_images(pack):
        image = f"{tar.stem[-1]}_{name}"
        parts[held_back].image(image, data)
        parts[held_back].people(image, true, np.ones(len(true), bool))
    for part in parts.values():
        part.write()


def coco_boxes(pack: Path, out: Path) -> None:
    """COCO's own boxes, with crowds as they are; images without people in a file of their own."""
    people, nobody = Source(out, "coco_train"), Source(out, "nobody_train")
    for name, data, items in coco_images(pack):
        corners = [(x, y, x + w, y + h) for x, y, w, h in (item["bbox"] for item in items)]
        source = people if items else nobody
        source.image(name, data)
        source.people(name, rows_of(corners, 4), np.array([not item["iscrowd"] for item in items], bool))
    people.write()
    nobody.write()


def frame_boxes(pack: Path, out: Path) -> None:
    """Frames and COCO images without labels: boxes on which YOLOX-nano and RTMDet-nano agree."""
    parts = {name: Source(out, f"{name}_train") for name in ("jhmdb", "video", "coco_taught")}
    for tar in frame_tars(pack):
        first = np.load(pack / "pseudo" / f"{tar.stem}.npz")
        first_boxes = by_name(first["name"], np.column_stack([first["box"], first["score"]]))
        second = rtmdet_boxes(pack, out, tar)
        for name, data, clip in frames(pack, tar):
            found, sure = agreed_boxes(first_boxes.get(name, rows_of([], 5)), second.get(name, rows_of([], 5)))
            source = parts["coco_taught" if not clip else "jhmdb" if clip.startswith("jhmdb") else "video"]
            source.image(name, data)
            source.people(name, found, sure)
    for part in parts.values():
        part.write()


def lspet_boxes(pack: Path, out: Path) -> None:
    """Crops of one person: YOLOX-nano's box of the labelled person, or that of the joints; others are doubtful."""
    source = Source(out, "lspet_train")
    file = out / "teachers" / "yolox_lspet.npz"
    if not file.is_file():
        detector = reference(pack).YoloxNano()
        found = ((name, data) for name, data in lspet_images(pack) if used_lspet(name))
        save_boxes(file, {name: detector(decoded(data), 0.15) for name, data in found})
    taught = load_boxes(file)
    joints: dict[str, FloatArray] = {}
    for teacher in sorted((pack / "pseudo").glob("lspet_*.npz")):
        content = np.load(teacher)
        joints.update(by_name(content["name"], content["box"]))
    for name, data in lspet_images(pack):
        if not used_lspet(name) or name not in joints:
            continue
        height, width = decoded(data).shape[:2]
        box = joints[name]
        margin = JOINT_MARGIN * (box[:, 2:] - box[:, :2])
        box = np.clip(np.concatenate([box[:, :2] - margin, box[:, 2:] + margin], 1), 0, [width, height] * 2)
        others = taught.get(name, rows_of([], 5))[:, :4]
        same = box_iou(box[:, None], others[None])[0] >= 0.5
        person = others[same][:1] if same.any() else box
        found = np.concatenate([person, others[~same]]).astype(np.float32)
        source.image(name, data)
        source.people(name, found, np.arange(len(found)) < 1)
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
                source.image(f"{frame:04d}", cv2.imencode(".jpg", crop)[1].tobytes())
                break
    source.write()


def agreed_boxes(first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
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


def lspet_keypoints(pack: Path, out: Path) -> None:
    """Its own labels; Thunder's joints beside them and where none is labelled; every seventh image is held back."""
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
    taught = np.nan_to_num(np.concatenate([thunder, np.where(np.isfinite(thunder).all(2), sure, 0)[..., None]], 2))
    rows = {str(name): row for row, name in enumerate(labels["filename"]) if usable[row]}
    parts = keypoint_parts(out, "lspet")
    for name, data in lspet_images(pack):
        if name in rows:
            row = rows[name]
            part = parts[bool(held_back[row])]
            part.image(name, data)
            answer = None if held_back[row] else taught[row]
            part.person(name, boxes[row], points[row], weights[row], weights[row] > 0, answer)
    for part in parts.values():
        part.write()
    print(f"left and right exchanged back: {int(swapped.sum())}; joints added: {int(missing.sum())}")


def coco_keypoints(pack: Path, out: Path) -> None:
    """COCO's own keypoints; head points are EfficientPose's where its box is the same. Also images without people."""
    teacher = np.load(pack / "pseudo/coco_mini.npz")
    channels = np.array([skeleton.COCO17.index(n) if n in skeleton.COCO17 else -1 for n in skeleton.NAMES])
    source = Source(out, "coco_train", skeleton.NAMES)
    for name, data, items in coco_images(pack):
        source.image(name, data)
        for item in items:
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


def frame_keypoints(pack: Path, out: Path) -> None:
    """Frames without labels: what two of three teachers agree on; about every sixteenth clip held back."""
    parts = keypoint_parts(out, "frames")
    for tar in frame_tars(pack):
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
        rows = by_name(first["name"], np.arange(len(box)))
        for name, data, _ in frames(pack, tar):
            if name not in rows:
                continue
            held_back = hashlib.sha256(name.rsplit("_f", 1)[0].encode()).digest()[0] % 16 == 0
            parts[held_back].image(name, data)
            for row in rows[name]:
                sure = first["score"][row] >= 0.3 and (box[row, 2:] - box[row, :2]).min() > 12
                add_person(parts[held_back], name, box[row], points[row], weights[row], present[row], sure)
    for part in parts.values():
        part.write()


def person_box_keypoints(pack: Path, out: Path) -> None:
    """True boxes with what two of three teachers agree on; a fifth of the images is held back."""
    parts = keypoint_parts(out, "person_boxes")
    of_tar: Path | None = None
    for tar, name, data, true, held_back in person_box_images(pack):
        if tar != of_tar:
            of_tar, taught = tar, np.load(pack / "pseudo" / f"{tar.stem}.npz")
            taught_boxes, names = taught["box"], taught["name"]
            extent = (taught_boxes[:, 2:] - taught_boxes[:, :2]).max(1)
            answers = [(taught["eff"], taught["eff_score"]), (taught["thunder"], taught["thunder_score"])]
            answers.append((taught["blaze"], taught["blaze_visible"] * (taught["blaze_person"][:, None] >= 0.5)))
            points, weights, present = labelled(answers, ((0, 1), (0, 2), (1, 2)), extent, least_head=0.4)
        part = parts[held_back]
        part.image(name, data)
        same = np.flatnonzero(names == name)
        for box in true:
            row = next((r for r in same if np.abs(taught_boxes[r] - box).max() < 1), None)
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


def keypoint_parts(out: Path, name: str) -> dict[bool, Source]:
    """What is trained on (False) and what is held back (True)."""
    return {
        held_back: Source(out, f"{name}_{part}", skeleton.NAMES)
        for held_back, part in ((False, "train"), (True, "val"))
    }


def person_box_images(pack: Path) -> Iterator[tuple[Path, str, bytes, FloatArray, bool]]:
    """Tar, name, file, true boxes [n, 4] and whether it is held back: a fifth, by a hash of the name."""
    content = np.load(pack / "images/person_boxes/boxes.npz")
    true = by_name(content["name"], content["box"])
    for tar in sorted((pack / "images/person_boxes").glob("*.tar")):
        for name, data in members(tar):
            full = f"{tar.name}/{name}"
            drawn = int.from_bytes(hashlib.sha256(full.encode()).digest()[:4], "big") / 2**32
            yield tar, name, data, true.get(full, rows_of([], 4)), drawn < 0.2


def coco_images(pack: Path) -> Iterator[tuple[str, bytes, list[dict[str, Any]]]]:
    """Name, file and annotations of each labelled COCO image."""
    content = json.loads((pack / "images/coco_mini/person_keypoints.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    items = defaultdict(list)
    for item in content["annotations"]:
        items[names[item["image_id"]]].append(item)
    for name, data in members(pack / "images/coco_mini/coco_mini.tar"):
        yield name, data, items[name]


def frame_tars(pack: Path) -> list[Path]:
    """Frames and COCO images without labels."""
    return [*sorted((pack / "images/people_frames").glob("*.tar")), pack / "images/coco_mini/coco_mini_unlabelled.tar"]


def frames(pack: Path, tar: Path) -> Iterator[tuple[str, bytes, str]]:
    """Name, file and clip ("" of a COCO image) of each image of a tar; no frame of vtest."""
    with (pack / "images/people_frames/index.csv").open(newline="") as stream:
        clips = {row["member"]: row["source"] for row in csv.DictReader(stream)}
    for name, data in members(tar):
        clip = clips.get(name, "")
        if not clip.startswith("vtest"):
            yield name, data, clip


def lspet_images(pack: Path) -> Iterator[tuple[str, bytes]]:
    for tar in sorted((pack / "images/lspet").glob("*.tar")):
        yield from members(tar)


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


def by_name(names: Any, rows: Any) -> dict[Any, Any]:
    """The rows of each name."""
    place = defaultdict(list)
    for row, name in enumerate(names.tolist()):
        place[name].append(row)
    return {name: rows[index] for name, index in place.items()}


def rows_of(rows: Any, columns: int) -> FloatArray:
    return np.array(rows, np.float32).reshape(-1, columns)


def members(tar: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(tar) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is not None:
                yield member.name, stream.read()


def decoded(data: bytes) -> ImageArray:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def used_lspet(name: str) -> bool:
    return int(Path(name).stem.removeprefix("im")) % LSPET_EVERY == 0


if __name__ == "__main__":
    app()
