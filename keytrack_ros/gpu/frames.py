"""Frames on the device: letterbox of the detector, crops of the pose network."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from keytrack_ros.inference.cards import ImageInput


class NetworkInput:
    """Images of the network's size → its input: channel order, mean and standard deviation of the model file."""

    def __init__(self, about: ImageInput, device: torch.device) -> None:
        self._swap = about.color == "rgb"
        self._mean = torch.tensor(about.mean, device=device)[:, None, None]
        self._gain = 1 / torch.tensor(about.std, device=device)[:, None, None]

    def __call__(self, images_bgr: Tensor) -> Tensor:
        """[N, 3, h, w] float32, 0..255 → the same shape."""
        images = images_bgr.flip(1) if self._swap else images_bgr
        return (images - self._mean) * self._gain


def letterbox(frame: Tensor, size: tuple[int, int], fill: int) -> tuple[Tensor, float]:
    """As `detection.yolox.letterbox`: scaled to fit, in the top left corner, the rest filled.

    The integer arithmetic of `cv2.resize`: with exact weights a tenth of the pixels would differ by a grey level, boxes
    by a tenth of a pixel, and sometimes a keypoint between two maxima by much more. Downscaled frames are equal bit by
    bit; of upscaled frames a few pixels in 1,000 differ by one level.

    Args:
        frame: [3, H, W] float32, whole numbers 0..255.
        size: width and height of the result.
        fill: grey level of the rest.

    Returns [3, height, width] float32 and the scale: network pixels = scale · frame pixels.
    """
    height, width = frame.shape[1:]
    scale = min(size[0] / width, size[1] / height)
    rows, columns = max(round(height * scale), 1), max(round(width * scale), 1)
    left, right, left_weight, right_weight = _taps(columns, width, frame.device)
    upper, lower, upper_weight, lower_weight = _taps(rows, height, frame.device)
    whole = frame.int()
    wide = whole[:, :, left] * left_weight + whole[:, :, right] * right_weight >> 4  # [3, H, columns]
    above = wide[:, upper] * upper_weight[:, None] >> 16
    below = wide[:, lower] * lower_weight[:, None] >> 16
    boxed = frame.new_full((3, size[1], size[0]), fill)
    boxed[:, :rows, :columns] = above + below + 2 >> 2
    return boxed, scale


@lru_cache(maxsize=16)
def _taps(count: int, source: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each of `count` pixels its two neighbours among `source` pixels, and their weights, which add up to 2048.

    Cached, since a copy to the device synchronises.
    """
    place = ((np.arange(count) + 0.5) * (source / count) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    part = np.where((first < 0) | (first >= source - 1), 0, place - first).astype(np.float32)
    first = np.clip(first, 0, source - 1)
    taps = [first, np.minimum(first + 1, source - 1)]
    weights = [np.rint(w * np.float32(2048)).astype(np.int32) for w in (1 - part, part)]
    one, other, weight, other_weight = (torch.from_numpy(array).to(device) for array in (*taps, *weights))
    return one, other, weight, other_weight


def crop_transforms(boxes: Tensor, size: tuple[int, int], padding: float) -> Tensor:
    """As `estimation.crops.crop_transforms`, without the zeros: [N, 3] float64 scale, shift in x, shift in y.

    crop point = scale · frame point + shift.
    """
    width, height = size
    extent = (boxes[:, 2:] - boxes[:, :2]).double()
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    scale = width / (torch.maximum(extent[:, 0], extent[:, 1] * (width / height)) * padding)
    shift = [side / 2 - scale * middle for side, middle in zip(size, centre.double().unbind(1), strict=True)]
    return torch.stack([scale, *shift], 1)


def crop_image(frame: Tensor, transforms: Tensor, size: tuple[int, int]) -> Tensor:
    """The crops, bilinear, rounded to whole grey levels; black outside the frame.

    As `cv2.warpAffine` of OpenCV 5: one grey level of difference on one pixel in 10,000. OpenCV 4 rounds places to
    1/32 px and differs by up to 4 levels at sharp edges.

    Args:
        frame: [3, H, W] float32.
        transforms: [N, 3], see `crop_transforms`.
        size: width and height of a crop.

    Returns [N, 3, height, width] float32.
    """
    scale = transforms[:, :1]
    places = []
    for axis, (crop_side, side) in enumerate(zip(size, (frame.shape[2], frame.shape[1]), strict=True)):
        pixels = torch.arange(crop_side, device=frame.device, dtype=torch.float64)
        place = (pixels - transforms[:, 1 + axis : 2 + axis]) / scale  # [N, crop_side], frame pixels
        places.append(((2 * place + 1) / side - 1).float())  # grid_sample's −1 … 1 reach over the pixels' outer edges
    x, y = places
    shape = (len(transforms), size[1], size[0])
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], 3)
    frames = frame.expand(len(transforms), -1, -1, -1)
    return functional.grid_sample(frames, grid, padding_mode="zeros", align_corners=False).round_()


def to_frame(points: Tensor, transforms: Tensor) -> Tensor:
    """Crop points [N, K, 2] in frame pixels, float32: the inverse of `crop_transforms`."""
    return ((points - transforms[:, None, 1:]) / transforms[:, None, :1]).float()
