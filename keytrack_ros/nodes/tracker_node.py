"""The node `tracker`: images in, tracked poses out. A lifecycle node, by default with autostart."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from keytrack_ros.errors import KeytrackError
from keytrack_ros.media.ros_images import video_format
from keytrack_ros.nodes.camera_subscription import CameraSubscription
from keytrack_ros.nodes.camera_video import CameraVideo
from keytrack_ros.nodes.depth import DepthLifter, DepthOptions
from keytrack_ros.nodes.diagnostics import status
from keytrack_ros.nodes.images import to_bgr
from keytrack_ros.nodes.messages import header_of
from keytrack_ros.nodes.parameters import OptionParameters, warn_of_unknown_parameters
from keytrack_ros.nodes.processing import FrameProcessor, Received
from keytrack_ros.nodes.qos import AUTO, RELIABILITIES
from keytrack_ros.nodes.runner import Ending, run
from keytrack_ros.nodes.statistics import Statistics
from keytrack_ros.nodes.transports import TRANSPORTS
from keytrack_ros.nodes.worker import NewestWorker
from keytrack_ros.options import option
from keytrack_ros.pipeline import PipelineOptions
from keytrack_ros.pipeline.multi_camera import SharedNetworks
from keytrack_ros.smoothing import SmoothingOptions
from keytrack_ros.timing import JUMP_NS

_REMIND_S = 10.0
"""Interval of repeated warnings."""


@dataclass(frozen=True)
class TrackerNodeOptions(PipelineOptions):
    """The pipeline's options and those of the node around it."""

    autostart: bool = option(
        True,
        "configure and activate at the start, without a lifecycle manager",
        live=False,
    )
    image_transport: str = option(
        "raw",
        "whether to subscribe to `image` (raw), `image/compressed`, `image/ffmpeg` (FFMPEGPacket) or `image/foxglove` "
        "(CompressedVideo); video is decoded in all but the first",
        choices=tuple(TRANSPORTS),
        live=False,
    )
    reliability: str = option(
        AUTO,
        "QoS of the image subscription; auto: as the publishers offer it, made again when that changes",
        choices=(AUTO, *RELIABILITIES),
        live=False,
    )
    bits: int = option(
        0,
        "how many of 16 bits the pixels of 16-bit images use, 8 to 16, as 12 in many infrared images; 0 = found from "
        "the images",
        at_least=0,
        at_most=16,
        live=False,
    )
    publish_detections: bool = option(
        False,
        "publish boxes and ids on `~/detections` as vision_msgs, too; with depth also boxes in metres on "
        "`~/detections_3d`",
        live=False,
    )
    publish_bodies: bool = option(
        False,
        "publish people as ROS4HRI's bodies in `/humans/bodies` as hri_msgs, too",
        live=False,
    )
    no_image_warning_s: float = option(
        5.0,
        "seconds without an image after which the node logs a likely cause",
        at_least=0.1,
        at_most=3600.0,
    )
    depth: DepthOptions = field(default_factory=DepthOptions)
    smoothing: SmoothingOptions = field(default_factory=SmoothingOptions)


Transition = Callable[["TrackerNode", Any], TransitionCallbackReturn]


def _logged(transition: Transition) -> Transition:
    """Without it rclpy would swallow the exceptions of a transition."""

    @wraps(transition)
    def wrapper(self: TrackerNode, state: Any) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except Exception:
            self.get_logger().error(traceback.format_exc())
            return TransitionCallbackReturn.ERROR

    return wrapper


class TrackerNode(LifecycleNode):  # type: ignore[misc]
    """Unconfigured: parameters only. Inactive: networks loaded, publishers there. Active: subscribed and tracking.

    Args:
        ending: of the process.
        networks: those of the process's cameras, if this is one of several.
        namespace: the node's; takes precedence over the command line.
        foreign: parameters of other nodes in the process, which the command line sets for all.
    """

    def __init__(
        self,
        ending: Ending,
        networks: SharedNetworks | None = None,
        namespace: str | None = None,
        foreign: Collection[str] = (),
    ) -> None:
        # Rules of a node's own come before those of the command line, which rename every node of the process.
        rules = [] if namespace is None else ["--ros-args", "-r", f"__ns:={namespace}", "-r", "__node:=tracker"]
        super().__init__("tracker", cli_args=rules)
        self._ending = ending
        self._networks = networks
        self._foreign = foreign
        self._options = OptionParameters(self, TrackerNodeOptions(), "it can after the lifecycle transition 'cleanup'")
        self._statistics = Statistics()
        self._processor: FrameProcessor | None = None  # there while inactive or active
        self._lifter: DepthLifter | None = None  # there with the processor, if depth is enabled
        self._worker: NewestWorker[Received] | None = None  # there while active
        self._camera: CameraSubscription | None = None  # there while active and enabled
        self._video: CameraVideo | None = None  # likewise
        self._enabled = True
        self._finalized = False
        self._heard_s = 0.0
        self._rejected_before = 0
        self._not_lifted_before = 0

        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/enable", self._on_enable)
        # Not ROS time: a simulation that stands still must be reported too.
        self.create_timer(1.0, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-JUMP_NS))
        self._jump_handle = self.get_clock().create_jump_callback(threshold, post_callback=self._on_clock_jump)

    def start(self) -> None:
        """With autostart: configures and activates; the process ends with code 1 if that fails."""
        if not self._options.options.autostart:
            return
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                self._ending(1)
                return

    def close(self) -> None:
        """Ends the worker and frees everything, from whatever state."""
        self._jump_handle.unregister()
        if not self._finalized:
            self.trigger_shutdown()

    @_logged
    def on_configure(self, _previous: Any) -> TransitionCallbackReturn:
        self._statistics = Statistics()
        begin = time.monotonic()
        depth = self._options.options.depth
        try:
            detections = self._options.options.publish_detections
            self._lifter = DepthLifter(self, depth, detections) if depth.enabled else None
            self._processor = FrameProcessor(
                self,
                lambda: self._options.options,
                self._statistics,
                self._networks,
                self._options.options.bits,
                detections,
                self._options.options.publish_bodies,
                self._lifter,
                lambda: self._options.options.smoothing,
            )
        except KeytrackError as error:
            self._release()
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        self._options.locked = True
        networks = ", ".join(f"{task}: {name}" for task, name in self._processor.fingerprints.items())
        self.get_logger().info(f"networks loaded in {time.monotonic() - begin:.1f} s ({networks})")
        warn_of_unknown_parameters(self, self._foreign)
        return TransitionCallbackReturn.SUCCESS

    @_logged
    def on_activate(self, _previous: Any) -> TransitionCallbackReturn:
        assert self._processor is not None
        if self._enabled:
            try:
                self._subscribe()
            except KeytrackError as error:
                self._unsubscribe()
                self.get_logger().error(str(error))
                return TransitionCallbackReturn.FAILURE
        self._worker = NewestWorker(self._processor.process, "tracking")
        return TransitionCallbackReturn.SUCCESS

    @_logged
    def on_deactivate(self, _previous: Any) -> TransitionCallbackReturn:
        self._stop()
        return TransitionCallbackReturn.SUCCESS

    @_logged
    def on_cleanup(self, _previous: Any) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    @_logged
    def on_shutdown(self, _previous: Any) -> TransitionCallbackReturn:
        self._finalized = True
        self._stop()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    @_logged
    def on_error(self, _previous: Any) -> TransitionCallbackReturn:
        self._stop()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _stop(self) -> None:
        """Nothing is received or processed afterwards."""
        self._unsubscribe()
        worker, self._worker = self._worker, None
        if worker is not None and worker.stop():
            self._statistics.drop()

    def _release(self) -> None:
        processor, self._processor = self._processor, None
        if processor is not None:
            processor.close()
        lifter, self._lifter = self._lifter, None
        if lifter is not None:
            lifter.close()
        self._options.locked = False

    def _subscribe(self) -> None:
        options = self._options.options
        self._camera = CameraSubscription(
            self,
            TRANSPORTS[options.image_transport],
            "image",
            options.reliability,
            self._on_image,
            self._on_lost,
        )
        topic = self._camera.topic_name
        self.get_logger().info(f"tracking people in {topic}")
        self._video = CameraVideo(topic, self.get_logger(), self._statistics)
        if self._lifter is not None:
            self._lifter.subscribe(options.reliability)
        self._heard_s = time.monotonic()

    def _unsubscribe(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()
        video, self._video = self._video, None
        if video is not None:
            video.end()
        if self._lifter is not None:
            self._lifter.unsubscribe()

    def _on_image(self, message: Any) -> None:
        if self._worker is None or self._video is None:  # deactivated after the message was taken
            return
        self._heard_s = time.monotonic()
        self._statistics.receive()
        kind, arrival_ns = video_format(message), time.monotonic_ns()
        if kind is None:
            self._give(Received(header_of(message), partial(to_bgr, message), arrival_ns))
            return
        try:
            frames = self._video.add(message, kind, arrival_ns)
        except KeytrackError as error:
            self._statistics.reject("video")
            self.get_logger().warning(f"image rejected: {error}", throttle_duration_sec=_REMIND_S)
            return
        for frame in frames:
            self._give(frame)

    def _give(self, image: Received) -> None:
        if self._worker is not None and self._worker.give(image):
            self._statistics.drop()

    def _on_lost(self, images: int) -> None:
        self._statistics.lose(images)
        if self._video is not None:
            self._video.lose()

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._processor is not None
        if self._processor is not None:
            self._processor.reset()
            response.message = "all tracks end before the next image"
        else:
            response.message = "the node is not configured"
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success = True
        if self._worker is not None and request.data and self._camera is None:
            try:
                self._subscribe()
            except KeytrackError as error:
                self._unsubscribe()
                response.success, response.message = False, str(error)
                return response
        if self._worker is not None and not request.data:
            self._unsubscribe()
            if self._worker.discard():
                self._statistics.drop()
        self._enabled = request.data
        response.message = f"{'enabled' if self._enabled else 'disabled'}; the node is {self._state}"
        return response

    def _on_clock_jump(self, _jump: TimeJump) -> None:
        if self._processor is not None:
            self.get_logger().warning("the clock jumped back; all tracks are reset")
            self._processor.reset()

    @property
    def _state(self) -> str:
        if self._worker is not None:
            return "active" if self._enabled else "disabled"
        if self._processor is not None:
            return "inactive"
        return "finalized" if self._finalized else "unconfigured"

    def _report(self) -> None:
        """Diagnostics, once a second; and a warning where nothing arrives."""
        counts = self._statistics.snapshot()
        rejected = sum(counts.rejected.values())
        warning = None
        if rejected > self._rejected_before:
            causes = ", ".join(f"{cause} {count}" for cause, count in counts.rejected.items() if count)
            warning = f"images are rejected; so far: {causes}"
        self._rejected_before = rejected
        lifting = self._lifter.update() if self._lifter is not None else {}
        not_lifted = lifting.get("frames_not_lifted", 0)
        if not_lifted > self._not_lifted_before:
            causes = ", ".join(
                f"{key.partition('.')[2]} {count}" for key, count in lifting.items() if "." in key and count
            )
            warning = f"people are not lifted in some frames; so far: {causes}"
        self._not_lifted_before = not_lifted
        silent_s = time.monotonic() - self._heard_s
        if self._camera is not None:
            self._camera.update()
            mixture = self._camera.explain_mixture()
            if mixture is not None:
                warning = mixture
                self.get_logger().warning(mixture, throttle_duration_sec=_REMIND_S)
        if self._camera is not None and silent_s >= self._options.options.no_image_warning_s:
            warning = self._camera.explain_silence()
            self.get_logger().warning(f"{warning} (for {silent_s:.0f} s)", throttle_duration_sec=_REMIND_S)
        same_name = self.get_node_names_and_namespaces().count((self.get_name(), self.get_namespace()))
        if same_name > 1:
            warning = (
                f"{same_name} nodes are named {self.get_fully_qualified_name()}: their topics and services mix; give "
                "each a namespace or a name of its own"
            )
            self.get_logger().warning(warning, throttle_duration_sec=_REMIND_S)
        fingerprints = self._processor.fingerprints if self._processor is not None else {}
        subscribers = self._processor.poses_subscribers if self._processor is not None else 0
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        name = self.get_fully_qualified_name()
        message.status = [status(name, self._state, counts, fingerprints, warning, subscribers, lifting)]
        self._diagnostics.publish(message)


def main(args: Sequence[str] | None = None) -> int:
    return run("tracker", TrackerNode, args)
