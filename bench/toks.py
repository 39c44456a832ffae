"""What temporal OKS (TOKS) gives: the paper's Table 2 on an annotated clip.

    python bench/toks.py CLIP [--detector NAME] [--pose NAME] [--missed 0.2]

CLIP is a folder with a PoseTrack 2018 file gt.json and its images. AP is that of `keytrack evaluate` (mode clean: mean
over the annotated keypoints). `--missed` leaves out a part of the detector's boxes at random, with a fixed seed: what
a weaker detector would miss.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from keytrack_ros.annotations.files import read_sequence
from keytrack_ros.annotations.sequence import from_poses
from keytrack_ros.detection import Detector, DetectorOptions
from keytrack_ros.estimation import Estimator, EstimatorOptions
from keytrack_ros.evaluation.evaluate import combined, score_sequence
from keytrack_ros.evaluation.frames import SequencePair
from keytrack_ros.evaluation.protocol import CLEAN
from keytrack_ros.geometry import box_iou
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import AUTO
from keytrack_ros.media.image_source import read_image
from keytrack_ros.poses import FloatArray, ImageArray, Poses
from keytrack_ros.toks import ToksOptions, carried_boxes, keep_best, not_detected

console = Console(width=120)
NMS_IOU = 0.6
SEED = 7

Frame = tuple[ImageArray, FloatArray, FloatArray, FloatArray]
"""Image, true boxes [T, 4], detected boxes [D, 4], their scores [D]."""
Step = Callable[[Frame, Poses | None], Poses]
"""From a frame and the poses of t−1 (None at the beginning) to the poses of t."""


class Counter:
    """An estimator that counts the boxes it is given."""

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator
        self.people = 0

    def estimate(self, image: ImageArray, boxes: FloatArray) -> Poses:
        self.people += len(boxes)
        return self._estimator.estimate(image, boxes)


def main(
    clip: Path,
    detector: str = AUTO,
    pose: str = AUTO,
    models: Annotated[str, typer.Option(help="folders with networks, separated by ':'")] = "",
    threshold: Annotated[float, typer.Option(help="detector's score threshold; −1 = its default")] = -1.0,
    missed: Annotated[float, typer.Option(help="part of the detected boxes that is left out")] = 0.0,
    flip_test: bool = False,
) -> None:
    """AP for several ways to get boxes."""
    inference = InferenceOptions(models=models)
    options = DetectorOptions(model=detector) if threshold < 0 else DetectorOptions(detector, threshold)
    finder = Detector(options, inference)
    estimator = Estimator(EstimatorOptions(model=pose, flip_test=flip_test), inference)
    frames = annotated(clip, finder, missed)
    boxes = sum(len(frame[2]) for frame in frames)
    console.print(
        f"{clip.name}: {len(frames)} frames, {finder.card.name} at {finder.options.score_threshold} "
        f"({boxes / len(frames):.2f} boxes a frame), {estimator.card.name}"
    )
    table = Table("boxes", "AP", "precision", "recall", "people a frame", "estimates a frame")
    counter = Counter(estimator)
    for name, step in variants(counter):
        counter.people, previous = 0, None
        poses = []
        for frame in frames:
            previous = step(frame, previous)
            poses.append(previous)
        scores = scored(clip, poses)
        table.add_row(
            name,
            *[f"{scores[key]:.2f}" for key in ("AP", "AP_precision", "AP_recall")],
            f"{sum(map(len, poses)) / len(frames):.2f}",
            f"{counter.people / len(frames):.2f}",
        )
    console.print(table)


def variants(estimator: Counter) -> list[tuple[str, Step]]:
    """The rows of the table."""

    def true_boxes(frame: Frame, _: Poses | None) -> Poses:
        return estimator.estimate(frame[0], frame[1])

    def detected(frame: Frame, _: Poses | None) -> Poses:
        return estimator.estimate(frame[0], frame[2])

    def propagated(frame: Frame, previous: Poses | None) -> Poses:
        """Boxes of t−1 compete with the detected ones by box score, before anything is estimated."""
        image, _, boxes, scores = frame
        if previous is not None:
            carried = carried_boxes(previous, (image.shape[1], image.shape[0]), ToksOptions())
            sure = previous.mean_scores[: len(carried)] if len(carried) == len(previous) else np.full(len(carried), 0.5)
            boxes, scores = np.concatenate([boxes, carried]), np.concatenate([scores, sure])
        kept: list[int] = []
        for row in np.argsort(-scores, kind="stable"):
            if not kept or box_iou(boxes[row][None], boxes[kept]).max() <= NMS_IOU:
                kept.append(int(row))
        return estimator.estimate(image, boxes[kept])

    def alike_dropped(frame: Frame, _: Poses | None) -> Poses:
        """What TOKS would keep of the detected people alone."""
        poses = detected(frame, None).with_fields(carried=np.zeros(len(frame[2]), bool))
        return poses[keep_best(poses, ToksOptions())]

    def toks(options: ToksOptions) -> Step:
        def step(frame: Frame, previous: Poses | None) -> Poses:
            image, _, boxes, _ = frame
            carried = np.zeros((0, 4), np.float32)
            if previous is not None:
                carried = carried_boxes(previous, (image.shape[1], image.shape[0]), options)
                carried = not_detected(carried, boxes, options)
            poses = estimator.estimate(image, np.concatenate([boxes, carried]))
            poses = poses.with_fields(carried=np.arange(len(poses)) >= len(boxes))
            return poses[keep_best(poses, options)]

        return step

    rows: list[tuple[str, Step]] = [
        ("true", true_boxes),
        ("detector", detected),
        (f"detector, poses of OKS > {ToksOptions().oks_threshold} are one", alike_dropped),
        (f"detector + boxes of t−1, NMS {NMS_IOU}", propagated),
    ]
    rows += [
        (f"detector + TOKS {threshold}", toks(ToksOptions(oks_threshold=threshold, skip_iou=1.0, detected_first=False)))
        for threshold in (0.3, 0.35, 0.5)
    ]
    return [*rows, ("detector + TOKS, default options", toks(ToksOptions()))]


def annotated(clip: Path, detector: Detector, missed: float) -> list[Frame]:
    """All frames of the clip with true and detected boxes."""
    labels = json.loads((clip / "gt.json").read_text(encoding="utf-8"))
    chance = np.random.default_rng(SEED)
    frames = []
    for image in labels["images"]:
        picture = read_image(clip / image["file_name"])
        rows = [a["bbox"] for a in labels["annotations"] if a["image_id"] == image["id"]]
        true = np.array(rows, np.float32).reshape(-1, 4)
        true[:, 2:] += true[:, :2]
        boxes, scores = detector.detect(picture)
        kept = chance.random(len(boxes)) >= missed
        frames.append((picture, true, boxes[kept], scores[kept]))
    return frames


def scored(clip: Path, poses: list[Poses]) -> dict[str, float]:
    """The totals of `keytrack evaluate`. Identities play no part in AP: every person gets a new one."""
    ground_truth = read_sequence(clip / "gt.json")
    first = np.cumsum([0, *map(len, poses)])
    named = [p.with_fields(track_ids=first[k] + np.arange(len(p))) for k, p in enumerate(poses)]
    prediction = from_poses(ground_truth.name, "poses", ground_truth.images, named)
    return dict(combined([score_sequence(SequencePair(ground_truth, prediction), CLEAN)], CLEAN).totals)


if __name__ == "__main__":
    typer.run(main)
