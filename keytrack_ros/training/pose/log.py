"""The record of a pose training: `log.csv` with one line an epoch, its picture, and a sheet of samples to look at."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.training.pose.augment import Sample


@dataclass(frozen=True)
class PoseEpoch:
    """One line of the log. PCKh@0.5 of held-back people, 0..1, of the averaged weights on crops of `width` pixels."""

    epoch: int
    step: int
    seconds: float
    width: int
    learning_rate: float
    loss: float
    pckh_lspet: float
    pckh_frames: float


def draw_pose_curves(file: Path, log: Sequence[PoseEpoch]) -> None:
    """A PNG with the loss and the PCKh over the steps; a line marks where the crops grow."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [epoch.step for epoch in log]
    left.plot(steps, [e.loss for e in log], marker=".")
    left.set(xlabel="step", ylabel="squared error a heatmap", ylim=(0, None))
    right.plot(steps, [100 * e.pckh_lspet for e in log], marker=".", label="LSPET, held back")
    right.plot(steps, [100 * e.pckh_frames for e in log], marker=".", label="frames, held back (teachers' labels)")
    right.set(xlabel="step", ylabel="PCKh@0.5, limbs [%]")
    right.legend(fontsize="small")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        for before, after in itertools.pairwise(log):
            if before.width != after.width:
                axes.axvline(before.step, color="grey", linestyle=":")
    figure.savefig(file, dpi=90)


def draw_samples(file: Path, samples: Sequence[Sample], columns: int = 8) -> None:
    """A picture of augmented crops: known keypoints and limbs drawn, left red, right green, weak labels thinner."""
    tiles = [_drawn(sample) for sample in samples]
    while len(tiles) % columns:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [np.hstack(tiles[k : k + columns]) for k in range(0, len(tiles), columns)]
    cv2.imwrite(str(file), np.vstack(rows))


def _drawn(sample: Sample) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    crop = sample.crop.copy()
    shown = sample.present & (sample.weights > 0)
    points = np.round(sample.keypoints).astype(int)
    for a, b in skeleton.EDGES:
        if shown[a] and shown[b]:
            name = skeleton.NAMES[b]
            color = (60, 60, 255) if name.startswith("left") else (60, 220, 60) if "right" in name else (255, 200, 0)
            cv2.line(crop, points[a].tolist(), points[b].tolist(), color, 1, cv2.LINE_AA)
    for k in np.flatnonzero(shown):
        cv2.circle(crop, points[k].tolist(), 3 if sample.weights[k] >= 1 else 2, (0, 255, 255), -1, cv2.LINE_AA)
    return crop
