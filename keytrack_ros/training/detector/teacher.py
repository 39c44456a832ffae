"""A trained detector whose score and box of every cell are targets beside the labels.

Distillation; Hinton et al., 2015.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime

from keytrack_ros.detection import yolox
from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import DetectorCard
from keytrack_ros.inference.images import network_input
from keytrack_ros.poses import FloatArray, ImageArray


class DenseAnswers(NamedTuple):
    """Boxes [N, A, 4] float32 x_min, y_min, x_max, y_max in pixels of the image, and scores [N, A] float32."""

    boxes: FloatArray
    scores: FloatArray


class DenseTeacher:
    """A YOLOX-style detector for images of any size, although its file may fix one.

    Args:
        card: model file of the network.
        strides: of the network in training; the teacher must have the same, in the same order.
        threads: cores; 0 = all.

    Raises ModelError if the network has other strides or NMS in its graph, or is damaged.
    """

    def __init__(self, card: DetectorCard, strides: tuple[int, ...], threads: int = 0) -> None:
        if card.decoder != "yolox":
            raise ModelError(
                f"{card.path}: gives boxes after NMS; a teacher needs decoder yolox, a score for every cell"
            )
        if card.strides != strides:
            raise ModelError(f"{card.path}: its cells have the strides {card.strides}; a teacher needs {strides}")
        self._card = card
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(_of_any_size(card), options, providers=["CPUExecutionProvider"])

    def __call__(self, images: list[ImageArray]) -> DenseAnswers:
        """Its output for images [S, S, 3] uint8 BGR of one size, a multiple of 32."""
        side = images[0].shape[0]
        grid = yolox.cell_grid((side, side), self._card.strides)
        answers = []
        for image in images:  # one by one: the file may fix the batch in its reshapes
            (rows,) = self._session.run(
                [self._card.output], {self._card.input.name: network_input([image], self._card.input)}
            )
            answers.append(yolox.decode(rows[0], *grid, self._card.person_class))
        return DenseAnswers(*(np.stack(part).astype(np.float32) for part in zip(*answers, strict=True)))


def _of_any_size(card: DetectorCard) -> bytes:
    """The network's file with free height and width."""
    try:
        model = onnx.load(card.path)
    except Exception as error:  # whatever protobuf raises
        raise ModelError(f"{card.path}: not an ONNX file: {error}") from None
    for value in (*model.graph.input, *model.graph.output):
        for number, size in enumerate(value.type.tensor_type.shape.dim):
            if number == 1 and value in model.graph.input:
                continue  # the channels
            size.dim_param = f"{value.name}_{number}"
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())
