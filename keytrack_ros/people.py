"""Frame → poses of everyone in it: detection, estimation and TOKS (paper §3.1, §3.3), each timed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Protocol

import numpy as np

from keytrack_ros.detection import Detector, DetectorOptions
from keytrack_ros.estimation import Estimator, EstimatorOptions
from keytrack_ros.inference.cards import DetectorCard, PoseCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.session import BackendError, DeviceMemoryError
from keytrack_ros.poses import ImageArray, Poses
from keytrack_ros.toks import ToksOptions, carried_boxes, keep_best, not_detected

logger = logging.getLogger(__name__)


class PeopleFinder(Protocol):
    """Finds the people of one camera's frames, in order.

    Attributes:
        stage_seconds: wall time of detection, estimation and toks in the last frame.
    """

    stage_seconds: dict[str, float]

    @property
    def cards(self) -> tuple[DetectorCard, PoseCard]:
        """Model files of the networks."""
        ...

    def set_options(self, detector: DetectorOptions, estimator: EstimatorOptions, toks: ToksOptions) -> None:
        """Applies new options from the next frame on."""
        ...

    def find(self, image_bgr: ImageArray, previous: Poses | None) -> Poses:
        """The people of the next frame, without ids.

        Args:
            image_bgr: [H, W, 3] uint8.
            previous: what this method gave for the frame before (ids may have been added); None where that frame tells
                nothing about this one, or nobody is to be carried over.

        Raises ModelError if a network fails.
        """
        ...

    def close(self) -> None:
        """Frees the networks; the finder is not used afterwards."""
        ...


def open_finder(
    detector: DetectorOptions, estimator: EstimatorOptions, toks: ToksOptions, inference: InferenceOptions
) -> PeopleFinder:
    """Finds and loads both networks. With backend `torch` everything runs in torch on one device, where it can.

    Raises ModelError if a network is missing, or not what its model file says.
    """
    if inference.backend == "torch":
        try:
            return _on_device(detector, estimator, toks, inference)
        except (BackendError, DeviceMemoryError) as error:
            logger.warning("detection, poses and TOKS cannot run in torch on one device: %s", error)
    with ExitStack() as opened:  # what is open already is closed if a later network cannot be opened
        boxes = Detector(detector, inference)
        opened.callback(boxes.close)
        poses = Estimator(estimator, inference)
        opened.pop_all()
    return StagedFinder(boxes, poses, toks)


def _on_device(
    detector: DetectorOptions, estimator: EstimatorOptions, toks: ToksOptions, inference: InferenceOptions
) -> PeopleFinder:
    try:
        from keytrack_ros.ondevice.finder import open_on_device
    except ModuleNotFoundError as error:
        raise BackendError(f"{error.name} is not installed: pip install {error.name}") from None
    return open_on_device(detector, estimator, toks, inference)


class StagedFinder:
    """Each network behind a session of its own; what lies between them with NumPy and OpenCV."""

    def __init__(self, detector: Detector, estimator: Estimator, toks: ToksOptions) -> None:
        self._detector = detector
        self._estimator = estimator
        self._toks = toks
        self.stage_seconds: dict[str, float] = {}

    @property
    def cards(self) -> tuple[DetectorCard, PoseCard]:
        return self._detector.card, self._estimator.card

    def set_options(self, detector: DetectorOptions, estimator: EstimatorOptions, toks: ToksOptions) -> None:
        self._detector.options = detector
        self._estimator.options = estimator
        self._toks = toks

    def find(self, image_bgr: ImageArray, previous: Poses | None) -> Poses:
        size = image_bgr.shape[1], image_bgr.shape[0]
        with timed(self.stage_seconds, "detection"):
            boxes, box_scores = self._detector.detect(image_bgr)
        with timed(self.stage_seconds, "toks"):
            carried = np.zeros((0, 4), np.float32) if previous is None else carried_boxes(previous, size, self._toks)
            carried = not_detected(carried, boxes, self._toks)
        with timed(self.stage_seconds, "estimation"):
            poses = self._estimator.estimate(image_bgr, np.concatenate([boxes, carried]))
        with timed(self.stage_seconds, "toks", more=True):
            poses = poses.with_fields(
                box_scores=np.concatenate([box_scores, np.full(len(carried), np.nan)]),
                carried=np.arange(len(poses)) >= len(boxes),
            )
            return poses[keep_best(poses, self._toks)]

    def close(self) -> None:
        self._detector.close()
        self._estimator.close()


@contextmanager
def timed(seconds: dict[str, float], stage: str, more: bool = False) -> Iterator[None]:
    """Puts the wall time of what is done inside into `seconds[stage]`, or adds it to what is there."""
    begin = perf_counter()
    yield
    spent = perf_counter() - begin
    seconds[stage] = spent + (seconds[stage] if more else 0.0)
