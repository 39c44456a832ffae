"""Pose Entailment asked of a whole track: is this pose the next one of the person who left these last poses?

    token     = linear(where each of the track's last poses would have the keypoint now) + type     15 of them
    summary   = linear(what holds for the pair as a whole)                                          token 0
    layer     = as in `keytrack_ros.matching.network`
    verdict   = classifier(tanh(pooler(token 0)))

Needs torch. `keytrack_ros.matching.histories` makes its tokens, `keytrack_ros.matching.track_entailment` runs it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from keytrack_ros import skeleton
from keytrack_ros.matching.histories import SUMMARY_WIDTH, TOKEN_WIDTH
from keytrack_ros.matching.network import MASKED, EntailmentNetwork, Layer, TransformerOptions


@dataclass(frozen=True)
class TrackNetworkOptions(TransformerOptions):
    """Size of the network: 246,145 parameters."""

    width: int = 96
    layers: int = 3
    heads: int = 4
    intermediate: int = 192
    dropout: float = 0.1


class TrackNetwork(nn.Module):
    """One pose and one track → the logit of their being one person."""

    def __init__(self, options: TrackNetworkOptions | None = None) -> None:
        super().__init__()
        self.options = options = options or TrackNetworkOptions()
        self.keypoints = nn.Linear(TOKEN_WIDTH, options.width)
        self.types = nn.Parameter(0.1 * torch.randn(skeleton.COUNT, options.width))
        self.summary = nn.Linear(SUMMARY_WIDTH, options.width)
        self.norm = nn.LayerNorm(options.width)
        self.layers = nn.ModuleList(Layer(options) for _ in range(options.layers))
        self.pooler = nn.Linear(options.width, options.width)
        self.classifier = nn.Linear(options.width, 1)

    def forward(self, tokens: Tensor, summary: Tensor) -> Tensor:
        """Logits of N pairs.

        Args:
            tokens: [N, 15, TOKEN_WIDTH] float32; column 1 is 1 where the pose shows the keypoint, and no token attends
                to one that it does not show.
            summary: [N, SUMMARY_WIDTH] float32.

        Returns:
            [N] float32, log-odds against "this pose and this track belong to nobody else's", see
            `keytrack_ros.matching.marginals`.
        """
        mask = torch.where(tokens[:, :, 1] > 0.5, 0.0, MASKED)
        bias = torch.cat([torch.zeros_like(mask[:, :1]), mask], 1)[:, None, None, :]  # [N, 1, 1, 16]
        first = self.summary(summary)[:, None]
        mixed = self.norm(torch.cat([first, self.keypoints(tokens) + self.types], 1))
        for layer in self.layers[:-1]:
            mixed = layer(mixed, mixed, bias)
        last = self.layers[-1](mixed[:, :1], mixed, bias)[:, 0]  # the pooler reads no other token
        logits: Tensor = self.classifier(torch.tanh(self.pooler(last)))[:, 0]
        return logits


MatcherNetwork = EntailmentNetwork | TrackNetwork
