"""One camera: frame in, tracked poses out, each stage timed. Knows nothing of ROS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from keytrack_ros.detection import Detector, DetectorOptions
from keytrack_ros.errors import InputError, OptionError
from keytrack_ros.estimation import Estimator, EstimatorOptions
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.matching.select import open_matcher
from keytrack_ros.options import Options, flatten
from keytrack_ros.poses import FloatArray, ImageArray, Poses
from keytrack_ros.toks import ToksOptions, carried_boxes, keep_best, not_detected
from keytrack_ros.tracker import Comparison, PoseTracker, TrackerOptions

STAGES = ("detection", "estimation", "toks", "tracking")


@dataclass(frozen=True)
class PipelineOptions(Options):
    """All options of one camera's tracker; ROS parameters and the command line join nested names by dots."""

    detector: DetectorOptions = field(default_factory=DetectorOptions)
    estimator: EstimatorOptions = field(default_factory=EstimatorOptions)
    toks: ToksOptions = field(default_factory=ToksOptions)
    tracker: TrackerOptions = field(default_factory=TrackerOptions)
    inference: InferenceOptions = field(default_factory=InferenceOptions)


class Pipeline:
    """Detector → estimator → TOKS → tracker, for the frames of one camera in order.

    Attributes:
        stage_seconds: wall time of each stage of `STAGES` in the last frame.
        fingerprints: for each task the network's name and the first digits of its SHA-256.
    """

    def __init__(
        self, detector: Detector, estimator: Estimator, tracker: PoseTracker, options: PipelineOptions
    ) -> None:
        self._detector = detector
        self._estimator = estimator
        self._tracker = tracker
        self._options = options
        self._previous: Poses | None = None
        self._previous_stamp = 0.0
        self._previous_size = (0, 0)
        self.stage_seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self.fingerprints: dict[str, str] = {}

    @classmethod
    def from_options(cls, options: PipelineOptions | None = None) -> Pipeline:
        """Finds and loads the networks.

        Raises:
            ModelError: a network is missing or not what its model file says.
        """
        options = options or PipelineOptions()
        with ExitStack() as opened:  # what is open already is closed if a later network cannot be opened
            detector = Detector(options.detector, options.inference)
            opened.callback(detector.close)
            estimator = Estimator(options.estimator, options.inference)
            opened.callback(estimator.close)
            matcher = open_matcher(options.tracker.model, options.inference.folders, options.inference.threads)
            opened.pop_all()
        pipeline = cls(detector, estimator, PoseTracker(options.tracker, matcher), options)
        cards = (detector.card, estimator.card, matcher.card)
        pipeline.fingerprints = {card.task: f"{card.name} {card.fingerprint}" for card in cards}
        return pipeline

    @property
    def options(self) -> PipelineOptions:
        return self._options

    def set_options(self, options: PipelineOptions) -> None:
        """Applies new options from the next frame on; tracks go on.

        Raises:
            OptionError: an option differs that a running tracker cannot change; nothing has changed then.
        """
        current = {name: value for name, _, value in flatten(self._options)}
        for name, item, value in flatten(options):
            if value != current[name] and not item.metadata["live"]:
                raise OptionError(f"{name} cannot be changed while the tracker runs; start it again with the new value")
        self._options = options
        self._detector.options = options.detector
        self._estimator.options = options.estimator
        self._tracker.options = options.tracker

    @property
    def comparison(self) -> Comparison | None:
        """What the ids of the last frame rest on; None before the first one."""
        return self._tracker.comparison

    def reset(self) -> None:
        """Forgets everyone. Whoever is seen next gets a new id."""
        self._tracker.reset()
        self._previous = None

    def close(self) -> None:
        """Frees the networks, and ends what may still be building engines for them; nothing is processed afterwards."""
        self._detector.close()
        self._estimator.close()

    def process(self, image_bgr: ImageArray, stamp: float) -> Poses:
        """Tracks the people of the next frame.

        Args:
            image_bgr: [H, W, 3] uint8.
            stamp: time of the image in seconds; not before that of the last frame, or everyone is forgotten.

        Returns:
            The people with `track_ids`, `match_scores` and `ages` set; empty if nobody is seen.

        Raises:
            InputError: not an image of that kind; nothing has changed then.
            ValueError: the stamp is not finite; nothing has changed then.
            ModelError: a network failed.
        """
        if image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.dtype != np.uint8 or image_bgr.size == 0:
            raise InputError(
                f"image has shape {image_bgr.shape} and type {image_bgr.dtype}; [height, width, 3] uint8 is needed"
            )
        if not np.isfinite(stamp):
            raise ValueError(f"stamp is {stamp}; a finite number of seconds is needed")
        size = image_bgr.shape[1], image_bgr.shape[0]
        with self._timed("detection"):
            boxes, box_scores = self._detector.detect(image_bgr)
        with self._timed("toks"):
            carried = not_detected(self._carried_boxes(size, stamp), boxes, self._options.toks)
        with self._timed("estimation"):
            poses = self._estimator.estimate(image_bgr, np.concatenate([boxes, carried]))
        with self._timed("toks", more=True):
            poses = poses.with_fields(
                box_scores=np.concatenate([box_scores, np.full(len(carried), np.nan)]),
                carried=np.arange(len(poses)) >= len(boxes),
            )
            poses = poses[keep_best(poses, self._options.toks)]
        with self._timed("tracking"):
            tracked = self._tracker.update(poses, size, stamp)
        self._previous, self._previous_stamp, self._previous_size = tracked, stamp, size
        return tracked

    def _carried_boxes(self, size: tuple[int, int], stamp: float) -> FloatArray:
        """Boxes of t−1, or none where t−1 tells nothing about now (as in `PoseTracker.update`)."""
        gap = stamp - self._previous_stamp
        usable = self._options.toks.enabled and self._previous is not None and size == self._previous_size
        if not usable or not 0 <= gap <= self._options.tracker.maximum_gap_s:
            return np.zeros((0, 4), np.float32)
        assert self._previous is not None
        return carried_boxes(self._previous, size, self._options.toks)

    @contextmanager
    def _timed(self, stage: str, more: bool = False) -> Iterator[None]:
        begin = perf_counter()
        yield
        spent = perf_counter() - begin
        self.stage_seconds[stage] = spent + (self.stage_seconds[stage] if more else 0.0)
