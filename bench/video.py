"""Identity on real video: ours and public trackers on the same detections, scored alike in one table.

    python bench/video.py SEQ... --peers PEERS_PYTHON [--boxes detector|true|FILE.npz] [--set NAME=VALUE]

SEQ is a folder of MOTChallenge ground truth with a video.* beside gt.txt (or --video), and seq.json or seqinfo.ini for
frame rate and first and last frame. PEERS_PYTHON is the Python of an environment with `trackers==2.6.1` and `norfair`,
which are no dependencies of this package (--peers may be repeated where they do not fit into one environment);
without it only ours is scored.

Detections (--boxes): those of our detector, the annotated boxes, or a file with `boxes`, rows of frame (from 1), x_min,
y_min, x_max, y_max, score. Lines of the table:

    pipeline     the whole pipeline, image to ids (with our detector only)
    ours         our poses in the given boxes, and our tracker
    the others   the given boxes; each with that threshold of .35, .5, .6 that gives the highest IDF1 on the sequence

Ours counts as it is published: confirmed tracks only. Columns are those of `keytrack evaluate`; ms/frame is the time
that ids take, given boxes and poses.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from keytrack_ros.annotations.files import read_sequence, sequence_name
from keytrack_ros.annotations.sequence import Image, LabelledSequence, from_boxes
from keytrack_ros.cli.settings import pipeline_options
from keytrack_ros.detection import Detector
from keytrack_ros.estimation import Estimator
from keytrack_ros.evaluation.boxes import COLUMNS, BoxCounts, box_table, score_boxes
from keytrack_ros.media.sources import open_source
from keytrack_ros.pipeline import Pipeline, PipelineOptions
from keytrack_ros.poses import FloatArray, ImageArray, Poses
from keytrack_ros.tracker import PoseTracker
from keytrack_ros.tracker.tracker import published

THRESHOLDS = (0.35, 0.5, 0.6)
WEAK = 0.1
"""Boxes from this score on are given to all trackers."""
TRUE_SCORE = 0.95


@dataclass
class Tracked:
    """Rows of frame number (from 1), id, x_min, y_min, x_max, y_max, and the seconds that the ids took."""

    rows: list[list[float]]
    seconds: float = 0.0

    def add(self, number: int, poses: Poses) -> None:
        ids, boxes = poses.track_ids.tolist(), poses.boxes.tolist()
        self.rows += [[number, i, *box] for i, box in zip(ids, boxes, strict=True) if i >= 0]


def score(ground_truth: LabelledSequence, rows: Sequence[Sequence[float]]) -> BoxCounts:
    """The counts of tracked boxes, rows as of `Tracked`."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    table = table[np.argsort(table[:, 0], kind="stable")]
    images = ground_truth.images
    index = {image.image_id: k for k, image in enumerate(images)}
    table = table[[number in index for number in table[:, 0]]]
    places = np.array([index[number] for number in table[:, 0]], np.int64)
    own = tuple(Image(image_id=image.image_id, place=image.place) for image in images)
    return score_boxes(
        ground_truth,
        from_boxes(ground_truth.name, "tracked", own, places, table[:, 1].astype(int).tolist(), table[:, 2:]),
    )


def frames(video: Path, ground_truth: LabelledSequence) -> Iterator[tuple[int, ImageArray, float]]:
    """Number (from 1), image and seconds of every frame of the ground truth."""
    stamps = {image.place: image.stamp_ns for image in ground_truth.images}
    first, last = min(ground_truth.frame_numbers), max(ground_truth.frame_numbers)
    with open_source(video, start=first, frames=last - first + 1) as source:
        for frame in source:
            stamp_ns = stamps.get(frame.index)
            yield frame.index + 1, frame.image_bgr, frame.stamp_s if stamp_ns is None else stamp_ns * 1e-9


def run_pipeline(video: Path, ground_truth: LabelledSequence, options: PipelineOptions) -> Tracked:
    """The whole pipeline; the seconds are those of its last stage, matching."""
    tracked, pipeline = Tracked([]), Pipeline.from_options(options)
    for number, image, stamp_s in frames(video, ground_truth):
        tracked.add(number, published(pipeline.process(image, stamp_s), options.tracker))
        tracked.seconds += list(pipeline.stage_seconds.values())[-1]
    pipeline.close()
    return tracked


def run_in_boxes(video: Path, ground_truth: LabelledSequence, options: PipelineOptions, boxes: FloatArray) -> Tracked:
    """Our poses in given boxes (rows of frame, box, score), and our tracker."""
    estimator = Estimator(options.estimator, options.inference)
    tracked, tracker = Tracked([]), PoseTracker(options.tracker)
    for number, image, stamp_s in frames(video, ground_truth):
        here = boxes[boxes[:, 0] == number].astype(np.float32)
        poses = estimator.estimate(image, here[:, 1:5]).with_fields(box_scores=here[:, 5])
        began = perf_counter()
        followed = tracker.update(poses, (image.shape[1], image.shape[0]), stamp_s)
        tracked.seconds += perf_counter() - began
        if len(followed) == len(here):  # the given boxes, not those around the keypoints
            followed = followed.with_fields(boxes=here[:, 1:5])
        tracked.add(number, published(followed, options.tracker))
    estimator.close()
    return tracked


def detections(video: Path, ground_truth: LabelledSequence, kind: str, options: PipelineOptions) -> FloatArray:
    """[N, 6] frame, x_min, y_min, x_max, y_max, score."""
    if kind == "true":
        numbers = np.array(ground_truth.frame_numbers)[ground_truth.image_index] + 1
        return np.column_stack([numbers, ground_truth.boxes, np.full(len(numbers), TRUE_SCORE)])
    if kind != "detector":
        return np.asarray(np.load(kind)["boxes"], np.float64).reshape(-1, 6)
    weak = pipeline_options(None, [f"detector.score_threshold={WEAK}"]).detector
    detector = Detector(weak, options.inference)
    rows = [
        [number, *box, float(value)]
        for number, image, _ in frames(video, ground_truth)
        for box, value in zip(*(a.tolist() for a in detector.detect(image)), strict=True)
    ]
    detector.close()
    return np.array(rows, np.float64).reshape(-1, 6)


def run_rivals(
    peers: Path, boxes: FloatArray, ground_truth: LabelledSequence, fps: float
) -> dict[str, tuple[BoxCounts, float]]:
    """Each rival at its best threshold: its counts, and milliseconds a frame."""
    program = Path(__file__).with_name("video_rivals.py")
    numbers = [number + 1 for number in ground_truth.frame_numbers]
    best: dict[str, tuple[float, BoxCounts, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "boxes.npz", Path(folder) / "rows.json"
        np.savez(given, boxes=boxes, first=numbers[0], last=numbers[-1], fps=fps, thresholds=THRESHOLDS)
        subprocess.run([str(peers), str(program), str(given), str(made)], check=True)
        for run in json.loads(made.read_text()):
            counts = score(ground_truth, run["rows"])
            idf1 = counts.scores()["IDF1"]
            if run["name"] not in best or idf1 > best[run["name"]][0]:
                best[run["name"]] = idf1, counts, 1e3 * run["seconds"] / len(numbers)
    return {name: (counts, ms) for name, (_, counts, ms) in best.items()}


def main(
    sequences: Annotated[list[Path], typer.Argument(metavar="SEQ...")],
    peers: Annotated[list[Path] | None, typer.Option(help="Python of an environment with public trackers")] = None,
    boxes: Annotated[str, typer.Option(help="detector, true, or a file with boxes")] = "detector",
    video: Annotated[Path | None, typer.Option(help="video of the one sequence, where it is not beside gt.txt")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="an option, NAME=VALUE")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write all scores there")] = None,
) -> None:
    """Scores ours and the rivals on each sequence."""
    options = pipeline_options(None, settings or [])
    console = Console(highlight=False)
    console.width = max(console.width, 130)  # the table, also in a file
    results: dict[str, dict[str, dict[str, float]]] = {}
    for folder in sequences:
        ground_truth = read_sequence(folder)
        recording = video or next(iter(sorted(folder.glob("video.*"))), None)
        if recording is None:
            raise typer.BadParameter(f"{folder}: there is no video.* beside gt.txt; name it with --video")
        stamps = [image.stamp_ns or 0 for image in ground_truth.images[:2]]
        fps = 1e9 / (stamps[1] - stamps[0]) if len(stamps) > 1 and stamps[1] > stamps[0] else 25.0
        given = detections(recording, ground_truth, boxes, options)
        runs: dict[str, tuple[BoxCounts, float]] = {}
        if boxes == "detector":
            tracked = run_pipeline(recording, ground_truth, options)
            runs["pipeline"] = score(ground_truth, tracked.rows), 1e3 * tracked.seconds / len(ground_truth)
        tracked = run_in_boxes(recording, ground_truth, options, given)
        runs["ours"] = score(ground_truth, tracked.rows), 1e3 * tracked.seconds / len(ground_truth)
        for python in peers or ():
            runs |= run_rivals(python, given, ground_truth, fps)
        rows = [(name, {**counts.scores(), "ms/frame": ms}) for name, (counts, ms) in runs.items()]
        results[sequence_name(folder)] = dict(rows)
        console.print(f"{sequence_name(folder)}, {len(ground_truth)} frames, boxes: {boxes}")
        console.print(box_table("tracker", rows, (*COLUMNS, "ms/frame")))
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    typer.run(main)
