"""Frame → poses of everyone in it: detection, estimation and TOKS (paper §3.1, §3.3), each timed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

import numpy as np

from keytrack_ros.detection import Detector, DetectorOptions
from keytrack_ros.estimation import Estimator, EstimatorOptions
from keytrack_ros.inference.cards import DetectorCard, PoseCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.session import BackendError, DeviceMemoryError
from keytrack_ros.poses import FloatArray, ImageArray, Poses
from keytrack_ros.toks import ToksOptions, carried_boxes, keep_best, not_detected

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinderOptions:
    """Options of the three stages."""

    detector: DetectorOptions = field(default_factory=DetectorOptions)
    estimator: EstimatorOptions = field(default_factory=EstimatorOptions)
    toks: ToksOptions = field(default_factory=ToksOptions)


@dataclass(frozen=True)
class CameraFrame:
    """The next frame of a camera.

    Attributes:
        camera: its number.
        image_bgr: [H, W, 3] uint8.
        previous: what was found in this camera's frame before (ids may have been added); None where that frame tells
            nothing about this one, or nobody is to be carried over.
        options: for this frame.
    """

    camera: int
    image_bgr: ImageArray
    previous: Poses | None
    options: FinderOptions


class BatchFinder(Protocol):
    """Finds the people in frames of several cameras at once; each camera's frames come in order."""

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Wall time of detection, estimation and toks of the last frames, all together."""
        ...

    @property
    def cards(self) -> tuple[DetectorCard, PoseCard]:
        """Model files of the networks."""
        ...

    def find_all(self, frames: Sequence[CameraFrame]) -> list[Poses]:
        """The people of each frame, without ids: the same as if the frame were alone.

        Args:
            frames: at least one, and at most one of each camera.

        Raises ModelError if a network fails; then nothing is kept of any of these frames.
        """
        ...

    def forget(self, camera: int) -> None:
        """Frees what is kept of a camera, which gives no more frames."""
        ...

    def close(self) -> None:
        """Frees the networks; the finder is not used afterwards."""
        ...


class PeopleFinder(Protocol):
    """Finds the people of one camera's frames, in order."""

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Wall time of detection, estimation and toks in the last frame."""
        ...

    @property
    def cards(self) -> tuple[DetectorCard, PoseCard]:
        """Model files of the networks."""
        ...

    def set_options(self, options: FinderOptions) -> None:
        """Applies new options from the next frame on."""
        ...

    def find(self, image_bgr: ImageArray, previous: Poses | None) -> Poses:
        """The people of the next frame, without ids; arguments as in `CameraFrame`. Raises ModelError."""
        ...

    def close(self) -> None:
        """Frees what this camera alone uses; the finder is not used afterwards."""
        ...


class OneCamera:
    """A `PeopleFinder` that has a batch finder for itself."""

    def __init__(self, finder: BatchFinder, options: FinderOptions) -> None:
        self._finder = finder
        self._options = options

    @property
    def stage_seconds(self) -> dict[str, float]:
        return self._finder.stage_seconds

    @property
    def cards(self) -> tuple[DetectorCard, PoseCard]:
        return self._finder.cards

    def set_options(self, options: FinderOptions) -> None:
        self._options = options

    def find(self, image_bgr: ImageArray, previous: Poses | None) -> Poses:
        return self._finder.find_all([CameraFrame(0, image_bgr, previous, self._options)])[0]

    def close(self) -> None:
        self._finder.close()


def open_finder(options: FinderOptions, inference: InferenceOptions, cameras: int = 1) -> BatchFinder:
    """Finds and loads both networks. With backend `torch` everything runs in torch on one device, where it can.

    Args:
        options: which networks; sizes of batches are made ready for these.
        inference: how they run.
        cameras: most frames at once.

    Raises ModelError if a network is missing, or not what its model file says.
    """
    if inference.backend == "torch":
        try:
            return _on_device(options, inference, cameras)
        except (BackendError, DeviceMemoryError) as error:
            logger.warning("detection, poses and TOKS cannot run in torch on one device: %s", error)
    with ExitStack() as opened:  # what is open already is closed if a later network cannot be opened
        boxes = Detector(options.detector, inference)
        opened.callback(boxes.close)
        poses = Estimator(options.estimator, inference)
        opened.pop_all()
    return StagedFinder(boxes, poses)


def _on_device(options: FinderOptions, inference: InferenceOptions, cameras: int) -> BatchFinder:
    try:
        from keytrack_ros.gpu.finder import open_on_device
    except ModuleNotFoundError as error:
        raise BackendError(f"{error.name} is not installed: pip install {error.name}") from None
    return open_on_device(options, inference, cameras)


class StagedFinder:
    """Each network behind a session of its own; what lies between them with NumPy and OpenCV.

    Frames are detected one by one; their people are estimated in common batches, as far as the options are the same.
    """

    def __init__(self, detector: Detector, estimator: Estimator) -> None:
        self._detector = detector
        self._estimator = estimator
        self.stage_seconds: dict[str, float] = {}

    @property
    def cards(self) -> tuple[DetectorCard, PoseCard]:
        return self._detector.card, self._estimator.card

    def find_all(self, frames: Sequence[CameraFrame]) -> list[Poses]:
        self.stage_seconds = {}
        with timed(self.stage_seconds, "detection"):
            detected = [self._detected(frame) for frame in frames]
        with timed(self.stage_seconds, "toks"):
            boxes = [
                np.concatenate([found, _carried(frame, found)])
                for frame, (found, _) in zip(frames, detected, strict=True)
            ]
        with timed(self.stage_seconds, "estimation"):
            estimated = self._estimated(frames, boxes)
        with timed(self.stage_seconds, "toks", more=True):
            return [
                _chosen(poses, scores, frame.options.toks)
                for frame, poses, (_, scores) in zip(frames, estimated, detected, strict=True)
            ]

    def forget(self, camera: int) -> None:
        """Nothing is kept of any camera."""

    def close(self) -> None:
        self._detector.close()
        self._estimator.close()

    def _detected(self, frame: CameraFrame) -> tuple[FloatArray, FloatArray]:
        self._detector.options = frame.options.detector
        return self._detector.detect(frame.image_bgr)

    def _estimated(self, frames: Sequence[CameraFrame], boxes: Sequence[FloatArray]) -> list[Poses]:
        found: dict[int, Poses] = {}
        for options, rows in alike(frames).items():
            self._estimator.options = options
            poses = self._estimator.estimate_all([frames[k].image_bgr for k in rows], [boxes[k] for k in rows])
            found.update(zip(rows, poses, strict=True))
        return [found[k] for k in range(len(frames))]


def alike(frames: Sequence[CameraFrame]) -> dict[EstimatorOptions, list[int]]:
    """The indices of the frames whose people may be estimated together, by their options."""
    groups: dict[EstimatorOptions, list[int]] = {}
    for index, frame in enumerate(frames):
        groups.setdefault(frame.options.estimator, []).append(index)
    return groups


def _carried(frame: CameraFrame, detected: FloatArray) -> FloatArray:
    """Boxes [C, 4] that the people of the frame before propose, and that no detected one covers."""
    if frame.previous is None:
        return np.zeros((0, 4), np.float32)
    size = frame.image_bgr.shape[1], frame.image_bgr.shape[0]
    return not_detected(carried_boxes(frame.previous, size, frame.options.toks), detected, frame.options.toks)


def _chosen(poses: Poses, box_scores: FloatArray, toks: ToksOptions) -> Poses:
    """Those that stay of the poses, of which the first have the detected boxes, with scores [D]."""
    carried = len(poses) - len(box_scores)
    poses = poses.with_fields(
        box_scores=np.concatenate([box_scores, np.full(carried, np.nan)]),
        carried=np.arange(len(poses)) >= len(box_scores),
    )
    return poses[keep_best(poses, toks)]


@contextmanager
def timed(seconds: dict[str, float], stage: str, more: bool = False) -> Iterator[None]:
    """Puts the wall time of what is done inside into `seconds[stage]`, or adds it to what is there."""
    begin = perf_counter()
    yield
    spent = perf_counter() - begin
    seconds[stage] = spent + (seconds[stage] if more else 0.0)
