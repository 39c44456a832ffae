"""The subscription to a tracker's people and events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from keytrack_ros.client.people import People, people_of
from keytrack_ros.client.velocity import BoxVelocities
from keytrack_ros.events import EventKind, TrackEvent
from keytrack_ros.msg import TrackedPoseArray, TrackEvents

_PUBLISHERS = 8
"""Of so many publishers velocities are remembered; more are trackers that have ended, or a mistake in the graph."""


class PeopleClient:
    """Calls back with the people of each image, as typed objects, and with each event of a track.

        self.people = PeopleClient(self, on_people=self.on_people)

    Callbacks run on the node's executor, as those of its subscriptions do. The tracker may start later, end, and start
    again; ids then start again, and velocities with them. Where several trackers publish on one topic, velocities are
    those of each tracker by itself (on ROS 2 Humble and Jazzy, which do not name the publisher, None).

    Args:
        node: yours.
        tracker: name of the tracker's node; one without a slash is in your node's namespace.
        on_people: gets `People` for each image that the tracker has processed, also for those without anybody.
        on_event: gets each `TrackEvent`; events and people of one image come in no fixed order.
        smoothed: take the keypoints of `~/poses_smoothed`, which the tracker publishes with `smoothing.enabled`.
        qos: of the subscription to people: a profile, or the depth of a reliable one. A depth of 1 gives slow callbacks
            the newest people only.
    """

    def __init__(
        self,
        node: Node,
        tracker: str = "tracker",
        *,
        on_people: Callable[[People], None] | None = None,
        on_event: Callable[[TrackEvent], None] | None = None,
        smoothed: bool = False,
        qos: QoSProfile | int = 10,
    ) -> None:
        self._node = node
        self._velocities: dict[bytes, BoxVelocities] = {}  # by publisher, the one heard last at the end
        self._subscriptions: list[Subscription] = []
        self._topic = f"{tracker}/{'poses_smoothed' if smoothed else 'poses'}"
        if on_people is not None:
            self._on_people = on_people
            callback = self._receive_from if _NAMES_PUBLISHERS else self._receive
            self._subscribe(TrackedPoseArray, self._topic, callback, qos)
        if on_event is not None:
            self._on_event = on_event
            self._subscribe(TrackEvents, f"{tracker}/track_events", self._receive_events, 100)

    def close(self) -> None:
        """Ends the subscriptions; nothing is called afterwards."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _subscribe(self, message_type: type[Any], topic: str, callback: Callable[..., None], qos: Any) -> None:
        self._subscriptions.append(self._node.create_subscription(message_type, topic, callback, qos))

    def _receive_from(self, message: TrackedPoseArray, info: Mapping[str, Any]) -> None:
        publisher = info.get("publisher_gid")
        self._give(message, None if publisher is None else bytes(publisher["data"]))

    def _receive(self, message: TrackedPoseArray) -> None:
        self._give(message, None)

    def _give(self, message: TrackedPoseArray, publisher: bytes | None) -> None:
        if publisher is None and self._node.count_publishers(self._topic) > 1:
            self._velocities.clear()  # whose message this is cannot be told
        key = publisher or b""
        velocities = self._velocities.pop(key, BoxVelocities())
        self._velocities[key] = velocities
        if len(self._velocities) > _PUBLISHERS:
            self._velocities.pop(next(iter(self._velocities)))
        self._on_people(people_of(message, velocities))

    def _receive_events(self, message: TrackEvents) -> None:
        for event in message.events:
            self._on_event(TrackEvent(event.track_id, EventKind(event.type)))


_NAMES_PUBLISHERS = hasattr(Subscription, "CallbackType")
"""Whether rclpy passes a message's info to callbacks with two parameters (not in ROS 2 Humble)."""
