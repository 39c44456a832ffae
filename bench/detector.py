"""How well a person detector finds people: scores on an annotated clip, time a frame, pictures to look at.

    python bench/detector.py score LABELS NAME …        recall and false boxes a frame at several score thresholds
    python bench/detector.py place VIDEO NAME … --box   how often a place is taken for a person
    python bench/detector.py montage VIDEO OUT.png      detections drawn on frames of a video, as a sheet

LABELS is a folder with a PoseTrack 2018 file gt.json and its images; a COCO file in a folder beside `images/`; or a
MOTChallenge folder with gt.txt and its video (frames without a line in gt.txt are left out). A NAME is that of a model
file, as in `detector.model`; all are scored by the same code, and timed in turns so that their ratio holds on a busy
machine.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from keytrack_ros.detection import Detector, DetectorOptions
from keytrack_ros.geometry import box_iou
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.media.image_source import read_image
from keytrack_ros.media.sources import open_source
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray
from keytrack_ros.training.detector.scores import matched

app = typer.Typer(no_args_is_help=True, help=__doc__, rich_markup_mode=None)
console = Console(width=110)

LOWEST_SCORE = 0.05
THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
FALSE_BOXES = (0.15, 0.3)
"""Recall is also given at the lowest threshold with at most so many false boxes a frame."""

Models = Annotated[str, typer.Option(help="folders with networks, separated by ':'")]
Threads = Annotated[int, typer.Option(help="cores that a network may use; 0 = all")]
NmsIou = Annotated[float, typer.Option(help="of two boxes that overlap by more than this IoU the better one stays")]


@app.command()
def score(
    labels: Path, names: list[str], models: Models = "", threads: Threads = 0, nms_iou: NmsIou = 0.6, every: int = 1
) -> None:
    """Recall at IoU 0.5 and false boxes a frame over score thresholds, and time a frame."""
    frames, truth = annotated(labels, every)
    detectors = [opened(name, LOWEST_SCORE, models, threads, nms_iou) for name in names]
    found: list[list[tuple[FloatArray, FloatArray]]] = [[] for _ in names]
    seconds: list[list[float]] = [[] for _ in names]
    for image in frames:
        for boxes, times, detector in zip(found, seconds, detectors, strict=True):
            began = time.perf_counter()
            boxes.append(detector.detect(image))
            times.append(time.perf_counter() - began)
    table = Table("score ≥", *[f"{detector.card.name}\nrecall · false" for detector in detectors])
    results = [matched(boxes, truth) for boxes in found]
    for threshold in THRESHOLDS:
        cells = [result.at(threshold) for result in results]
        table.add_row(f"{threshold:.2f}", *[f"{recall:.3f} · {false:.2f}" for recall, _, false in cells])
    table.add_section()
    for allowed in FALSE_BOXES:
        limits = [result.threshold(allowed) for result in results]
        best = zip(limits, results, strict=True)
        table.add_row(f"false ≤ {allowed}", *[f"{r.at(t)[0]:.3f} at ≥ {t:.3f}" for t, r in best])
    table.add_row("AP", *[f"{result.average_precision():.3f}" for result in results])
    table.add_row("ms a frame", *[f"{1e3 * float(np.median(times)):.1f}" for times in seconds])
    console.print(f"{labels}: {len(frames)} frames, {sum(int(sure.sum()) for _, sure in truth)} people")
    console.print(table)


@app.command()
def place(
    video: Path,
    names: list[str],
    box: Annotated[str, typer.Option(help="x_min,y_min,x_max,y_max of the place, pixels")],
    models: Models = "",
    threads: Threads = 0,
    nms_iou: NmsIou = 0.6,
    first: int = 0,
    count: int = 0,
    every: int = 1,
) -> None:
    """Part of a video's frames in which a place is taken for a person (IoU 0.3), over score thresholds."""
    wanted = np.array([[float(v) for v in box.split(",")]], np.float32)
    detectors = [opened(name, LOWEST_SCORE, models, threads, nms_iou) for name in names]
    best: list[list[float]] = [[] for _ in names]
    with open_source(video, start=first, every=every, frames=count or None) as source:
        for frame in source:
            for scores, detector in zip(best, detectors, strict=True):
                boxes, found = detector.detect(frame.image_bgr)
                scores.append(float(np.where(box_iou(boxes, wanted) >= 0.3, found, 0).max(initial=0)))
    table = Table("score ≥", *[detector.card.name for detector in detectors])
    for threshold in THRESHOLDS:
        table.add_row(f"{threshold:.2f}", *[f"{(np.array(scores) >= threshold).mean():.2%}" for scores in best])
    console.print(f"{video}: {len(best[0])} frames")
    console.print(table)


@app.command()
def montage(
    video: Path,
    out: Path,
    name: str = "auto",
    models: Models = "",
    threads: Threads = 0,
    nms_iou: NmsIou = 0.6,
    threshold: float = 0.3,
    first: int = 0,
    every: int = 20,
    count: int = 16,
    columns: int = 4,
    width: int = 480,
) -> None:
    """Draws what a detector finds on every n-th frame of a video."""
    detector = opened(name, threshold, models, threads, nms_iou)
    with open_source(video, start=first, every=every, frames=count) as source:
        tiles = [tile(frame.image_bgr, detector, f"frame {frame.index}", width) for frame in source]
    if not tiles:
        raise SystemExit(f"{video}: has no frame {first}")
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[k : k + columns]) for k in range(0, len(tiles), columns)]
    if not cv2.imwrite(str(out), np.vstack(rows)):
        raise SystemExit(f"{out}: cannot be written")
    console.print(f"written: {out}")


def opened(name: str, threshold: float, models: str, threads: int, nms_iou: float) -> Detector:
    # fp32: the named network itself, not its INT8 version
    options = DetectorOptions(model=name, score_threshold=threshold, nms_iou=nms_iou)
    return Detector(options, InferenceOptions(models=models, threads=threads, precision="fp32"))


def annotated(labels: Path, every: int) -> tuple[list[ImageArray], list[tuple[FloatArray, BoolArray]]]:
    """Every n-th frame and its boxes [n, 4] with whether they count (crowds do not)."""
    if (labels / "gt.txt").is_file():
        return motchallenge(labels, every)
    file, folder = (labels, labels.parent.parent / "images") if labels.is_file() else (labels / "gt.json", labels)
    content = json.loads(file.read_text(encoding="utf-8"))
    people: dict[int, list[tuple[float, ...]]] = {image["id"]: [] for image in content["images"]}
    for item in content["annotations"]:
        x, y, width, height = item["bbox"]
        people[item["image_id"]].append((x, y, x + width, y + height, not item.get("iscrowd", 0)))
    images = content["images"][::every]
    tables = [np.array(people[image["id"]], np.float32).reshape(-1, 5) for image in images]
    return [read_image(folder / i["file_name"]) for i in images], [(t[:, :4], t[:, 4] > 0) for t in tables]


def motchallenge(folder: Path, every: int) -> tuple[list[ImageArray], list[tuple[FloatArray, BoolArray]]]:
    """Frames of the folder's video (video.mp4 or video.avi) and the boxes of gt.txt, whose frames count from 1."""
    rows = np.loadtxt(folder / "gt.txt", delimiter=",", ndmin=2)
    video = next(file for file in (folder / "video.mp4", folder / "video.avi") if file.is_file())
    frames, labels = [], []
    with open_source(video, every=every) as source:
        for frame in source:
            table = rows[rows[:, 0] == frame.index + 1]
            if len(table):
                boxes = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], 1).astype(np.float32)
                frames.append(frame.image_bgr)
                labels.append((boxes, np.ones(len(boxes), bool)))
    return frames, labels


def tile(image: ImageArray, detector: Detector, text: str, width: int) -> ImageArray:
    """The image at a width with boxes, scores and a caption."""
    boxes, scores = detector.detect(image)
    scale = width / image.shape[1]
    small = np.asarray(
        cv2.resize(image, (width, round(image.shape[0] * scale)), interpolation=cv2.INTER_AREA), np.uint8
    )
    for box, value in zip(boxes * scale, scores, strict=True):
        left, top, right, bottom = (round(float(v)) for v in box)
        cv2.rectangle(small, (left, top), (right, bottom), (0, 255, 0), 1)
        cv2.putText(small, f"{value:.2f}"[1:], (left, top - 2), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (0, 255, 255), 1)
    cv2.putText(small, text, (4, small.shape[0] - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
    return small


if __name__ == "__main__":
    app()
