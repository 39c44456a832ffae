"""From a person in an image to a crop and its heatmaps, as varied as cameras and detectors are.

The geometry is that of `estimation.crops`, turned, mirrored, scaled and shifted at random.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.estimation.crops import crop_transforms
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray, IntArray
from keytrack_ros.training.detector.paste import silhouette

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""Of ImageNet, RGB 0..255, as in HRNet."""
PADDING = 1.25
"""Growth of a box in HRNet's crops."""
OFFSET = 0.375
"""Heatmap pixel i shows crop pixels 4i … 4i+3, whose middle is 4 (i + 0.375)."""
STRIDE = 4
HIDDEN_WEIGHT = 0.3
"""Of keypoints under a pasted person."""
_UPPER = np.array([k for k, n in enumerate(skeleton.NAMES) if not n.endswith(("hip", "knee", "ankle"))])
_LOWER = np.array([k for k, n in enumerate(skeleton.NAMES) if n.endswith(("hip", "knee", "ankle"))])


@dataclass(frozen=True)
class Sample:
    """A crop [h, w, 3] uint8 BGR, keypoints [15, 2] in it, weights [15], presence [15] (see `People`).

    `matrix` [2, 3] maps pixels of the image to the crop's; `mirrored` says whether left and right are exchanged in it.
    `taught` are a teacher's points [V, 15, 2] in the crop and scores [V, 15], if it was asked.
    """

    crop: ImageArray
    keypoints: FloatArray
    weights: FloatArray
    present: BoolArray
    matrix: FloatArray
    mirrored: bool = False
    taught: tuple[FloatArray, FloatArray] | None = None

    def placed(self, points: FloatArray) -> FloatArray:
        """Keypoints [..., 15, 2] of the person, in pixels of the image, as they are in the crop; float32."""
        points = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.asarray(points[..., list(skeleton.MIRRORED), :] if self.mirrored else points, np.float32)

    def with_answers(self, points: FloatArray, scores: FloatArray) -> Sample:
        """The sample with a teacher's answers: points [V, 15, 2] in pixels of the image, scores [V, 15]."""
        order = list(skeleton.MIRRORED) if self.mirrored else slice(None)
        return replace(self, taught=(self.placed(points), scores[:, order]))


def plain_sample(
    image: ImageArray,
    box: FloatArray,
    keypoints: FloatArray,
    weights: FloatArray,
    present: BoolArray,
    size: tuple[int, int],
) -> Sample:
    """The crop that the estimator would cut; `size` is its width and height."""
    matrix = crop_transforms(box[None], size, PADDING)[0]
    return _cut(image, matrix, keypoints, weights, present, size, None, False)


def augmented_sample(
    image: ImageArray,
    box: FloatArray,
    keypoints: FloatArray,
    weights: FloatArray,
    present: BoolArray,
    size: tuple[int, int],
    rng: np.random.Generator,
    background: ImageArray | None = None,
    occluder: ImageArray | None = None,
) -> Sample:
    """A random variant: 0.5 to 1.5 times the size (detected boxes are a little too large), turn, mirror, shift, half
    body, truncation, occlusion, blur, colour.

    Args:
        background: shown beyond the image's border; black without.
        occluder: somebody else, cut out, who is pasted over the crop; the pasted person's joints are background here.
    """
    known = np.flatnonzero(present & (weights > 0))
    if len(known) >= 8 and rng.random() < 0.25:
        box = _half_body(box, keypoints, known, rng)
    extent = box[2:] - box[:2]
    shift = np.clip(rng.normal(0, 0.06, 2), -0.15, 0.15) * extent
    box = (box + np.tile(shift, 2)).astype(np.float32)
    factor = float(np.clip(np.exp(rng.normal(-0.08, 0.25)), 0.5, 1.5))
    angle = float(np.clip(rng.normal(0, 25), -60, 60)) if rng.random() < 0.4 else 0.0
    sample = _turned(image, box, keypoints, weights, present, size, factor, angle, rng.random() < 0.5, background)
    crop = sample.crop
    visible, weights = sample.present, sample.weights
    if occluder is not None:
        crop, weights = _behind(crop, sample.keypoints, weights, occluder, rng)
    if rng.random() < 0.1:
        crop, visible = _truncated(crop, sample.keypoints, visible, rng)
    if rng.random() < 0.35:
        crop = _occluded(crop, background, rng)
    crop = _coloured(_blurred(crop, rng), rng)
    return replace(sample, crop=crop, weights=weights, present=visible)


def hrnet_sample(
    image: ImageArray,
    box: FloatArray,
    keypoints: FloatArray,
    weights: FloatArray,
    present: BoolArray,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> Sample:
    """A random variant as HRNet was trained on (Sun et al., 2019, §4.1, and the authors' configs).

    Half body in 30 %, crop scaled by N(1, 0.35) within 0.65 … 1.35, turn by N(0, 45°) within 90° in 60 %, mirror in
    50 %.
    """
    known = np.flatnonzero(present & (weights > 0))
    if len(known) > 8 and rng.random() < 0.3:
        box = _half_body(box, keypoints, known, rng)
    scale = float(np.clip(rng.normal(1, 0.35), 0.65, 1.35))
    angle = float(np.clip(rng.normal(0, 45), -90, 90)) if rng.random() < 0.6 else 0.0
    return _turned(image, box, keypoints, weights, present, size, 1 / scale, angle, rng.random() < 0.5, None)


def heatmaps(keypoints: FloatArray, present: BoolArray, size: tuple[int, int], sigma: float) -> FloatArray:
    """Targets [N, 15, h/4, w/4] float32: a Gaussian of height 1 at each present keypoint, not rounded to pixels.

    Args:
        keypoints: [N, 15, 2], crop pixels.
        present: [N, 15].
        size: width and height of the crop.
        sigma: heatmap pixels.
    """
    width, height = size[0] // STRIDE, size[1] // STRIDE
    centres = keypoints / STRIDE - OFFSET
    x = np.exp(-np.square(np.arange(width, dtype=np.float32) - centres[..., :1]) / (2 * sigma**2))
    y = np.exp(-np.square(np.arange(height, dtype=np.float32) - centres[..., 1:]) / (2 * sigma**2))
    return np.asarray(y[..., :, None] * x[..., None, :] * present[..., None, None], np.float32)


def _turned(
    image: ImageArray,
    box: FloatArray,
    keypoints: FloatArray,
    weights: FloatArray,
    present: BoolArray,
    size: tuple[int, int],
    factor: float,
    angle: float,
    mirror: bool,
    background: ImageArray | None,
) -> Sample:
    """The estimator's crop with its content enlarged by `factor`, turned by `angle` degrees and perhaps mirrored."""
    matrix = crop_transforms(box[None], size, PADDING)[0]
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), angle, factor)
    matrix = turn @ np.vstack([matrix, [0, 0, 1]])
    if mirror:
        matrix = np.array([[-1.0, 0, size[0] - 1], [0, 1, 0]]) @ np.vstack([matrix, [0, 0, 1]])
        mirrored = list(skeleton.MIRRORED)
        weights, present = weights[mirrored], present[mirrored]
    return _cut(image, matrix, keypoints, weights, present, size, background, mirror)


def _cut(
    image: ImageArray,
    matrix: FloatArray,
    keypoints: FloatArray,
    weights: FloatArray,
    present: BoolArray,
    size: tuple[int, int],
    background: ImageArray | None,
    mirrored: bool,
) -> Sample:
    """`weights` and `present` are those of the crop's sides already."""
    if background is None:
        crop = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)
    else:
        crop = cv2.resize(background, size)
        cv2.warpAffine(image, matrix, size, dst=crop, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT)
    sample = Sample(np.asarray(crop, np.uint8), keypoints, weights, present, matrix, mirrored)
    points = sample.placed(keypoints)
    inside = ((points >= 0) & (points <= np.array(size) - 1)).all(1)
    return replace(sample, keypoints=points, present=present & inside)


def _half_body(box: FloatArray, keypoints: FloatArray, known: IntArray, rng: np.random.Generator) -> FloatArray:
    """The box of the upper or lower half where it has three known keypoints."""
    half = np.intersect1d(known, _UPPER if rng.random() < 0.9 else _LOWER)
    if len(half) < 3:
        return box
    low, high = keypoints[half].min(0), keypoints[half].max(0)
    margin = 0.15 * max(high - low)
    low, high = low - margin, high + margin
    return box if min(high - low) < 8 else np.concatenate([low, high])


def _truncated(
    crop: ImageArray, keypoints: FloatArray, present: BoolArray, rng: np.random.Generator
) -> tuple[ImageArray, BoolArray]:
    """Black from a random line on, as where a person leaves the image."""
    height, width = crop.shape[:2]
    crop, part = crop.copy(), rng.uniform(0.1, 0.45)
    side = rng.integers(4)
    if side == 0:
        crop[: int(part * height)] = 0
        gone = keypoints[:, 1] < part * height
    elif side == 1:
        crop[int((1 - part) * height) :] = 0
        gone = keypoints[:, 1] > (1 - part) * height
    elif side == 2:
        crop[:, : int(part * width)] = 0
        gone = keypoints[:, 0] < part * width
    else:
        crop[:, int((1 - part) * width) :] = 0
        gone = keypoints[:, 0] > (1 - part) * width
    return crop, present & ~gone


def _occluded(crop: ImageArray, background: ImageArray | None, rng: np.random.Generator) -> ImageArray:
    """One or two rectangles of noise, colour or background; the keypoints below are still asked for."""
    height, width = crop.shape[:2]
    crop = crop.copy()
    for _ in range(rng.integers(1, 3)):
        h, w = (rng.uniform(0.1, 0.35, 2) * (height, width)).astype(int)
        y, x = int(rng.uniform(0, height - h)), int(rng.uniform(0, width - w))
        kind = rng.integers(3)
        if kind == 0 and background is not None:
            crop[y : y + h, x : x + w] = cv2.resize(background, (w, h))
        elif kind == 1:
            crop[y : y + h, x : x + w] = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        else:
            crop[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return crop


def _behind(
    crop: ImageArray, keypoints: FloatArray, weights: FloatArray, occluder: ImageArray, rng: np.random.Generator
) -> tuple[ImageArray, FloatArray]:
    """Somebody pasted over one side of the crop; keypoints below count little, for they can only be guessed."""
    height, width = crop.shape[:2]
    h = max(int(rng.uniform(0.5, 1.0) * height), 4)
    w = min(max(round(h * occluder.shape[1] / occluder.shape[0]), 4), width)
    side = 1 if rng.random() < 0.5 else -1
    left = round(float(width / 2 + side * rng.uniform(0.15, 0.5) * width - w / 2))
    top = round(float(rng.uniform(0, 1.2) * (height - h)))
    x0, x1, y0, y1 = max(left, 0), min(left + w, width), max(top, 0), min(top + h, height)
    inner = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    pixels = cv2.resize(occluder, (w, h), interpolation=cv2.INTER_AREA)[inner].astype(np.float32)
    opacity = silhouette(w, h)[inner]
    crop = crop.copy()
    place = crop[y0:y1, x0:x1]
    place[:] = np.round(place + opacity * (pixels - place)).astype(np.uint8)
    hidden = np.zeros((height, width), bool)
    hidden[y0:y1, x0:x1] = opacity[..., 0] > 0.5
    column, row = np.clip(np.round(keypoints).astype(int), 0, [width - 1, height - 1]).T
    return crop, np.where(hidden[row, column], HIDDEN_WEIGHT * weights, weights).astype(np.float32)


def _blurred(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Of a small or distant person, of motion, of compression; or nothing of these."""
    kind = rng.random()
    height, width = crop.shape[:2]
    blurred: Any = crop
    if kind < 0.25:
        part = rng.uniform(0.2, 0.6)
        small = (max(8, int(part * width)), max(8, int(part * height)))
        blurred = cv2.resize(cv2.resize(crop, small, interpolation=cv2.INTER_AREA), (width, height))
    elif kind < 0.35:
        length = int(rng.integers(3, max(5, width // 20)))
        line = np.zeros((length, length), np.float32)
        line[length // 2] = 1 / length
        turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), rng.uniform(0, 180), 1)
        kernel = np.asarray(cv2.warpAffine(line, turn, (length, length)))
        blurred = cv2.filter2D(crop, -1, kernel / max(kernel.sum(), 1e-6))
    elif kind < 0.45:
        quality = int(rng.integers(15, 60))
        blurred = cv2.imdecode(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return np.asarray(blurred, np.uint8)


def _coloured(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Gain, offset and tint; now and then grey."""
    if rng.random() < 0.1:
        crop = np.repeat(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)[..., None], 3, 2)
    gain = np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.06, 3))
    offset = rng.normal(0, 14) + 0.5 * (1 - gain) * crop.mean()
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(crop, table[None]), np.uint8)


def draw_sample(sample: Sample) -> ImageArray:
    """A crop with its known keypoints and limbs: left red, right green, weak labels as smaller dots."""
    crop = sample.crop.copy()
    shown = sample.present & (sample.weights > 0)
    points = np.round(sample.keypoints).astype(int)
    for a, b in skeleton.EDGES:
        if shown[a] and shown[b]:
            name = skeleton.NAMES[b]
            color = (60, 60, 255) if name.startswith("left") else (60, 220, 60) if "right" in name else (255, 200, 0)
            cv2.line(crop, points[a].tolist(), points[b].tolist(), color, 1, cv2.LINE_AA)
    for k in np.flatnonzero(shown):
        cv2.circle(crop, points[k].tolist(), 3 if sample.weights[k] >= 1 else 2, (0, 255, 255), -1, cv2.LINE_AA)
    return crop
