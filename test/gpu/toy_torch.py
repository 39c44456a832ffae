"""The toy world's two networks in torch: the same numbers as the graphs of `test.toy`, read from them."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from keytrack_ros.estimation import EstimatorOptions
from keytrack_ros.gpu.batches import BatchedNetwork
from keytrack_ros.gpu.detection import DeviceDetector
from keytrack_ros.gpu.estimation import DeviceEstimator
from keytrack_ros.gpu.finder import DeviceFinder
from keytrack_ros.inference.cards import DetectorCard, PoseCard
from keytrack_ros.inference.registry import find_model
from test import toy


def toy_finder(folder: Path, device: torch.device, cameras: int = 1) -> DeviceFinder:
    """A finder of the toy world's people on a device; `folder` is what `toy.write_networks` wrote."""
    detector = find_model(DetectorCard, toy.DETECTOR, [folder])
    pose = find_model(PoseCard, toy.ESTIMATOR, [folder])
    return DeviceFinder(
        DeviceDetector(detector, BatchedNetwork(ToyDetector(detector.path), (3, 416, 416), device, False), cameras),
        DeviceEstimator(pose, BatchedNetwork(ToyPose(pose.path), (3, 64, 48), device, False), EstimatorOptions()),
        device,
    )


class _Toy(nn.Module):
    def __init__(self, file: Path) -> None:
        super().__init__()
        for item in onnx.load(file).graph.initializer:
            self.register_buffer(item.name, torch.from_numpy(onnx.numpy_helper.to_array(item).copy()))


class ToyDetector(_Toy):
    def forward(self, image: Tensor) -> Tensor:
        mean = functional.avg_pool2d(image.mean(1, keepdim=True), (88, 32), 8, (40, 12))
        tilted = (mean * self.gain + self.bias).clamp(0, 1) * self.tilt
        objectness = tilted * (tilted >= functional.max_pool2d(tilted, (9, 5), 1, (4, 2)))
        count = len(image)
        parts = [self.fixed.expand(count, -1, -1), objectness.reshape(count, -1, 1)]
        return torch.cat([*parts, self.get_buffer("class").expand(count, -1, -1)], 2)


class ToyPose(_Toy):
    def forward(self, crops: Tensor) -> Tensor:
        return self.maps * (crops * self.middle).sum((1, 2, 3), keepdim=True)
