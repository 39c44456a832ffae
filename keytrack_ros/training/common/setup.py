"""Device, optimiser, learning rate and average of weights: what trainings have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from keytrack_ros.errors import DataError, ModelError, OptionError
from keytrack_ros.estimation.checkpoints import completed
from keytrack_ros.inference.convolutions import convolutions
from keytrack_ros.training.common.checkpoint import read_tensors
from keytrack_ros.training.common.muon import Muon


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


OPTIMISERS = ("adamw", "muon", "adam")


def open_optimiser(name: str, network: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """One of `OPTIMISERS` over all parameters of a network; `adam` adds the decay to the gradient (L2 penalty)."""
    groups = parameter_groups(network, weight_decay)
    if name == "muon":
        return Muon(groups)
    return (torch.optim.Adam if name == "adam" else torch.optim.AdamW)(groups, fused=True)


class RateOptions(Protocol):
    """What a learning rate depends on."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def warm_up(self) -> float: ...
    @property
    def steps(self) -> int: ...


def stepped_rate(step: int, options: RateOptions, milestones: Sequence[int]) -> float:
    """Learning rate of step 0, 1, …: linear warm-up to the highest; from each milestone (a step) on a tenth."""
    warm = round(options.warm_up * options.steps)
    passed = sum(step >= milestone for milestone in milestones)
    return options.learning_rate * min(1.0, (step + 1) / max(warm, 1)) * 0.1**passed


def cosine_rate(step: int, options: RateOptions) -> float:
    """Learning rate of step 0, 1, …: linear warm-up to the highest, then half a cosine down to a hundredth of it."""
    warm = round(options.warm_up * options.steps)
    if step < warm:
        return options.learning_rate * (step + 1) / warm
    part = (step - warm) / max(options.steps - warm, 1)
    return options.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * part)) / 2)


def average_into(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """averaged = decay · averaged + (1 − decay) · network, of all weights and batch statistics."""
    with torch.no_grad():
        mine, theirs = averaged.state_dict(), network.state_dict()
        floats = [key for key, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[k] for k in floats], [theirs[k] for k in floats], 1 - decay)


def averaged_weights(file: Path, network: nn.Module) -> dict[str, Tensor]:
    """Weights to start from: those of `trained_weights`, for this network.

    Raises DataError if the file is missing or damaged, or if they are of another network.
    """
    weights = trained_weights(file)
    if _shapes(weights) != _shapes(network.state_dict()):
        raise DataError(f"{file}: holds no averaged weights of such a network; name the checkpoint of a run like this")
    return weights


def trained_weights(file: Path) -> dict[str, Tensor]:
    """The averaged weights in the checkpoint of a run, or those that were exported from one, of whatever network.

    Raises DataError if the file is missing, damaged or something else.
    """
    content = read_tensors(file)
    try:
        weights = content["averaged"] if "averaged" in content else completed(content, file)
    except ModelError as error:
        raise DataError(str(error)) from None
    if not all(isinstance(value, Tensor) for value in weights.values()):
        raise DataError(f"{file}: holds no averaged weights of such a network; name the checkpoint of a run like this")
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}


def exported_weights(file: Path, network: nn.Module) -> dict[str, Tensor]:
    """Weights to start from: those of an exported ONNX file, for a network without batch normalisation.

    Raises DataError if the file is missing or damaged, or if it has other convolutions than the network.
    """
    try:
        weights = {name: torch.from_numpy(value) for name, value in convolutions(file).items()}
    except ModelError as error:
        raise DataError(str(error)) from None
    if _shapes(weights) != _shapes(network.state_dict()):
        raise DataError(f"{file}: its convolutions are not those of {type(network).__name__}")
    return weights


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, object]:
    return {name: getattr(value, "shape", None) for name, value in weights.items()}
