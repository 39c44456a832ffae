"""The node `count_crossings`: an example that counts people who cross a line in the image, in either direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Int32

from keytrack_ros.client import EventKind, People, PeopleClient, Person, TrackEvent
from keytrack_ros.errors import OptionError
from keytrack_ros.nodes.parameters import OptionParameters, warn_of_unknown_parameters
from keytrack_ros.nodes.runner import Ending, run
from keytrack_ros.options import Options, option
from keytrack_ros.skeleton import INDEX

_ANKLES = [INDEX["left_ankle"], INDEX["right_ankle"]]
_FORGET_S = 60.0
"""Somebody who was not seen for as long is forgotten, also if the tracker never said that the track has ended."""


@dataclass(frozen=True)
class CrossingOptions(Options):
    """The line, and whose people are counted."""

    tracker: str = option(
        "tracker",
        "name of the tracker's node",
        live=False,
    )
    x0: float = option(
        0.5,
        "where the line begins, as a part of the image's width",
        at_least=0.0,
        at_most=1.0,
        live=False,
    )
    y0: float = option(
        1.0,
        "where the line begins, as a part of the image's height",
        at_least=0.0,
        at_most=1.0,
        live=False,
    )
    x1: float = option(
        0.5,
        "where the line ends, as a part of the image's width",
        at_least=0.0,
        at_most=1.0,
        live=False,
    )
    y1: float = option(
        0.0,
        "where the line ends, as a part of the image's height",
        at_least=0.0,
        at_most=1.0,
        live=False,
    )
    margin: float = option(
        0.01,
        "how far beyond the line a foot point has crossed it, as a part of the image's height: jitter counts nobody",
        at_least=0.0,
        at_most=0.5,
    )
    keypoint_threshold: float = option(
        0.2,
        "score from which ankles are the foot point; otherwise it is the middle of the box's lower edge",
        at_least=0.0,
        at_most=1.0,
    )


Point = tuple[float, float]


@dataclass
class _Place:
    """Where somebody was last clearly on one side; `age` and `stamp` are of the last image."""

    point: Point
    right: bool
    age: int
    stamp: float


class LineCounter:
    """Counts foot points that cross a line: inwards from its left to its right side, as seen along the line.

    Bounded memory: ids are forgotten when told so or after a minute, and when the tracker begins again (an age or the
    stamps go back).
    """

    def __init__(self) -> None:
        self.inwards = 0
        self.outwards = 0
        self._places: dict[int, _Place] = {}
        self._stamp = 0.0

    def __len__(self) -> int:
        """How many people are remembered."""
        return len(self._places)

    def update(self, people: People, options: CrossingOptions) -> bool:
        """Takes the people of the next image; whether somebody has crossed the line."""
        if people.stamp < self._stamp:
            self._places.clear()
        self._stamp = people.stamp
        before = self.inwards, self.outwards
        for person in people:
            self._move(person, people.image_size, options)
        self._places = {key: p for key, p in self._places.items() if self._stamp - p.stamp <= _FORGET_S}
        return before != (self.inwards, self.outwards)

    def forget(self, track_id: int) -> None:
        """The id will not come again."""
        self._places.pop(track_id, None)

    def _move(self, person: Person, image_size: tuple[int, int], options: CrossingOptions) -> None:
        width, height = image_size
        start, end = (options.x0 * width, options.y0 * height), (options.x1 * width, options.y1 * height)
        point = foot_point(person, options.keypoint_threshold)
        place = self._places.get(person.track_id)
        if place is not None and person.age <= place.age:
            place = None  # another person with the id, of a tracker that began again
        distance = _right_of(point, start, end)
        if abs(distance) < options.margin * height or distance == 0:
            if place is not None:
                place.age, place.stamp = person.age, person.stamp
            return
        right = distance > 0
        if place is not None and place.right != right and _between(place.point, point, start, end):
            self.inwards += right
            self.outwards += not right
        self._places[person.track_id] = _Place(point, right, person.age, person.stamp)


def foot_point(person: Person, threshold: float) -> Point:
    """The middle of the ankles if both have the score; otherwise of the box's lower edge. Pixels."""
    ankles = person.keypoints[_ANKLES]
    lower_score = float(ankles[:, 2].min())
    if lower_score > 0 and lower_score >= threshold:
        return float(ankles[:, 0].mean()), float(ankles[:, 1].mean())
    x_min, _, x_max, y_max = person.box.tolist()
    return (x_min + x_max) / 2, y_max


def _right_of(point: Point, start: Point, end: Point) -> float:
    """Distance of a point from the straight line, pixels; positive to the right of one who walks from start to end."""
    along = end[0] - start[0], end[1] - start[1]
    across = along[0] * (point[1] - start[1]) - along[1] * (point[0] - start[0])
    return across / float(np.hypot(*along))


def _between(before: Point, after: Point, start: Point, end: Point) -> bool:
    """Whether the way between two points on different sides of the line crosses it between its ends."""
    return _right_of(start, before, after) * _right_of(end, before, after) <= 0


class CountCrossingsNode(Node):  # type: ignore[misc]
    """Publishes how many have crossed so far, latched, at the start and after each crossing."""

    def __init__(self, _ending: Ending) -> None:
        super().__init__("count_crossings")
        self._options = OptionParameters(self, CrossingOptions(), "start the node again with the new value")
        self._options.locked = True
        options = self._options.options
        if (options.x0, options.y0) == (options.x1, options.y1):
            raise OptionError("parameters x0, y0 and x1, y1 are the same point; a line needs two")
        self._counter = LineCounter()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._in = self.create_publisher(Int32, "~/crossings_in", latched)
        self._out = self.create_publisher(Int32, "~/crossings_out", latched)
        self._people = PeopleClient(self, options.tracker, on_people=self._on_people, on_event=self._on_event)

    def start(self) -> None:
        warn_of_unknown_parameters(self)
        self._publish()

    def close(self) -> None:
        self._people.close()
        self.get_logger().info(f"{self._counter.inwards} in, {self._counter.outwards} out")

    def _on_people(self, people: People) -> None:
        if self._counter.update(people, self._options.options):
            self._publish()

    def _on_event(self, event: TrackEvent) -> None:
        if event.kind is EventKind.ENDED:
            self._counter.forget(event.track_id)

    def _publish(self) -> None:
        self._in.publish(Int32(data=self._counter.inwards))
        self._out.publish(Int32(data=self._counter.outwards))


def main(args: Sequence[str] | None = None) -> int:
    return run("count_crossings", CountCrossingsNode, args)
