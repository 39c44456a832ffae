"""Trackers side by side on the same keypoints: the paper's Figure 4, with times and confidence intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from operator import add
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.annotations.sequence import LabelledSequence, from_poses
from keytrack_ros.errors import EvaluationError, InputError
from keytrack_ros.evaluation.clear_mot import ClearCounts
from keytrack_ros.evaluation.evaluate import score_sequence
from keytrack_ros.evaluation.executors import run_jobs
from keytrack_ros.evaluation.frames import SequencePair
from keytrack_ros.evaluation.gallery import image_of
from keytrack_ros.evaluation.identity import IdentityCounts
from keytrack_ros.evaluation.protocol import Protocol
from keytrack_ros.evaluation.scores import GROUPS
from keytrack_ros.poses import FloatArray, Poses
from keytrack_ros.research.baselines import Baseline, Run
from keytrack_ros.research.perturbation import annotated_poses, perturbed

TRUE, PERTURBED = "true", "perturbed"
_FPS = 25.0
"""PoseTrack states no rate; it only makes stamps."""
_RESAMPLES = 1000


@dataclass(frozen=True)
class Task:
    """One sequence, to be tracked by all baselines.

    Attributes:
        ground_truth: its annotations.
        predictions: name of a set of predicted keypoints → the sequence with them.
        keypoints: the sets to compare on: `TRUE`, `PERTURBED`, and names of `predictions`.
        every: only every so many frames follow each other; all such sequences, one for each first frame, are tracked.
        images: folder of the images; only for baselines that need them.
    """

    ground_truth: LabelledSequence
    predictions: Mapping[str, LabelledSequence]
    keypoints: tuple[str, ...]
    every: int = 1
    images: Path | None = None


@dataclass(frozen=True)
class Tracked:
    """Results of a baseline on one sequence: counts of keypoints, switches of people by OKS, seconds for all frames."""

    clear: ClearCounts
    identity: IdentityCounts
    switches: int
    frames: int
    seconds: float

    def __add__(self, other: Tracked) -> Tracked:
        return Tracked(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))


Results = dict[tuple[str, str], Tracked]
"""(Set of keypoints, name of a baseline) → the results of a sequence."""


def compare(
    tasks: Sequence[Task], baselines: Sequence[Baseline], protocol: Protocol, *, workers: int = 1, scheduler: str = ""
) -> Iterator[tuple[int, Results]]:
    """Yields (place of the task, its results) as they are done, in any order; parallel as `run_jobs`.

    Raises KeytrackError as reading, scoring and the matchers do.
    """
    yield from run_jobs(_compared, [(task, baselines, protocol) for task in tasks], workers, scheduler)


def _compared(task: Task, baselines: Sequence[Baseline], protocol: Protocol) -> Results:
    results: Results = {}
    for kind in task.keypoints:
        poses = poses_of(kind, task)
        for chosen in baselines:
            phases = [
                _tracked(
                    subsample(task.ground_truth, task.every, first),
                    poses[first :: task.every],
                    chosen,
                    protocol,
                    task.images,
                )
                for first in range(min(task.every, len(task.ground_truth)))
            ]
            results[kind, chosen.name] = reduce(add, phases)
    return results


def poses_of(kind: str, task: Task) -> list[Poses]:
    """The poses of every frame from one of the sets of keypoints, without ids."""
    if kind in (TRUE, PERTURBED):
        return annotated_poses(task.ground_truth) if kind == TRUE else perturbed(task.ground_truth)
    prediction = SequencePair(task.ground_truth, task.predictions[kind]).prediction
    return [prediction.poses(k).with_fields(track_ids=None) for k in range(len(prediction))]


def subsample(sequence: LabelledSequence, every: int, first: int = 0) -> LabelledSequence:
    """Every so many frames of a sequence, from the frame `first` on."""
    if every == 1:
        return sequence
    kept = sequence.taken(sequence.image_index % every == first)
    return replace(kept, images=sequence.images[first::every], image_index=kept.image_index // every)


def _tracked(
    ground_truth: LabelledSequence, frames: Sequence[Poses], chosen: Baseline, protocol: Protocol, images: Path | None
) -> Tracked:
    run = Run(chosen)
    size = frame_size(ground_truth)
    seconds, tracked = 0.0, []
    for k, poses in enumerate(frames):
        image = None
        if chosen.needs_images:
            image = None if images is None else image_of(images, ground_truth, k)
            if image is None:
                raise InputError(
                    f"{images}: there is no image for {ground_truth.where(k)}, which '{chosen.name}' needs"
                )
        began = perf_counter()
        ids = run.update(poses, size, k / _FPS, image)
        seconds += perf_counter() - began
        tracked.append(poses.with_fields(track_ids=ids))
    prediction = from_poses(
        ground_truth.name, f"{ground_truth.source} tracked by {chosen.name}", ground_truth.images, tracked
    )
    parts = score_sequence(SequencePair(ground_truth, prediction), protocol)
    return Tracked(parts.clear, parts.identity, int(parts.person["OKS"].clear.switches[0]), len(frames), seconds)


def frame_size(sequence: LabelledSequence) -> tuple[int, int]:
    """Width and height of the images: as the file says, else as far as keypoints go."""
    known = [image.size for image in sequence.images if image.size is not None]
    if known:
        return known[0]
    extent = np.ceil(sequence.keypoints[sequence.present].max(0, initial=1)).astype(int).tolist()
    return extent[0], extent[1]


@dataclass(frozen=True)
class Line:
    """A baseline on one set of keypoints, in percent.

    Attributes:
        idsw: share of annotated keypoints at which the id switches, by the paper's groups, and in all.
        totals: IDSW, MOTA and IDF1 over all keypoints.
        intervals: 95 % confidence intervals of the totals, over sequences; None for fewer than two.
        switches: switches of people: by OKS.
        ms: milliseconds a frame.
    """

    idsw: dict[str, float]
    totals: dict[str, float]
    intervals: dict[str, tuple[float, float]] | None
    switches: int
    ms: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "IDSW": self.idsw,
            **{f"{name}_total": value for name, value in self.totals.items()},
            "confidence_intervals_95": None
            if self.intervals is None
            else {k: list(v) for k, v in self.intervals.items()},
            "person_switches": self.switches,
            "ms_per_frame": self.ms,
        }


def line(tracked: Sequence[Tracked]) -> Line:
    """The figures of one baseline over all sequences.

    Raises EvaluationError if nothing of them is annotated.
    """
    together = reduce(add, tracked)
    if not together.clear.objects.sum():
        raise EvaluationError("no frame of the ground truth has annotated people, so there is nothing to compare")
    rate = together.clear.switch_rate
    groups = {name: _mean(rate[[skeleton.INDEX[joint] for joint in joints]]) for name, joints in GROUPS.items()}
    ones = np.ones((1, len(tracked)))
    totals = {name: float(values[0]) for name, values in _totals(tracked, ones).items()}
    return Line(
        idsw={**groups, "Total": totals["IDSW"]},
        totals=totals,
        intervals=_intervals(tracked) if len(tracked) > 1 else None,
        switches=together.switches,
        ms=1000 * together.seconds / max(together.frames, 1),
    )


def _intervals(tracked: Sequence[Tracked]) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap: sequences are drawn with replacement (Efron and Tibshirani 1993, §13.3)."""
    count = len(tracked)
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    totals = _totals(tracked, weights.astype(np.float64))
    return {
        name: (float(np.nanpercentile(values, 2.5)), float(np.nanpercentile(values, 97.5)))
        for name, values in totals.items()
    }


def _totals(tracked: Sequence[Tracked], weights: FloatArray) -> dict[str, FloatArray]:
    """IDSW, MOTA and IDF1 over all keypoints, [B] each, with sequences counted as often as `weights` [B, S] says."""

    def summed(values: list[Any]) -> FloatArray:
        return np.asarray(weights @ np.array(values, np.float64))  # [B, 15]

    clear, identity = [t.clear for t in tracked], [t.identity for t in tracked]
    objects = summed([c.objects for c in clear])
    switches = summed([c.switches for c in clear])
    errors = switches + summed([c.misses + c.false_positives for c in clear])
    both = summed([i.annotated + i.predicted for i in identity])
    parts = {
        "IDSW": _divided(switches, objects),
        "MOTA": 1 - _divided(errors, objects),
        "IDF1": _divided(2 * summed([i.true_positives for i in identity]), both),
    }
    return {name: 100 * np.nanmean(values, axis=1) for name, values in parts.items()}


def _divided(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.asarray(np.divide(a, b, out=np.full(b.shape, np.nan), where=b > 0), np.float64)


def _mean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
