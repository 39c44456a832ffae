"""Answers of trained pose networks that are targets beside the labels (distillation; Hinton et al., 2015).

A network is asked here; what others said stands in the annotations. As in Radosavovic et al., 2018, several views of a
person are asked for: their mean knows more than one view, so that a network can learn even from its own answers.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.errors import DataError
from keytrack_ros.estimation.estimator import Estimator, EstimatorOptions
from keytrack_ros.inference.cards import PoseCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import find_model
from keytrack_ros.poses import FloatArray
from keytrack_ros.training.pose.data import People

VIEWS = (0.95, 1.1, 1.25)
"""Sizes of the box, as parts of the labelled one; in each the crop and its mirror image are averaged."""
_CHUNK = 64


class Answers(NamedTuple):
    """Of V views of N people: points [N, V, 15, 2] float32 in image pixels, scores [N, V, 15] float32, 0..1.

    A score of NaN means that the view says nothing about the keypoint.
    """

    points: FloatArray
    scores: FloatArray


def ask_teacher(people: People, model: str, file: Path, threads: int = 0) -> Answers:
    """A pose network's answers for all people; those held back are not asked for and have scores of 0.

    Args:
        model: name or model file of the network.
        file: .npz where answers are kept; they are read from it if they are of these people and this network.
        threads: cores; 0 = all.

    Raises ModelError if there is no such network, DataError if `file` is damaged.
    """
    inference = InferenceOptions(threads=threads)
    of = f"{people.fingerprint} {find_model(PoseCard, model, inference.folders).sha256}"
    if file.is_file() and (known := _read(file, of)):
        return known
    estimator = Estimator(EstimatorOptions(model=model, flip_test=True), inference)
    try:
        answers = _asked(people, estimator)
    finally:
        estimator.close()
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, of=np.array(of), **answers._asdict())
    return answers


def with_annotated(answers: Answers | None, people: People) -> Answers | None:
    """A network's answers, if there are any, and those of the annotations, each with half of the weight."""
    taught = people.taught[:, None]
    if not (taught[..., 2] > 0).any():
        return answers
    annotated = Answers(taught[..., :2], np.where(taught[..., 2] > 0, np.clip(taught[..., 2], 0, 1), np.nan))
    if answers is None:
        return annotated
    views = answers.scores.shape[1]
    both = zip(answers, annotated, strict=True)
    return Answers(*(np.concatenate([own, np.repeat(other, views, 1)], 1) for own, other in both))


def taught_heatmaps(scores: FloatArray, drawn: FloatArray) -> FloatArray:
    """What views say together: the mean of the Gaussians of those that say something, each as high as its score.

    Args:
        scores: [V, 15]; NaN = says nothing.
        drawn: [V, 15, h, w], a Gaussian of height 1 at the point of each view.

    Returns [15, h, w] float32, NaN where no view says anything.
    """
    said = np.isfinite(scores)
    heights = np.where(said, scores, 0) / np.where(said.any(0), said.sum(0), np.nan)
    return np.asarray(np.einsum("vk,vkhw->khw", heights, drawn), np.float32)


def _asked(people: People, estimator: Estimator) -> Answers:
    count = len(people.boxes)
    points = np.zeros((count, len(VIEWS), skeleton.COUNT, 2), np.float32)
    scores = np.zeros((count, len(VIEWS), skeleton.COUNT), np.float32)
    rows = people.rows(held_back=False)
    middle = (people.boxes[:, :2] + people.boxes[:, 2:]) / 2
    half = (people.boxes[:, 2:] - people.boxes[:, :2]) / 2
    for begin in range(0, len(rows), _CHUNK):
        some = rows[begin : begin + _CHUNK]
        images = [people.image(int(row)) for row in some]
        for view, factor in enumerate(VIEWS):
            boxes = np.concatenate([middle[some] - factor * half[some], middle[some] + factor * half[some]], 1)
            found = estimator.estimate_all(images, list(boxes[:, None]))
            points[some, view] = np.concatenate([poses.keypoints for poses in found])
            scores[some, view] = np.concatenate([poses.scores for poses in found])
    return Answers(points, np.clip(scores, 0, 1))


def _read(file: Path, of: str) -> Answers | None:
    try:
        with np.load(file) as content:
            return Answers(content["points"], content["scores"]) if str(content["of"]) == of else None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: not a teacher's answers ({error}); remove it, and they are asked for again") from None
