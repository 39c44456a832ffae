"""What Pose Entailment attends to: the weights of its own softmax, read while it runs (paper, Figure 8).

Needs torch.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import cast

import torch
from torch import Tensor, nn

from keytrack_ros.matching.network import EntailmentNetwork, Layer
from keytrack_ros.matching.tokens import PairTokens
from keytrack_ros.poses import FloatArray


@dataclass(frozen=True)
class Attention:
    """Of N pairs.

    Attributes:
        logits: [N, 2] float32, as of `EntailmentNetwork.forward`.
        weights: [N, layers, heads, 30, 30] float32: how much each token (row) attends to each token (column). Rows sum
            to 1; masked columns are 0. In the last layer only the row of token 0 has a part in the logits.
    """

    logits: FloatArray
    weights: FloatArray


def attention(network: EntailmentNetwork, tokens: PairTokens) -> Attention:
    """Runs a network in evaluation mode, and notes its attention weights."""
    layers = cast("list[Layer]", list(network.layers))
    noted: list[Tensor] = []

    def note(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        noted.append(arguments[0])  # what dropout gets are the weights, [N, heads, asking tokens, 30]

    def ask_all(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return arguments[1], *arguments[1:]

    with torch.inference_mode(), ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.attention.dropout.register_forward_pre_hook(note))
        # The last layer is asked for token 0 alone; its figure is to show what the others would attend to, too.
        hooks.enter_context(layers[-1].register_forward_pre_hook(ask_all))
        logits = network(**{item.name: torch.as_tensor(getattr(tokens, item.name).copy()) for item in fields(tokens)})
    return Attention(logits.numpy(), torch.stack(noted, 1).numpy())
