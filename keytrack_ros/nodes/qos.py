"""Quality of service, as options name it and parameters override it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rclpy.exceptions import ParameterException
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from keytrack_ros.errors import OptionError

RELIABILITIES = ("reliable", "best_effort")


def keep_last(depth: int, reliability: str) -> QoSProfile:
    """Volatile, keep last `depth`; `reliability` is one of RELIABILITIES."""
    return QoSProfile(depth=depth, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy[reliability.upper()])


@contextmanager
def overrides_named(topic: str) -> Iterator[None]:
    """Turns what rclpy raises for a wrong qos_overrides parameter into an OptionError that names the topic."""
    try:
        yield
    except (RuntimeError, ParameterException) as error:
        raise OptionError(f"qos_overrides.{topic}: {error}") from None
