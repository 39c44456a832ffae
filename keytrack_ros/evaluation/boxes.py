"""Tracked boxes against annotated boxes: MOTA, IDF1, HOTA, and how ids are spent.

Boxes may match from an IoU of 0.5 on. MOTA, its counts and IDF1 equal py-motmetrics' (rule `motmetrics`), HOTA and the
counts of whole tracks (MT, PT, ML, Frag) TrackEval's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keytrack_ros.annotations.files import read_sequence
from keytrack_ros.annotations.sequence import LabelledSequence
from keytrack_ros.errors import EvaluationError
from keytrack_ros.evaluation.tracks import TrackAccumulator, TrackParts
from keytrack_ros.geometry import box_iou

logger = logging.getLogger(__name__)

SHORT = 5
"""An id seen in fewer frames is short-lived."""
COLUMNS = ("IDF1", "MOTA", "HOTA", "IDSW", "FP", "FN", "people", "ids", "ids/person", "short ids", "ghosts")


@dataclass(frozen=True)
class BoxCounts:
    """What a sequence contributes; sequences are combined by adding.

    Attributes:
        tracks: HOTA, IDF1 and CLEAR MOT.
        frames: how many were scored.
        people: annotated tracks.
        ids: predicted tracks.
        short: predicted tracks of fewer than `SHORT` frames.
        ghosts: predicted tracks that never match a person.
        found: people who are matched at all.
        ids_of_people: different predicted tracks that each person matches, summed over people.
    """

    tracks: TrackParts
    frames: int
    people: int
    ids: int
    short: int
    ghosts: int
    found: int
    ids_of_people: int

    def __add__(self, other: BoxCounts) -> BoxCounts:
        return BoxCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def scores(self) -> dict[str, float]:
        """In percent unless they are counts."""
        clear = self.tracks.clear
        return {
            **self.tracks.scores(),
            "FP": int(clear.false_positives[0]),
            "FN": int(clear.misses[0]),
            "people": self.people,
            "ids": self.ids,
            "ids/person": self.ids_of_people / self.found if self.found else 0.0,
            "short ids": self.short,
            "ghosts": self.ghosts,
        }


def score_boxes(ground_truth: LabelledSequence, prediction: LabelledSequence) -> BoxCounts:
    """Counts one sequence. Frames are paired by number (`LabelledSequence.frame_numbers`); a frame of the ground truth
    that the prediction lacks counts as empty, and boxes predicted in other frames are not scored.

    Raises EvaluationError if a person of either side has no box, or the ground truth has no frame.
    """
    for side in (ground_truth, prediction):
        without = ~np.isfinite(side.boxes).all(1)
        if without.any():
            row = int(np.flatnonzero(without)[0])
            raise EvaluationError(
                f"{side.where(int(side.image_index[row]))}: track {side.track_ids[row]} has no box; boxes are scored"
            )
    names, g_ids = np.unique(ground_truth.track_ids, return_inverse=True)
    p_names, p_ids = np.unique(prediction.track_ids, return_inverse=True)
    accumulator = TrackAccumulator((len(names), len(p_names)), rule="motmetrics")
    image_of = {number: k for k, number in enumerate(prediction.frame_numbers)}
    lengths = np.zeros(len(p_names), np.int64)
    for k, number in enumerate(ground_truth.frame_numbers):
        g = ground_truth.rows(k)
        p = prediction.rows(image_of[number]) if number in image_of else slice(0, 0)
        overlap = box_iou(ground_truth.boxes[g][:, None], prediction.boxes[p][None])
        accumulator.update(g_ids[g], p_ids[p], overlap, frame=k)
        lengths[p_ids[p]] += 1
    outside = prediction.people - int(lengths.sum())
    if outside:
        logger.warning(
            "%s: %d boxes are in frames that %s does not have; they are not scored",
            prediction.source,
            outside,
            ground_truth.source,
        )
    matches = accumulator.matches > 0
    used = lengths > 0
    return BoxCounts(
        accumulator.result(),
        frames=len(ground_truth),
        people=len(names),
        ids=int(used.sum()),
        short=int((used & (lengths < SHORT)).sum()),
        ghosts=int((used & ~matches.any(0)).sum()),
        found=int(matches.any(1).sum()),
        ids_of_people=int(matches.sum()),
    )


def score_box_files(ground_truth: Path, prediction: Path) -> BoxCounts:
    """Reads and counts one sequence.

    Raises InputError and EvaluationError as reading and `score_boxes` do.
    """
    return score_boxes(read_sequence(ground_truth), read_sequence(prediction))


@dataclass(frozen=True)
class BoxScores:
    """Scores of several sequences, by name, and of all together."""

    sequences: dict[str, BoxCounts]

    @property
    def total(self) -> BoxCounts:
        return reduce(add, self.sequences.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "scored": "boxes",
            "frames": self.total.frames,
            "sequences": {name: counts.scores() for name, counts in self.sequences.items()},
            "total": self.total.scores(),
        }

    def show(self, console: Console) -> None:
        """Prints a line a sequence."""
        console.print(f"{len(self.sequences)} sequences, {self.total.frames} frames; boxes, IoU 0.5")
        rows = dict(self.sequences)
        if len(rows) > 1:
            rows["all"] = self.total
        console.print(box_table("sequence", [(name, counts.scores()) for name, counts in rows.items()]))


def box_table(first: str, rows: Sequence[tuple[str, dict[str, float]]], columns: Sequence[str] = COLUMNS) -> Table:
    """A table with a name in its `first` column and scores in the others."""
    table = Table()
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    for name, scores in rows:
        values = (scores[column] for column in columns)
        table.add_row(escape(name), *(str(v) if isinstance(v, int) else f"{v:.1f}" for v in values))
    return table
