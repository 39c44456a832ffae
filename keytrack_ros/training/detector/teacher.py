"""Trained detectors whose score and box of every cell are targets beside the labels.

Distillation (Hinton et al., 2015), from the mean of several where there are several.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime

from keytrack_ros.detection import yolox
from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import DetectorCard
from keytrack_ros.inference.images import network_input
from keytrack_ros.poses import FloatArray, ImageArray

LEAST_WEIGHT = 1e-6
"""Keeps the mean of boxes defined where all scores are 0."""


class DenseAnswers(NamedTuple):
    """Boxes [N, A, 4] float32 x_min, y_min, x_max, y_max in pixels of the image, and scores [N, A] float32."""

    boxes: FloatArray
    scores: FloatArray


class DenseTeacher:
    """YOLOX-style detectors for images of any size, although their files may fix one.

    Args:
        cards: model files of the networks.
        strides: of the network in training; the teachers must have the same, in the same order.
        threads: cores; 0 = all.

    Raises ModelError if a network has other strides or NMS in its graph, or is damaged.
    """

    def __init__(self, cards: Sequence[DetectorCard], strides: tuple[int, ...], threads: int = 0) -> None:
        self._strides = strides
        self._networks = [(card, _opened(card, strides, threads)) for card in cards]

    def __call__(self, images: list[ImageArray]) -> DenseAnswers:
        """For images [S, S, 3] uint8 BGR of one size, a multiple of 32: means of scores, and of boxes by score."""
        side = images[0].shape[0]
        grid = yolox.cell_grid((side, side), self._strides)
        answers = []
        for image in images:  # one by one: a file may fix the batch in its reshapes
            found = []
            for card, session in self._networks:
                (rows,) = session.run([card.output], {card.input.name: network_input([image], card.input)})
                found.append(yolox.decode(rows[0], *grid, card.person_class))
            boxes, scores = (np.stack(part) for part in zip(*found, strict=True))  # [T, A, 4], [T, A]
            weights = (scores + LEAST_WEIGHT) / (scores + LEAST_WEIGHT).sum(0)
            answers.append(((weights[..., None] * boxes).sum(0), scores.mean(0)))
        return DenseAnswers(*(np.stack(part).astype(np.float32) for part in zip(*answers, strict=True)))


def _opened(card: DetectorCard, strides: tuple[int, ...], threads: int) -> onnxruntime.InferenceSession:
    if card.decoder != "yolox":
        raise ModelError(f"{card.path}: gives boxes after NMS; a teacher needs decoder yolox, a score for every cell")
    if card.strides != strides:
        raise ModelError(f"{card.path}: its cells have the strides {card.strides}; a teacher needs {strides}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(_of_any_size(card), options, providers=["CPUExecutionProvider"])


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
