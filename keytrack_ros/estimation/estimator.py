"""The top-down pose estimator: crops of all people in batches, network, decoding, mapping to the 15 keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.errors import ModelError
from keytrack_ros.estimation import heatmaps as maps
from keytrack_ros.estimation import simcc
from keytrack_ros.estimation.crops import crop_image, crop_transforms, to_image
from keytrack_ros.inference.cards import PoseCard
from keytrack_ros.inference.images import network_input, open_image_network
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import AUTO, find_model
from keytrack_ros.inference.torch_session import TorchLoader
from keytrack_ros.options import Options, option
from keytrack_ros.poses import FloatArray, ImageArray, Poses

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class EstimatorOptions(Options):
    """Pose estimation (paper §3.1, A.4)."""

    model: str = option(AUTO, "name or model file of the pose network; auto = the first that is found", live=False)
    flip_test: bool = option(False, "average with the mirrored crop: slightly more accurate, twice the time")
    batch_size: int = option(16, "crops in one call of the network", at_least=1, at_most=256)


class Estimator:
    """Finds the 15 keypoints of each person, given boxes.

    Raises:
        ModelError: no pose network is found, or it does not fit its model file.
    """

    def __init__(self, options: EstimatorOptions | None = None, inference: InferenceOptions | None = None) -> None:
        self.options = options or EstimatorOptions()
        inference = inference or InferenceOptions()
        self.card = find_model(PoseCard, self.options.model, inference.folders)
        self._session = open_image_network(self.card, inference, self.options.batch_size, _torch_network(self.card))
        self._fixed_batch = self._session.input_shapes[self.card.input.name][0]
        channels = np.array(skeleton.channels_of(self.card.joints))
        self._present = np.flatnonzero(channels >= 0)  # keypoints that the network has
        self._channels = channels[self._present]
        self._mirrored = mirrored_channels(self.card.joints)

    def estimate(self, image_bgr: ImageArray, boxes: FloatArray) -> Poses:
        """Poses of the people in the boxes, row by row; `box_scores` are 1 and no ids are set.

        Args:
            image_bgr: [H, W, 3] uint8.
            boxes: [P, 4] x_min, y_min, x_max, y_max in pixels; they may reach beyond the image.

        Raises:
            ValueError: a box is not finite or has no area.
            ModelError: the network's output does not fit its model file.
        """
        return self.estimate_all([image_bgr], [boxes])[0]

    def estimate_all(self, images_bgr: Sequence[ImageArray], boxes: Sequence[FloatArray]) -> list[Poses]:
        """As `estimate`, for several images, whose crops form common batches.

        Args:
            images_bgr: N of any sizes.
            boxes: of the people in each of them.
        """
        boxes = [_checked(b) for b in boxes]
        counts = [len(b) for b in boxes]
        owners = [image for image, count in zip(images_bgr, counts, strict=True) for _ in range(count)]
        keypoints, scores = self._keypoints(owners, np.concatenate(boxes))
        parts = (np.split(array, np.cumsum(counts)[:-1]) for array in (keypoints, scores))
        return [Poses(*given) for given in zip(*parts, boxes, strict=True)]

    def close(self) -> None:
        """Frees the network; the estimator is not used afterwards."""
        self._session.close()

    def _keypoints(self, images_bgr: Sequence[ImageArray], boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Keypoints [P, 15, 2] and scores [P, 15] of the people in the boxes [P, 4], each in an image of its own."""
        keypoints = np.zeros((len(boxes), skeleton.COUNT, 2), np.float32)
        scores = np.zeros((len(boxes), skeleton.COUNT), np.float32)
        step = self._fixed_batch or self.options.batch_size
        for begin in range(0, len(boxes), step):
            rows = slice(begin, min(begin + step, len(boxes)))
            points, confidence = self._run(images_bgr[rows], boxes[rows])
            keypoints[rows, self._present] = points
            scores[rows, self._present] = confidence
        if "nose" in self.card.joints and "head_top" not in self.card.joints:
            skeleton.derive_head_points(keypoints, scores)
        return keypoints, scores

    def _run(self, images_bgr: Sequence[ImageArray], boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The K keypoints of the network, [n, K, 2] in image pixels, and their scores [n, K]."""
        size = self.card.input.size
        transforms = crop_transforms(boxes, size, self.card.padding)
        crops = [
            crop
            for image, one in zip(images_bgr, transforms, strict=True)
            for crop in crop_image(image, one[None], size)
        ]
        inputs = network_input(crops, self.card.input)
        decode = self._decode_simcc if self.card.decoder == "simcc" else self._decode_heatmaps
        points, confidence, cells = decode(inputs)
        stride = np.divide(size, cells).astype(np.float32)
        return to_image((points + self.card.offset) * stride, transforms), confidence

    def _decode_heatmaps(self, inputs: FloatArray) -> tuple[FloatArray, FloatArray, tuple[int, int]]:
        """Points [n, K, 2] in heatmap pixels, scores [n, K], and columns and rows of the heatmaps."""
        card = self.card
        (maps_out,) = self._outputs(inputs)
        if self.options.flip_test:
            (flipped,) = self._outputs(inputs[..., ::-1])
            maps_out = maps.average_flipped(maps_out, flipped, self._mirrored, card.flip_shift)
        points, scores = maps.decode(maps_out[:, self._channels], card.decoder, card.blur_sigma, card.dark_kernel)
        return points, scores, (maps_out.shape[3], maps_out.shape[2])

    def _decode_simcc(self, inputs: FloatArray) -> tuple[FloatArray, FloatArray, tuple[int, int]]:
        """As `_decode_heatmaps`."""
        x, y = self._outputs(inputs)
        if self.options.flip_test:
            flipped_x, flipped_y = self._outputs(inputs[..., ::-1])
            x, y = simcc.average_flipped(x, y, flipped_x, flipped_y, self._mirrored)
        return *simcc.decode(x[:, self._channels], y[:, self._channels]), (x.shape[2], y.shape[2])

    def _outputs(self, inputs: FloatArray) -> list[FloatArray]:
        """The heatmaps [n, joints, h, w], or SimCC's x [n, joints, columns] and y [n, joints, rows]."""
        card, count = self.card, len(inputs)
        if self._fixed_batch and count < self._fixed_batch:
            inputs = np.concatenate([inputs, np.repeat(inputs[-1:], self._fixed_batch - count, 0)])
        found = self._session.run({card.input.name: inputs})
        dimensions = 4 if card.decoder != "simcc" else 3
        outputs = []
        for name in filter(None, (card.output, card.output_y)):
            output = found.get(name)
            if output is None or output.ndim != dimensions or output.shape[1] != len(card.joints):
                raise ModelError(
                    f"{card.path}: output '{name}' has shape {None if output is None else output.shape}; "
                    f"the model file of {card.name} names {len(card.joints)} joints and decoder {card.decoder}"
                )
            outputs.append(np.asarray(output[:count], np.float32))
        return outputs


def _checked(boxes: FloatArray) -> FloatArray:
    """[P, 4] float32. Raises ValueError if one of them is not finite or has no area."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    sizes = boxes[:, 2:] - boxes[:, :2]
    bad = np.flatnonzero(~np.isfinite(boxes).all(1) | ~(sizes > 0).all(1))
    if len(bad):
        raise ValueError(f"box {bad[0]} is {boxes[bad[0]].tolist()}; x_min < x_max and y_min < y_max are needed")
    return boxes


def _torch_network(card: PoseCard) -> TorchLoader | None:
    """Loads the HRNet that the card's ONNX file was made from, if the checkpoint lies beside it."""
    checkpoint = card.path.parent / card.weights
    if not card.weights or not checkpoint.is_file():
        return None

    def load() -> nn.Module:
        from keytrack_ros.estimation.checkpoints import load_hrnet

        return load_hrnet(checkpoint).network

    return load


def mirrored_channels(joints: tuple[str, ...]) -> list[int]:
    """For each channel the one that shows the same joint of the other side."""
    swap = {"left_": "right_", "right_": "left_"}
    mirrored = []
    for joint in joints:
        side = joint[: joint.find("_") + 1]
        other = swap[side] + joint[len(side) :] if side in swap else joint
        mirrored.append(joints.index(other) if other in joints else joints.index(joint))
    return mirrored
