"""The motion filter of boxes, against hand-worked numbers and closed forms."""

import numpy as np
import pytest

from keytrack_ros.tracker import motion
from keytrack_ros.tracker.motion import BoxMotion


def box(x: float, y: float, width: float = 40, height: float = 100) -> np.ndarray:
    return np.array([[x - width / 2, y - height / 2, x + width / 2, y + height / 2]])


def walking(speed: float, frames: int, fps: float) -> BoxMotion:
    """A person of 100 px who walks to the right at `speed` pixels per second, detected without noise."""
    filters = BoxMotion()
    filters.begin(box(0, 200))
    for frame in range(1, frames):
        filters.predict(1 / fps)
        filters.correct(np.array([0]), box(speed * frame / fps, 200), np.ones(1))
    return filters


def test_a_new_track_is_expected_where_it_was_seen():
    filters = BoxMotion()
    filters.begin(box(50, 60))
    expected = filters.expected()
    np.testing.assert_allclose(expected.centers, [[50, 60]])
    np.testing.assert_allclose(expected.sizes, [[40, 100]], rtol=1e-6)
    # Variance of the estimate plus that of the next measurement, in heights of 100 px.
    np.testing.assert_allclose(expected.center_std, [np.sqrt(2) * motion.CENTER_NOISE * 100], rtol=1e-6)


@pytest.mark.parametrize("fps", [7, 30])
def test_velocity_is_learnt_in_seconds_whatever_the_frame_rate(fps):
    filters = walking(50, 2 * fps, fps)
    seen = filters.expected().centers[0, 0]
    filters.predict(0.2)
    assert filters.expected().centers[0, 0] - seen == pytest.approx(10, abs=3)


def test_an_unseen_track_coasts_and_comes_to_rest():
    filters = walking(50, 30, 10)
    start = filters.expected().centers[0, 0]
    spread = filters.expected().center_std[0]
    reach = []
    for _ in range(40):
        filters.predict(0.5)
        reach.append(filters.expected().centers[0, 0] - start)
    # A velocity v that decays with τ reaches v · τ in the end; the filter's v is a little below the true one.
    assert reach[-1] == pytest.approx(50 * motion.VELOCITY_MEMORY_S, rel=0.25)
    assert np.all(np.diff(reach) >= 0)
    assert filters.expected().center_std[0] > 5 * spread


def test_two_predictions_are_one_of_their_sum():
    once, twice = walking(30, 10, 10), walking(30, 10, 10)
    once.predict(0.7)
    twice.predict(0.3)
    twice.predict(0.4)
    for name in ("centers", "sizes", "center_std", "size_std"):
        np.testing.assert_allclose(getattr(once.expected(), name), getattr(twice.expected(), name), rtol=1e-5)


def test_noise_makes_a_measurement_count_for_less():
    sure, unsure = walking(0, 5, 10), walking(0, 5, 10)
    for filters, noise in ((sure, 1.0), (unsure, 4.0)):
        filters.predict(0.1)
        filters.correct(np.array([0]), box(10, 200), np.array([noise]))
    assert 0 < unsure.expected().centers[0, 0] < sure.expected().centers[0, 0] < 10


@pytest.mark.parametrize(("neighbour", "most_px", "most_wider"), [(35, 4, 1.15), (500, 9, 1.35)])
def test_a_box_of_two_people_hardly_changes_the_track(neighbour, most_px, most_wider):
    def after(seen: np.ndarray) -> BoxMotion:
        filters = BoxMotion()
        filters.begin(np.concatenate([box(0, 200), box(neighbour, 200)]))
        for _ in range(9):
            filters.predict(0.1)
            filters.correct(np.arange(2), np.concatenate([box(0, 200), box(neighbour, 200)]), np.ones(2))
        filters.predict(0.1)
        filters.correct(np.array([0]), seen, np.ones(1))
        return filters

    # Twice as wide, its center 20 px off: with nobody near, the track moves by 8 px and becomes 30 % wider.
    merged, alone = after(box(20, 200, 80, 100)).expected(), after(box(0, 200)).expected()
    assert merged.centers[0, 0] - alone.centers[0, 0] < most_px
    assert merged.centers[0, 0] - alone.centers[0, 0] > most_px / 4
    assert merged.sizes[0, 0] / alone.sizes[0, 0] < most_wider


def test_a_box_known_to_hold_two_people_leaves_the_size_as_it_was():
    one, two = walking(0, 5, 10), walking(0, 5, 10)
    before = one.expected()
    one.correct(np.array([0]), box(10, 200, 80, 100), np.ones(1))
    two.correct(np.array([0]), box(10, 200, 80, 100), np.ones(1), np.array([True]))
    assert one.expected().sizes[0, 0] > 1.1 * before.sizes[0, 0]
    np.testing.assert_array_equal(two.expected().sizes, before.sizes)
    moved = [filters.expected().centers[0, 0] - before.centers[0, 0] for filters in (one, two)]
    assert 0 < 2 * moved[1] < moved[0]


def test_a_usual_box_counts_in_full():
    filters = BoxMotion()
    filters.begin(box(0, 200))
    filters.correct(np.array([0]), box(6, 200), np.ones(1))
    # One standard deviation off, and the two measurements are equally good: half way.
    assert filters.expected().centers[0, 0] == pytest.approx(3, abs=1e-3)


def test_scale_changes_nothing():
    small, large = walking(20, 10, 10), BoxMotion()
    large.begin(3 * box(0, 200))
    for frame in range(1, 10):
        large.predict(0.1)
        large.correct(np.array([0]), 3 * box(2 * frame, 200), np.ones(1))
    np.testing.assert_allclose(3 * small.expected().centers, large.expected().centers, rtol=1e-5)
    np.testing.assert_allclose(3 * small.expected().center_std, large.expected().center_std, rtol=1e-5)


def test_kept_rows_stay_as_they_were_and_all_move_with_the_camera():
    filters = BoxMotion()
    filters.begin(np.concatenate([box(10, 10), box(200, 10), box(400, 10)]))
    filters.keep(np.array([0, 2]))
    filters.shift(np.array([5.0, -1.0]))
    np.testing.assert_allclose(filters.expected().centers, [[15, 9], [405, 9]])
    assert len(filters) == 2
