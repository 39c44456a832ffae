"""The record of a training run: `log.csv` with one line an epoch, its picture, and sheets of samples."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from keytrack_ros.poses import ImageArray


@dataclass(frozen=True)
class Panel:
    """What one panel of the curves shows.

    Attributes:
        label: of the vertical axis.
        lines: legend by name of the log's field.
        percent: whether the fields are parts of 1, shown as percentages.
    """

    label: str
    lines: Mapping[str, str]
    percent: bool = False

    def text(self, epoch: Any) -> str:
        """The panel's values of one entry of the log, `label: legend value, …`."""
        values = [
            f"{legend} {getattr(epoch, name):{'.1%' if self.percent else '.4f'}}" for name, legend in self.lines.items()
        ]
        return f"{self.label}: {', '.join(values)}"


def write_log(file: Path, log: Sequence[Any]) -> None:
    """Replaces `file` by a CSV with a header and a line for each entry, all of one dataclass; there is at least one."""
    part = file.with_name(file.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [item.name for item in fields(log[0])])
        writer.writeheader()
        for epoch in log:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(epoch).items()})
    part.replace(file)


def draw_curves(file: Path, log: Sequence[Any], panels: Sequence[Panel], stage: str = "") -> None:
    """A PNG with the panels side by side over the steps.

    Args:
        file: the PNG.
        log: entries with the fields that the panels name, and `step`.
        panels: from left to right.
        stage: field whose changes are marked by a vertical line, such as the size of the images.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(panels), 3.2), layout="constrained")
    steps = [epoch.step for epoch in log]
    for panel, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
        scale, unit = (100, " [%]") if panel.percent else (1, "")
        for name, legend in panel.lines.items():
            axes.plot(steps, [scale * getattr(epoch, name) for epoch in log], marker=".", label=legend)
        axes.set(xlabel="step", ylabel=panel.label + unit)
        if not panel.percent:
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        for before, after in pairwise(log) if stage else ():
            if getattr(before, stage) != getattr(after, stage):
                axes.axvline(before.step, color="grey", linestyle=":", linewidth=0.8)
    figure.savefig(file, dpi=90)


def sheet(tiles: Sequence[ImageArray], columns: int) -> ImageArray:
    """Images [h, w, 3] uint8 of one size in rows of `columns`; the last row is filled up with black."""
    tiles = [*tiles, *[np.zeros_like(tiles[0])] * (-len(tiles) % columns)]
    return np.vstack([np.hstack(tiles[row : row + columns]) for row in range(0, len(tiles), columns)])
