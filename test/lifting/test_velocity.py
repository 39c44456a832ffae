"""Velocities of tracks from their positions."""

from __future__ import annotations

import numpy as np
import pytest

from keytrack_ros.lifting import Velocities

ORIGIN = np.array([1.0, 0.0, 3.0])
SPEED = np.array([1.2, 0.0, -0.5])


def test_nobody_has_a_velocity_before_the_second_position() -> None:
    velocities = Velocities()
    assert np.isnan(velocities.update(np.array([7]), ORIGIN[None], 100.0)).all()
    np.testing.assert_allclose(velocities.update(np.array([7]), ORIGIN[None] + 0.1 * SPEED, 100.1), [SPEED], atol=1e-5)


def test_even_motion_is_found_exactly_and_noise_smoothed() -> None:
    rng = np.random.default_rng(0)
    exact, noisy, single = Velocities(), Velocities(), []
    errors, before = [], ORIGIN
    for frame in range(300):
        place = ORIGIN + frame / 30 * SPEED
        found = exact.update(np.array([1]), place[None], 50 + frame / 30)
        if frame:
            np.testing.assert_allclose(found, [SPEED], atol=1e-4)
        place = place + rng.normal(size=3) * 0.03
        errors.append(noisy.update(np.array([1]), place[None], 50 + frame / 30)[0] - SPEED)
        single.append((place - before) * 30 - SPEED)
        before = place
    # σ of the slope of 16 positions at 30 Hz with 3 cm: 0.03 / √(Σ(t − mean)²) = 0.03 / 0.615 = 0.049 m/s.
    assert np.std(errors[20:]) == pytest.approx(0.049, rel=0.3)
    assert np.std(single[20:]) > 1.0


def test_a_turn_is_followed_within_the_window() -> None:
    velocities, place = Velocities(), ORIGIN.copy()
    for frame in range(60):
        place = place + (SPEED if frame < 30 else -SPEED) / 30
        found = velocities.update(np.array([1]), place[None], frame / 30)
    np.testing.assert_allclose(found, [-SPEED], atol=1e-4)


def test_a_missing_position_is_left_out_and_others_go_on() -> None:
    velocities = Velocities()
    velocities.update(np.array([1, 2]), np.stack([ORIGIN, ORIGIN]), 0.0)
    found = velocities.update(np.array([1, 2]), np.stack([np.full(3, np.nan), ORIGIN + SPEED * 0.5]), 0.5)
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], SPEED, atol=1e-5)
    found = velocities.update(np.array([2, 1]), np.stack([ORIGIN + SPEED, ORIGIN + SPEED]), 1.0)
    np.testing.assert_allclose(found, [SPEED, SPEED], atol=1e-5)


def test_positions_too_far_apart_tell_nothing() -> None:
    velocities = Velocities()
    velocities.update(np.array([1]), ORIGIN[None], 0.0)
    assert np.isnan(velocities.update(np.array([1]), ORIGIN[None] + SPEED, 2.5)).all()


def test_a_stamp_given_twice_counts_once() -> None:
    velocities = Velocities()
    for place in (ORIGIN, ORIGIN + 1):
        assert np.isnan(velocities.update(np.array([1]), place[None], 5.0)).all()


def test_time_that_goes_back_forgets_everything() -> None:
    velocities = Velocities()
    for time_s in (10.0, 10.1, 3.0):
        found = velocities.update(np.array([1]), ORIGIN[None], time_s)
    assert np.isnan(found).all()


def test_memory_is_bounded() -> None:
    velocities = Velocities()
    for frame in range(500):
        velocities.update(np.array([frame]), ORIGIN[None], frame / 100)
    assert len(velocities) == 201  # those of the last two seconds
    for frame in range(500):
        velocities.update(np.array([1]), ORIGIN[None], 5 + frame / 100)
    assert len(velocities) == 1
