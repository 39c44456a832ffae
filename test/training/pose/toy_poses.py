"""A tiny data folder of the pose training: stick figures on noise, labels and teachers that know the truth."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.poses import FloatArray, ImageArray

FIGURE = np.array(
    [
        [50, 50, 50, 62, 38, 68, 32, 70, 30, 58, 42, 60, 40, 61, 39],
        [22, 34, 10, 38, 38, 58, 58, 78, 78, 80, 80, 105, 105, 130, 130],
    ],
    np.float32,
).T
"""Keypoints of a standing person who faces the camera, pixels in an image of 100×140."""
SIZE = (100, 140)


def figure(seed: int) -> ImageArray:
    """The person drawn on noise, [140, 100, 3]."""
    image = np.random.default_rng(seed).integers(0, 60, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    for a, b in skeleton.EDGES:
        cv2.line(image, FIGURE[a].astype(int).tolist(), FIGURE[b].astype(int).tolist(), (200, 220, 240), 5)
    return image


def write_data(folder: Path, people: int = 9) -> Path:
    """LSPET with `people` images, one COCO image and one background, four frames of two clips."""
    for part in ("images/lspet", "images/coco_mini", "images/people_frames", "pseudo"):
        (folder / part).mkdir(parents=True)
    names = [f"im{k + 1:05d}.jpg" for k in range(people)]
    write_tar(folder / "images/lspet/lspet_00.tar", names)
    joints = np.concatenate([FIGURE, np.ones((15, 1), np.float32)], 1)
    joints[0] = 0  # the nose is never labelled
    np.savez(
        folder / "images/lspet/labels.npz",
        filename=np.array(names),
        joints=np.repeat(joints[None], people, 0),
        index=np.arange(people, dtype=np.int16),
    )
    write_teachers(folder / "pseudo/lspet_00.npz", names)

    write_tar(folder / "images/coco_mini/coco_mini.tar", ["person.jpg", "nobody.jpg"])
    write_teachers(folder / "pseudo/coco_mini.npz", ["person.jpg"])
    low, high = FIGURE.min(0), FIGURE.max(0)
    slots = [skeleton.INDEX.get(name, -1) for name in skeleton.COCO17]
    points = [[*map(float, FIGURE[k]), 2] if k >= 0 else [0, 0, 0] for k in slots]
    labels = {
        "images": [{"id": 1, "file_name": "person.jpg"}, {"id": 2, "file_name": "nobody.jpg"}],
        "annotations": [
            {
                "image_id": 1,
                "bbox": [*map(float, low), *map(float, high - low)],
                "keypoints": [v for point in points for v in point],
                "num_keypoints": 13,
                "iscrowd": 0,
            }
        ],
    }
    (folder / "images/coco_mini/person_keypoints.json").write_text(json.dumps(labels))
    write_tar(folder / "images/coco_mini/coco_mini_unlabelled.tar", ["val.jpg"])
    write_teachers(folder / "pseudo/coco_mini_unlabelled.npz", ["val.jpg"])
    frames = [f"jhmdb_c{clip:04d}_f{frame:04d}.jpg" for clip in (0, 1) for frame in (0, 8)]
    write_tar(folder / "images/people_frames/jhmdb_00.tar", frames)
    write_teachers(folder / "pseudo/jhmdb_00.npz", frames)
    return folder


def write_tar(file: Path, names: list[str]) -> None:
    with tarfile.open(file, "w") as archive:
        for seed, name in enumerate(names):
            content = cv2.imencode(".jpg", figure(seed))[1].tobytes()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_teachers(file: Path, names: list[str]) -> None:
    """Both teachers are right and sure; the first has no nose, the second no head points."""
    count = len(names)
    box = np.concatenate([FIGURE.min(0), FIGURE.max(0)])
    first = np.repeat(FIGURE[None], count, 0)
    second, sure = first.copy(), np.full((count, 15), 0.9, np.float32)
    first_score, second_score = sure.copy(), sure.copy()
    first[:, 0], first_score[:, 0] = np.nan, 0
    second[:, 1:3], second_score[:, 1:3] = np.nan, 0
    write_npz(file, names, np.repeat(box[None], count, 0), first, first_score, second, second_score)


def write_npz(
    file: Path,
    names: list[str],
    boxes: FloatArray,
    first: FloatArray,
    first_score: FloatArray,
    second: FloatArray,
    second_score: FloatArray,
) -> None:
    np.savez(
        file,
        name=np.array(names),
        box=boxes.astype(np.float32),
        score=np.ones(len(names), np.float32),
        eff=first,
        eff_score=first_score,
        eff_gap=np.where(np.isnan(first[..., 0]), np.nan, 0).astype(np.float32),
        mov=second,
        mov_score=second_score,
    )
