"""From an image message to everything that is published about it; runs on the worker's thread."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from time import perf_counter

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from keytrack_ros.errors import InputError, KeytrackError
from keytrack_ros.media.drawing import Trails, draw_poses
from keytrack_ros.msg import SkeletonInfo, TrackedPoseArray
from keytrack_ros.nodes.images import converter, to_bgr, to_image_message
from keytrack_ros.nodes.markers import to_markers
from keytrack_ros.nodes.messages import skeleton_info, stamp_to_ns, to_message
from keytrack_ros.nodes.publishing import advertise, try_publish
from keytrack_ros.nodes.qos import keep_last
from keytrack_ros.nodes.stamps import Order, StampOrder
from keytrack_ros.nodes.statistics import Statistics
from keytrack_ros.pipeline import Pipeline, PipelineOptions
from keytrack_ros.pipeline.multi_camera import SharedNetworks
from keytrack_ros.poses import ImageArray, Poses
from keytrack_ros.timing import NANOSECONDS

_QUIET_S = 5.0
"""Warnings that every frame may cause come at most this often."""


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
    ) -> None:
        """Loads the networks and makes the publishers. Raises ModelError or OptionError.

        `options` gives the present options, in which only live ones ever change; asked before every frame. `networks`
        are those of the process's cameras; without them the node has its own.
        """
        converter()  # found now rather than at the first image
        self._options = options
        self._pipeline = Pipeline.from_options(options(), networks)
        self._logger = node.get_logger()
        self._statistics = statistics
        self._order = StampOrder()
        self._trails = Trails()
        self._reset_wanted = threading.Event()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._node = node
        try:
            self._poses = advertise(node, TrackedPoseArray, "~/poses", keep_last(10, "reliable"))
            self._debug_image = advertise(node, Image, "~/debug_image", keep_last(1, "reliable"))
            self._markers = advertise(node, MarkerArray, "~/markers", keep_last(1, "reliable"))
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
        """Before the next frame everyone is forgotten; it may have any stamp."""
        self._reset_wanted.set()

    def close(self) -> None:
        """Takes the publishers away and frees the networks. `process` is not called afterwards."""
        for publisher in (self._poses, self._debug_image, self._markers, self._skeleton):
            self._node.destroy_publisher(publisher)
        self._pipeline.close()

    def process(self, message: Image | CompressedImage) -> None:
        """Tracks the people of one image and publishes them; whatever goes wrong is counted and said."""
        try:
            self._process(message)
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

    def _process(self, message: Image | CompressedImage) -> None:
        begin = perf_counter()
        self._apply_requests()
        image = to_bgr(message)
        converted = perf_counter()
        stamp_ns = stamp_to_ns(message.header.stamp)
        if not self._in_order(stamp_ns):
            self._statistics.reject("late")
            return
        poses = self._pipeline.process(image, stamp_ns / NANOSECONDS)
        processed = perf_counter()
        self._publish(poses, image, message.header)
        end = perf_counter()
        self._statistics.process(
            len(poses),
            {
                "conversion": converted - begin,
                **self._pipeline.stage_seconds,
                "publication": end - processed,
                "total": end - begin,
            },
        )

    def _apply_requests(self) -> None:
        options = self._options()
        if options is not self._pipeline.options:
            self._pipeline.set_options(options)
        if self._reset_wanted.is_set():
            self._reset_wanted.clear()
            self._order.forget()
            self._forget_tracks()

    def _in_order(self, stamp_ns: int) -> bool:
        """False for a late image. Tracks do not survive a jump back in time."""
        last_ns = self._order.last_ns or 0
        order = self._order.take(stamp_ns)
        back_s = (last_ns - stamp_ns) / NANOSECONDS
        if order is Order.LATE:
            self._logger.warning(
                f"image dropped: its stamp is {back_s:.3f} s before that of the last", throttle_duration_sec=_QUIET_S
            )
            return False
        if order is Order.JUMP:
            self._logger.warning(f"stamps went back by {back_s:.3f} s; tracks are forgotten")
            self._forget_tracks()
        elif order is Order.SAME:
            self._logger.warning(
                f"stamps stand still at {stamp_ns / NANOSECONDS:.3f} s; images are taken in order of arrival",
                throttle_duration_sec=_QUIET_S,
            )
        return True

    def _forget_tracks(self) -> None:
        self._pipeline.reset()
        self._trails = Trails()

    def _publish(self, poses: Poses, image: ImageArray, header: Header) -> None:
        size = image.shape[1], image.shape[0]
        self._poses.publish(to_message(poses, header, size))
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
