"""Detectors exported with decoding and NMS in the graph, as mmdeploy does: boxes, scores and labels come out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import DetectorCard
from keytrack_ros.poses import FloatArray


def decode(outputs: Mapping[str, npt.NDArray[Any]], card: DetectorCard) -> tuple[FloatArray, FloatArray]:
    """Boxes and scores of the people.

    Args:
        outputs: `card.output` [1, N, 5] float32: x_min, y_min, x_max, y_max in network pixels, score; N may vary. If
            `card.labels` is named, that output [1, N]: the class of each box.
        card: model file of the detector.

    Returns boxes [P, 4] float32 in network pixels and scores [P] float32.

    Raises ModelError if an output is missing or of another shape.
    """
    rows = outputs.get(card.output)
    if rows is None or rows.ndim != 3 or rows.shape[0] != 1 or rows.shape[2] != 5:
        raise _misshaped(card, card.output, rows, "(1, N, 5)")
    people = rows[0]
    if card.labels:
        labels = outputs.get(card.labels)
        if labels is None or labels.shape != rows.shape[:2]:
            raise _misshaped(card, card.labels, labels, str(rows.shape[:2]))
        people = people[labels[0] == card.person_class]
    return np.asarray(people[:, :4], np.float32), np.asarray(people[:, 4], np.float32)


def _misshaped(card: DetectorCard, output: str, found: npt.NDArray[Any] | None, wanted: str) -> ModelError:
    shape = None if found is None else found.shape
    return ModelError(
        f"{card.path}: output '{output}' has shape {shape}; the model file of {card.name}, with decoder "
        f"{card.decoder}, makes it {wanted}"
    )
