"""TOKS on the device, equal to `keytrack_ros.toks` (paper §3.3, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from keytrack_ros.gpu.boxes import box_iou, overlap_of_smaller, suppress
from keytrack_ros.skeleton import SIGMAS
from keytrack_ros.toks import DETECTED_RANK, ToksOptions


@dataclass(frozen=True)
class Candidates:
    """Poses estimated in one frame of one camera, on the device.

    Attributes:
        keypoints: [P, 15, 2] float32, frame pixels.
        scores: [P, 15] float32, 0..1; 0 = missing.
        boxes: [P, 4] float32, in which they were estimated.
        box_scores: [P] float32, of the detector; NaN for a carried-over box.
        carried: [P] bool.
    """

    keypoints: Tensor
    scores: Tensor
    boxes: Tensor
    box_scores: Tensor
    carried: Tensor


def carried_boxes(
    keypoints: Tensor, scores: Tensor, frame_size: tuple[int, int], options: ToksOptions
) -> tuple[Tensor, Tensor]:
    """The boxes that poses of t−1 propose for t; see `keytrack_ros.toks.carried_boxes`.

    Args:
        keypoints: [P, 15, 2].
        scores: [P, 15].
        frame_size: width and height in pixels.
        options: of TOKS.

    Returns [P, 4] float32, and [P] bool: whether the pose proposes its box at all.
    """
    present = (scores >= options.keypoint_threshold) & (scores > 0)
    boxes = _keypoint_boxes(keypoints, present)
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * options.dilation
    grown = torch.cat([centre - half, centre + half], 1).clamp(min=0)
    grown[:, 0::2].clamp_(max=frame_size[0])
    grown[:, 1::2].clamp_(max=frame_size[1])
    large = (grown[:, 2:] - grown[:, :2]).amin(1) >= 1
    return grown, large & (present.sum(1) >= 2)


def not_detected(carried: Tensor, detected: Tensor, options: ToksOptions) -> Tensor:
    """[C] bool: which of the carried-over boxes [C, 4] no detected box [D, 4] covers (IoU above `skip_iou`)."""
    return ~(box_iou(carried, detected) > options.skip_iou).any(1)


def keep_best(poses: Candidates, options: ToksOptions) -> Tensor:
    """[P] bool: the poses that `keytrack_ros.toks.keep_best` keeps."""
    present = poses.scores > 0
    count = present.sum(1)
    mean = torch.where(count > 0, poses.scores.sum(1) / count.clamp(min=1), 0)
    candidate = ~poses.carried | (mean >= options.minimum_score)
    rank = mean + DETECTED_RANK * ~poses.carried if options.detected_first else mean
    # Non-candidates sort last, so they suppress nothing; they are removed afterwards.
    together = overlap_of_smaller(poses.boxes) >= options.duplicate_overlap
    duplicates = (_oks(poses) > options.oks_threshold) & (together | poses.carried[:, None] | poses.carried[None])
    order, kept = suppress(duplicates, torch.where(candidate, rank, -1))
    return torch.empty_like(kept).index_copy_(0, order, kept) & candidate


def _oks(poses: Candidates) -> Tensor:
    """[P, P] object keypoint similarity of the poses with each other; see `keytrack_ros.geometry.oks`."""
    visible = poses.scores > 0
    shared = visible[:, None] & visible[None]  # [P, P, 15]
    distance2 = (poses.keypoints[:, None] - poses.keypoints[None]).square().sum(-1)
    boxes = _keypoint_boxes(poses.keypoints, visible)
    size = boxes[:, 2:] - boxes[:, :2]
    own = (size[:, 0] * size[:, 1]).clamp(min=1)
    area = (own[:, None] + own[None]) / 2
    similarity = torch.exp(-distance2 / (2 * area[..., None] * _spread(area.device)))
    return (similarity * shared).sum(-1) / shared.sum(-1).clamp(min=1)


@cache
def _spread(device: torch.device) -> Tensor:
    """(2 σ)² of each keypoint [15], cached on the device, since a copy synchronises."""
    return torch.from_numpy((2 * SIGMAS) ** 2).to(device)


def _keypoint_boxes(keypoints: Tensor, present: Tensor) -> Tensor:
    """[P, 4] extent of the keypoints that are present [P, 15] bool; zeros for a pose without any."""
    low = torch.where(present[..., None], keypoints, torch.inf).amin(1)
    high = torch.where(present[..., None], keypoints, -torch.inf).amax(1)
    return torch.where(present.any(1)[:, None], torch.cat([low, high], 1), 0)
