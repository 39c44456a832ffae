"""HRNet (Sun et al., 2019) in torch: branches of falling resolution side by side, fused again and again.

Module names are those of the published code, so that its checkpoints load strictly. Widths and depths are data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from keytrack_ros.errors import ModelError


@dataclass(frozen=True)
class HRNetShape:
    """Widths and depths of a member of the family.

    Attributes:
        width: channels of the branch at 1/4 of the input; each further branch has twice as many.
        stem: channels of the two strided convolutions at the beginning.
        bottlenecks: blocks of stage 1.
        planes: inner channels of those; they put out four times as many.
        modules: modules of stages 2, 3 and 4.
        blocks: basic blocks in a branch of a module.
    """

    width: int
    stem: int = 64
    bottlenecks: int = 4
    planes: int = 64
    modules: tuple[int, int, int] = (1, 4, 3)
    blocks: int = 4


SHAPES: dict[str, HRNetShape] = {
    "w48": HRNetShape(48),
    "w32": HRNetShape(32),
    "w16_small": HRNetShape(16, stem=32, bottlenecks=1, planes=32, modules=(1, 1, 1), blocks=2),
    "w24_small": HRNetShape(24, stem=32, bottlenecks=1, planes=32, modules=(1, 1, 1), blocks=2),
}
"""W48 and W32 as published; the small W16 and W24 can be trained on a CPU."""


def build_hrnet(variant: str, outputs: int = 17) -> nn.Module:
    """A network with random weights: [N, 3, h, w] → heatmaps [N, outputs, h/4, w/4]; h and w are multiples of 32.

    Args:
        variant: `w48`, `w32`, `w24_small` or `w16_small`.
        outputs: heatmaps; 17 in the published checkpoints (COCO, PoseTrack 2018), 15 for the keypoints of PoseTrack.

    Raises:
        ModelError: no such variant.
    """
    if variant not in SHAPES:
        raise ModelError(f"HRNet variant '{variant}' is not known; known are {', '.join(SHAPES)}")
    return HRNet(SHAPES[variant], outputs)


class HRNet(nn.Module):
    """The whole network; see `build_hrnet`."""

    def __init__(self, shape: HRNetShape, outputs: int) -> None:
        super().__init__()
        widths = [shape.width * 2**branch for branch in range(4)]
        self.conv1 = _conv3(3, shape.stem, stride=2)
        self.bn1 = nn.BatchNorm2d(shape.stem)
        self.conv2 = _conv3(shape.stem, shape.stem, stride=2)
        self.bn2 = nn.BatchNorm2d(shape.stem)
        self.relu = nn.ReLU(inplace=True)
        first = [Bottleneck(shape.stem, shape.planes)]
        first += [Bottleneck(4 * shape.planes, shape.planes) for _ in range(shape.bottlenecks - 1)]
        self.layer1 = nn.Sequential(*first)
        self.transition1 = _transition([4 * shape.planes], widths[:2])
        self.stage2 = _stage(widths[:2], shape.modules[0], shape.blocks)
        self.transition2 = _transition(widths[:2], widths[:3])
        self.stage3 = _stage(widths[:3], shape.modules[1], shape.blocks)
        self.transition3 = _transition(widths[:3], widths)
        self.stage4 = _stage(widths, shape.modules[2], shape.blocks, only_first_output=True)
        self.final_layer = nn.Conv2d(widths[0], outputs, 1)
        self.apply(_initialise)
        nn.init.normal_(self.final_layer.weight, std=0.001)  # heatmaps begin near nothing, as their targets are

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.relu(self.bn2(self.conv2(x)))
        branches = [self.layer1(x)]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            branches = stage(_cross(transition, branches))
        return self.final_layer(branches[0])  # type: ignore[no-any-return]


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut, [N, c, h, w] → the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3(channels, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + x)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 and a shortcut, [N, c, h, w] → [N, 4 planes, h, w]."""

    def __init__(self, channels: int, planes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _conv_bn(channels, 4 * planes) if channels != 4 * planes else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return]


class HighResolutionModule(nn.Module):
    """Basic blocks in each branch, then every branch gets the sum of all, resized.

    Branch b is [N, widths[b], h / 2^b, w / 2^b]. The last module of stage 4 puts out the first branch alone.
    """

    def __init__(self, widths: Sequence[int], blocks: int, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(width) for _ in range(blocks))) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList([_resize(source, target, widths) for source in range(len(widths))])  # type: ignore[misc]
            for target in range(outputs)
        )
        self.relu = nn.ReLU()

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        values = [branch(x) for branch, x in zip(self.branches, inputs, strict=True)]
        outputs = []
        for target, layers in enumerate(self.fuse_layers):
            terms = [x if source == target else layers[source](x) for source, x in enumerate(values)]  # type: ignore[index]
            outputs.append(self.relu(sum(terms[1:], terms[0])))
        return outputs


def _stage(widths: Sequence[int], modules: int, blocks: int, only_first_output: bool = False) -> nn.Sequential:
    last = 1 if only_first_output else len(widths)
    counts = [len(widths)] * (modules - 1) + [last]
    return nn.Sequential(*(HighResolutionModule(widths, blocks, outputs) for outputs in counts))


def _transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """From the branches of a stage to those of the next, which has one more; None where a branch stays as it is."""
    layers: list[nn.Module | None] = []
    for branch, width in enumerate(after):
        if branch >= len(before):
            layers.append(nn.Sequential(_conv_bn(before[-1], width, kernel=3, stride=2, relu=True)))
        elif before[branch] != width:
            layers.append(_conv_bn(before[branch], width, kernel=3, relu=True))
        else:
            layers.append(None)
    return nn.ModuleList(layers)  # type: ignore[arg-type]


def _cross(transition: nn.ModuleList, branches: list[Tensor]) -> list[Tensor]:
    crossed = []
    for branch, layer in enumerate(transition):
        source = branches[min(branch, len(branches) - 1)]
        crossed.append(source if layer is None else layer(source))
    return crossed


def _resize(source: int, target: int, widths: Sequence[int]) -> nn.Module | None:
    """Brings branch `source` to the size and width of branch `target`."""
    if source == target:
        return None
    if source > target:
        layers = list(_conv_bn(widths[source], widths[target]))
        return nn.Sequential(*layers, nn.Upsample(scale_factor=2 ** (source - target), mode="nearest"))
    steps = [_conv_bn(widths[source], widths[source], 3, 2, relu=True) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, _conv_bn(widths[source], widths[target], 3, 2))


def _conv_bn(before: int, after: int, kernel: int = 1, stride: int = 1, relu: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def _conv3(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, 1, bias=False)


def _initialise(module: nn.Module) -> None:
    """For training from scratch (He et al., 2015); published checkpoints overwrite it."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
