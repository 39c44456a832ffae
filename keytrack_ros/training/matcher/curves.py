"""The record of a training run: `log.csv` with one line an epoch, and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Epoch:
    """One line of the log. Loss is cross-entropy in nats; accuracies are 0..1; seconds are of training alone."""

    epoch: int
    step: int
    seconds: float
    learning_rate: float
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float


def draw_curves(file: Path, log: Sequence[Epoch]) -> None:
    """A PNG with the loss and the accuracy over the steps, of training pairs and of held-back videos."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [epoch.step for epoch in log]
    left.plot(steps, [e.loss for e in log], marker=".", label="training pairs (augmented)")
    left.plot(steps, [e.validation_loss for e in log], marker=".", label="held-back videos")
    left.set(xlabel="step", ylabel="cross-entropy", ylim=(0, None))
    right.plot(steps, [100 * e.accuracy for e in log], marker=".", label="training pairs (augmented)")
    right.plot(steps, [100 * e.validation_accuracy for e in log], marker=".", label="held-back, nearest negative")
    right.set(xlabel="step", ylabel="accuracy [%]")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(file, dpi=90)
