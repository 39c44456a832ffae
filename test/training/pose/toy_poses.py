"""A tiny data folder of the pose training in COCO's keypoint form: stick figures on noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.poses import ImageArray

FIGURE = np.array(
    [
        [50, 50, 50, 62, 38, 68, 32, 70, 30, 58, 42, 60, 40, 61, 39],
        [22, 34, 10, 38, 38, 58, 58, 78, 78, 80, 80, 105, 105, 130, 130],
    ],
    np.float32,
).T
"""Keypoints of a standing person who faces the camera, pixels in an image of 100×140."""
SIZE = (100, 140)
BOX = [*FIGURE.min(0).tolist(), *np.ptp(FIGURE, axis=0).tolist()]


def figure(seed: int, shown: bool = True) -> ImageArray:
    """The person drawn on noise, or noise alone, [140, 100, 3]."""
    image = np.random.default_rng(seed).integers(0, 60, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    for a, b in skeleton.EDGES if shown else ():
        cv2.line(image, FIGURE[a].astype(int).tolist(), FIGURE[b].astype(int).tolist(), (200, 220, 240), 5)
    return image


def person(image: int, **changes: Any) -> dict[str, Any]:
    """An annotation of the figure with all 15 keypoints."""
    keypoints = np.concatenate([FIGURE, np.full((15, 1), 2, np.float32)], 1).ravel().tolist()
    return {"image_id": image, "category_id": 1, "bbox": BOX, "keypoints": keypoints, "num_keypoints": 15} | changes


def write_source(
    folder: Path, name: str, annotations: list[dict[str, Any]], images: int, keypoints: Any = None
) -> None:
    """NAME.json with so many images; image k shows the figure if an annotation has it as `image_id`."""
    category = {"id": 1, "name": "person", "keypoints": list(keypoints or skeleton.NAMES)}
    shown = {item["image_id"] for item in annotations}
    names = [{"id": k, "file_name": f"{name}/{k}.png"} for k in range(images)]
    for image in names:
        file = folder / "images" / image["file_name"]
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), figure(image["id"], image["id"] in shown))
    file = folder / "annotations" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": names, "annotations": annotations, "categories": [category]}))


def write_data(folder: Path) -> Path:
    """`walk` with 9 people to train on and 2 held back, `empty` with 2 images without people, 1 of them held back."""
    write_source(folder, "walk_train", [person(k) for k in range(9)], 9)
    write_source(folder, "walk_val", [person(k) for k in range(2)], 2)
    write_source(folder, "empty_train", [], 1)
    write_source(folder, "empty_val", [], 1)
    return folder
