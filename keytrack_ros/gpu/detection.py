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
        self._device = network.device
        self._input = NetworkInput(card.input, network.device)
        self._grids: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}  # by width and height of the network's input
        shape = tuple(network.prepare(cameras).shape)
        cells, numbers = len(self._grid(card.input.size)[0]), 6 + card.person_class
        if len(shape) != 3 or shape[1] != cells or shape[2] < numbers:
            raise ModelError(
                f"{card.path}: the output has shape {shape}; the model file of {card.name} says "
                f"(1, {cells}, {numbers} or more)"
            )

    def detect(self, frames: Sequence[Tensor], options: Sequence[DetectorOptions]) -> list[tuple[Tensor, Tensor]]:
        """Boxes [P, 4], frame pixels, and scores [P], best first, of each frame [3, H, W]; see `Detector.detect`.

        Synchronises: the number of boxes decides the shapes that follow.
        """
        sizes = [self.card.input_size((frame.shape[2], frame.shape[1])) for frame in frames]
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for size in dict.fromkeys(sizes):  # cameras of one shape form a batch
            cameras = [k for k, own in enumerate(sizes) if own == size]
            boxed, scales = zip(*(letterbox(frames[k], size, self.card.fill) for k in cameras), strict=True)
            batch = self._network(self._input(torch.stack(boxed)), self._cameras)
            for k, rows, scale in zip(cameras, batch, scales, strict=True):
                found[k] = self._boxes(rows, size, scale, frames[k], options[k])
        return [found[k] for k in range(len(frames))]

    def close(self) -> None:
        """Frees the network; the detector is not used afterwards."""
        self._network.close()

    def _grid(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Corners and strides of the cells of an input of that width and height, on the device; see `cell_grid`."""
        if size not in self._grids:
            grid = cell_grid(size, self.card.strides)
            self._grids[size] = torch.from_numpy(grid[0]).to(self._device), torch.from_numpy(grid[1]).to(self._device)
        return self._grids[size]

    def _boxes(
        self, rows: Tensor, size: tuple[int, int], scale: float, frame: Tensor, options: DetectorOptions
    ) -> tuple[Tensor, Tensor]:
        boxes, scores = decode(rows, *self._grid(size), self.card.person_class)
        boxes = boxes / scale
        boxes = torch.stack([side.clamp(0, frame.shape[2 - axis % 2]) for axis, side in enumerate(boxes.unbind(1))], 1)
        large = (boxes[:, 2:] - boxes[:, :2]).amin(1) >= 1
        found = (scores >= options.score_threshold) & large
        boxes, scores = boxes[found], scores[found]
        order, kept = suppress(box_iou(boxes, boxes) > options.nms_iou, scores)
        rows = order[kept]
        return boxes[rows], scores[rows]
