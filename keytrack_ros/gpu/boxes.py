"""Boxes on the device: decoding of the detector's output, IoU, greedy suppression."""

from __future__ import annotations

import torch
from torch import Tensor


def decode(rows: Tensor, corners: Tensor, strides: Tensor, person_class: int) -> tuple[Tensor, Tensor]:
    """As `detection.yolox.decode`.

    Args:
        rows: [cells, 5 + classes] float32.
        corners: [cells, 2], column and row of each cell.
        strides: [cells, 1].
        person_class: which class is a person.

    Returns [cells, 4] x_min, y_min, x_max, y_max in network pixels, and scores [cells].
    """
    centre = (rows[:, :2] + corners) * strides
    half = rows[:, 2:4].clamp(max=20.0).exp() * strides / 2
    return torch.cat([centre - half, centre + half], 1), rows[:, 4] * rows[:, 5 + person_class]


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes [A, 4] with boxes [B, 4], [A, B]; 0 for empty boxes."""
    low, high = torch.maximum(a[:, None, :2], b[None, :, :2]), torch.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    union = _areas(a)[:, None] + _areas(b)[None] - intersection
    return torch.where(union > 0, intersection / union.clamp(min=1e-9), 0)


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(-1)


def overlap_of_smaller(boxes: Tensor) -> Tensor:
    """[P, P] intersection of boxes [P, 4] over the area of the smaller one; 0 for empty boxes."""
    size = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return size.clamp(min=0).prod(-1) / torch.minimum(area[:, None], area[None]).clamp(min=1e-9)


def suppress(duplicates: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Exact greedy suppression: in order of score, a row is kept unless it is a duplicate of a row already kept.

    The rule is applied to all rows at once and repeated: after k rounds the best k rows are final, and once a round
    changes nothing all are, usually after two or three.

    Args:
        duplicates: [N, N] bool, which pairs are duplicates.
        scores: [N]; of equal scores the earlier row comes first.

    Returns the order [N] int64, best first, and [N] bool in this order: which are kept.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    suppressed_by = duplicates[order][:, order].tril(-1)  # [row, better row]
    kept = torch.ones_like(order, dtype=torch.bool)
    for _ in range(len(order)):
        after = ~(suppressed_by & kept).any(1)
        if torch.equal(after, kept):
            break
        kept = after
    return order, kept
