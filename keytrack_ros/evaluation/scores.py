"""`Scores`: the result of an evaluation, as numbers, as JSON, and as a table in the terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from keytrack_ros import skeleton
from keytrack_ros.evaluation.protocol import Protocol
from keytrack_ros.poses import FloatArray, IntArray

GROUPS: dict[str, tuple[str, ...]] = {
    "Head": ("head_top", "head_bottom", "nose"),
    "Shou": ("right_shoulder", "left_shoulder"),
    "Elb": ("right_elbow", "left_elbow"),
    "Wri": ("right_wrist", "left_wrist"),
    "Hip": ("right_hip", "left_hip"),
    "Knee": ("right_knee", "left_knee"),
    "Ankl": ("right_ankle", "left_ankle"),
}
"""The columns of PoseTrack's tables."""

ROWS = ("AP", "MOTA", "MOTP", "precision", "recall", "IDSW", "IDF1", "HOTA", "DetA", "AssA", "LocA")
LABELS = {"IDSW": "%IDSW"}
PERSON_COLUMNS = ("HOTA", "DetA", "AssA", "IDF1", "MOTA", "IDSW", "MT", "ML")


@dataclass(frozen=True)
class Scores:
    """All scores, in percent unless they are counts.

    Attributes:
        protocol: the mode and its choices.
        sequences: their names.
        frames: how many frames were scored.
        joints: each measure's value for each keypoint, [15] in the order of `skeleton.NAMES`; NaN where undefined.
        totals: each measure's value over all keypoints: the mean of those that have one; of HOTA, see
            `HotaParts.with_total`.
        counts: what MOTA counts, [15] each.
        person: measures of whole people, by similarity.
    """

    protocol: Protocol
    sequences: tuple[str, ...]
    frames: int
    joints: dict[str, FloatArray]
    totals: dict[str, float]
    counts: dict[str, IntArray]
    person: dict[str, dict[str, float]]

    def group(self, measure: str) -> dict[str, float]:
        """The paper's columns: means over the joints of each group, and the total.

        A joint without a value is left out; in `official` mode the group then has none, as in poseval.
        """
        values = self.joints[measure]
        result = {}
        for name, joints in GROUPS.items():
            chosen = values[[skeleton.INDEX[joint] for joint in joints]]
            known = chosen if self.protocol.official else chosen[~np.isnan(chosen)]
            result[name] = float(known.mean()) if len(known) else float("nan")
        return {**result, "Total": self.totals[measure]}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: undefined values are null."""
        return {
            "mode": self.protocol.mode,
            "frames_scored": self.protocol.frames,
            "last_frame_dropped_in_mota": self.protocol.drop_last_frame,
            "sequences": list(self.sequences),
            "frames": self.frames,
            "groups": {name: _nullable(self.group(name)) for name in self.joints},
            "joints": {
                name: _nullable({**_by_joint(values), "total": self.totals[name]})
                for name, values in self.joints.items()
            },
            "counts": {name: _by_joint(values) for name, values in self.counts.items()},
            "person": {name: _nullable(values) for name, values in self.person.items()},
        }

    def show(self, console: Console) -> None:
        """Prints the tables."""
        counted = "as poseval and PoseTrack21's code count" if self.protocol.official else "as defined"
        console.print(f"{len(self.sequences)} sequences, {self.frames} frames; mode {self.protocol.mode}: {counted}")
        table = Table()
        table.add_column("%")
        for column in (*GROUPS, "Total"):
            table.add_column(column, justify="right")
        for name in ROWS:
            table.add_row(LABELS.get(name, name), *(_cell(value) for value in self.group(name).values()))
        console.print(table)
        people = Table()
        people.add_column("whole people by")
        for column in PERSON_COLUMNS:
            people.add_column(column, justify="right")
        for name, values in self.person.items():
            people.add_row(name, *(_cell(values[column]) for column in PERSON_COLUMNS))
        console.print(people)


def _by_joint(values: FloatArray | IntArray) -> dict[str, Any]:
    return dict(zip(skeleton.NAMES, values.tolist(), strict=True))


def _nullable(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in values.items()}


def _cell(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "–" if math.isnan(value) else f"{value:.1f}"
