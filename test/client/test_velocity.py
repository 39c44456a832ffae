"""Velocities of boxes, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keytrack_ros.client.velocity import BoxVelocities


def walk(velocities: BoxVelocities, places: list[tuple[float, float, float]], first_age: int = 0):
    """Velocity of id 1 after each place (seconds, x, y)."""
    return [
        velocities.update(stamp, {1: (x, y)}, {1: first_age + number})[1] for number, (stamp, x, y) in enumerate(places)
    ]


def test_known_from_the_third_image_and_then_exact():
    found = walk(BoxVelocities(), [(10 + t / 10, 100 + 5 * t, 200 - 2 * t) for t in range(6)])
    assert found[:2] == [None, None]
    assert np.allclose(found[2:], [(50, -20)] * 4, atol=1e-4)  # 5 and -2 pixels in a tenth of a second


def test_stamps_and_not_images_are_the_time():
    # The same path, but images 1 to 5 and 7 never came.
    found = walk(BoxVelocities(), [(10 + t / 10, 100 + 5 * t, 200.0) for t in (0, 6, 8)])
    assert found[2] == pytest.approx((50, 0), abs=1e-4)


def test_two_bad_boxes_of_nine_change_nothing():
    places = [(10 + t / 10, 100 + 5 * t + (300 if t in (4, 8) else 0), 200.0) for t in range(9)]
    # Of 36 pairs 21 are good, and the wrong ones lie on both sides of them.
    assert walk(BoxVelocities(), places)[-1] == pytest.approx((50, 0), abs=1e-4)


def test_too_short_a_time_is_no_velocity():
    # 120 images a second: known only once a path is 0.15 s long, which takes 18 steps.
    found = walk(BoxVelocities(), [(10 + t / 120, 100.0 + t, 200.0) for t in range(20)])
    assert found[17] is None
    assert found[19] == pytest.approx((120, 0), abs=0.01)


def test_who_stops_has_no_velocity_after_a_second():
    path = [(10 + t / 10, 100 + 5 * min(t, 10), 200.0) for t in range(22)]
    found = walk(BoxVelocities(), path)
    assert found[10] == pytest.approx((50, 0), abs=1e-4)
    assert found[20] == found[21] == (0, 0)


def test_who_was_away_for_more_than_a_second_is_new():
    velocities = BoxVelocities()
    walk(velocities, [(10 + t / 10, 100 + 5 * t, 200.0) for t in range(5)])
    velocities.update(11.5, {}, {})
    assert len(velocities) == 0
    assert velocities.update(11.6, {1: (500, 200)}, {1: 16})[1] is None


@pytest.mark.parametrize("step", [-5.0, 0.0], ids=["back", "still"])
def test_all_is_forgotten_where_stamps_do_not_grow(step):
    velocities = BoxVelocities()
    walk(velocities, [(10 + t / 10, 100 + 5 * t, 200.0) for t in range(5)])
    assert velocities.update(10.4 + step, {1: (125, 200)}, {1: 5})[1] is None


def test_an_id_whose_age_goes_back_is_another_person():
    velocities = BoxVelocities()
    for number in range(5):
        velocities.update(10 + number / 10, {1: (100, 0), 2: (100 + 5 * number, 0)}, {1: 40 + number, 2: number})
    found = velocities.update(10.5, {1: (700, 0), 2: (125, 0)}, {1: 0, 2: 5})
    assert found[1] is None
    assert found[2] == pytest.approx((50, 0), abs=1e-4)


def test_boxes_that_are_not_numbers_are_passed_over():
    nan = float("nan")
    found = walk(BoxVelocities(), [(10.0, 0.0, 0.0), (10.1, nan, nan), (10.2, 10.0, 0.0), (10.3, 15.0, 0.0)])
    assert found[:3] == [None] * 3
    assert found[3] == pytest.approx((50, 0), abs=1e-4)


@given(st.lists(st.tuples(st.floats(0, 100), st.lists(st.integers(1, 1000), max_size=5, unique=True)), max_size=60))
def test_memory_is_bounded_by_the_people_of_the_last_second(images):
    velocities = BoxVelocities()
    for age, (stamp, ids) in enumerate(images):
        velocities.update(stamp, dict.fromkeys(ids, (0.0, 0.0)), dict.fromkeys(ids, age))
    last = images[-1][0] if images else 0
    recent = {track_id for stamp, ids in images for track_id in ids if abs(stamp - last) <= 1}
    assert len(velocities) <= len(recent)


def test_ten_thousand_images_with_new_ids_leave_nothing_behind():
    velocities = BoxVelocities()
    for number in range(10_000):
        velocities.update(number / 10, {number: (0, 0), number + 1: (0, 0)}, {number: 1, number + 1: 0})
    assert len(velocities) <= 12  # who was there within the last second
