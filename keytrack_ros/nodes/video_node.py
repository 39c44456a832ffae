"""The node `video`: a video file, image folder, bag or webcam as an image topic, stamped as a camera would stamp it."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from rclpy.duration import Duration
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from keytrack_ros.errors import InputError, KeytrackError
from keytrack_ros.media.frames import Frame, FrameSource
from keytrack_ros.media.sources import open_source
from keytrack_ros.msg import TrackedPoseArray
from keytrack_ros.nodes.images import to_image_message
from keytrack_ros.nodes.messages import ns_to_stamp, stamp_to_ns
from keytrack_ros.nodes.parameters import OptionParameters, warn_of_unknown_parameters
from keytrack_ros.nodes.publishing import advertise, try_publish
from keytrack_ros.nodes.qos import RELIABILITIES, keep_last
from keytrack_ros.nodes.runner import Ending, run
from keytrack_ros.nodes.subscribing import subscribe
from keytrack_ros.options import Options, option
from keytrack_ros.timing import NANOSECONDS

TOPIC = "image_raw"
_REMIND_S = 5.0
_PIECE = Duration(nanoseconds=50_000_000)
"""Waits that nothing can end take no longer."""
_LEAVE_S = 0.3
"""So long the node waits for its player when it ends. FFmpeg cannot be interrupted while it waits for a network."""


@dataclass(frozen=True)
class VideoOptions(Options):
    """What is published, and when."""

    source: str = option(
        "",
        "video file, folder of images, bag, webcam by number, or address as rtsp://camera/stream",
        live=False,
    )
    bag_topic: str = option(
        "",
        "images of a bag to publish; empty: its only topic of images",
        live=False,
    )
    rate_hz: float = option(
        0.0,
        "frames per second; 0 = as in the source",
        at_least=0.0,
        at_most=1000.0,
        live=False,
    )
    as_fast_as_possible: bool = option(
        False,
        "do not wait between frames; their stamps stay those of the rate",
        live=False,
    )
    pace_topic: str = option(
        "",
        "topic of tracked poses: the next frame goes out when the poses of the last have come; empty: paced by time",
        live=False,
    )
    pace_timeout_s: float = option(
        10.0,
        "seconds to wait for poses on pace_topic before going on without",
        at_least=0.1,
        at_most=3600.0,
        live=False,
    )
    loop: bool = option(
        False,
        "begin again at the end; stamps keep growing",
        live=False,
    )
    frame_id: str = option(
        "",
        "frame_id of the images; empty: the bag's own, or `camera`",
        live=False,
    )
    stamps: str = option(
        "now",
        "now: the first frame has the time at which it is published; source: the time in the source, as in a bag",
        choices=("now", "source"),
        live=False,
    )
    publish_clock: bool = option(
        False,
        "publish the stamp of each frame on /clock before the frame, for nodes with use_sim_time",
        live=False,
    )
    start: int = option(
        0,
        "first frame of the source to publish, counted from 0",
        at_least=0,
        live=False,
    )
    every: int = option(
        1,
        "publish every so many frames of the source",
        at_least=1,
        live=False,
    )
    frames: int = option(
        0,
        "frames to publish in one pass; 0 = to the end",
        at_least=0,
        live=False,
    )
    wait_for_subscribers: int = option(
        1,
        "subscribers to wait for before the first frame; 0 = begin at once",
        at_least=0,
        live=False,
    )
    wait_for_topic: str = option(
        "",
        "topic that must have a publisher and a subscriber, besides this node, before the first frame, as the poses "
        "have while they are recorded; empty: none",
        live=False,
    )
    bits: int = option(
        0,
        "how many of 16 bits the pixels of 16-bit images use, as 12 in many infrared images; 0 = found from the images",
        at_least=0,
        at_most=16,
        live=False,
    )
    reliability: str = option(
        "reliable",
        "QoS of the images",
        choices=RELIABILITIES,
        live=False,
    )


class VideoNode(Node):  # type: ignore[misc]
    """Publishes from a thread of its own; the executor's thread hears the paces."""

    def __init__(self, ending: Ending) -> None:
        super().__init__("video")
        self._ending = ending
        parameters = OptionParameters(self, VideoOptions(), "start the node again with the new value")
        parameters.locked = True
        self._options = parameters.options
        # In lock-step no later frame would make Fast DDS notice that a part of this one was lost, before its heartbeat
        # is due after 3 s. With a full queue, as one of depth 1 always is, it asks for missing parts at once.
        depth = 1 if self._options.pace_topic else 5
        self._images = advertise(self, Image, TOPIC, keep_last(depth, self._options.reliability))
        self._time = advertise(self, Clock, "/clock", keep_last(1, "reliable")) if self._options.publish_clock else None
        self._changed = threading.Condition()
        self._stopping = False
        self._poses_stamp_ns: int | None = None
        self._player: threading.Thread | None = None
        self._source: FrameSource | None = None
        self._pace_topic = self.resolve_topic_name(self._options.pace_topic) if self._options.pace_topic else ""
        self._begin_s = 0.0  # when the first frame was due, on the monotonic clock
        self._origin_ns = 0  # its stamp
        self._published = 0
        self._unanswered = 0

    def start(self) -> None:
        """Raises InputError if there is no source."""
        warn_of_unknown_parameters(self)
        if not self._options.source:
            raise InputError("parameter source is empty; name a video, a folder of images, a bag or a webcam's number")
        if self._pace_topic:
            subscribe(self, TrackedPoseArray, self._pace_topic, self._on_poses, keep_last(10, "reliable"))
        self._player = threading.Thread(target=self._play, name="player", daemon=True)
        self._player.start()

    def close(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
            if self._source is not None:
                self._source.stop()
        if self._player is not None:
            self._player.join(_LEAVE_S)
        if not self._images.wait_for_all_acked(_PIECE):
            # A subscriber was killed, it seems, and Fast DDS may crash when its participant is destroyed.
            # That of a node in use is not, and goes with the process.
            self.handle.__enter__()

    def _open(self) -> FrameSource:
        options = self._options
        source = open_source(
            options.source,
            topic=options.bag_topic or None,
            start=options.start,
            every=options.every,
            frames=options.frames or None,
            bits=options.bits,
        )
        with self._changed:
            self._source = source
            if self._stopping:
                source.stop()
        return source

    def _play(self) -> None:
        """The player's thread: ends the process when the source ends, fails or cannot be opened."""
        exit_code, text = 1, ""
        try:
            self._play_to_the_end()
            exit_code = 0
        except KeytrackError as error:
            text = str(error)
        except Exception:  # a defect of ours: on a thread it would end in silence, with the process waiting for ever
            text = traceback.format_exc()
        if text and not self._stopping:
            self.get_logger().fatal(text)
        self._ending(exit_code)

    def _play_to_the_end(self) -> None:
        source = self._open()
        begin = time.monotonic()
        try:
            self._wait_for_partners()
            begin = time.monotonic()
            self._play_all(source)
            if self._options.reliability == "reliable":
                self._all_have_it(5.0)
        finally:
            unanswered = f", {self._unanswered} of them without poses in time" if self._unanswered else ""
            self.get_logger().info(
                f"published {self._published} frames of {self._options.source} in "
                f"{time.monotonic() - begin:.1f} s{unanswered}"
            )

    def _wait_for_partners(self) -> None:
        """Until there are subscribers enough and, in lock-step, someone who publishes poses."""
        wanted = self._options.wait_for_subscribers
        topic = self.resolve_topic_name(self._options.wait_for_topic) if self._options.wait_for_topic else ""
        own = int(topic == self._pace_topic)
        while not self._stopping:
            if self._images.get_subscription_count() < wanted:
                missing = f"{wanted} subscriber(s) on {self._images.topic_name}"
            elif self._pace_topic and not self.count_publishers(self._pace_topic):
                missing = f"a publisher on {self._pace_topic}"
            elif topic and not self.count_publishers(topic):
                missing = f"a publisher on {topic}"
            elif topic and self.count_subscribers(topic) <= own:
                missing = f"a subscriber on {topic}"
            else:
                return
            self.get_logger().info(f"waiting for {missing}", throttle_duration_sec=_REMIND_S, skip_first=True)
            self._wait(0.05)

    def _play_all(self, source: FrameSource) -> None:
        offset_ns = 0
        while True:
            with source:
                offset_ns = self._play_once(source, offset_ns)
            if not self._options.loop or self._stopping:
                return
            source = self._open()

    def _play_once(self, source: FrameSource, offset_ns: int) -> int:
        """Publishes all frames of a source; `offset_ns` is the time at which they begin, on the source's own clock.

        Returns the offset for another pass, one frame after the last.
        """
        options = self._options
        period_ns = round(NANOSECONDS / (options.rate_hz or source.fps))
        as_in_source = options.stamps == "source" and not options.rate_hz and offset_ns == 0
        elapsed_ns = 0
        last: Frame | None = None
        for count, frame in enumerate(source):
            if options.rate_hz:
                elapsed_ns = round(count * NANOSECONDS / options.rate_hz)
            elif last is not None:
                elapsed_ns += _step_ns(last, frame, period_ns)
            if self._published == 0:
                self._begin_s = time.monotonic()
                self._origin_ns = frame.stamp_ns if options.stamps == "source" else self.get_clock().now().nanoseconds
            last = frame
            self._wait_until_due((offset_ns + elapsed_ns) / NANOSECONDS)
            if self._stopping:
                break
            stamp_ns = frame.stamp_ns if as_in_source else self._origin_ns + offset_ns + elapsed_ns
            header = Header(stamp=ns_to_stamp(stamp_ns), frame_id=options.frame_id or frame.frame_id or "camera")
            message = to_image_message(frame.image_bgr, header)
            if self._time is not None:
                self._time.publish(Clock(clock=header.stamp))
            while not try_publish(self._images, message) and not self._stopping:
                self.get_logger().warning("subscribers are behind; waiting to publish", throttle_duration_sec=_REMIND_S)
                self._wait(0.02)
            self._published += 1
            if self._pace_topic:
                self._wait_for_poses(stamp_ns)
            if self._pace_topic or self._published == 1:
                self._wait_for_others()
        return offset_ns + elapsed_ns + period_ns

    def _wait_until_due(self, seconds: float) -> None:
        """Sleeps until `seconds` after the first frame, where frames are paced by time."""
        if self._options.as_fast_as_possible or self._pace_topic:
            return
        wait_s = self._begin_s + seconds - time.monotonic()
        if wait_s > 1.0:
            self.get_logger().info(f"the next frame is due in {wait_s:.1f} s")
        if wait_s > 0:
            self._wait(wait_s)
        elif wait_s < -1.0:
            self.get_logger().warning(
                f"{-wait_s:.1f} s behind the rate: frames cannot be read and published as fast",
                throttle_duration_sec=_REMIND_S,
            )

    def _wait_for_poses(self, stamp_ns: int) -> None:
        with self._changed:
            found = self._changed.wait_for(
                lambda: self._stopping or self._poses_stamp_ns == stamp_ns, self._options.pace_timeout_s
            )
        if not found:
            self._unanswered += 1
            self.get_logger().warning(
                f"no poses on {self._pace_topic} for frame {self._published} within "
                f"{self._options.pace_timeout_s:g} s; going on without"
            )

    def _wait_for_others(self) -> None:
        """Until all reliable subscribers have the frame.

        In lock-step there may be some that set no pace, such as a recorder. And a subscriber that we have discovered
        may not have discovered us yet; it has when it acknowledges the first frame.
        """
        if self._options.reliability == "reliable" and not self._all_have_it(1.0) and not self._stopping:
            self.get_logger().warning(
                f"frame {self._published} has not reached all subscribers of {self._images.topic_name} within 1 s",
                throttle_duration_sec=_REMIND_S,
            )

    def _all_have_it(self, seconds: float) -> bool:
        """Whether all reliable subscribers have all frames; False after so long, or when the node is to end."""
        end_s = time.monotonic() + seconds
        # In pieces: a subscriber that was killed is only forgotten when its lease ends, after 20 s.
        while not self._images.wait_for_all_acked(_PIECE):
            if self._stopping or time.monotonic() >= end_s:
                return False
        return True

    def _wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, seconds)

    def _on_poses(self, message: TrackedPoseArray) -> None:
        with self._changed:
            self._poses_stamp_ns = stamp_to_ns(message.header.stamp)
            self._changed.notify()


def _step_ns(last: Frame, frame: Frame, period_ns: int) -> int:
    """How much later than the last a frame is played: a jump of the source's clock takes one period."""
    step_ns = frame.stamp_ns - last.stamp_ns
    return step_ns if step_ns > 0 and frame.stretch == last.stretch else period_ns


def main(args: Sequence[str] | None = None) -> int:
    return run("video", VideoNode, args)
