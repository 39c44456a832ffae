"""What a run comes to, in numbers: collected frame by frame, then shown as a table and kept as JSON."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keytrack_ros.poses import Poses


class RunStatistics:
    """Grows by a few numbers for each frame and one for each track."""

    def __init__(self) -> None:
        self._people = array("L")
        self._carried = 0
        self._track_lengths: dict[int, int] = {}
        self._stages: dict[str, array[float]] = {}

    def add(self, poses: Poses) -> None:
        """The people of one frame, as they are written."""
        self._people.append(len(poses))
        self._carried += int(poses.carried.sum())
        for track_id in poses.track_ids.tolist():
            self._track_lengths[track_id] = self._track_lengths.get(track_id, 0) + 1

    def add_times(self, stage_seconds: Mapping[str, float]) -> None:
        """How long each stage of one frame took."""
        for stage, seconds in stage_seconds.items():
            self._stages.setdefault(stage, array("f")).append(seconds)

    @property
    def frames(self) -> int:
        return len(self._people)

    def summary(self, seconds: float) -> dict[str, Any]:
        """The numbers by name, JSON-ready; `seconds` is the wall time of the whole run.

        A track's length is the number of frames in which it was seen.
        """
        people = np.array(self._people, np.int64)
        lengths = np.array(list(self._track_lengths.values()), np.int64)
        return {
            "frames": self.frames,
            "frames_with_people": int((people > 0).sum()),
            "poses": int(people.sum()),
            "poses_carried_over": self._carried,
            "people_per_frame": {
                "mean": round(float(people.mean()), 3) if self.frames else 0.0,
                "max": int(people.max(initial=0)),
            },
            "tracks": len(lengths),
            "track_length_frames": {
                "median": float(np.median(lengths)) if len(lengths) else 0.0,
                "max": int(lengths.max(initial=0)),
            },
            "seconds": round(seconds, 3),
            "fps": round(self.frames / seconds, 3) if seconds > 0 else 0.0,
            "stage_ms": {
                stage: {f"p{q}": round(float(np.percentile(np.array(values) * 1000, q)), 3) for q in (50, 95)}
                for stage, values in self._stages.items()
            },
        }


def show_summary(title: str, summary: Mapping[str, Any], results: Mapping[str, str]) -> None:
    """Prints the numbers of `RunStatistics.summary` and where the results are, on one screen."""
    people, lengths = summary["people_per_frame"], summary["track_length_frames"]
    table = Table(title=escape(title), title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("frames", f"{summary['frames']}, {summary['frames_with_people']} of them with people")
    table.add_row("people seen", f"{summary['poses']} poses, {summary['poses_carried_over']} of them carried over")
    table.add_row("people per frame", f"mean {people['mean']:.2f}, most {people['max']}")
    table.add_row("tracks", str(summary["tracks"]))
    table.add_row("track length", f"median {lengths['median']:g} frames, longest {lengths['max']}")
    table.add_row("speed", f"{summary['fps']:.2f} fps, {summary['seconds']:.1f} s in all")
    table.add_section()
    for stage, ms in summary["stage_ms"].items():
        table.add_row(stage, f"p50 {ms['p50']:8.2f} ms   p95 {ms['p95']:8.2f} ms")
    table.add_section()
    for what, where in results.items():
        table.add_row(what, escape(where))
    Console(highlight=False).print(table)
