"""From an image message to all that is published for it; runs on the worker's thread."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from keytrack_ros.errors import InputError, KeytrackError, OptionError
from keytrack_ros.media.drawing import Trails, draw_poses
from keytrack_ros.media.pixels import BitDepth
from keytrack_ros.msg import SkeletonInfo, TrackedPoseArray, TrackEvents
from keytrack_ros.nodes.bodies import BodiesPublisher
from keytrack_ros.nodes.depth import DepthLifter
from keytrack_ros.nodes.detections import DetectionsPublisher
from keytrack_ros.nodes.images import converter, to_image_message
from keytrack_ros.nodes.markers import to_markers
from keytrack_ros.nodes.messages import skeleton_info, stamp_to_ns, to_events_message, to_message
from keytrack_ros.nodes.publishing import advertise, try_publish
from keytrack_ros.nodes.qos import keep_last
from keytrack_ros.nodes.statistics import Statistics
from keytrack_ros.pipeline import Pipeline, PipelineOptions
from keytrack_ros.pipeline.multi_camera import SharedNetworks
from keytrack_ros.poses import ImageArray, Poses
from keytrack_ros.smoothing import OneEuroSmoother, SmoothingOptions
from keytrack_ros.timing import NANOSECONDS, LiveClock, Moment, Order, is_set

_QUIET_S = 5.0
"""Warnings that every frame may cause come at most this often."""
_REMIND_S = 60.0
"""The same, of what is likely to stay as it is."""
_LATENCY_S = 10.0
"""An image that is older, or of the future, has a stamp of another clock: its latency is unknown."""


@dataclass(frozen=True)
class Received:
    """An image that has arrived.

    Attributes:
        header: of its message.
        pixels: makes [H, W, 3] uint8 BGR of it. Raises InputError.
        arrival_ns: when it came, on the clock of `time.monotonic_ns`.
    """

    header: Header
    pixels: Callable[[BitDepth], ImageArray]
    arrival_ns: int


class FrameProcessor:
    """Owns pipeline and publishers of a configured node.

    `process` belongs to one thread at a time; `reset` may be called from any.
    """

    def __init__(
        self,
        node: Node,
        options: Callable[[], PipelineOptions],
        statistics: Statistics,
        networks: SharedNetworks | None = None,
        bits: int = 0,
        detections: bool = False,
        bodies: bool = False,
        lifter: DepthLifter | None = None,
        smoothing: Callable[[], SmoothingOptions] = SmoothingOptions,
    ) -> None:
        """Loads the networks and makes the publishers.

        Args:
            node: whose publishers and logger are used.
            options: gives the present options, in which only live ones ever change; called before every frame.
            statistics: counts the frames.
            networks: those of the process's cameras; without them the node has its own.
            bits: how many of 16 bits the camera uses; 0 = found from the images.
            detections: whether to publish boxes as vision_msgs besides.
            bodies: whether to publish people as hri_msgs besides.
            lifter: gets the tracked poses of every image, if there is one.
            smoothing: as `options`; by default nothing is smoothed.

        Raises ModelError or OptionError.
        """
        try:
            self._depth = BitDepth("images", bits)
        except ValueError as error:
            raise OptionError(f"parameter {error}") from None
        converter()  # found now rather than at the first image
        self._options = options
        self._lifter = lifter
        self._pipeline = Pipeline.from_options(options(), networks)
        self._logger = node.get_logger()
        self._statistics = statistics
        self._clock = LiveClock()
        self._trails = Trails()
        self._smoothing = smoothing
        self._smoother = OneEuroSmoother()
        self._reset_wanted = threading.Event()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._node = node
        try:
            self._poses = advertise(node, TrackedPoseArray, "~/poses", keep_last(10, "reliable"))
            self._poses_smoothed = (
                advertise(node, TrackedPoseArray, "~/poses_smoothed", keep_last(10, "reliable"))
                if smoothing().enabled
                else None
            )
            self._events = advertise(node, TrackEvents, "~/track_events", keep_last(100, "reliable"))
            self._debug_image = advertise(node, Image, "~/debug_image", keep_last(1, "reliable"))
            self._markers = advertise(node, MarkerArray, "~/markers", keep_last(1, "reliable"))
            self._detections = DetectionsPublisher(node) if detections else None
            self._bodies = BodiesPublisher(node) if bodies else None
        except KeytrackError:
            self._pipeline.close()
            raise
        self._skeleton = node.create_publisher(SkeletonInfo, "~/skeleton_info", latched)
        self._skeleton.publish(skeleton_info())

    @property
    def fingerprints(self) -> dict[str, str]:
        """For each task the network's name and the first digits of its hash."""
        return self._pipeline.fingerprints

    @property
    def poses_subscribers(self) -> int:
        """How many subscriptions get the poses."""
        return int(self._poses.get_subscription_count())

    def reset(self) -> None:
        """All tracks end before the next frame, which may have any stamp."""
        self._reset_wanted.set()

    def close(self) -> None:
        """Takes the publishers away and frees the networks. `process` is not called afterwards."""
        for publisher in (self._poses, self._events, self._debug_image, self._markers, self._skeleton):
            self._node.destroy_publisher(publisher)
        if self._poses_smoothed:
            self._node.destroy_publisher(self._poses_smoothed)
        if self._detections:
            self._node.destroy_publisher(self._detections.publisher)
        if self._bodies:
            self._bodies.close()
        self._pipeline.close()

    def process(self, received: Received) -> None:
        """Tracks the people of one image and publishes them; whatever goes wrong is counted and logged."""
        try:
            self._process(received)
        except InputError as error:
            self._statistics.reject("image")
            self._logger.warning(f"image rejected: {error}", throttle_duration_sec=_QUIET_S)
        except KeytrackError as error:
            self._statistics.reject("failed")
            self._logger.error(f"frame failed: {error}", throttle_duration_sec=_QUIET_S)
        except Exception:
            # A defect in one frame's processing must not end a robot's perception.
            self._statistics.reject("failed")
            self._logger.error(f"frame failed: {traceback.format_exc()}", throttle_duration_sec=_QUIET_S)

    def _process(self, received: Received) -> None:
        begin = perf_counter()
        self._apply_requests()
        image = received.pixels(self._depth)
        converted = perf_counter()
        stamp_ns = stamp_to_ns(received.header.stamp)
        moment = self._clock.take(stamp_ns, received.arrival_ns)
        self._report(moment, stamp_ns)
        if moment.order is Order.LATE:
            self._statistics.reject("late")
            return
        if moment.order is Order.JUMP:
            self._forget_tracks()
        if not is_set(stamp_ns):
            self._statistics.count_unstamped()
        poses = self._pipeline.process(image, moment.time_ns / NANOSECONDS)
        processed = perf_counter()
        self._publish(poses, image, received.header, moment.time_ns / NANOSECONDS)
        if self._lifter is not None:
            size = image.shape[1], image.shape[0]
            self._lifter.take(poses, received.header, size, moment.time_ns / NANOSECONDS)
        end = perf_counter()
        seconds = {
            "conversion": converted - begin,
            **self._pipeline.stage_seconds,
            "publication": end - processed,
            "total": end - begin,
        }
        latency_s = (self._node.get_clock().now().nanoseconds - stamp_ns) / NANOSECONDS
        if is_set(stamp_ns) and 0 <= latency_s < _LATENCY_S:
            seconds["latency"] = latency_s
        self._statistics.process(len(poses), seconds)

    def _apply_requests(self) -> None:
        options = self._options()
        if options is not self._pipeline.options:
            self._pipeline.set_options(options)
        if self._reset_wanted.is_set():
            self._reset_wanted.clear()
            self._clock.forget()
            self._forget_tracks()

    def _report(self, moment: Moment, stamp_ns: int) -> None:
        """Logs what is unusual about a stamp. One call for each, since rclpy throttles by place."""
        shift_s = moment.shift_ns / NANOSECONDS
        if moment.order is Order.LATE:
            self._logger.warning(
                f"image dropped: its stamp is {-shift_s:.3f} s before that of the last", throttle_duration_sec=_QUIET_S
            )
        elif moment.order is Order.UNSET:
            self._logger.warning(
                "an image has no stamp; the time of its arrival is used for tracking", throttle_duration_sec=_REMIND_S
            )
        elif moment.order is Order.SAME:
            self._logger.warning(
                f"stamps stand still at {stamp_ns / NANOSECONDS:.3f} s; times of arrival are used for tracking",
                throttle_duration_sec=_REMIND_S,
            )
        elif moment.order is Order.DOUBTFUL:
            self._logger.warning(
                f"a stamp is {abs(shift_s):.3f} s {'after' if shift_s > 0 else 'before'} that of the last; the time of "
                "arrival is used until the next confirms it",
                throttle_duration_sec=_QUIET_S,
            )
        elif moment.order is Order.JUMP:
            direction = "ahead" if shift_s > 0 else "back"
            self._logger.warning(
                f"stamps jumped {direction} by {abs(shift_s):.3f} s; all tracks are reset",
                throttle_duration_sec=_QUIET_S,
            )

    def _forget_tracks(self) -> None:
        self._pipeline.reset()
        self._trails = Trails()
        self._smoother = OneEuroSmoother()

    def _publish(self, poses: Poses, image: ImageArray, header: Header, seconds: float) -> None:
        size = image.shape[1], image.shape[0]
        self._poses.publish(to_message(poses, header, size))
        if self._poses_smoothed:
            smoothed = self._smoother.update(poses, seconds, self._smoothing())
            self._poses_smoothed.publish(to_message(smoothed, header, size))
        if self._pipeline.events:
            self._events.publish(to_events_message(self._pipeline.events, header))
        if self._detections:
            self._detections.publish(poses, header)
        if self._bodies:
            self._bodies.publish(poses, self._pipeline.events, header, size)
        extras = []
        if self._markers.get_subscription_count():
            extras.append((self._markers, to_markers(poses, header, size)))
        if self._debug_image.get_subscription_count():
            self._trails.update(poses)
            drawn = draw_poses(image, poses, trails=self._trails)
            extras.append((self._debug_image, to_image_message(drawn, header)))
        for publisher, message in extras:
            if not try_publish(publisher, message):
                self._logger.warning(
                    f"a message on {publisher.topic_name} is left out: its subscribers are too slow",
                    throttle_duration_sec=_QUIET_S,
                )
