"""Heatmaps → keypoints on the device: the same arithmetic as `estimation.heatmaps`.

Nothing here synchronises: constants that depend on the model file alone are copied to the device once.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from keytrack_ros.estimation.heatmaps import derivatives

_REACH = 2
"""Heatmap pixels on each side of the maximum that DARK's derivatives read."""


def average_flipped(heatmaps: Tensor, flipped: Tensor, mirrored: Tensor, shift: int) -> Tensor:
    """As `estimation.heatmaps.average_flipped`; maps [N, J, h, w], `mirrored` [J] int64 on the device."""
    back = flipped.index_select(1, mirrored).flip(3)
    if shift:
        back = torch.cat([back[..., :shift], back[..., :-shift]], 3)
    return (heatmaps + back) / 2


class Decoder:
    """Place and height of each map's maximum, as `estimation.heatmaps.decode`.

    Args:
        decoder: `quarter`, `dark` or `argmax`.
        blur_sigma: Gaussian smoothing beforehand, heatmap pixels.
        dark_kernel: side of the smoothing kernel of `dark`, odd.
        device: where the maps will be.
    """

    def __init__(self, decoder: str, blur_sigma: float, dark_kernel: int, device: torch.device) -> None:
        self._decoder = decoder
        self._blur: Tensor | None = None
        if blur_sigma > 0:
            side = round(8 * blur_sigma + 1) | 1  # as OpenCV chooses it for float images
            self._blur = torch.from_numpy(cv2.getGaussianKernel(side, blur_sigma, cv2.CV_32F)[:, 0]).to(device)
        weights = np.pad(cv2.getGaussianKernel(dark_kernel, 0)[:, 0], (0, 2 * _REACH))
        band = np.stack([np.roll(weights, shift) for shift in range(2 * _REACH + 1)])
        self._band = torch.from_numpy(band).to(device)  # [5, dark_kernel + 4]

    def __call__(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Maps [N, K, h, w] float32 → points [N, K, 2] (x, y, heatmap pixels, 0 = first pixel), scores [N, K] 0..1."""
        count, joints, height, width = heatmaps.shape
        maps = heatmaps.reshape(count * joints, height, width)
        if self._blur is not None:
            maps = _blurred(maps, self._blur)
        best = maps.flatten(1).argmax(1)
        rows = torch.arange(len(maps), device=maps.device)
        x, y = best % width, best // width
        scores = maps[rows, y, x].clamp(0, 1)
        points = torch.stack([x, y], 1).float()
        if self._decoder == "quarter":
            inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
            left, right = (x - 1).clamp(min=0), (x + 1).clamp(max=width - 1)
            above, below = (y - 1).clamp(min=0), (y + 1).clamp(max=height - 1)
            slope_x = maps[rows, y, right] - maps[rows, y, left]
            slope_y = maps[rows, below, x] - maps[rows, above, x]
            points += 0.25 * torch.stack([slope_x, slope_y], 1).sign() * inside[:, None]
        elif self._decoder == "dark":
            points += _dark_offsets(maps, x, y, self._band)
        return points.reshape(count, joints, 2), scores.reshape(count, joints)


def _blurred(maps: Tensor, weights: Tensor) -> Tensor:
    """[M, h, w] smoothed as `cv2.GaussianBlur` does it, mirrored about the border pixels."""
    padded = functional.pad(maps[:, None], (len(weights) // 2,) * 4, mode="reflect")
    return functional.conv2d(functional.conv2d(padded, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))[:, 0]


def _dark_offsets(maps: Tensor, x: Tensor, y: Tensor, band: Tensor) -> Tensor:
    """As `estimation.heatmaps.dark_offsets`: from maxima (x, y) [M] of maps [M, h, w] to the Gaussians' centres [M, 2].

    All maps are computed, whether their maximum lies inside or not: selecting them would synchronise.
    """
    height, width = maps.shape[1:]
    inside = (x >= _REACH) & (x < width - _REACH) & (y >= _REACH) & (y < height - _REACH)
    logarithm = _smoothed_around(maps, x, y, band).clamp(min=1e-10).log()  # [M, 5, 5]; the maximum in the middle
    dx, dy, dxx, dyy, dxy = derivatives(logarithm)
    determinant = dxx * dyy - dxy**2
    hill = inside & (dxx < 0) & (determinant > 0)
    divisor = torch.where(hill, determinant, 1)
    step = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], 1) / divisor[:, None]
    near = hill & (step.abs() <= _REACH).all(1)
    return torch.where(near[:, None], step, 0).float()


def _smoothed_around(maps: Tensor, x: Tensor, y: Tensor, band: Tensor) -> Tensor:
    """The smoothed maps, only the 5 × 5 pixels around (x, y), [M, 5, 5] float64; beyond the border is 0."""
    side = band.shape[1]
    span = torch.arange(side, device=maps.device)
    rows = torch.arange(len(maps), device=maps.device)[:, None, None]
    padded = functional.pad(maps, (side // 2,) * 4)
    patches = padded[rows, (y[:, None] + span)[:, :, None], (x[:, None] + span)[:, None, :]].double()
    return band @ patches @ band.T
