"""The subscription to a camera's images: receives whatever its publishers offer, explains when nothing arrives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, ReliabilityPolicy
from rclpy.subscription import Subscription

from keytrack_ros.nodes.qos import AUTO, keep_last, override
from keytrack_ros.nodes.subscribing import LossCounter, subscribe
from keytrack_ros.nodes.transports import TRANSPORTS, Transport

PROFILE = "config/fastdds_large_images.xml"
"""Fast DDS profile for large images over best effort, in the package's share folder."""


class CameraSubscription:
    """Keeps the newest images only. All methods belong to the executor's thread.

    With reliability `auto` it is reliable if all publishers of the topic are, else best effort, and is made again when
    that changes. Until a publisher is known it is reliable, which a best-effort publisher's QoS event corrects within
    milliseconds. A `qos_overrides` parameter for the reliability takes precedence.

    Args:
        transport: says which type is subscribed to, and how many messages wait for the callback.
        topic: of the images themselves; it may be remapped, and the transport's suffix follows then.
        reliability: `auto`, `reliable` or `best_effort`.
        callback: gets each image.
        lost: called with the number of images that were published but not received, before the next is delivered.

    Raises:
        OptionError: a parameter qos_overrides.… has a value that it cannot have, or the message type is not installed.
    """

    def __init__(
        self,
        node: Node,
        transport: Transport,
        topic: str,
        reliability: str,
        callback: Callable[[Any], None],
        lost: Callable[[int], None],
    ) -> None:
        self._node = node
        self._transport = transport
        self._message_type = transport.message_type()
        self._base = str(node.resolve_topic_name(topic))
        self.topic_name = str(node.resolve_topic_name(self._base + transport.suffix))
        self._callback = callback
        self._counter = LossCounter(lost, lambda: len(self._publishers()))
        overridden = override(node, self.topic_name, QoSPolicyKind.RELIABILITY) is not None
        self._automatic = reliability == AUTO and not overridden
        self._announced: ReliabilityPolicy | None = None
        # A subscription must not be destroyed within its own event callback.
        self._publishers_changed = node.create_guard_condition(self.update)
        self._subscription = self._subscribe("reliable" if reliability == AUTO else reliability)
        self.update()

    @property
    def reliability(self) -> ReliabilityPolicy:
        """What the subscription requests at present."""
        return self._subscription.qos_profile.reliability

    def update(self) -> None:
        """Makes the subscription again if its publishers offer another reliability than it requests."""
        publishers = self._publishers() if self._automatic else []
        if not publishers:
            return
        all_reliable = all(info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in publishers)
        offered = ReliabilityPolicy.RELIABLE if all_reliable else ReliabilityPolicy.BEST_EFFORT
        name = offered.name.lower()
        if offered != self.reliability:
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribe(name)
        if offered != self._announced:
            self._announced = offered
            self._node.get_logger().info(f"subscribed to {self.topic_name} as {name}, as its publishers offer it")

    def explain_mixture(self) -> str | None:
        """What is wrong where images come from more than one publisher, in one line; None where it is one at most."""
        reliable = self.reliability == ReliabilityPolicy.RELIABLE  # then none of best effort is heard
        heard = [
            info
            for info in self._publishers()
            if not (reliable and info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT)
        ]
        if len(heard) < 2:
            return None
        return (
            f"{len(heard)} publishers send images on {self.topic_name} ({_names(heard)}), which are tracked as those "
            "of one camera; give each camera a topic and a tracker of its own"
        )

    def close(self) -> None:
        """Ends the subscription."""
        self._node.destroy_guard_condition(self._publishers_changed)
        self._node.destroy_subscription(self._subscription)

    def explain_silence(self) -> str:
        """A likely reason why no image arrives, from the ROS graph, in one line."""
        topic, node, wanted = self.topic_name, self._node, self._transport.type_name
        what = f"nothing has arrived on {topic} ({wanted}, {self.reliability.name.lower()}): "
        everything = node.get_publishers_info_by_topic(topic)
        if not everything:
            return f"{what}nobody publishes it; {self._elsewhere()}"
        publishers = self._publishers()
        if not publishers:
            found = ", ".join(f"{_full_name(info)} as {info.topic_type}" for info in everything)
            return f"{what}it is published by {found}, which is another type"
        best_effort = any(info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for info in publishers)
        if best_effort and self.reliability == ReliabilityPolicy.RELIABLE:
            return f"{what}{_names(publishers)} publishes best_effort; set the parameter reliability to auto"
        silent = f"{what}{_names(publishers)} is there, but has published nothing that came through"
        if best_effort and not self._transport.suffix:
            silent += (
                "; over best effort, Fast DDS's defaults lose images of more than 512 kB: start the camera with "
                f"FASTDDS_DEFAULT_PROFILES_FILE=<share folder of keytrack_ros>/{PROFILE}, "
                "or set image_transport to compressed"
            )
        return silent

    def _elsewhere(self) -> str:
        """Where images are published instead."""
        node = self._node
        own = node.get_fully_qualified_name()
        published: dict[str, list[str]] = {
            name: types
            for name, types in node.get_topic_names_and_types()
            if any(_full_name(info) != own for info in node.get_publishers_info_by_topic(name))
        }
        for name, other in TRANSPORTS.items():
            if other.type_name in published.get(self._base + other.suffix, ()):
                return f"{self._base}{other.suffix} is published: set the parameter image_transport to {name}"
        others = sorted(name for name, types in published.items() if self._transport.type_name in types)
        return f"that type is published on {', '.join(others)}" if others else "no topic of that type is published"

    def _subscribe(self, reliability: str) -> Subscription:
        return subscribe(
            self._node,
            self._message_type,
            self.topic_name,
            self._receive_counting if LossCounter.SUPPORTED else self._callback,
            keep_last(self._transport.depth, reliability),
            fixed=QoSPolicyKind.RELIABILITY if self._automatic else None,
            incompatible=self._publishers_changed.trigger if self._automatic else None,
        )

    def _receive_counting(self, message: Any, info: Mapping[str, Any]) -> None:
        self._counter.receive(info)
        self._callback(message)

    def _publishers(self) -> list[Any]:
        """Endpoint infos of the topic's publishers that have the right type."""
        wanted = self._transport.type_name
        found = self._node.get_publishers_info_by_topic(self.topic_name)
        return [info for info in found if info.topic_type == wanted]


def _names(publishers: list[Any]) -> str:
    return ", ".join(sorted({_full_name(info) for info in publishers}))


def _full_name(info: Any) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"
