"""Publishers with QoS overrides, and large messages, which the middleware may refuse for a moment."""

from __future__ import annotations

from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

from keytrack_ros.nodes.qos import overrides_named


def advertise(node: Node, message_type: type[Any], topic: str, qos: QoSProfile) -> Publisher:
    """A publisher with QoS overrides. Raises OptionError if one of them has a value that it cannot have."""
    with overrides_named(node.resolve_topic_name(topic)):
        return node.create_publisher(
            message_type, topic, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies()
        )


def try_publish(publisher: Publisher, message: Any) -> bool:
    """Publishes, or returns False if the middleware cannot take the message now.

    Fast DDS refuses a message that it could not queue within 0.1 s, as happens while large ones are still on their way
    to a reliable subscriber.
    """
    try:
        publisher.publish(message)
    except rclpy_implementation.RCLError:
        return False
    return True
