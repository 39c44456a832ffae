"""Training images of the detector: collages of several source images at several scales, with changed colours.

A canvas is one cell, 2 × 2, 3 × 3 or 4 × 4 cells whose borders are drawn at random (mosaic; Bochkovskiy et al., 2020).
Each cell shows part of one source image, mirrored or not, at a scale drawn around the one that fits the cell. Small
people so come from sharp images made smaller, as they do with a camera. People are pasted over people (see `paste`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from keytrack_ros.poses import BoolArray, FloatArray, ImageArray
from keytrack_ros.training.common.log import sheet
from keytrack_ros.training.common.shares import source_shares
from keytrack_ros.training.detector.data import LabelledImage
from keytrack_ros.training.detector.paste import cut_decoy, find_donors, paste_decoy, paste_person

FILL = 114
"""Grey of what no image covers, as at inference."""

INPUT_MEAN, INPUT_STD = 114.0, 58.0
"""Normalisation of the network's input, all channels: the fill becomes 0, which is what convolutions pad with."""

GRIDS = (1, 2, 3, 4)
GRID_SHARES = (0.50, 0.30, 0.14, 0.06)
"""Side of the collage in cells, and how often: the more cells, the smaller the people."""

PASTED = 0.35
"""Part of the cells with people into which further people are pasted."""

DECOYS = 0.3
"""Part of the cells into which pieces of images without people are pasted."""

SCALES = (0.65, 1.8)
"""Range of the scale, relative to the one at which the image fits the cell (mean of inside and covering)."""

LARGEST_SCALE = 3.0
ASPECT_SIGMA = 0.12
"""Standard deviation of the logarithm of the change of aspect: some data sets stretch their images."""

FEWEST_PIXELS = 6.0
"""People whose shorter side is smaller than this are not asked for."""

CUT_AWAY = 0.4
"""People of whom less than this part is left by the border of a cell are not asked for."""


@dataclass(frozen=True)
class Sample:
    """A training image: pixels [S, S, 3] uint8 BGR, boxes [n, 4] float32, sure [n] bool (as in `LabelledImage`)."""

    pixels: ImageArray
    boxes: FloatArray
    sure: BoolArray


class SampleMaker:
    """Draws training images. Everything drawn comes from the generator given to each call.

    Args:
        images: what is drawn from.
        shares: how often a cell shows an image of a source, by source, see `source_shares`.
    """

    def __init__(self, images: Sequence[LabelledImage], shares: Mapping[str, float] | None = None) -> None:
        self._images = images
        sources = np.array([image.source for image in images])
        self._sources = sorted(set(sources.tolist()))
        self._rows = [np.flatnonzero(sources == source) for source in self._sources]
        self._shares = source_shares(self._sources, [len(rows) for rows in self._rows], shares or {})
        self._donors = find_donors(images)
        self._empty = [image for image in images if not len(image.boxes)]

    def sample(self, size: int, rng: np.random.Generator) -> Sample:
        """A collage of `size` × `size` pixels."""
        grid = int(rng.choice(GRIDS, p=GRID_SHARES))
        canvas = np.full((size, size, 3), FILL, np.uint8)
        boxes, sure = [np.zeros((0, 4), np.float32)], [np.zeros(0, bool)]
        columns, rows = _borders(size, grid, rng), _borders(size, grid, rng)
        for top, bottom in pairwise(rows):
            for left, right in pairwise(columns):
                image = self._drawn(rng)
                matrix = placement(image.pixels.shape[:2], (bottom - top, right - left), rng)
                cell = drawn(image.pixels, matrix, (right - left, bottom - top))
                found, person = moved(image.boxes, image.sure, matrix, (right - left, bottom - top))
                if self._empty and rng.random() < DECOYS:
                    for _ in range(int(rng.integers(1, 4))):
                        decoy = cut_decoy(self._empty[int(rng.integers(len(self._empty)))].pixels, rng)
                        person = paste_decoy(cell, found, person, decoy, rng)
                if self._donors and rng.random() < PASTED:
                    for _ in range(int(rng.integers(1, 4))):
                        donor = self._donors[int(rng.integers(len(self._donors)))]
                        found, person = paste_person(cell, found, person, donor, rng)
                canvas[top:bottom, left:right] = recoloured(cell, rng)
                boxes.append(found + np.array([left, top, left, top], np.float32))
                sure.append(person)
        return Sample(canvas, np.concatenate(boxes), np.concatenate(sure))

    def _drawn(self, rng: np.random.Generator) -> LabelledImage:
        rows = self._rows[int(rng.choice(len(self._rows), p=self._shares))]
        return self._images[int(rng.choice(rows))]


def _borders(size: int, grid: int, rng: np.random.Generator) -> list[int]:
    """0, the inner borders (each within 40 % of a cell around its even place), `size`."""
    inner = [round(size * (k + rng.uniform(-0.4, 0.4)) / grid) for k in range(1, grid)]
    return [0, *inner, size]


def placement(source: tuple[int, int], cell: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """[2, 3] float32, affine map from pixels of an image of (height, width) `source` to pixels of a cell.

    Pixel coordinates are continuous: 0 is the left edge of the first pixel, as for boxes.
    """
    height, width = source
    ratios = cell[1] / width, cell[0] / height
    fit = np.sqrt(min(ratios) * max(ratios))
    scale = min(fit * np.exp(rng.uniform(*np.log(SCALES))), LARGEST_SCALE)
    stretch = np.exp(rng.normal(0, ASPECT_SIGMA) / 2)
    x_scale, y_scale = scale * stretch, scale / stretch
    # Where the image is smaller than the cell it lies inside it; where it is larger it covers it.
    left = rng.uniform(*sorted((0.0, cell[1] - x_scale * width)))
    top = rng.uniform(*sorted((0.0, cell[0] - y_scale * height)))
    matrix = np.array([[x_scale, 0, left], [0, y_scale, top]])
    if rng.random() < 0.5:
        matrix[0] = -x_scale, 0, left + x_scale * width
    return matrix.astype(np.float32)


def drawn(pixels: ImageArray, matrix: FloatArray, size: tuple[int, int]) -> ImageArray:
    """The image under the map, [height, width, 3] for `size` = (width, height); `FILL` where it does not reach."""
    shifted = matrix.astype(np.float64)
    # OpenCV's coordinate 0 is the middle of the first pixel.
    shifted[:, 2] += shifted[:, :2].sum(1) / 2 - 0.5
    result = cv2.warpAffine(
        pixels, shifted, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(FILL, FILL, FILL)
    )
    return np.asarray(result, np.uint8)


def moved(
    boxes: FloatArray, sure: BoolArray, matrix: FloatArray, size: tuple[int, int]
) -> tuple[FloatArray, BoolArray]:
    """Boxes under the map, clipped to (width, height) `size`.

    A box of which less than `CUT_AWAY` is left, or that is too small, stays as a doubtful one; nothing of a box
    outside, or less than a pixel, is dropped.
    """
    corners = boxes.reshape(-1, 2, 2) * matrix[[0, 1], [0, 1]] + matrix[:, 2]  # [n, 2, 2]; no rotation in the map
    whole = np.concatenate([corners.min(1), corners.max(1)], 1).astype(np.float32)
    clipped = np.clip(whole, 0, np.array([*size, *size], np.float32))
    before, after = whole[:, 2:] - whole[:, :2], clipped[:, 2:] - clipped[:, :2]
    left = after.prod(1) / np.maximum(before.prod(1), 1e-6)
    asked = sure & (left >= CUT_AWAY) & (after.min(1) >= FEWEST_PIXELS)
    seen = after.min(1) >= 1
    return clipped[seen], asked[seen]


def recoloured(pixels: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Other brightness, contrast, colour balance and gamma; at times grey, blurred, noisy or compressed."""
    gain = np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.06, 3))
    levels = (np.arange(256)[:, None] / 255) ** np.exp(rng.normal(0, 0.15))
    table = np.clip(255 * gain * (levels - 0.5) + 127.5 + rng.normal(0, 18), 0, 255).astype(np.uint8)  # [256, 3]
    result = np.asarray(cv2.LUT(pixels, table[:, None]), np.uint8)
    if rng.random() < 0.25:
        grey = cv2.cvtColor(result, cv2.COLOR_BGR2GRAY)[..., None]
        mix = 1.0 if rng.random() < 0.3 else rng.uniform(0.2, 0.9)
        result = np.asarray(cv2.addWeighted(np.repeat(grey, 3, 2), mix, result, 1 - mix, 0), np.uint8)
    draw = rng.random()
    if draw < 0.1:
        result = np.asarray(cv2.GaussianBlur(result, (0, 0), rng.uniform(0.4, 1.6)), np.uint8)
    elif draw < 0.18:
        _, data = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 80))])
        result = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    elif draw < 0.24:
        noise = rng.integers(-12, 13, result.shape, np.int16)
        result = np.clip(result.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    return result


def draw_samples(maker: SampleMaker, size: int, seed: int, count: int = 16) -> ImageArray:
    """A sheet of training images with their boxes: green for people, grey for doubtful ones; to be looked at."""
    tiles = []
    for number in range(count):
        sample = maker.sample(size, np.random.default_rng((seed, number)))
        tile = sample.pixels.copy()
        for box, person in zip(sample.boxes, sample.sure, strict=True):
            left, top, right, bottom = (round(float(v)) for v in box)
            cv2.rectangle(tile, (left, top), (right, bottom), (0, 220, 0) if person else (160, 160, 160), 1)
        tiles.append(tile)
    return sheet(tiles, columns=max(int(np.ceil(np.sqrt(count))), 1))
