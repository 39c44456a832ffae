"""A tiny data folder for the detector: bright upright rectangles on noise are people."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np

from keytrack_ros.poses import FloatArray, ImageArray

CLIPS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu")


def picture(box: FloatArray | None, seed: int, size: tuple[int, int] = (80, 60)) -> ImageArray:
    """Noise of (width, height) `size` with one bright person, or none."""
    image = np.random.default_rng(seed).integers(40, 80, (size[1], size[0], 3), np.uint8)
    if box is not None:
        left, top, right, bottom = (int(v) for v in box)
        image[top:bottom, left:right] = 230
    return image


def write_tar(file: Path, images: dict[str, ImageArray]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, image in images.items():
            data = cv2.imencode(".jpg", image)[1].tobytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_boxes(file: Path, rows: list[tuple[str, tuple[float, float, float, float], float]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        file,
        name=np.array([row[0] for row in rows], str),
        box=np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        score=np.array([row[2] for row in rows], np.float32),
    )


def write_people(data: Path) -> Path:
    """Fills the folder: 24 frames of 12 clips, 2 annotated images and 1 without annotation, 2 crops."""
    rng = np.random.default_rng(0)
    frames, rows, index = {}, [], []
    for number, clip in enumerate(CLIPS):
        for frame in range(2):
            name = f"jhmdb_c{number:04d}_f{frame:04d}.jpg"
            left, top = rng.integers(5, 40), rng.integers(2, 20)
            box = (left, top, left + 16, top + 36)
            frames[name] = picture(np.array(box), number)
            rows.append((name, tuple(map(float, box)), 0.9))
            index.append(("jhmdb_00.tar", name, f"jhmdb/walk/{clip}_walk_f_nm_np1_fr_med_{frame}.avi"))
    write_tar(data / "images/people_frames/jhmdb_00.tar", frames)
    write_boxes(data / "pseudo/jhmdb_00.npz", rows)
    with (data / "images/people_frames/index.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("tar", "member", "source"))
        writer.writerows(index)

    folder = data / "images/coco_mini"
    write_tar(folder / "coco_mini.tar", {"a.jpg": picture(np.array((10, 5, 30, 50)), 90), "b.jpg": picture(None, 91)})
    annotations = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [
            {"image_id": 1, "bbox": [10, 5, 20, 45], "iscrowd": 0},
            {"image_id": 1, "bbox": [50, 5, 25, 20], "iscrowd": 1},
        ],
    }
    (folder / "person_keypoints.json").write_text(json.dumps(annotations))
    write_tar(folder / "coco_mini_unlabelled.tar", {"c.jpg": picture(np.array((40, 10, 60, 55)), 92)})
    write_boxes(data / "pseudo/coco_mini_unlabelled.npz", [("c.jpg", (40, 10, 60, 55), 0.3)])

    crops = {name: picture(np.array((10, 10, 30, 50)), 93, (40, 60)) for name in ("im1.jpg", "im2.jpg")}
    write_tar(data / "images/lspet/lspet_00.tar", crops)
    write_boxes(data / "pseudo/lspet_00.npz", [("im1.jpg", (12, 12, 28, 48), 1), ("im2.jpg", (12, 12, 28, 48), 1)])
    return data
