"""Detection and pose estimation behind `Session`s, with NumPy and OpenCV between them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from keytrack_ros.detection import Detector
from keytrack_ros.estimation import Estimator
from keytrack_ros.inference.cards import DetectorCard, PoseCard
from keytrack_ros.pipeline.pose_finder import CameraFrame, group_by_estimator, timed
from keytrack_ros.poses import FloatArray, Poses
from keytrack_ros.toks import ToksOptions, carried_boxes, keep_best, not_detected


class SessionFinder:
    """A `PoseFinder` whose networks each have a session of their own. It keeps no state between frames.

    Frames are detected one by one; their poses are estimated in common batches where the options are the same.
    """

    def __init__(self, detector: Detector, estimator: Estimator) -> None:
        self._detector = detector
        self._estimator = estimator
        self.stage_seconds: dict[str, float] = {}

    @property
    def cards(self) -> tuple[DetectorCard, PoseCard]:
        return self._detector.card, self._estimator.card

    def find(self, frames: Sequence[CameraFrame]) -> list[Poses]:
        """As `PoseFinder.find`."""
        self.stage_seconds = {}
        with timed(self.stage_seconds, "detection"):
            detected = [self._detect(frame) for frame in frames]
        with timed(self.stage_seconds, "toks"):
            boxes = [
                np.concatenate([found, _carried_boxes(frame, found)])
                for frame, (found, _) in zip(frames, detected, strict=True)
            ]
        with timed(self.stage_seconds, "estimation"):
            estimated = self._estimate(frames, boxes)
        with timed(self.stage_seconds, "toks"):
            return [
                _select(poses, scores, frame.options.toks)
                for frame, poses, (_, scores) in zip(frames, estimated, detected, strict=True)
            ]

    def forget(self, camera: Hashable) -> None:
        """There is no state to free."""

    def close(self) -> None:
        """Frees both networks."""
        self._detector.close()
        self._estimator.close()

    def _detect(self, frame: CameraFrame) -> tuple[FloatArray, FloatArray]:
        self._detector.options = frame.options.detector
        return self._detector.detect(frame.image_bgr)

    def _estimate(self, frames: Sequence[CameraFrame], boxes: Sequence[FloatArray]) -> list[Poses]:
        found: dict[int, Poses] = {}
        for options, rows in group_by_estimator(frames).items():
            self._estimator.options = options
            poses = self._estimator.estimate_all([frames[k].image_bgr for k in rows], [boxes[k] for k in rows])
            found.update(zip(rows, poses, strict=True))
        return [found[k] for k in range(len(frames))]


def _carried_boxes(frame: CameraFrame, detected: FloatArray) -> FloatArray:
    """Boxes [C, 4] proposed by the poses of t−1 that no detected box covers."""
    if frame.previous is None:
        return np.zeros((0, 4), np.float32)
    toks = frame.options.toks
    return not_detected(carried_boxes(frame.previous, frame.size, toks), detected, toks)


def _select(poses: Poses, box_scores: FloatArray, toks: ToksOptions) -> Poses:
    """The poses that TOKS keeps; the first D were estimated in detected boxes, whose scores are `box_scores` [D]."""
    carried = len(poses) - len(box_scores)
    poses = poses.with_fields(
        box_scores=np.concatenate([box_scores, np.full(carried, np.nan)]),
        carried=np.arange(len(poses)) >= len(box_scores),
    )
    return poses[keep_best(poses, toks)]
