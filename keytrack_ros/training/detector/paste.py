"""People pasted over people, so that two who overlap are two boxes (Simple Copy-Paste; Ghiasi et al., 2021).

There are no masks: a person is cut out as a superellipse within the box, with a soft edge. Pieces of images without
people, cut out alike or as cones, posts and boards, are pasted as well: else the edge alone would tell a person, and
trees and signs of a person's proportions are taken for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from keytrack_ros.geometry import box_iou
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray
from keytrack_ros.training.detector.data import LabelledImage

SMALLEST_DONOR = 48
"""Height in pixels of the smallest person that is cut out."""

MAX_DONORS = 5000
"""They stay in memory, about 0.2 MB each."""

SMALLEST_HEIGHT = 24.0
"""Height in pixels of the smallest person that another one is pasted beside."""

HIDDEN = 0.65
"""Of somebody covered by more than this part, nothing is asked."""

_ASPECTS = (1.3, 4.5)
_OFFSETS = (0.25, 0.85)
_RATIOS = (0.85, 1.2)
_FREE_IOU = 0.05


@dataclass(frozen=True)
class Donor:
    """A person cut out: pixels [h, w, 3] uint8 BGR, opacity [h, w, 1] float32 in 0..1."""

    pixels: ImageArray
    opacity: FloatArray


def find_donors(images: Sequence[LabelledImage]) -> list[Donor]:
    """People who stand upright, whole and alone: inside their image, of a person's proportions, apart from others.

    At most `MAX_DONORS`, evenly spaced among all of them.
    """
    places: list[tuple[LabelledImage, list[int]]] = []
    for image in images:
        height, width = image.shape
        overlap = box_iou(image.boxes[:, None], image.boxes[None])
        np.fill_diagonal(overlap, 0)
        for row in np.flatnonzero(image.sure & (overlap.max(1, initial=0) < _FREE_IOU)):
            left, top, right, bottom = place = [round(float(v)) for v in image.boxes[row]]
            w, h = right - left, bottom - top
            inside = left > 1 and top > 1 and right < width - 1 and bottom < height - 1
            if inside and h >= SMALLEST_DONOR and _ASPECTS[0] <= h / max(w, 1) <= _ASPECTS[1]:
                places.append((image, place))
    chosen = np.linspace(0, len(places) - 1, min(len(places), MAX_DONORS)).round().astype(int)
    return [
        Donor(image.pixels[top:bottom, left:right].copy(), silhouette(right - left, bottom - top))
        for image, (left, top, right, bottom) in (places[index] for index in chosen)
    ]


def silhouette(width: int, height: int) -> FloatArray:
    """[height, width, 1] float32: 1 within a superellipse that fills most of the box, falling to 0 at its edge."""
    x = np.abs((np.arange(width) + 0.5) / width * 2 - 1)[None]
    y = np.abs((np.arange(height) + 0.5) / height * 2 - 1)[:, None]
    distance = (x**2.5 + y**4) ** (1 / 3)
    return np.asarray(np.clip((1 - distance) / 0.12, 0, 1)[..., None], np.float32)


def paste_person(
    canvas: ImageArray, boxes: FloatArray, sure: BoolArray, donor: Donor, rng: np.random.Generator
) -> tuple[FloatArray, BoolArray]:
    """Pastes somebody about as large as one of the people in `canvas` ([H, W, 3] uint8, changed in place) over them.

    Returns the boxes [n + 1, 4] and `sure`, the pasted person last; those of whom more than `HIDDEN` is covered become
    doubtful. Where nobody is large enough, or too little of the pasted one lies inside, nothing happens.
    """
    heights = boxes[:, 3] - boxes[:, 1]
    hosts = np.flatnonzero(sure & (heights >= SMALLEST_HEIGHT))
    if not len(hosts):
        return boxes, sure
    host = boxes[int(rng.choice(hosts))]
    size = float(host[3] - host[1]) * rng.uniform(*_RATIOS)
    h = max(round(size), 2)
    w = max(round(size * donor.pixels.shape[1] / donor.pixels.shape[0]), 2)
    side = 1 if rng.random() < 0.5 else -1
    centre = (host[0] + host[2]) / 2 + side * rng.uniform(*_OFFSETS) * (host[2] - host[0] + w) / 2
    left = round(float(centre - w / 2))
    top = round(float(host[3] - h + rng.normal(0, 0.05) * size))
    clipped = _paste(canvas, donor, (left, top, w, h), rng)
    if clipped is None:
        return boxes, sure
    return np.concatenate([boxes, clipped[None]]), np.append(sure & (covered(boxes, clipped) <= HIDDEN), True)


def cut_decoy(image: ImageArray, rng: np.random.Generator) -> Donor:
    """A piece of an image without people, in a person's proportions and one of several shapes, brighter or darker."""
    height, width = image.shape[:2]
    h = max(round(height * rng.uniform(0.2, 1.0)), 2)
    w = min(max(round(h / rng.uniform(*_ASPECTS)), 2), width)
    left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    pixels = image[top : top + h, left : left + w] * rng.uniform(0.3, 1.3)
    return Donor(np.clip(pixels, 0, 255).astype(np.uint8), _decoy_shape(w, h, rng))


def _decoy_shape(width: int, height: int, rng: np.random.Generator) -> FloatArray:
    """[height, width, 1] float32, 0 or 1 (soft for a silhouette): silhouette, cone, post with a board, or rectangle."""
    kind = int(rng.integers(4))
    if kind == 0:
        return silhouette(width, height)
    x = np.abs((np.arange(width) + 0.5) / width * 2 - 1)[None]
    y = ((np.arange(height) + 0.5) / height)[:, None]
    shape = np.ones((height, width), bool)
    if kind == 1:
        shape = x < y ** rng.uniform(0.5, 1.2)
    elif kind == 2:
        shape = (x < rng.uniform(0.1, 0.4)) | (y < rng.uniform(0.15, 0.5)) & (x < 0.95)
    return shape[..., None].astype(np.float32)


def paste_decoy(
    canvas: ImageArray, boxes: FloatArray, sure: BoolArray, decoy: Donor, rng: np.random.Generator
) -> BoolArray:
    """Pastes a decoy somewhere into `canvas` ([H, W, 3] uint8, changed in place).

    It is about as large as one of the people, if there are any. Returns `sure`; people of whom more than `HIDDEN` is
    covered become doubtful.
    """
    height, width = canvas.shape[:2]
    size = height * rng.uniform(0.15, 0.9)
    if sure.any():
        host = boxes[int(rng.choice(np.flatnonzero(sure)))]
        size = float(host[3] - host[1]) * rng.uniform(*_RATIOS)
    h = max(round(size), 2)
    w = max(round(size * decoy.pixels.shape[1] / decoy.pixels.shape[0]), 2)
    left, top = (round(float(rng.uniform(-0.2, 0.8) * side)) for side in (width, height))
    clipped = _paste(canvas, decoy, (left, top, w, h), rng)
    return sure if clipped is None else sure & (covered(boxes, clipped) <= HIDDEN)


def _paste(
    canvas: ImageArray, donor: Donor, place: tuple[int, int, int, int], rng: np.random.Generator
) -> FloatArray | None:
    """Pastes a cut-out at (left, top, width, height), mirrored or not.

    Returns its box [4], clipped to the canvas; None, and nothing is pasted, where less than half of it would be inside.
    """
    left, top, w, h = place
    limit = np.array([canvas.shape[1], canvas.shape[0]] * 2, np.float32)
    clipped = np.clip(np.array([left, top, left + w, top + h], np.float32), 0, limit)
    x0, y0, x1, y1 = (int(v) for v in clipped)
    if (x1 - x0) * (y1 - y0) < 0.5 * w * h:
        return None
    shrink = cv2.INTER_AREA if h < donor.pixels.shape[0] else cv2.INTER_LINEAR
    pixels = cv2.resize(donor.pixels, (w, h), interpolation=shrink)
    opacity = cv2.resize(donor.opacity, (w, h), interpolation=cv2.INTER_LINEAR)[..., None]
    if rng.random() < 0.5:
        pixels, opacity = pixels[:, ::-1], opacity[:, ::-1]
    inner = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    covered_pixels = canvas[y0:y1, x0:x1]
    mixed = covered_pixels + opacity[inner] * (pixels[inner].astype(np.float32) - covered_pixels)
    covered_pixels[:] = np.round(mixed).astype(np.uint8)
    return clipped


def covered(boxes: FloatArray, by: FloatArray) -> FloatArray:
    """[n] part of the area of each of `boxes` [n, 4] that lies in the box `by` [4]."""
    size = np.minimum(boxes[:, 2:], by[2:]) - np.maximum(boxes[:, :2], by[:2])
    area = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-6)
    return np.asarray(np.clip(size, 0, None).prod(1) / area, np.float32)
