"""The person detector: letterbox, network, decoding, non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from keytrack_ros.detection import end_to_end, yolox
from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import DetectorCard
from keytrack_ros.inference.images import network_input, open_image_network
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import AUTO, find_model
from keytrack_ros.options import Options, option
from keytrack_ros.poses import FloatArray, ImageArray


@dataclass(frozen=True)
class DetectorOptions(Options):
    """Person detection. The defaults suit `person_detector`; the paper takes boxes from a score of 0.2 (A.4)."""

    model: str = option(AUTO, "name or model file of the detector; auto = the first that is found", live=False)
    score_threshold: float = option(0.35, "boxes with a lower score are dropped", at_least=0.0, at_most=1.0)
    nms_iou: float = option(
        0.5,
        "of two boxes that overlap by more than this IoU the one with the higher score is kept",
        at_least=0.0,
        at_most=1.0,
    )


@dataclass(frozen=True)
class _Input:
    """The network's input for one size of images: width and height, and its cells (`yolox.cell_grid`)."""

    size: tuple[int, int]
    corners: FloatArray
    strides: FloatArray


class Detector:
    """Finds person boxes in an image.

    Where the network takes input of any size, it follows from the size of the images, see
    `DetectorCard.input_size`.

    Raises:
        ModelError: no detector is found, or its network does not fit its model file.
    """

    def __init__(self, options: DetectorOptions | None = None, inference: InferenceOptions | None = None) -> None:
        self.options = options or DetectorOptions()
        inference = inference or InferenceOptions()
        self.card = find_model(DetectorCard, self.options.model, inference.folders)
        self._session = open_image_network(self.card, inference)
        self._inputs: dict[tuple[int, int], _Input] = {}  # by width and height of the image

    def detect(self, image_bgr: ImageArray) -> tuple[FloatArray, FloatArray]:
        """Boxes of the people in an image.

        Args:
            image_bgr: [H, W, 3] uint8.

        Returns:
            Boxes [P, 4] float32 (x_min, y_min, x_max, y_max, pixels, inside the image) and scores [P] float32, best
            first.

        Raises:
            ModelError: the network's output does not fit its model file.
        """
        height, width = image_bgr.shape[:2]
        about = self._input((width, height))
        boxed, scale = yolox.letterbox(image_bgr, about.size, self.card.fill)
        inputs = {self.card.input.name: network_input([boxed], self.card.input)}
        outputs = self._session.run(inputs)
        if self.card.decoder == "end2end":
            boxes, scores = end_to_end.decode(outputs, self.card)
        else:
            boxes, scores = self._decode_grid(outputs.get(self.card.output), about)
        boxes = np.clip(boxes / scale, 0, [width, height, width, height])
        sizes = boxes[:, 2:] - boxes[:, :2]
        found = np.flatnonzero((scores >= self.options.score_threshold) & (sizes.min(1) >= 1))
        kept = found[self._suppress(boxes[found], scores[found])]
        return boxes[kept].astype(np.float32), scores[kept].astype(np.float32)

    def _input(self, image: tuple[int, int]) -> _Input:
        """The network's input for images of that width and height."""
        if image not in self._inputs:
            size = self.card.input_size(image)
            self._inputs = {image: _Input(size, *yolox.cell_grid(size, self.card.strides))}
        return self._inputs[image]

    def _decode_grid(self, rows: FloatArray | None, about: _Input) -> tuple[FloatArray, FloatArray]:
        cells, wanted = len(about.corners), 6 + self.card.person_class
        if rows is None or rows.ndim != 3 or rows.shape[1] != cells or rows.shape[2] < wanted:
            raise ModelError(
                f"{self.card.path}: output '{self.card.output}' has shape {None if rows is None else rows.shape}; "
                f"the model file of {self.card.name} makes it (1, {cells}, {wanted} or more)"
            )
        return yolox.decode(rows[0], about.corners, about.strides, self.card.person_class)

    def close(self) -> None:
        """Frees the network; the detector is not used afterwards."""
        self._session.close()

    def _suppress(self, boxes: FloatArray, scores: FloatArray) -> list[int]:
        """Indices of the boxes that are kept, best first (greedy non-maximum suppression)."""
        if len(boxes) == 0:
            return []
        rectangles = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
        kept = cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), 0.0, self.options.nms_iou)
        return [int(index) for index in np.ravel(kept)]
