"""The node `follow_person`: an example that turns and drives a robot towards the nearest person.

It publishes velocities for a base with a camera that looks ahead. It knows nothing of obstacles: put a collision
monitor between it and the base.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node

from keytrack_ros.client import People, PeopleClient, Person, TrackState
from keytrack_ros.nodes.parameters import OptionParameters, warn_of_unknown_parameters
from keytrack_ros.nodes.runner import Ending, run
from keytrack_ros.options import Options, option

_PERIOD_S = 0.05
_LAST_WORD = Duration(nanoseconds=500_000_000)


@dataclass(frozen=True)
class FollowOptions(Options):
    """How a person is followed."""

    tracker: str = option(
        "tracker",
        "name of the tracker's node",
        live=False,
    )
    stamped: bool = option(
        True,
        "publish TwistStamped, as Nav2 and ros2_control expect from Kilted on; false = Twist",
        live=False,
    )
    frame_id: str = option(
        "base_link",
        "frame_id of TwistStamped",
        live=False,
    )
    lost_s: float = option(
        0.5,
        "seconds without the person, or without any message, after which the robot stops and another is chosen",
        at_least=0.05,
        at_most=10.0,
    )
    height: float = option(
        0.6,
        "height of the person's box that is kept, as a part of the image's; a larger one is a smaller distance",
        at_least=0.05,
        at_most=1.0,
    )
    linear_gain: float = option(
        1.5,
        "metres a second for a box that is smaller by the whole height of the image",
        at_least=0.0,
        at_most=20.0,
    )
    angular_gain: float = option(
        1.0,
        "radians a second for a person at the image's edge",
        at_least=0.0,
        at_most=20.0,
    )
    max_forward: float = option(
        0.5,
        "metres a second",
        at_least=0.0,
        at_most=10.0,
    )
    max_backward: float = option(
        0.2,
        "metres a second with which the robot withdraws from a person who is too near",
        at_least=0.0,
        at_most=10.0,
    )
    max_angular: float = option(
        1.0,
        "radians a second",
        at_least=0.0,
        at_most=10.0,
    )


class Target:
    """Which person is followed: the nearest, and then the same one until not seen for `lost_s`."""

    def __init__(self) -> None:
        self.track_id: int | None = None
        self.seen_s = 0.0

    def choose(self, people: Sequence[Person], now_s: float, lost_s: float) -> Person | None:
        """The person to follow among those of an image; None if the one who is followed is not there, or nobody is."""
        candidates = {person.track_id: person for person in people if person.state is TrackState.CONFIRMED}
        if self.expired(now_s, lost_s):
            nearest = max(candidates.values(), key=lambda person: float(person.box[3] - person.box[1]), default=None)
            self.track_id = None if nearest is None else nearest.track_id
        person = candidates.get(self.track_id) if self.track_id is not None else None
        if person is not None:
            self.seen_s = now_s
        return person

    def expired(self, now_s: float, lost_s: float) -> bool:
        """Whether nobody is followed, or the person was not seen for `lost_s`."""
        return self.track_id is None or now_s - self.seen_s > lost_s


def velocities(person: Person, image_size: tuple[int, int], options: FollowOptions) -> tuple[float, float]:
    """Metres a second ahead and radians a second to the left that bring the person to the middle, at the height."""
    width, height = image_size
    x_min, y_min, x_max, y_max = person.box.tolist()
    offset = (x_min + x_max) / width - 1  # −1 at the left edge, 1 at the right
    smaller = options.height - (y_max - y_min) / height
    forward = min(max(options.linear_gain * smaller, -options.max_backward), options.max_forward)
    left = min(max(-options.angular_gain * offset, -options.max_angular), options.max_angular)
    return forward, left


class FollowPersonNode(Node):  # type: ignore[misc]
    """Publishes `cmd_vel` 20 times a second, zero unless a person has been seen within `lost_s`."""

    def __init__(self, _ending: Ending) -> None:
        super().__init__("follow_person")
        self._options = OptionParameters(self, FollowOptions(), "start the node again with the new value")
        self._options.locked = True
        options = self._options.options
        self._target = Target()
        self._command = (0.0, 0.0)
        self._publisher = self.create_publisher(TwistStamped if options.stamped else Twist, "cmd_vel", 10)
        self._people = PeopleClient(self, options.tracker, on_people=self._on_people, qos=1)
        # Not ROS time: where a simulation stands still, or a clock is set, the robot must stop too.
        self.create_timer(_PERIOD_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def start(self) -> None:
        warn_of_unknown_parameters(self)

    def close(self) -> None:
        """Stops the robot."""
        self._people.close()
        self._publish(0.0, 0.0)
        self._publisher.wait_for_all_acked(_LAST_WORD)  # else it may be lost with this node

    def _on_people(self, people: People) -> None:
        before = self._target.track_id
        options = self._options.options
        person = self._target.choose(people, time.monotonic(), options.lost_s)
        if person is not None:
            self._command = velocities(person, people.image_size, options)
        if self._target.track_id not in (None, before):
            self.get_logger().info(f"following person {self._target.track_id}")

    def _tick(self) -> None:
        if self._target.expired(time.monotonic(), self._options.options.lost_s):
            self._command = (0.0, 0.0)
        self._publish(*self._command)

    def _publish(self, forward: float, left: float) -> None:
        stamped = self._options.options.stamped
        message = TwistStamped() if stamped else Twist()
        twist = message.twist if stamped else message
        twist.linear.x, twist.angular.z = forward, left
        if stamped:
            message.header.stamp = self.get_clock().now().to_msg()
            message.header.frame_id = self._options.options.frame_id
        self._publisher.publish(message)


def main(args: Sequence[str] | None = None) -> int:
    return run("follow_person", FollowPersonNode, args)
