"""How the time of each stage grows with the number of people: a table, and a plot.

    python bench/growth.py VIDEO [--repeats 30] [--threads 0] [--plot docs/images/growth.png]

Frames are composed: people of the video, as the detector finds them, are pasted onto an empty 1280 × 720 canvas and
drift. The detector runs on these frames; the later stages are given everybody's box, so that their work is that of
exactly so many people. Frames of different numbers come in turns, so that what else the machine does meets all alike.
Where the CPU has instructions for INT8, the same is measured with FP32 networks, in turns, too. The plot needs
Matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from keytrack_ros.detection import Detector
from keytrack_ros.estimation import Estimator
from keytrack_ros.inference.cpu import has_int8_instructions
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.media.sources import open_source
from keytrack_ros.pipeline.pose_finder import timed
from keytrack_ros.poses import FloatArray, ImageArray, Poses
from keytrack_ros.toks import ToksOptions, carried_boxes, keep_best, not_detected
from keytrack_ros.tracker import PoseTracker, TrackerOptions

PEOPLE = (1, 2, 5, 10, 20, 50)
STAGES = ("detection", "pose estimation", "TOKS", "matching")
SIZE = (1280, 720)
PERSON = (64, 160)
"""Width and height in pixels of a pasted person."""
FPS = 25.0


def cut_out(detector: Detector, video: Path, number: int) -> list[ImageArray]:
    """Pictures of people of a video, `number` of them or fewer, all of one size."""
    found: list[ImageArray] = []
    with open_source(str(video)) as source:
        for frame in source:
            boxes, scores = detector.detect(frame.image_bgr)
            for x0, y0, x1, y1 in boxes[scores > 0.5].astype(int):
                if (y1 - y0) > 2 * (x1 - x0) > 40:
                    found.append(np.asarray(cv2.resize(frame.image_bgr[y0:y1, x0:x1], PERSON), np.uint8))
            if len(found) >= number:
                break
    return found[:number]


class Crowd:
    """So many people on one canvas, who move.

    Args:
        pictures: of people, used again where there are more people.
        people: how many.
    """

    def __init__(self, pictures: list[ImageArray], people: int) -> None:
        chance = np.random.default_rng(people)
        cells = chance.permutation(16 * 4)[:people]  # places that do not overlap
        self._pictures = [pictures[k % len(pictures)] for k in range(people)]
        self._corners = np.stack([cells % 16 * 79 + 5, cells // 16 * 178 + 8], 1).astype(np.float64)
        self._steps = chance.normal(0, 0.15, (people, 2))

    def frame(self, number: int) -> tuple[ImageArray, FloatArray]:
        """The image and everybody's box."""
        image = np.full((SIZE[1], SIZE[0], 3), 114, np.uint8)
        corners = np.round(self._corners + number * self._steps).astype(int)
        corners = np.clip(corners, 0, np.subtract(SIZE, PERSON))
        for picture, (x, y) in zip(self._pictures, corners, strict=True):
            image[y : y + PERSON[1], x : x + PERSON[0]] = picture
        return image, np.concatenate([corners, corners + PERSON], 1).astype(np.float32)


class Stages:
    """Detector, estimator, TOKS and tracker, each timed; the poses of one crowd go from frame to frame."""

    def __init__(self, detector: Detector, estimator: Estimator, tracker: PoseTracker, crowd: Crowd) -> None:
        self._detector, self._estimator, self._tracker, self._crowd = detector, estimator, tracker, crowd
        self._options = ToksOptions()
        self._previous: Poses | None = None

    def run(self, number: int) -> list[float]:
        """Milliseconds of each of `STAGES` in the next frame."""
        image, boxes = self._crowd.frame(number)
        seconds: dict[str, float] = {}
        with timed(seconds, "detection"):
            self._detector.detect(image)
        with timed(seconds, "TOKS"):
            carried = np.zeros((0, 4), np.float32)
            if self._previous is not None:
                carried = not_detected(carried_boxes(self._previous, SIZE, self._options), boxes, self._options)
        with timed(seconds, "pose estimation"):
            poses = self._estimator.estimate(image, np.concatenate([boxes, carried]))
        with timed(seconds, "TOKS"):
            poses = poses.with_fields(carried=np.arange(len(poses)) >= len(boxes))
            poses = poses[keep_best(poses, self._options)]
        with timed(seconds, "matching"):
            self._previous = self._tracker.update(poses, SIZE, number / FPS)
        return [1e3 * seconds[stage] for stage in STAGES]


def measured(video: Path, repeats: int, threads: int, precisions: Sequence[str]) -> Iterator[tuple[int, FloatArray]]:
    """For each number of people [precisions, repeats, stages] milliseconds."""
    runs: dict[tuple[str, int], Stages] = {}
    for precision in precisions:
        inference = InferenceOptions(device="cpu", threads=threads, precision=precision)
        detector, estimator = Detector(inference=inference), Estimator(inference=inference)
        matcher = open_matcher(inference=inference)
        pictures = cut_out(detector, video, max(PEOPLE))
        if not pictures:
            raise typer.BadParameter(f"the detector finds nobody in {video}")
        for people in PEOPLE:
            tracker = PoseTracker(TrackerOptions(), matcher)
            runs[precision, people] = Stages(detector, estimator, tracker, Crowd(pictures, people))
    warm_up = TrackerOptions().delta + 1
    times: dict[tuple[str, int], list[list[float]]] = {key: [] for key in runs}
    for number in range(warm_up + repeats):
        for key, stages in runs.items():
            spent = stages.run(number)
            if number >= warm_up:
                times[key].append(spent)
    for people in PEOPLE:
        yield people, np.array([times[precision, people] for precision in precisions])


def plot(file: Path, medians: dict[int, FloatArray]) -> None:
    """Medians of all stages over the number of people, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for index, stage in enumerate(STAGES):
        axes.plot(list(medians), [median[index] for median in medians.values()], marker="o", label=stage)
    axes.set(xscale="log", yscale="log", xlabel="people", ylabel="ms a frame (median)", xticks=PEOPLE)
    axes.set_xticklabels([str(people) for people in PEOPLE])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)


def main(
    video: Path,
    repeats: int = 30,
    threads: Annotated[int, typer.Option(help="cores that the networks may use; 0 = all")] = 0,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="PNG to write")] = None,
) -> None:
    """Median and 95th percentile of every stage for 1 to 50 people."""
    precisions = ("auto", "fp32") if has_int8_instructions() else ("auto",)
    columns = ["people", *(f"{stage}, ms" for stage in STAGES), "all, ms"]
    columns += ["all, FP32, ms", "FP32 / this"] if len(precisions) > 1 else []
    table = Table(*columns)
    medians = {}
    for people, times in measured(video, repeats, threads, precisions):
        medians[people] = np.median(times[0], 0)
        cells = [*times[0].T, *times.sum(2)]  # of each stage, then of all, in each precision
        row = [f"{np.median(cell):.1f} · {np.percentile(cell, 95):.1f}" for cell in cells]
        row += [f"{np.median(cells[-1]) / np.median(cells[-2]):.2f}"] if len(precisions) > 1 else []
        table.add_row(str(people), *row)
    console = Console(width=120)
    console.print(f"{repeats} frames each, median · p95; cores that a network may use: {threads or 'all'}")
    console.print(table)
    if plot_file is not None:
        plot(plot_file, medians)


if __name__ == "__main__":
    typer.run(main)
