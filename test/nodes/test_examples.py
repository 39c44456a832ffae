"""The example nodes: what they compute, and their processes over DDS."""

from __future__ import annotations

from pathlib import Path

import pytest
from geometry_msgs.msg import Twist, TwistStamped
from keytrack_ros.msg import TrackedPoseArray, TrackEvent, TrackEvents
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Int32

from keytrack_ros.client import People, TrackState
from keytrack_ros.client.people import people_of
from keytrack_ros.client.velocity import BoxVelocities
from keytrack_ros.nodes.examples.count_crossings_node import CrossingOptions, LineCounter, foot_point
from keytrack_ros.nodes.examples.follow_person_node import FollowOptions, Target, velocities
from keytrack_ros.skeleton import INDEX
from test.nodes.camera import Camera
from test.nodes.graph import Graph
from test.nodes.tracker_messages import poses_message

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def seen(stamp_s: float, places: dict[int, tuple[float, float]], age: int = 0, **options: object) -> People:
    return people_of(poses_message(stamp_s, places, age, **options), BoxVelocities())  # type: ignore[arg-type]


class TestFollowing:
    """The command for a person, and whom to follow."""

    def test_a_person_in_the_middle_at_the_wanted_height_moves_nothing(self):
        (person,) = seen(1.0, {1: (400, 300)}, height=360)  # 0.6 of 600 pixels
        assert velocities(person, (800, 600), FollowOptions()) == pytest.approx((0, 0), abs=1e-6)

    @pytest.mark.parametrize(
        ("x", "height", "forward", "left"),
        [
            (400, 300, 0.15, 0.0),  # 0.1 too small: 1.5 * 0.1 ahead
            (400, 60, 0.5, 0.0),  # 0.5 too small: 0.75, but 0.5 at most
            (400, 420, -0.15, 0.0),  # too near: back
            (400, 600, -0.2, 0.0),  # 0.2 at most
            (600, 360, 0.0, -0.5),  # half-way to the right edge: turn right
            (200, 360, 0.0, 0.5),
        ],
    )
    def test_the_box_sets_the_velocities(self, x, height, forward, left):
        (person,) = seen(1.0, {1: (x, 300)}, height=height)
        assert velocities(person, (800, 600), FollowOptions()) == pytest.approx((forward, left), abs=1e-5)

    def test_the_nearest_is_chosen_and_kept_while_not_lost_for_long(self):
        target = Target()
        near, far = seen(1.0, {2: (500, 300)}, height=300)[0], seen(1.0, {1: (200, 300)}, height=200)[0]
        assert target.choose([far, near], 10.0, 0.5) is near
        nearer = seen(1.1, {3: (300, 300)}, height=500)[0]
        assert target.choose([nearer, near], 10.1, 0.5) is near
        assert target.choose([nearer], 10.6, 0.5) is None  # 0.5 s: may still come back
        assert target.choose([nearer], 10.61, 0.5) is nearer

    def test_who_is_not_confirmed_is_not_followed(self):
        target = Target()
        assert target.choose(seen(1.0, {1: (400, 300)}, state=TrackState.TENTATIVE), 10.0, 0.5) is None
        assert target.expired(10.0, 0.5)


class TestCrossing:
    """A vertical line in the middle, upwards: its right side is the image's."""

    def count(self, *images: dict[int, tuple[float, float]], **options: object) -> tuple[int, int]:
        """Crossings in and out after images with people by id; boxes are 160 pixels high."""
        counter = LineCounter()
        for number, places in enumerate(images):
            counter.update(seen(1 + number / 10, places, age=number), CrossingOptions(**options))  # type: ignore[arg-type]
        return counter.inwards, counter.outwards

    def test_to_the_right_is_in_and_to_the_left_is_out(self):
        assert self.count({1: (350, 300), 2: (450, 300)}, {1: (450, 300), 2: (350, 300)}) == (1, 1)
        assert self.count({1: (350, 300)}, {1: (450, 300)}) == (1, 0)

    def test_the_lines_direction_swaps_them(self):
        assert self.count({1: (350, 300)}, {1: (450, 300)}, y0=0.0, y1=1.0) == (0, 1)

    def test_an_id_counts_each_time_it_crosses(self):
        assert self.count(*({1: (x, 300)} for x in (350, 450, 350, 450))) == (2, 1)

    def test_jitter_within_the_margin_counts_nobody(self):
        # 0.01 of 600 pixels: 6. The person stands at the line, and leaves to the side they came from.
        assert self.count(*({1: (x, 300)} for x in (350, 396, 404, 397, 405, 350))) == (0, 0)
        # Through the margin in small steps: once.
        assert self.count(*({1: (x, 300)} for x in (390, 396, 399, 401, 404, 407, 403, 407))) == (1, 0)

    def test_who_passes_beyond_the_lines_ends_is_not_counted(self):
        # The line reaches down to half the height; the feet are at y = 364 (0.9 of a box from 220 to 380).
        assert self.count({1: (350, 300)}, {1: (450, 300)}, y0=0.5) == (0, 0)
        assert self.count({1: (350, 200)}, {1: (450, 200)}, y0=0.5) == (1, 0)

    def test_somebody_hidden_at_the_line_is_counted_on_the_other_side(self):
        assert self.count({1: (350, 300)}, {}, {}, {}, {1: (450, 300)}) == (1, 0)

    def test_people_who_only_stay_or_appear_are_not_counted(self):
        assert self.count({1: (350, 300)}, {1: (350, 300), 2: (450, 300)}, {2: (450, 300)}) == (0, 0)

    def test_an_id_of_a_tracker_that_began_anew_is_another_person(self):
        counter = LineCounter()
        counter.update(seen(1.0, {1: (350, 300)}, age=70), CrossingOptions())
        counter.update(seen(1.1, {1: (450, 300)}, age=0), CrossingOptions())
        counter.update(seen(0.1, {1: (350, 300)}, age=1), CrossingOptions())  # time went back
        assert (counter.inwards, counter.outwards) == (0, 0)

    def test_memory_is_bounded(self):
        counter = LineCounter()
        for number in range(200):
            counter.update(seen(1.0 + number, {number + 1: (350, 300)}), CrossingOptions())
        assert len(counter) == 61  # of the last minute
        counter.forget(200)
        assert len(counter) == 60

    def test_the_foot_point_is_between_the_ankles_or_below_the_box(self):
        message = poses_message(1.0, {1: (100, 200)})
        left, right = (message.poses[0].keypoints[INDEX[f"{side}_ankle"]] for side in ("left", "right"))
        (left.x, left.y), (right.x, right.y) = (90.0, 270.0), (110.0, 280.0)
        assert foot_point(people_of(message, BoxVelocities())[0], 0.2) == (100, 275)
        right.score = 0.1
        assert foot_point(people_of(message, BoxVelocities())[0], 0.2) == (100, 280)  # 200 + 160 / 2


def test_the_robot_follows_and_stops_when_the_person_is_lost(graph: Graph) -> None:
    process = graph.start("examples.follow_person")
    commands = graph.listen(TwistStamped, "/cmd_vel")
    poses = graph.publisher(TrackedPoseArray, "/tracker/poses")

    def last() -> tuple[float, float]:
        return (round(commands[-1].twist.linear.x, 3), round(commands[-1].twist.angular.z, 3)) if commands else (9, 9)

    graph.spin_until(lambda: last() == (0, 0))
    number = 0

    def show(places: dict[int, tuple[float, float]]) -> None:
        nonlocal number
        number += 1
        poses.publish(poses_message(10 + number / 10, places, age=number, height=300))

    def following() -> bool:
        show({1: (200, 300)})
        return last() == (0.15, 0.5)

    def set_lost_s(seconds: float) -> None:
        assert graph.set_parameter("lost_s", seconds, "/follow_person").successful

    graph.spin_until(following)
    assert commands[-1].header.frame_id == "base_link"

    # Images go on to come, without the person, who may still come back within `lost_s`.
    set_lost_s(10.0)
    graph.spin_until(following)
    commands.clear()
    graph.spin_until(lambda: show({}) or len(commands) >= 5)
    assert last() == (0.15, 0.5)
    set_lost_s(0.05)

    def stopped() -> bool:
        show({})
        return last() == (0, 0)

    graph.spin_until(stopped)
    set_lost_s(0.5)

    graph.spin_until(following)
    graph.spin_until(lambda: last() == (0, 0))  # nothing comes at all

    graph.spin_until(following)
    assert process.end() == 0
    graph.spin_until(lambda: last() == (0, 0))  # its last word
    assert "following person 1" in process.log
    assert "Traceback" not in process.log


def test_a_plain_twist_where_it_is_wanted(graph: Graph) -> None:
    graph.start("examples.follow_person", {"stamped": False, "tracker": "/eye"})
    commands = graph.listen(Twist, "/cmd_vel")
    poses = graph.publisher(TrackedPoseArray, "/eye/poses")

    def following() -> bool:
        poses.publish(poses_message(1.0, {1: (200, 300)}, height=300))
        return bool(commands) and round(commands[-1].angular.z, 3) == 0.5

    graph.spin_until(following)


def test_crossings_are_counted_and_latched(graph: Graph) -> None:
    process = graph.start("examples.count_crossings", {"x0": 0.5, "y0": 1.0, "x1": 0.5, "y1": 0.0})
    poses = graph.publisher(TrackedPoseArray, "/tracker/poses")
    events = graph.publisher(TrackEvents, "/tracker/track_events")
    inwards = graph.listen(Int32, "/count_crossings/crossings_in", LATCHED)
    outwards = graph.listen(Int32, "/count_crossings/crossings_out", LATCHED)
    graph.spin_until(lambda: inwards and outwards)
    assert (inwards[-1].data, outwards[-1].data) == (0, 0)
    for number in range(10):  # two to the right, one to the left
        places = {1: (310 + 20 * number, 300), 2: (330 + 20 * number, 350), 3: (490 - 20 * number, 250)}
        poses.publish(poses_message(10 + number / 10, places, age=number))
    graph.spin_until(lambda: (inwards[-1].data, outwards[-1].data) == (2, 1))
    late = graph.listen(Int32, "/count_crossings/crossings_in", LATCHED)
    graph.spin_until(lambda: late)
    assert late[0].data == 2
    ended = [TrackEvent(track_id=track_id, type=TrackEvent.ENDED) for track_id in (1, 2, 3)]
    events.publish(TrackEvents(events=ended))
    assert process.end() == 0
    assert "2 in, 1 out" in process.log
    assert "Traceback" not in process.log


def test_a_line_of_one_point_is_refused_in_one_line(graph: Graph) -> None:
    process = graph.start("examples.count_crossings", {"x0": 0.5, "y0": 0.5, "x1": 0.5, "y1": 0.5})
    assert process.wait() == 1
    assert "x0, y0 and x1, y1 are the same point" in process.log
    assert "Traceback" not in process.log


def test_from_images_to_commands_and_counts(graph: Graph, toy_models: Path) -> None:
    # Tracker and both examples as three processes, from images on.
    graph.start("tracker", {"inference.models": toy_models})
    graph.start("examples.follow_person")
    graph.start("examples.count_crossings")
    camera = Camera(graph)
    commands = graph.listen(TwistStamped, "/cmd_vel")
    counts = graph.listen(Int32, "/count_crossings/crossings_in", LATCHED)
    graph.spin_until(lambda: graph.count("poses_subscribers") == 3)  # the tracker itself has found them
    graph.spin_until(lambda: commands)
    # The robot turns left, towards the left half of the image, and in the end right.
    graph.spin_until(lambda: camera.show([(300.0, 300.0)]) and commands[-1].twist.angular.z > 0.1)
    for number in range(12):  # from x = 300 to 476 in a scene 768 pixels wide
        camera.show([(300.0 + 16 * number, 300.0)])
    graph.spin_until(lambda: counts and counts[-1].data == 1)
    graph.spin_until(lambda: camera.show([(476.0, 300.0)]) and commands[-1].twist.angular.z < -0.1)
