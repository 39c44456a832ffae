"""From options to the pose finder that runs on this machine."""

from __future__ import annotations

import logging
from contextlib import ExitStack

from keytrack_ros.detection import Detector
from keytrack_ros.estimation import Estimator
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.session import BackendError, DeviceMemoryError
from keytrack_ros.pipeline.pose_finder import FinderOptions, PoseFinder
from keytrack_ros.pipeline.session_finder import SessionFinder

logger = logging.getLogger(__name__)


def open_finder(options: FinderOptions, inference: InferenceOptions, cameras: int = 1) -> PoseFinder:
    """Finds and loads both networks. Backend `torch` runs all three stages on one device where it can.

    Args:
        options: which networks; batch sizes are prepared for these.
        inference: how they run.
        cameras: maximum number of frames in one call.

    Raises ModelError if a network is missing, or does not fit its model file.
    """
    if inference.backend == "torch":
        try:
            return _open_device_finder(options, inference, cameras)
        except (BackendError, DeviceMemoryError) as error:
            logger.warning("detection, poses and TOKS cannot run in torch on one device: %s", error)
    with ExitStack() as opened:  # closes the detector if the pose network cannot be opened
        detector = Detector(options.detector, inference)
        opened.callback(detector.close)
        estimator = Estimator(options.estimator, inference)
        opened.pop_all()
    return SessionFinder(detector, estimator)


def _open_device_finder(options: FinderOptions, inference: InferenceOptions, cameras: int) -> PoseFinder:
    try:
        from keytrack_ros.gpu.finder import open_on_device
    except ModuleNotFoundError as error:
        raise BackendError(f"{error.name} is not installed: pip install {error.name}") from None
    return open_on_device(options, inference, cameras)
