"""The pose estimator on the device; the crops of all cameras form one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from keytrack_ros import skeleton
from keytrack_ros.errors import ModelError
from keytrack_ros.estimation import EstimatorOptions
from keytrack_ros.estimation.estimator import mirrored_channels
from keytrack_ros.gpu.batches import BatchedNetwork
from keytrack_ros.gpu.frames import NetworkInput, crop_image, crop_transforms, to_frame
from keytrack_ros.gpu.heatmaps import Decoder, average_flipped
from keytrack_ros.inference.cards import PoseCard


class DeviceEstimator:
    """The 15 keypoints of each person, from boxes and frames that are on the device.

    Args:
        card: model file of the pose network.
        network: the network.
        options: at the start; every batch size that they allow is prepared.

    Raises:
        ModelError: the network's output does not fit its model file.
    """

    def __init__(self, card: PoseCard, network: BatchedNetwork, options: EstimatorOptions) -> None:
        self.card = card
        self._network = network
        self._input = NetworkInput(card.input, network.device)
        channels = np.array(skeleton.channels_of(card.joints))
        present = np.flatnonzero(channels >= 0)  # keypoints that the network has
        self._present = torch.from_numpy(present).to(network.device)
        self._channels = torch.from_numpy(channels[present]).to(network.device)
        self._mirrored = torch.tensor(mirrored_channels(card.joints), device=network.device)
        self._decode = Decoder(card.decoder, card.blur_sigma, card.dark_kernel, network.device)
        shape = tuple(network.prepare(_max_images(options)).shape)
        if len(shape) != 4 or shape[1] != len(card.joints):
            raise ModelError(
                f"{card.path}: the output has shape {shape}; the model file of {card.name} names "
                f"{len(card.joints)} joints"
            )
        self._stride = torch.tensor([card.input.size[axis] / shape[3 - axis] for axis in (0, 1)], device=network.device)

    def estimate(
        self, frames: Sequence[Tensor], boxes: Sequence[Tensor], options: EstimatorOptions
    ) -> tuple[Tensor, Tensor]:
        """Keypoints [P, 15, 2] float32, frame pixels, and scores [P, 15] of all boxes, camera by camera.

        Args:
            frames: [3, H, W] of each camera.
            boxes: [Pᵢ, 4] of each camera, of positive size; Σ Pᵢ = P.
            options: flip test and batch size.
        """
        size = self.card.input.size
        transforms = [crop_transforms(b, size, self.card.padding) for b in boxes]
        crops = torch.cat([crop_image(f, t, size) for f, t in zip(frames, transforms, strict=True) if len(t)])
        images = self._input(crops)
        if options.flip_test:
            images = torch.cat([images, images.flip(3)])
        maps = self._network(images, _max_images(options))
        if options.flip_test:
            maps = average_flipped(maps[: len(crops)], maps[len(crops) :], self._mirrored, self.card.flip_shift)
        points, confidence = self._decode(maps.index_select(1, self._channels))
        points = to_frame((points + self.card.offset) * self._stride, torch.cat(transforms))
        keypoints = points.new_zeros(len(points), skeleton.COUNT, 2).index_copy_(1, self._present, points)
        scores = confidence.new_zeros(len(points), skeleton.COUNT).index_copy_(1, self._present, confidence)
        if "nose" in self.card.joints and "head_top" not in self.card.joints:
            _derive_head_points(keypoints, scores)
        finite = keypoints.isfinite().all(2) & scores.isfinite()
        return torch.where(finite[..., None], keypoints, 0), torch.where(finite, scores, 0)

    def close(self) -> None:
        """Frees the network; the estimator is not used afterwards."""
        self._network.close()


def _max_images(options: EstimatorOptions) -> int:
    """Images in one batch; the flip test adds a mirrored one per crop."""
    return options.batch_size * (2 if options.flip_test else 1)


def _derive_head_points(keypoints: Tensor, scores: Tensor) -> None:
    """As `skeleton.derive_head_points`, in place."""
    nose, left, right = (skeleton.INDEX[name] for name in ("nose", "left_shoulder", "right_shoulder"))
    middle = (keypoints[:, left] + keypoints[:, right]) / 2
    weakest = torch.minimum(torch.minimum(scores[:, nose], scores[:, left]), scores[:, right])
    for name, factor in skeleton.HEAD_POINTS:
        keypoints[:, skeleton.INDEX[name]] = middle + factor * (keypoints[:, nose] - middle)
        scores[:, skeleton.INDEX[name]] = weakest
