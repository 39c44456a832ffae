"""The record of a detector's training: `log.csv` with one line an epoch, and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True)
class DetectorEpoch:
    """One line of the log. Losses are means over the epoch; recall, precision and AP (IoU 0.5) of held-back images."""

    epoch: int
    step: int
    seconds: float
    size: int
    learning_rate: float
    score_loss: float
    box_loss: float
    recall: float
    precision: float
    average_precision: float


def draw_detector_curves(file: Path, log: Sequence[DetectorEpoch]) -> None:
    """A PNG with the losses and the scores over the steps; lines mark where the images grow."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [epoch.step for epoch in log]
    left.plot(steps, [e.score_loss for e in log], marker=".", label="score")
    left.plot(steps, [e.box_loss for e in log], marker=".", label="box")
    left.set(xlabel="step", ylabel="loss", ylim=(0, None))
    right.plot(steps, [100 * e.average_precision for e in log], marker=".", label="AP at IoU 0.5")
    right.plot(steps, [100 * e.recall for e in log], marker=".", label="recall, score ≥ 0.4")
    right.plot(steps, [100 * e.precision for e in log], marker=".", label="precision, score ≥ 0.4")
    right.set(xlabel="step", ylabel="held-back images [%]", ylim=(0, 100))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        for before, after in pairwise(log):
            if before.size != after.size:
                axes.axvline(before.step, color="grey", linestyle=":", linewidth=0.8)
    figure.savefig(file, dpi=90)
