"""Publishing large messages, which the middleware may refuse for a moment."""

from __future__ import annotations

from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.publisher import Publisher


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
