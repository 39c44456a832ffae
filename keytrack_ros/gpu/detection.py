"""The person detector on the device; the frames of all cameras form one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from keytrack_ros.detection import DetectorOptions
from keytrack_ros.detection.yolox import cell_grid
from keytrack_ros.errors import ModelError
from keytrack_ros.gpu.batches import BatchedNetwork
from keytrack_ros.gpu.boxes import box_iou, decode, suppress
from keytrack_ros.gpu.frames import NetworkInput, letterbox
from keytrack_ros.inference.cards import DetectorCard


class DeviceDetector:
    """Person boxes in frames that are on the device.

    Args:
        card: model file of the detector.
        network: the network.
        cameras: maximum number of frames in a batch.

    Raises:
        ModelError: the network's output does not fit its model file.
    """

    def __init__(self, card: DetectorCard, network: BatchedNetwork, cameras: int) -> None:
        self.card = card
        self._network = network
        self._cameras = cameras
        self._input = NetworkInput(card.input, network.device)
        grid = cell_grid(card.input.size, card.strides)
        self._corners, self._strides = (torch.from_numpy(part).to(network.device) for part in grid)
        shape = tuple(network.prepare(cameras).shape)
        cells, numbers = len(self._corners), 6 + card.person_class
        if len(shape) != 3 or shape[1] != cells or shape[2] < numbers:
            raise ModelError(
                f"{card.path}: the output has shape {shape}; the model file of {card.name} says "
                f"(1, {cells}, {numbers} or more)"
            )

    def detect(self, frames: Sequence[Tensor], options: Sequence[DetectorOptions]) -> list[tuple[Tensor, Tensor]]:
        """Boxes [P, 4], frame pixels, and scores [P], best first, of each frame [3, H, W]; see `Detector.detect`.

        Synchronises: the number of boxes decides the shapes that follow.
        """
        boxed, scales = zip(*(letterbox(f, self.card.input.size, self.card.fill) for f in frames), strict=True)
        rows = self._network(self._input(torch.stack(boxed)), self._cameras)
        return [self._boxes(*given) for given in zip(rows, scales, frames, options, strict=True)]

    def close(self) -> None:
        """Frees the network; the detector is not used afterwards."""
        self._network.close()

    def _boxes(self, rows: Tensor, scale: float, frame: Tensor, options: DetectorOptions) -> tuple[Tensor, Tensor]:
        boxes, scores = decode(rows, self._corners, self._strides, self.card.person_class)
        boxes = boxes / scale
        boxes = torch.stack([side.clamp(0, frame.shape[2 - axis % 2]) for axis, side in enumerate(boxes.unbind(1))], 1)
        large = (boxes[:, 2:] - boxes[:, :2]).amin(1) >= 1
        found = (scores >= options.score_threshold) & large
        boxes, scores = boxes[found], scores[found]
        order, kept = suppress(box_iou(boxes, boxes) > options.nms_iou, scores)
        rows = order[kept]
        return boxes[rows], scores[rows]
