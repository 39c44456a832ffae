"""One camera: frame in, tracked poses out, each stage timed. Knows nothing of ROS."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from keytrack_ros.detection import DetectorOptions
from keytrack_ros.errors import InputError, ModelError, OptionError
from keytrack_ros.estimation import EstimatorOptions
from keytrack_ros.events import TrackEvent
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.options import Options, flatten
from keytrack_ros.pipeline.multi_camera import SharedNetworks
from keytrack_ros.pipeline.open_finder import open_finder
from keytrack_ros.pipeline.pose_finder import CameraFrame, FinderOptions, PoseFinder
from keytrack_ros.poses import ImageArray, Poses
from keytrack_ros.timing import SteadyTime
from keytrack_ros.toks import ToksOptions
from keytrack_ros.tracker.options import TrackerOptions
from keytrack_ros.tracker.tracker import Comparison, PoseTracker, published

STAGES = ("detection", "estimation", "toks", "tracking")


@dataclass(frozen=True)
class PipelineOptions(Options):
    """All options of one camera's tracker; ROS parameters and the command line join nested names by dots."""

    detector: DetectorOptions = field(default_factory=DetectorOptions)
    estimator: EstimatorOptions = field(default_factory=EstimatorOptions)
    toks: ToksOptions = field(default_factory=ToksOptions)
    tracker: TrackerOptions = field(default_factory=TrackerOptions)
    inference: InferenceOptions = field(default_factory=InferenceOptions)

    @property
    def finder(self) -> FinderOptions:
        """Those of the first three stages."""
        return FinderOptions(self.detector, self.estimator, self.toks)


class Pipeline:
    """Pose finder (detector → estimator → TOKS) → tracker, for the frames of one camera in order.

    Args:
        finder: of this camera, or of several.
        tracker: of this camera.
        options: of all stages.
        opened: what `close` frees; by default the finder.

    Attributes:
        stage_seconds: wall time of each stage of `STAGES` in the last frame; with a shared finder also `waiting`.
        fingerprints: for each task the network's name and the first digits of its SHA-256.
    """

    def __init__(
        self, finder: PoseFinder, tracker: PoseTracker, options: PipelineOptions, opened: ExitStack | None = None
    ) -> None:
        self._finder = finder
        self._tracker = tracker
        self._options = options
        self._opened = opened or ExitStack()
        if opened is None:
            self._opened.callback(finder.close)
        self._camera = object()  # the key under which a shared finder keeps this camera's state
        self._opened.callback(finder.forget, self._camera)
        self._closed = False
        self._previous: Poses | None = None
        self._time = SteadyTime()
        self._previous_stamp = 0.0
        self._previous_size = (0, 0)
        self.stage_seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self.fingerprints: dict[str, str] = {}

    @classmethod
    def from_options(cls, options: PipelineOptions | None = None, networks: SharedNetworks | None = None) -> Pipeline:
        """Finds and loads the networks.

        Args:
            options: defaults are those of config/tracker.yaml.
            networks: for one of several cameras that use the same networks; by default the camera has its own.

        Raises:
            ModelError: a network is missing, or does not fit its model file.
        """
        options = options or PipelineOptions()
        inference, model = options.inference, options.tracker.model
        with ExitStack() as opened:  # closes the first networks if a later one cannot be opened
            if networks is None:
                finder: PoseFinder = opened.enter_context(closing(open_finder(options.finder, inference)))
                matcher = opened.enter_context(closing(open_matcher(model, inference)))
            else:
                finder = opened.enter_context(networks.finder(options.finder, inference))
                matcher = opened.enter_context(networks.matcher(model, inference))
            pipeline = cls(finder, PoseTracker(options.tracker, matcher), options, opened.pop_all())
        cards = (*finder.cards, matcher.card)
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
        self._tracker.options = options.tracker

    @property
    def comparison(self) -> Comparison | None:
        """The comparison behind the ids of the last frame; None before the first one."""
        return self._tracker.comparison

    @property
    def events(self) -> tuple[TrackEvent, ...]:
        """What happened to all tracks in the last frame; the ends that a reset made come with the next."""
        return self._tracker.events

    def reset(self) -> None:
        """Ends all tracks; the next poses get new ids."""
        self._tracker.reset()
        self._previous = None

    def close(self) -> None:
        """Frees the networks and stops engine builds in the background; no frame is processed afterwards."""
        self._closed = True
        self._opened.close()

    def process(self, image_bgr: ImageArray, stamp: float) -> Poses:
        """Finds and tracks the poses of the next frame.

        Args:
            image_bgr: [H, W, 3] uint8.
            stamp: time of the image in seconds; a step back in time resets all tracks. Where it stands still (a camera
                that never sets its stamps), images are taken to follow each other at the last known rate, or at 10 Hz.

        Returns:
            The poses of confirmed tracks, and of tentative ones with `tracker.publish_tentative`; empty if nobody is
            seen. With `tracker.publish_hidden` also, at the end and with state LOST, those of people whom somebody
            hides, where they are expected. `comparison.tracked` has all poses that were found in the frame.

        Raises:
            InputError: not an image of that kind; the state is unchanged.
            ValueError: the stamp is not finite; the state is unchanged.
            ModelError: a network failed, or the pipeline is closed.
        """
        if not isinstance(image_bgr, np.ndarray):
            raise InputError(f"image is a {type(image_bgr).__name__}; an array [height, width, 3] of uint8 is needed")
        if image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.dtype != np.uint8 or image_bgr.size == 0:
            raise InputError(
                f"image has shape {image_bgr.shape} and type {image_bgr.dtype}; [height, width, 3] uint8 is needed"
            )
        if not isinstance(stamp, (int, float, np.integer, np.floating)) or not np.isfinite(stamp):
            raise ValueError(f"stamp is {stamp}; a finite number of seconds is needed")
        if self._closed:
            raise ModelError("the pipeline is closed")
        stamp = self._time.seconds(stamp)
        size = image_bgr.shape[1], image_bgr.shape[0]
        frame = CameraFrame(self._camera, image_bgr, self._poses_before(size, stamp), self._options.finder)
        (poses,) = self._finder.find([frame])
        begin = perf_counter()
        tracked = published(self._tracker.update(poses, size, stamp), self._options.tracker)
        hidden = self._tracker.hidden() if self._options.tracker.publish_hidden else Poses.empty()
        self.stage_seconds = {**self._finder.stage_seconds, "tracking": perf_counter() - begin}
        self._previous, self._previous_stamp, self._previous_size = tracked, stamp, size
        return Poses.concatenate([tracked, hidden]) if len(hidden) else tracked

    def _poses_before(self, size: tuple[int, int], stamp: float) -> Poses | None:
        """Poses of t−1, or None where they say nothing about this frame (as in `PoseTracker.update`)."""
        gap = stamp - self._previous_stamp
        usable = self._options.toks.enabled and size == self._previous_size
        return self._previous if usable and 0 <= gap <= self._options.tracker.lost_s else None
