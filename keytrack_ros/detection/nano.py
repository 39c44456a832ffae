"""The project's own person detector: a small anchor-free network of plain convolutions, for torch.

Built for CPUs: 3×3 convolutions of few channels, ReLU (fused into the convolution by every runtime). The backbone is
made of cross-stage-partial stages (Wang et al., 2020), the neck is a feature pyramid (Lin et al., 2017), the head is
decoupled and without anchors as in YOLOX (Ge et al., 2021); output and decoding are YOLOX's, with one class.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
ROW = 6
"""Numbers of an output row: cx, cy, w, h, objectness, class score."""

_PRIOR = 0.01
"""Objectness of an untrained network (Lin et al., 2017, §4.1)."""


class NanoDetector(nn.Module):
    """Image → boxes of people.

    Args:
        widths: channels of the features at strides 2, 4, 8, 16 and 32.
        depths: residual units of the stages at strides 4, 8, 16 and 32.
        neck: channels of neck and head.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int, int] = (16, 32, 64, 128, 160),
        depths: tuple[int, int, int, int] = (1, 2, 2, 1),
        neck: int = 48,
    ) -> None:
        super().__init__()
        self.stem = ConvUnit(3, widths[0], 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(ConvUnit(before, width, 3, 2), PartialStage(width, depth))
            for before, width, depth in zip(widths[:4], widths[1:], depths, strict=True)
        )
        self.pooling = PyramidPooling(widths[4])
        self.laterals = nn.ModuleList(ConvUnit(width, neck, 1) for width in widths[2:])
        self.smooth = nn.ModuleList(ConvUnit(neck, neck, 3) for _ in STRIDES)
        self.heads = nn.ModuleList(Head(neck) for _ in STRIDES)

    def forward(self, image: Tensor) -> Tensor:
        """[N, 3, H, W] (multiples of 32) → [N, cells, 6] for decoder `yolox`, strides 8, 16, 32, each row-major."""
        return to_rows(self.maps(image))

    def maps(self, image: Tensor) -> list[Tensor]:
        """[N, 3, H, W] → raw [N, 5, H / stride, W / stride] for every stride: cx, cy, w, h, logit of a person."""
        features = self.stem(image)
        pyramid = []
        for stage in self.stages:
            features = stage(features)
            pyramid.append(features)
        pyramid = [pyramid[1], pyramid[2], self.pooling(pyramid[3])]
        top = None
        maps: list[Tensor] = []
        for level in (2, 1, 0):
            lateral = self.laterals[level](pyramid[level])
            if top is not None:
                lateral = lateral + nn.functional.interpolate(top, scale_factor=2.0, mode="nearest")
            top = self.smooth[level](lateral)
            maps.insert(0, self.heads[level](top))
        return maps


def to_rows(maps: list[Tensor]) -> Tensor:
    """Raw maps as `NanoDetector.maps` gives them → [N, cells, 6] rows for decoder `yolox`.

    The network has one score; it stands as objectness, and the class score beside it is 1.
    """
    rows = torch.cat([level.flatten(2) for level in maps], 2).permute(0, 2, 1)  # [N, cells, 5]
    score = rows[..., 4:].sigmoid()
    return torch.cat([rows[..., :4], score, torch.ones_like(score)], 2)


class ConvUnit(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(after, momentum=0.03),
            nn.ReLU(inplace=True),
        )


class PartialStage(nn.Module):
    """Half of the channels pass through residual units of two 3×3 convolutions; all parts are joined by a 1×1."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        half = width // 2
        self.halves = [width - half, half]
        self.split = ConvUnit(width, width, 1)
        self.units = nn.ModuleList(
            nn.Sequential(ConvUnit(half, half, 3), ConvUnit(half, half, 3)) for _ in range(depth)
        )
        self.join = ConvUnit(width + half, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        features = self.split(features)
        _, half = torch.split(features, self.halves, 1)
        for unit in self.units:
            half = half + unit(half)
        return self.join(torch.cat([features, half], 1))  # type: ignore[no-any-return]


class PyramidPooling(nn.Module):
    """Maxima over 5, 9 and 13 cells beside the features themselves, so that the coarsest level sees whole people."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.reduce = ConvUnit(width, half, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.join = ConvUnit(4 * half, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        parts = [self.reduce(features)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.join(torch.cat(parts, 1))  # type: ignore[no-any-return]


class Head(nn.Module):
    """One branch tells people from the rest, the other one places the box."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # A new network's boxes lie around their cells' centres, four strides large.
        self.score = _branch(width, [-math.log((1 - _PRIOR) / _PRIOR)])
        self.box = _branch(width, [0.5, 0.5, math.log(4), math.log(4)])

    def forward(self, features: Tensor) -> Tensor:
        """[N, width, h, w] → [N, 5, h, w]: cx, cy, w, h, logit."""
        return torch.cat([self.box(features), self.score(features)], 1)


def _branch(width: int, bias: list[float]) -> nn.Sequential:
    """A 3×3 unit and a 1×1 convolution with as many outputs as `bias` has numbers."""
    unit, last = ConvUnit(width, width, 3), nn.Conv2d(width, len(bias), 1)
    last.bias = nn.Parameter(torch.tensor(bias))
    return nn.Sequential(unit, last)
