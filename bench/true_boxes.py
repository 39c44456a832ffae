"""Keypoints found in the annotated boxes: the middle part of the paper's Figure 4, for `keytrack compare` and AP.

    python bench/true_boxes.py GT IMAGES OUT [--models FOLDER] [--flip-test]
    keytrack compare GT --predicted OUT

GT is a PoseTrack JSON file or a folder of them, IMAGES the folder from which the file names lead to the images. Each
person keeps the annotated id, so `keytrack evaluate GT OUT` says what perfect association would give.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import track

from keytrack_ros.annotations.files import find_sequences, read_sequence, sequence_name
from keytrack_ros.annotations.posetrack_writer import write_posetrack18
from keytrack_ros.annotations.sequence import LabelledSequence, from_poses
from keytrack_ros.errors import InputError
from keytrack_ros.estimation import Estimator, EstimatorOptions
from keytrack_ros.evaluation.gallery import image_of
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.poses import FloatArray, Poses, keypoint_boxes


def found_in_boxes(ground_truth: LabelledSequence, images: Path, estimator: Estimator) -> LabelledSequence:
    """The sequence with estimated keypoints. Raises InputError, naming the frame, if an image is missing."""
    frames = []
    for k in range(len(ground_truth)):
        boxes, kept = boxes_of(ground_truth, k)
        poses = Poses.empty()
        if len(kept):
            image = image_of(images, ground_truth, k)
            if image is None:
                raise InputError(f"{images}: there is no image for {ground_truth.where(k)}")
            poses = estimator.estimate(image, boxes).with_fields(track_ids=ground_truth.track_ids[kept])
        frames.append(poses)
    return from_poses(ground_truth.name, ground_truth.source, ground_truth.images, frames)


def boxes_of(ground_truth: LabelledSequence, k: int) -> tuple[FloatArray, FloatArray]:
    """Boxes [P, 4] of the people of a frame who have one, annotated or around their keypoints, and their rows."""
    rows = np.arange(*ground_truth.rows(k).indices(ground_truth.people))
    around = keypoint_boxes(
        ground_truth.keypoints[rows].astype(np.float32), ground_truth.present[rows].astype(np.float32)
    )
    annotated = np.isfinite(ground_truth.boxes[rows]).all(1)
    boxes = np.where(annotated[:, None], ground_truth.boxes[rows], around)
    usable = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return boxes[usable], rows[usable]


def main(
    ground_truth: Annotated[Path, typer.Argument(metavar="GT")],
    images: Path,
    out: Path,
    models: Annotated[str, typer.Option(help="folders with networks, separated by ':'")] = "",
    flip_test: bool = False,
) -> None:
    """Keypoints found in the annotated boxes."""
    estimator = Estimator(EstimatorOptions(flip_test=flip_test), InferenceOptions(models=models))
    out.mkdir(parents=True, exist_ok=True)
    for path in track(find_sequences(ground_truth), "estimating"):
        found = found_in_boxes(read_sequence(path), images, estimator)
        write_posetrack18(found, out / f"{sequence_name(path)}.json", overwrite=True)


if __name__ == "__main__":
    typer.run(main)
