"""Quality of service, as options name it and parameters override it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from keytrack_ros.errors import OptionError

RELIABILITIES = ("reliable", "best_effort")

AUTO = "auto"
"""For a subscription: the reliability that the topic's publishers offer."""

OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY)


def keep_last(depth: int, reliability: str) -> QoSProfile:
    """Volatile, keep last `depth`; `reliability` is one of RELIABILITIES."""
    return QoSProfile(depth=depth, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy[reliability.upper()])


def override(node: Node, topic: str, policy: QoSPolicyKind) -> object:
    """The value that a parameter file or the command line gives a policy of a subscription; None without one.

    `topic` is the resolved name.
    """
    # rclpy offers no other way to overrides of parameters that are not declared yet.
    overrides = getattr(node, "_parameter_overrides", {})
    found = overrides.get(f"qos_overrides.{topic}.subscription.{policy.name.lower()}")
    return None if found is None else found.value


def overriding(*, without: QoSPolicyKind | None = None) -> QoSOverridingOptions:
    """Which policies `qos_overrides` parameters may set: OVERRIDABLE, less one of them."""
    return QoSOverridingOptions([kind for kind in OVERRIDABLE if kind is not without])


@contextmanager
def overrides_named(topic: str) -> Iterator[None]:
    """Turns what rclpy raises for a wrong qos_overrides parameter into an OptionError that names the topic."""
    try:
        yield
    except (RuntimeError, ParameterException) as error:
        raise OptionError(f"qos_overrides.{topic}: {error}") from None
