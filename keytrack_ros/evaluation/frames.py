"""Annotations and predictions of one sequence brought together, frame by frame, as the metrics need them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.annotations.sequence import Image, LabelledSequence
from keytrack_ros.errors import EvaluationError
from keytrack_ros.evaluation.protocol import PCKH_THRESHOLD, Frames
from keytrack_ros.poses import BoolArray, FloatArray, IntArray

HEAD_SIZE_FACTOR = 0.6
"""Head size = this × the diagonal of the head box, as in MPII and PoseTrack."""


@dataclass(frozen=True)
class Side:
    """The people of one frame, annotated or predicted (P of them), without what lies in ignore regions.

    Attributes:
        ids: [P] int64, 0 … number of tracks of the sequence − 1.
        keypoints: [P, 15, 2] float64 pixels.
        present: [P, 15] bool.
        scores: [P, 15] float64, NaN where none is given.
    """

    ids: IntArray
    keypoints: FloatArray
    present: BoolArray
    scores: FloatArray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class ScoredFrame:
    """One frame: G annotated and P predicted people.

    Attributes:
        index: its place in the sequence.
        ground_truth, prediction: the people.
        distance: [G, P, 15] float64 between keypoints, in head sizes; infinite where one of the two is absent.
    """

    index: int
    ground_truth: Side
    prediction: Side
    distance: FloatArray

    @property
    def near(self) -> BoolArray:
        """[G, P, 15] bool: the predicted keypoint counts as the annotated one (PCKh 0.5)."""
        return np.less_equal(self.distance, PCKH_THRESHOLD)


@dataclass(frozen=True)
class SequencePair:
    """The annotations and the predictions of one sequence, checked to belong together.

    Raises EvaluationError, naming file, sequence and frame, if they have different frames.
    """

    ground_truth: LabelledSequence
    prediction: LabelledSequence

    def __post_init__(self) -> None:
        ground_truth, prediction = self.ground_truth, self.prediction
        if len(ground_truth) != len(prediction):
            raise EvaluationError(
                f"{prediction.source}: sequence '{ground_truth.name}' has {len(prediction)} frames, but "
                f"{len(ground_truth)} in the ground truth {ground_truth.source}; predict every frame, also "
                "those without people"
            )
        for k, (a, b) in enumerate(zip(ground_truth.images, prediction.images, strict=True)):
            if not _same_image(a, b, k):
                raise EvaluationError(
                    f"{prediction.where(k)}: the ground truth {ground_truth.source} has {a.file_name or a.stamp_ns} "
                    "there; both must have the same frames in the same order"
                )

    @property
    def frame_numbers(self) -> list[int]:
        """By which number each frame is shown, see `LabelledSequence.frame_numbers`: one of the two may know places."""
        return (self.ground_truth if self.ground_truth.places_known else self.prediction).frame_numbers

    @property
    def track_counts(self) -> tuple[int, int]:
        """How many tracks the ground truth and the prediction have."""
        return len(np.unique(self.ground_truth.track_ids)), len(np.unique(self.prediction.track_ids))

    def frames(self, which: Frames, *, positive_only: bool = False) -> Iterator[ScoredFrame]:
        """The frames that are scored, in order.

        Args:
            which: see `Protocol.frames`.
            positive_only: PoseTrack21's reading of which keypoints are present: those with x > 0 and y > 0.

        Raises EvaluationError, naming file, sequence and frame, for an annotated person without a usable head box.
        """
        ground_truth_ids = np.unique(self.ground_truth.track_ids, return_inverse=True)[1]
        prediction_ids = np.unique(self.prediction.track_ids, return_inverse=True)[1]
        for k, image in enumerate(self.ground_truth.images):
            rows = self.ground_truth.rows(k)
            if (which == "with_people" and rows.start == rows.stop) or (which == "labelled" and not image.labelled):
                continue
            ground_truth, kept = _side(self.ground_truth, ground_truth_ids, k, image, positive_only)
            prediction, _ = _side(self.prediction, prediction_ids, k, image, positive_only)
            heads = self._head_sizes(k, self.ground_truth.head_boxes[rows][kept], ground_truth)
            yield ScoredFrame(k, ground_truth, prediction, _distances(ground_truth, prediction, heads))

    def _head_sizes(self, k: int, boxes: FloatArray, people: Side) -> FloatArray:
        """[G] head sizes in pixels; NaN for a person without keypoints, for whom none is needed."""
        sizes: FloatArray = HEAD_SIZE_FACTOR * np.linalg.norm(boxes[:, 2:] - boxes[:, :2], axis=-1)
        wrong = people.present.any(1) & ~((sizes > 0) & np.isfinite(sizes))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            what = "no head box" if np.isnan(sizes[row]) else "a head box without size or with infinite size"
            tracks = np.unique(self.ground_truth.track_ids)
            raise EvaluationError(
                f"{self.ground_truth.where(k)}: the annotated person with track id {tracks[people.ids[row]]} has "
                f"{what}; PCKh measures distances in head sizes"
            )
        return sizes


def _side(
    sequence: LabelledSequence, ids: IntArray, k: int, image: Image, positive_only: bool
) -> tuple[Side, BoolArray]:
    """The people of frame `k` who count, and which of the frame's rows they are."""
    rows = sequence.rows(k)
    points, present = sequence.keypoints[rows], sequence.present[rows]
    kept = sequence.listed[rows]
    counted = present & (points > 0).all(-1) if positive_only else present
    if image.ignore_regions:
        inside = np.zeros(present.shape, np.bool_)
        for region in image.ignore_regions:
            inside[present] |= strictly_inside(points[present], region)
        present, counted = present & ~inside, counted & ~inside
        # Of a frame with ignore regions, people without a keypoint outside them are left out.
        kept = kept & (present & (points > 0).any(-1) if positive_only else present).any(1)
    side = Side(ids[rows][kept], points[kept], counted[kept], sequence.scores[rows][kept])
    return side, kept


def _distances(ground_truth: Side, prediction: Side, head_sizes: FloatArray) -> FloatArray:
    difference = ground_truth.keypoints[:, None] - prediction.keypoints[None]  # [G, P, 15, 2]
    with np.errstate(invalid="ignore", over="ignore"):  # NaN sizes of people without keypoints; absurd coordinates
        distance = np.sqrt(np.square(difference).sum(-1)) / head_sizes[:, None, None]
    both = ground_truth.present[:, None] & prediction.present[None]
    return np.where(both, distance, np.inf).reshape(len(ground_truth), len(prediction), skeleton.COUNT)


def strictly_inside(points: FloatArray, polygon: FloatArray) -> BoolArray:
    """Which of `points` [N, 2] lie inside `polygon` [n, 2] and not on its edge (even-odd rule)."""
    if len(polygon) < 3:
        return np.zeros(len(points), np.bool_)
    a, b = polygon, np.roll(polygon, -1, axis=0)
    x, y = points[:, None, 0], points[:, None, 1]  # [N, 1]
    # Twice the signed area of (a, b, point): 0 where the point lies on the edge's line.
    area = (b[:, 0] - a[:, 0]) * (y - a[:, 1]) - (b[:, 1] - a[:, 1]) * (x - a[:, 0])  # [N, n]
    low, high = np.minimum(a, b), np.maximum(a, b)
    on_edge = (area == 0) & (x >= low[:, 0]) & (x <= high[:, 0]) & (y >= low[:, 1]) & (y <= high[:, 1])
    crosses = (a[:, 1] > y) != (b[:, 1] > y)
    # The ray to the right crosses an edge that goes up (down) where the point is to its left (right).
    right = crosses & ((area > 0) == (b[:, 1] > a[:, 1]))
    return np.asarray((right.sum(1) % 2 == 1) & ~on_edge.any(1), np.bool_)


def _same_image(a: Image, b: Image, k: int) -> bool:
    """Whether two files mean the same image: by its number, its file name, or its stamp.

    A tracker that was given a video counts its frames from 0, whatever the names of the images are.
    """
    if a.stamp_ns is not None and b.stamp_ns is not None:
        return a.stamp_ns == b.stamp_ns
    if not a.file_name or not b.file_name or (a.image_id is not None and a.image_id == b.image_id):
        return True
    names = PurePosixPath(a.file_name).stem, PurePosixPath(b.file_name).stem
    numbers = re.findall(r"\d+", names[1])
    return names[0] == names[1] or (bool(numbers) and int(numbers[-1]) == k)
