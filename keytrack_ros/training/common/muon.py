"""Muon: every matrix of weights takes steps whose directions all count alike (Jordan et al., 2024).

    M ← β M + (1 − β) G        G ← (1 − β) G + β M  (Nesterov)
    W ← W − rate · 0.2 √max(rows, columns) · orthogonal(G)

`orthogonal` replaces the singular values of a matrix by ones, nearly. The factor makes steps as long as AdamW's usually
are (Liu et al., "Muon is scalable for LLM training", 2025), so that AdamW's learning rates and weight decays stay good.
torch.optim.Muon takes matrices alone; here a convolution is one of outputs × (inputs · height · width), and what is no
matrix takes Adam's steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
BETAS = (0.9, 0.99)
"""Adam's, for biases and normalisation."""
EPSILON = 1e-8

ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic x ↦ a x + b x³ + c x⁵, which five times over takes 0.01 … 1 to 0.68 … 1.13, 0.002 … 0.01 to at most
1.20, and what is smaller to at most 485 times itself."""


class Muon(torch.optim.Optimizer):
    """Muon for weights of two or more dimensions, Adam for the others, both with decoupled weight decay.

    Args:
        groups: as of other optimisers, see `training.common.setup.parameter_groups`; `lr` and `weight_decay` are
            read at every step.
    """

    def __init__(self, groups: Any) -> None:
        super().__init__(groups, {"lr": 1e-3, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves all parameters that have a gradient; `closure` must be None."""
        if closure is not None:
            raise ValueError("Muon.step takes no closure")
        for group in self.param_groups:
            rate = group["lr"]
            for weights in group["params"]:
                if weights.grad is None:
                    continue
                state = self.state[weights]
                weights.mul_(1 - rate * group["weight_decay"])
                if weights.ndim > 1:
                    weights.add_(_matrix_step(weights.grad, state), alpha=-rate)
                else:
                    weights.add_(_vector_step(weights.grad, state), alpha=-rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix with orthonormal rows or columns, roughly.

    Singular values of at least 0.002 of the matrix's (Frobenius) norm come to lie between 0.65 and 1.21; smaller ones
    are nearer to 0. Takes and returns [rows, columns]; computed in bfloat16, which rounds weak directions away, by
    Newton–Schulz iterations, as Muon was published.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)


def _matrix_step(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    if not state:
        state["momentum"] = torch.zeros_like(gradient)
    momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
    matrix = gradient.lerp(momentum, MOMENTUM).reshape(len(gradient), -1)
    return (0.2 * math.sqrt(max(matrix.shape)) * orthogonal(matrix)).reshape(gradient.shape)


def _vector_step(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    if not state:
        state.update(mean=torch.zeros_like(gradient), square=torch.zeros_like(gradient), steps=torch.zeros(()))
    state["steps"] += 1
    steps = state["steps"].item()
    mean = state["mean"].lerp_(gradient, 1 - BETAS[0]) / (1 - BETAS[0] ** steps)
    square = state["square"].lerp_(gradient.square(), 1 - BETAS[1]) / (1 - BETAS[1] ** steps)
    return mean / (square.sqrt() + EPSILON)
