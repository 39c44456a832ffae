"""The 1€ filter, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keytrack_ros.poses import Poses
from keytrack_ros.smoothing import OneEuroSmoother, SmoothingOptions
from test.people import people

STEP = 0.1


def person(x: float, y: float, track_id: int = 1, missing: tuple[int, ...] = ()) -> Poses:
    """Somebody whose keypoints all lie at (x, y)."""
    poses = people((0, 0), track_ids=np.array([track_id]))
    scores = poses.scores.copy()
    scores[:, list(missing)] = 0
    return poses.with_fields(keypoints=np.full((1, 15, 2), (x, y), np.float32), scores=scores)


def smooth(path: list[tuple[float, float]], options: SmoothingOptions, step: float = STEP) -> np.ndarray:
    """[T, 2] where the first keypoint of a person who walks a path is seen."""
    smoother = OneEuroSmoother()
    found = [smoother.update(person(*place), number * step, options) for number, place in enumerate(path)]
    return np.array([poses.keypoints[0, 0] for poses in found], np.float64)


def test_who_stands_still_stays_there_exactly():
    assert np.array_equal(smooth([(300.25, 200.5)] * 50, SmoothingOptions()), [(300.25, 200.5)] * 50)


def test_a_step_by_hand():
    # beta 0: a plain low-pass filter of 1 Hz. α = 1 / (1 + 1 / (2π · 1 · 0.1)) = 0.38587.
    found = smooth([(0, 0), (100, 0), (100, 0)], SmoothingOptions(beta=0))
    assert found[:, 0] == pytest.approx([0, 38.587, 62.284], abs=1e-2)


def test_speed_opens_the_filter_by_hand():
    # The speed after the step: α_d = 0.38587 of 100 px / 0.1 s = 385.87 px/s. Cutoff: 1 + 0.02 · 385.87 = 8.7174 Hz.
    # α = 1 / (1 + 1 / (2π · 8.7174 · 0.1)) = 0.84562.
    assert smooth([(0, 0), (100, 0)], SmoothingOptions(beta=0.02))[1, 0] == pytest.approx(84.562, abs=1e-2)


def test_x_and_y_share_the_cutoff_so_that_paths_stay_straight():
    found = smooth([(0, 0), (30, 40), (60, 80), (120, 160)], SmoothingOptions())
    assert found[:, 1] == pytest.approx(found[:, 0] * 4 / 3, abs=1e-3)
    straight = smooth([(0, 0), (50, 0), (100, 0), (200, 0)], SmoothingOptions())
    assert np.linalg.norm(found, axis=1) == pytest.approx(straight[:, 0], abs=1e-3)


def test_jitter_of_somebody_at_rest_shrinks_to_less_than_half():
    # White noise through a low-pass filter has α / (2 − α) of its variance: with beta 0 √(0.38587 / 1.61413) = 0.489.
    noise = np.random.default_rng(0).normal((300, 200), 1.0, (4000, 2))
    path = [(x, y) for x, y in noise]

    def left(options: SmoothingOptions) -> float:
        return float(smooth(path, options)[100:].std(0).mean() / noise[100:].std(0).mean())

    assert left(SmoothingOptions(beta=0)) == pytest.approx(0.489, abs=0.02)
    # The noise itself looks like motion of some pixels a second: a little more is let through.
    assert left(SmoothingOptions()) == pytest.approx(0.52, abs=0.03)


@pytest.mark.parametrize(("speed", "lag"), [(50.0, 3.979), (200.0, 6.366), (1000.0, 7.579)])
def test_lag_behind_a_walker_is_bounded(speed, lag):
    # At a steady speed v the filter lies v / (2π (min_cutoff + beta v)) behind: less than 1 / (2π beta) = 7.96 pixels,
    # at whatever speed.
    path = [(speed * STEP * number, 100.0) for number in range(100)]
    assert path[-1][0] - smooth(path, SmoothingOptions())[-1, 0] == pytest.approx(lag, abs=0.02)


def test_seconds_and_not_frames_are_the_time():
    # The lag behind a walker is that of the seconds, at any frame rate.
    for step in (0.2, 0.1, 1 / 60):
        path = [(200 * step * number, 100.0) for number in range(round(10 / step))]
        assert path[-1][0] - smooth(path, SmoothingOptions(), step)[-1, 0] == pytest.approx(6.366, abs=0.02)


def test_a_missing_keypoint_begins_anew_and_stays_missing():
    smoother, options = OneEuroSmoother(), SmoothingOptions()
    smoother.update(person(0, 0), 0.0, options)
    gone = smoother.update(person(100, 0, missing=(3,)), 0.1, options)
    assert gone.scores[0, 3] == 0
    assert 0 < gone.keypoints[0, 0, 0] < 100
    back = smoother.update(person(200, 0), 0.2, options)
    assert back.keypoints[0, 3].tolist() == [200, 0]
    assert back.keypoints[0, 0, 0] < 200


def test_tracks_are_told_apart_by_id_and_not_by_row():
    smoother, options = OneEuroSmoother(), SmoothingOptions()
    first, second = person(0, 0, track_id=1), person(500, 0, track_id=2)
    smoother.update(Poses.concatenate([first, second]), 0.0, options)
    found = smoother.update(Poses.concatenate([second, first]), 0.1, options)
    assert found.keypoints[:, 0, 0].tolist() == [500, 0]


@pytest.mark.parametrize("stamp", [0.3, 0.2, -5.0], ids=["still", "back", "far_back"])
def test_filters_begin_anew_where_time_does_not_go_on(stamp):
    smoother = OneEuroSmoother()
    smoother.update(person(0, 0), 0.3, SmoothingOptions())
    assert smoother.update(person(100, 0), stamp, SmoothingOptions()).keypoints[0, 0, 0] == 100


def test_a_track_that_was_away_begins_anew_and_nothing_is_kept_of_it():
    smoother, options = OneEuroSmoother(), SmoothingOptions()
    for number in range(1000):
        smoother.update(person(0, 0, track_id=number + 1), number * STEP, options)
        assert len(smoother._rows) == len(smoother._smoothed) == 1
    assert len(smoother.update(Poses.empty(), 100.0, options)) == 0
    assert len(smoother._rows) == 0
    assert smoother.update(person(100, 0, track_id=1000), 100.1, options).keypoints[0, 0, 0] == 100


def test_everything_but_the_keypoints_is_as_it_was():
    smoother, options = OneEuroSmoother(), SmoothingOptions()
    smoother.update(person(0, 0), 0.0, options)
    raw = person(100, 50).with_fields(boxes=np.array([[1, 2, 3, 4]]), ages=np.array([7]))
    found = smoother.update(raw, 0.1, options)
    assert found.with_fields(keypoints=raw.keypoints).boxes.tolist() == [[1, 2, 3, 4]]
    assert (found.ages.tolist(), found.track_ids.tolist(), found.scores.tolist()) == ([7], [1], raw.scores.tolist())


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 1000), st.floats(0.001, 2)), min_size=1, max_size=30),
    st.floats(0.01, 10),
    st.floats(0, 1),
)
def test_smoothed_keypoints_never_leave_the_range_of_the_measured_ones(path, min_cutoff, beta):
    smoother, options, stamp = OneEuroSmoother(), SmoothingOptions(min_cutoff=min_cutoff, beta=beta), 0.0
    places = np.array([(x, y) for x, y, _ in path], np.float32)
    for (x, y), (_, _, step) in zip(places, path, strict=True):
        stamp += step
        found = smoother.update(person(x, y), stamp, options).keypoints[0, 0]
        assert (found >= places.min(0) - 0.01).all()
        assert (found <= places.max(0) + 0.01).all()
    assert math.isfinite(float(found.sum()))
