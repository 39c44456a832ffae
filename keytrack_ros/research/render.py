"""A rival: a convolutional network that looks at drawings of the keypoints of both poses.

The paper (§5.2) compares its transformer with a CNN on images in which the keypoints are drawn; the layers of that
network are not stated, so these are ours: one channel for each keypoint of each pose, four convolutions, mean, linear.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from keytrack_ros import skeleton
from keytrack_ros.matching.matcher import MatchQuery
from keytrack_ros.poses import BoolArray, FloatArray
from keytrack_ros.research.graph import load_weights

SIZE = (96, 72)
"""Columns and rows of a drawing, which is stretched over the frame: four times the cells of Pose Entailment's grid."""

_CHANNELS = (32, 64, 128, 128)
_CHUNK = 64


def drawings(relative: FloatArray, visible: BoolArray) -> FloatArray:
    """[P, 15, 72, 96] float32: a dot of 3 x 3 pixels at each keypoint: 1 in the middle, 0.5 beside, 0.25 at corners.

    Args:
        relative: [P, 15, 2] x and y in frame widths and heights; dots outside of the frame are cut off.
        visible: [P, 15] bool; keypoints that are not have an empty drawing.
    """
    columns, rows = SIZE
    canvas = np.zeros((*visible.shape, rows + 4, columns + 4), np.float32)  # a margin of 2 takes what lies outside
    place = np.clip(np.floor(np.nan_to_num(relative) * SIZE), -2, np.add(SIZE, 1)).astype(np.int64) + 2
    pose, joint = np.nonzero(visible)
    x, y = place[pose, joint].T
    for dy, dx in np.ndindex(3, 3):
        inside = (x + dx - 1 >= 0) & (x + dx - 1 < columns + 4) & (y + dy - 1 >= 0) & (y + dy - 1 < rows + 4)
        spot = (pose[inside], joint[inside], y[inside] + dy - 1, x[inside] + dx - 1)
        canvas[spot] = 0.5 ** (abs(dy - 1) + abs(dx - 1))
    return canvas[..., 2:-2, 2:-2]


class RenderNetwork(nn.Module):
    """Drawings of a pair to two logits: other, same."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 2 * skeleton.COUNT
        for channels in _CHANNELS:
            layers += [nn.Conv2d(before, channels, 3, stride=2, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
            before = channels
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(before, 2)

    def forward(self, pairs: Tensor) -> Tensor:
        """[N, 30, 72, 96], the current pose first, to [N, 2]."""
        logits: Tensor = self.classifier(self.layers(pairs).mean((2, 3)))
        return logits


class RenderMatcher:
    """Scores pairs by the network's probability that they are one person.

    Args:
        weights: a file that `save_weights` wrote.

    Raises ModelError if it cannot be read, or is not for this network.
    """

    def __init__(self, weights: Path) -> None:
        self._network = RenderNetwork()
        load_weights(self._network, weights)

    def score(self, query: MatchQuery) -> FloatArray:
        """[M] float32; 0 where a pose has no keypoint."""
        size = np.array(query.frame_size, np.float32)
        current, past = (
            drawings(np.divide(poses.keypoints, size), poses.visible) for poses in (query.current, query.past)
        )
        a, b = query.pairs.T
        scores = np.empty(len(a), np.float32)
        with torch.inference_mode():
            for start in range(0, len(a), _CHUNK):
                rows = slice(start, start + _CHUNK)
                pairs = torch.from_numpy(np.concatenate([current[a[rows]], past[b[rows]]], 1))
                scores[rows] = torch.softmax(self._network(pairs), 1)[:, 1].numpy()
        seen = (query.current.visible.sum(1)[a] > 0) & (query.past.visible.sum(1)[b] > 0)
        return np.where(seen, scores, 0).astype(np.float32)
