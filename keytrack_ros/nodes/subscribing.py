"""Subscriptions with QoS overrides that warn of incompatible publishers and count lost messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, qos_policy_name_from_kind
from rclpy.subscription import Subscription

from keytrack_ros.nodes.qos import overrides_named, overriding

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks


def subscribe(
    node: Node,
    message_type: type[Any],
    topic: str,
    callback: Callable[..., None],
    qos: QoSProfile,
    *,
    raw: bool = False,
    fixed: QoSPolicyKind | None = None,
    incompatible: Callable[[], None] | None = None,
) -> Subscription:
    """A subscription with QoS overrides.

    Args:
        callback: takes the message, or the message and its info (see `LossCounter`).
        raw: the callback gets serialised messages.
        fixed: a policy that parameters do not override.
        incompatible: called when a publisher with incompatible QoS appears; by default a warning is logged.

    Raises:
        OptionError: a parameter qos_overrides.… has a value that it cannot have.
    """
    full_name = node.resolve_topic_name(topic)

    def warn(event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        node.get_logger().warning(
            f"a publisher of {full_name} offers another {policy} than this subscription requests; none of its messages "
            f"arrive: change the publisher, or qos_overrides.{full_name}.subscription.{policy} here"
        )

    def on_incompatible(event: Any) -> None:
        if incompatible is None:
            warn(event)
        else:
            incompatible()

    with overrides_named(full_name):
        return node.create_subscription(
            message_type,
            topic,
            callback,
            qos,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=on_incompatible),
            qos_overriding_options=overriding(without=fixed),
            raw=raw,
        )


class LossCounter:
    """Counts messages that were published but not received, by the gaps in each publisher's sequence numbers.

    ROS 2 Humble passes no sequence numbers: nothing is counted there. Jazzy passes numbers without the publisher's id:
    they are used while the topic has one publisher.

    Args:
        lost: called with the length of each gap.
        publishers: how many publishers the topic has.
    """

    SUPPORTED = hasattr(Subscription, "CallbackType")
    """Whether rclpy passes a message's info to callbacks with two parameters."""

    def __init__(self, lost: Callable[[int], None], publishers: Callable[[], int]) -> None:
        self._lost = lost
        self._publishers = publishers
        self._last: dict[bytes, int] = {}

    def receive(self, info: Mapping[str, Any]) -> None:
        """Takes the info of the next message."""
        number, publisher = info.get("publication_sequence_number"), info.get("publisher_gid")
        if number is None:
            return
        if publisher is not None:
            key = bytes(publisher["data"])
        elif self._publishers() == 1:
            key = b""
        else:
            self._last.clear()
            return
        missed = number - self._last.get(key, number - 1) - 1
        self._last[key] = number
        if missed > 0:
            self._lost(missed)


def type_name(message_type: type[Any]) -> str:
    """As `sensor_msgs/msg/Image`."""
    package, _, _ = message_type.__module__.partition(".")
    return f"{package}/msg/{message_type.__name__}"
