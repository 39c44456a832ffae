"""A rival: the Siamese graph network of LightTrack, which compares the shapes of two poses, not their places.

"LightTrack: A Generic Framework for Online Top-Down Human Pose Tracking" (Ning, Liu, Fan, Zhang, CVPR Workshops 2020,
§4): two spatial graph convolutions of ST-GCN (Yan, Xiong, Lin, AAAI 2018) with 64 channels, mean over the joints, a
linear layer to 128 features; learned by contrastive loss (Hadsell, Chopra, LeCun, CVPR 2006). 22,786 parameters.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from keytrack_ros import skeleton
from keytrack_ros.errors import ModelError
from keytrack_ros.matching.matcher import MatchQuery
from keytrack_ros.poses import BoolArray, FloatArray, keypoint_boxes

_CHANNELS, _FEATURES = 64, 128
_MARGIN = 1.0
_CENTER = skeleton.INDEX["head_bottom"]


def shapes(keypoints: FloatArray, visible: BoolArray) -> FloatArray:
    """[P, 15, 2] float32: keypoints relative to the middle of their box, in box widths and heights; 0 where missing."""
    boxes = keypoint_boxes(keypoints, visible.astype(np.float32))
    middle, size = (boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    return np.where(visible[..., None], (keypoints - middle[:, None]) / size[:, None], 0).astype(np.float32)


def partitions() -> FloatArray:
    """[3, 15, 15] float32: the normalised adjacency in ST-GCN's spatial partition (§3.4).

    For each joint its neighbours and itself: itself; those as near to the neck as it or nearer; those farther away.
    """
    count = skeleton.COUNT
    linked = np.eye(count)
    for a, b in skeleton.EDGES:
        linked[a, b] = linked[b, a] = 1
    hops = np.full(count, count)
    for distance in range(count, -1, -1):
        hops[np.linalg.matrix_power(linked, distance)[_CENTER] > 0] = distance
    share = linked / linked.sum(0)
    own = np.eye(count, dtype=bool)
    nearer = hops[:, None] <= hops[None]
    return np.stack([share * own, share * (nearer & ~own), share * (~nearer & ~own)]).astype(np.float32)


class GraphNetwork(nn.Module):
    """Poses to features; near features are one person's."""

    partitions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("partitions", torch.from_numpy(partitions()), persistent=False)
        parts, joints, _ = self.partitions.shape
        self.normalise = nn.BatchNorm1d(2 * joints)  #                             60
        self.first = nn.Linear(2, parts * _CHANNELS)  #                            576
        self.second = nn.Linear(_CHANNELS, parts * _CHANNELS)  #                12,480
        self.importance = nn.Parameter(torch.ones(2, parts, joints, joints))  # 1,350
        self.output = nn.Linear(_CHANNELS, _FEATURES)  #                         8,320

    def forward(self, poses: Tensor) -> Tensor:
        """[N, 15, 2] as of `shapes` to [N, 128]."""
        x = self.normalise(poses.flatten(1)).view_as(poses)
        x = torch.relu(self._convolved(self.first(x), 0))
        x = torch.relu(self._convolved(self.second(x), 1))
        features: Tensor = self.output(x.mean(1))
        return features

    def _convolved(self, x: Tensor, layer: int) -> Tensor:
        """Sums each joint's neighbourhood, [N, 15, 3 · 64] to [N, 15, 64]."""
        weights = self.partitions * self.importance[layer]  # [3, 15, 15], from joint v to joint w
        parted = x.view(*x.shape[:2], len(weights), _CHANNELS)  # [N, 15, 3, 64]
        return torch.einsum("nvkc,kvw->nwc", parted, weights)


def contrastive_loss(a: Tensor, b: Tensor, same: Tensor) -> Tensor:
    """Mean of d² for pairs of one person and of max(0, 1 − d)² for others; features [N, 128], `same` [N] of 0 and 1."""
    distance = torch.sqrt((a - b).square().sum(1) + 1e-12)
    apart = torch.relu(_MARGIN - distance).square()
    return (same * distance.square() + (1 - same) * apart).mean() / 2


def similarity_of(distance: FloatArray) -> FloatArray:
    """Distances of features as scores 0..1: 1 where they coincide, 0.5 half a margin apart."""
    return np.asarray(1 / (1 + np.square(2 * distance / _MARGIN)), np.float32)


class GraphMatcher:
    """Scores pairs by the distance of their features.

    Args:
        weights: a file that `save_weights` wrote.

    Raises ModelError if it cannot be read, or is not for this network.
    """

    def __init__(self, weights: Path) -> None:
        self._network = GraphNetwork()
        load_weights(self._network, weights)

    def score(self, query: MatchQuery) -> FloatArray:
        """[M] float32; 0 where a pose has no keypoint."""
        current, past = (self._features(poses.keypoints, poses.visible) for poses in (query.current, query.past))
        a, b = query.pairs.T
        seen = (query.current.visible.sum(1)[a] > 0) & (query.past.visible.sum(1)[b] > 0)
        return np.where(seen, similarity_of(np.linalg.norm(current[a] - past[b], axis=1)), 0).astype(np.float32)

    def _features(self, keypoints: FloatArray, visible: BoolArray) -> FloatArray:
        with torch.inference_mode():
            return np.asarray(self._network(torch.from_numpy(shapes(keypoints, visible))).numpy(), np.float32)


def save_weights(network: nn.Module, path: Path) -> None:
    """Writes a network's parameters with the name of its class."""
    torch.save({"network": type(network).__name__, "weights": network.state_dict()}, path)


def load_weights(network: nn.Module, path: Path) -> None:
    """Puts the parameters of a file into a network, and the network into inference.

    Raises ModelError if it cannot be read, or is not for this network.
    """
    name = type(network).__name__
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["network"] != name:
            raise ModelError(f"{path}: holds the weights of {content['network']}; those of {name} are needed")
        network.load_state_dict(content["weights"])
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such file; `python bench/rivals.py train` makes it") from None
    except ModelError:
        raise
    except Exception as error:  # torch, zipfile and pickle have many kinds of errors for a damaged file
        raise ModelError(f"{path}: not weights of {name}: {' '.join(str(error).split())[:200]}") from None
    network.eval()
