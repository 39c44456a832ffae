"""Subscriptions whose silence explains itself: incompatible publishers, wrong topics, lost messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from keytrack_ros.nodes.qos import overrides_named

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks


def subscribe(
    node: Node,
    message_type: type[Any],
    topic: str,
    callback: Callable[[Any], None],
    qos: QoSProfile,
    lost: Callable[[int], None] | None = None,
    raw: bool = False,
) -> Subscription:
    """A subscription with QoS overrides, that warns of incompatible publishers.

    Args:
        lost: is told of messages that were published but never came, where the ROS distribution numbers them.
        raw: the callback gets serialised messages.

    Raises:
        OptionError: a parameter qos_overrides.… has a value that it cannot have.
    """
    full_name = node.resolve_topic_name(topic)

    def incompatible(event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        node.get_logger().warning(
            f"a publisher of {full_name} offers another {policy} than this subscription asks for; nothing of it "
            f"arrives: change the publisher, or qos_overrides.{full_name}.subscription.{policy} here"
        )

    with overrides_named(full_name):
        return node.create_subscription(
            message_type,
            topic,
            callback if lost is None else _counting(callback, lost),
            qos,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=incompatible),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            raw=raw,
        )


def _counting(callback: Callable[[Any], None], lost: Callable[[int], None]) -> Callable[..., None]:
    """`callback`, after `lost` was told of the gap before a message in its publisher's numbering."""
    if not hasattr(Subscription, "CallbackType"):  # ROS 2 Humble gives callbacks the message alone
        return callback
    last: dict[bytes, int] = {}

    def with_info(message: Any, info: Mapping[str, Any]) -> None:
        number, publisher = info.get("publication_sequence_number"), info.get("publisher_gid")
        if number is not None and publisher is not None:
            missed = number - last.get(publisher["data"], number - 1) - 1
            last[publisher["data"]] = number
            if missed > 0:
                lost(missed)
        callback(message)

    return with_info


def explain_silence(node: Node, subscription: Subscription, message_type: type[Any]) -> str:
    """Why nothing may be arriving, as far as the graph tells, in one line."""
    topic, wanted = subscription.topic_name, type_name(message_type)
    reliability = subscription.qos_profile.reliability
    what = f"nothing has arrived on {topic} ({wanted}, {reliability.name.lower()}): "
    own = node.get_fully_qualified_name()
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        others = sorted(
            name
            for name, types in node.get_topic_names_and_types()
            if wanted in types and any(_publisher(i) != own for i in node.get_publishers_info_by_topic(name))
        )
        hint = f"that type is published on {', '.join(others)}" if others else "no topic of that type is published"
        return f"{what}nobody publishes it; {hint}"
    right = [info for info in publishers if info.topic_type == wanted]
    if not right:
        found = ", ".join(f"{_publisher(info)} as {info.topic_type}" for info in publishers)
        return f"{what}it is published by {found}, which is another type"
    if reliability == ReliabilityPolicy.RELIABLE and all(
        info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for info in right
    ):
        return (
            f"{what}{', '.join(map(_publisher, right))} publishes best_effort; subscribe with reliability best_effort"
        )
    return f"{what}{', '.join(map(_publisher, right))} is there, but has published nothing that came through"


def _publisher(info: Any) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"


def type_name(message_type: type[Any]) -> str:
    """As `sensor_msgs/msg/Image`."""
    package, _, _ = message_type.__module__.partition(".")
    return f"{package}/msg/{message_type.__name__}"
