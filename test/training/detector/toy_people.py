"""A tiny data folder for the detector: bright upright rectangles on noise are people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keytrack_ros.poses import ImageArray

Box = tuple[float, float, float, float]


def picture(box: Box | None, seed: int, size: tuple[int, int] = (80, 60)) -> ImageArray:
    """Noise of (width, height) `size` with one bright person, or none."""
    image = np.random.default_rng(seed).integers(40, 80, (size[1], size[0], 3), np.uint8)
    if box is not None:
        left, top, right, bottom = (int(v) for v in box)
        image[top:bottom, left:right] = 230
    return image


def write_source(data: Path, name: str, boxes: list[Box | None], crowds: tuple[int, ...] = ()) -> None:
    """NAME.json with an image for each of `boxes`, and its images below images/NAME; `crowds`: indices of crowds."""
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    for number, box in enumerate(boxes):
        file = data / "images" / name / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), picture(box, number))
        content["images"].append({"id": number, "file_name": f"{name}/{number}.png", "width": 80, "height": 60})
        if box is not None:
            left, top, right, bottom = box
            bbox = [left, top, right - left, bottom - top]
            crowd = int(number in crowds)
            content["annotations"].append({"image_id": number, "category_id": 1, "bbox": bbox, "iscrowd": crowd})
    file = data / "annotations" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def write_people(data: Path) -> Path:
    """Fills the folder: `street` with 12 images to train on and 4 held back, `empty` with 3 that show nobody."""
    rng = np.random.default_rng(0)
    boxes: list[Box | None] = []
    for _ in range(16):
        left, top = float(rng.integers(5, 40)), float(rng.integers(2, 20))
        boxes.append((left, top, left + 16, top + 36))
    write_source(data, "street_train", boxes[:12], crowds=(11,))
    write_source(data, "street_val", boxes[12:])
    write_source(data, "empty_train", [None] * 3)
    return data
