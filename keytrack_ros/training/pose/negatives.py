"""Boxes without a person, in which the network learns to show nothing: a pose's mean score then says whether there is
somebody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keytrack_ros.poses import FloatArray, ImageArray
from keytrack_ros.training.pose.data import People

TOUCHED = 0.05
"""A box is background if no person's box covers more than this part of it."""

_TRIES = 12
_SIDES = (24.0, 0.9)  # of a box: at least so many pixels high, at most this part of the image


@dataclass(frozen=True)
class Background:
    """An image [H, W, 3] uint8 BGR and a box [4] float32 in it that shows no person."""

    image: ImageArray
    box: FloatArray


def draw_background(people: People, held_back: bool, rng: np.random.Generator) -> Background | None:
    """A box shaped like a person's, somewhere in an image of one part where nobody is; None where none was found.

    Images in which nobody is at all are as likely as all others together, if there are any.
    """
    pictures = np.flatnonzero(people.held_back_pictures == held_back)
    empty = np.array([k for k in pictures if not len(people.taken[k])], np.int64)
    shapes = people.boxes[people.rows(held_back)]
    if not len(shapes):
        return None
    for _ in range(_TRIES):
        index = int(rng.choice(empty if len(empty) and rng.random() < 0.5 else pictures))
        image = people.pictures[index]
        extent = np.array([image.shape[1], image.shape[0]], np.float32)
        shape = shapes[int(rng.integers(len(shapes)))]
        aspect = (shape[2] - shape[0]) / (shape[3] - shape[1])
        largest = _SIDES[1] * min(extent[1], extent[0] / aspect)
        if largest <= _SIDES[0]:
            continue
        height = float(np.exp(rng.uniform(np.log(_SIDES[0]), np.log(largest))))
        size = np.array([height * aspect, height], np.float32)
        corner = rng.uniform(0, 1, 2) * (extent - size)
        box = np.concatenate([corner, corner + size]).astype(np.float32)
        if touched(box, people.taken[index]) <= TOUCHED:
            return Background(image, box)
    return None


def touched(box: FloatArray, taken: FloatArray) -> float:
    """Largest part of `box` [4] that one of the boxes `taken` [n, 4] covers."""
    size = np.minimum(taken[:, 2:], box[2:]) - np.maximum(taken[:, :2], box[:2])
    return float((np.clip(size, 0, None).prod(1) / max((box[2:] - box[:2]).prod(), 1e-6)).max(initial=0))
