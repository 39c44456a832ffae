"""The node `recorder`: writes tracked poses, and images if wanted, into an MCAP bag; for machines without `ros2 bag`.

Besides its options it has two parameters that are lists, `topics` and `image_topics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image

from keytrack_ros.errors import OptionError, OutputError
from keytrack_ros.media.bag_writer import BagWriter
from keytrack_ros.msg import TrackedPoseArray
from keytrack_ros.nodes.parameters import OptionParameters, warn_of_unknown_parameters
from keytrack_ros.nodes.qos import RELIABILITIES, keep_last
from keytrack_ros.nodes.runner import Ending, run
from keytrack_ros.nodes.subscribing import subscribe, type_name
from keytrack_ros.options import Options, option

_DEPTH = 1000  # recording keeps everything that memory can hold for a moment
_GRACE_S = 0.5
"""After the last counted message: messages of other topics that belong to it may still arrive."""


@dataclass(frozen=True)
class RecorderOptions(Options):
    """What is recorded, and where to."""

    output: str = option(
        "",
        "folder of the bag, which is made",
        live=False,
    )
    overwrite: bool = option(
        False,
        "replace a bag that is already there",
        live=False,
    )
    frames: int = option(
        0,
        "end after so many messages of the first topic; 0 = when told to",
        at_least=0,
        live=False,
    )
    reliability: str = option(
        "reliable",
        "QoS of the subscriptions",
        choices=RELIABILITIES,
        live=False,
    )


class RecorderNode(Node):  # type: ignore[misc]
    """Messages go into the bag as they came, still serialised, in order of arrival."""

    def __init__(self, ending: Ending) -> None:
        super().__init__("recorder")
        self._ending = ending
        parameters = OptionParameters(self, RecorderOptions(), "start the node again with the new value")
        parameters.locked = True
        self._options = parameters.options
        self._poses_topics = self._strings("topics", "topics of tracked poses") or ["tracker/poses"]
        self._image_topics = self._strings(
            "image_topics", "topics of images; those whose names end in /compressed have compressed ones"
        )
        self._bag: BagWriter | None = None

    def start(self) -> None:
        """Raises OptionError without an output, OutputError if the bag cannot be made."""
        warn_of_unknown_parameters(self)
        if not self._options.output:
            raise OptionError("parameter output is empty; name the folder of the bag")
        self._bag = BagWriter(Path(self._options.output).expanduser(), overwrite=self._options.overwrite)
        for index, topic in enumerate(self._poses_topics):
            self._record(topic, TrackedPoseArray, counted=index == 0)
        for topic in self._image_topics:
            self._record(topic, CompressedImage if topic.endswith("/compressed") else Image, counted=False)

    def close(self) -> None:
        if self._bag is None:
            return
        try:
            self._bag.close()
        except OutputError as error:
            self.get_logger().fatal(str(error))
        counts = ", ".join(f"{count} of {topic}" for topic, count in self._bag.counts.items())
        self.get_logger().info(f"recorded into {self._bag.path}: {counts}")

    def _strings(self, name: str, description: str) -> list[str]:
        descriptor = ParameterDescriptor(description=description, read_only=True)
        try:
            value = self.declare_parameter(name, Parameter.Type.STRING_ARRAY, descriptor).value
        except InvalidParameterTypeException as error:
            raise OptionError(str(error)) from None
        return cast("list[str]", value or [])

    def _record(self, topic: str, message_type: type[Any], counted: bool) -> None:
        """Subscribes; with `counted`, its messages are those of the option `frames`."""
        bag, kind, full_name = self._bag, type_name(message_type), self.resolve_topic_name(topic)
        assert bag is not None
        bag.add_topic(full_name, kind)

        def write(data: bytes) -> None:
            if counted and self._options.frames and bag.counts[full_name] >= self._options.frames:
                return
            try:
                bag.write_cdr(full_name, kind, self.get_clock().now().nanoseconds, data)
            except OutputError as error:
                self.get_logger().fatal(str(error))
                self._ending(1)
                return
            if bag.counts[full_name] == 1:
                self.get_logger().info(f"recording {full_name}")
            if counted and bag.counts[full_name] == self._options.frames:
                self.create_timer(_GRACE_S, self._ending, clock=Clock(clock_type=ClockType.STEADY_TIME))

        subscribe(self, message_type, topic, write, keep_last(_DEPTH, self._options.reliability), raw=True)


def main(args: Sequence[str] | None = None) -> int:
    return run("recorder", RecorderNode, args)
