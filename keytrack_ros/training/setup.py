"""Where a network is trained, and which of its weights are decayed: the same for every training."""

from __future__ import annotations

import torch
from torch import nn

from keytrack_ros.errors import OptionError


def training_device(name: str) -> torch.device:
    """The device of `auto`, `cpu` or `cuda`; auto takes a GPU where there is one.

    Raises OptionError if CUDA was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise OptionError("device: torch sees no CUDA GPU; use cpu or auto")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and available) else "cpu")


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """For an optimiser: biases and normalisation are not decayed, as usual."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
