"""Images with boxes of people in COCO form, as the detector is trained and validated on.

A data folder holds `images/` and `annotations/`: files NAME_train.json and NAME_val.json in COCO's instance format,
whose `file_name`s lie below `images/`. NAME is the source; sources have shares in what is drawn (see `samples`). Only
the category `person` counts. A box with `iscrowd` is neither person nor background. An image without boxes shows no
person.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from keytrack_ros.errors import DataError
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray

TRAIN, VALIDATION = "train", "val"


@dataclass(frozen=True)
class LabelledImage:
    """One image.

    Attributes:
        name: path below `images/`.
        source: name of its annotation file, without the part.
        pixels: [H, W, 3] uint8 BGR.
        boxes: [n, 4] float32 x_min, y_min, x_max, y_max in pixels.
        sure: [n] bool: a person; False: to be neither rewarded nor punished.
    """

    name: str
    source: str
    pixels: ImageArray
    boxes: FloatArray
    sure: BoolArray


def fingerprint(images: Sequence[LabelledImage]) -> str:
    """Hash of names and labels: two runs with the same one were trained on the same data."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{image.name}{image.source}{image.pixels.shape}".encode())
        digest.update(np.round(image.boxes, 1).tobytes() + image.sure.tobytes())
    return digest.hexdigest()[:16]


def load_images(data: Path, part: str) -> list[LabelledImage]:
    """All images of one part (`TRAIN` or `VALIDATION`) of a data folder, decoded.

    Raises:
        DataError: there is no such annotation file, or one is damaged or names an image that is not there.
    """
    files = sorted((data / "annotations").glob(f"*_{part}.json"))
    if not files:
        raise DataError(f"{data}: has no annotations/*_{part}.json; name a folder with images/ and annotations/")
    return [image for file in files for image in _read(data, file, file.stem.removesuffix(f"_{part}"))]


def _read(data: Path, file: Path, source: str) -> list[LabelledImage]:
    boxes = defaultdict(list)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        person = {c["id"] for c in content["categories"] if c["name"] == "person"}
        for item in content["annotations"]:
            if item["category_id"] in person:
                x, y, width, height = item["bbox"]
                boxes[item["image_id"]].append((x, y, x + width, y + height, not item.get("iscrowd", 0)))
        names = [(image["file_name"], boxes[image["id"]]) for image in content["images"]]
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: not COCO annotations: {error!r}") from None
    images = []
    for name, rows in names:
        pixels = cv2.imread(str(data / "images" / name), cv2.IMREAD_COLOR)
        if pixels is None:
            raise DataError(f"{file}: names '{name}', which is not an image below {data / 'images'}")
        table = np.array(rows, np.float32).reshape(-1, 5)
        images.append(LabelledImage(name, source, np.asarray(pixels, np.uint8), table[:, :4], table[:, 4] > 0))
    return images
