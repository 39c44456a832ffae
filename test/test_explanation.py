"""Why poses got their ids: with matchers whose answers are known, and with the shipped networks."""

from __future__ import annotations

import numpy as np
import pytest

from keytrack_ros.explanation import DOUBT, FrameExplanation, explain
from keytrack_ros.matching.matcher import TrackQuery, TrackScores
from keytrack_ros.matching.motion import VELOCITY_PRIOR_S
from keytrack_ros.media.explanation_drawing import draw_explanation
from keytrack_ros.poses import Poses
from keytrack_ros.research.overlap import OksMatcher
from keytrack_ros.tracker import PoseTracker, TrackerOptions
from test.people import people

SIZE = (768, 576)


class Told:
    """A track matcher that gives the scores that it was told: of each pose with tracks 1, 2, …"""

    def __init__(self, *scores: tuple[float, ...], shift: tuple[float, float] = (0, 0)) -> None:
        self._scores, self._shift = np.array(scores, np.float32), np.array(shift, np.float32)

    def score_tracks(self, query: TrackQuery) -> TrackScores:
        assert self._scores.shape == (len(query.current), len(query.track_ids))
        sure = np.clip(self._scores, 1e-6, 1 - 1e-6)
        return TrackScores(self._scores, self._shift, np.log(sure / (1 - sure)))


NEVER = -np.inf


def second_frame(*scores: tuple[float, ...], threshold: float = 0.1) -> FrameExplanation:
    """Of as many poses as there are rows, after a frame with as many people as there are columns."""
    tracker = PoseTracker(TrackerOptions(match_threshold=threshold), Told(*scores))
    tracker.update(people(*[(100 + 150 * k, 300) for k in range(len(scores[0]))]), SIZE, 0.0)
    return explained(tracker, people(*[(104 + 150 * k, 300) for k in range(len(scores))]), 0.1)


def explained(tracker: PoseTracker, poses: Poses, stamp: float) -> FrameExplanation:
    tracked = tracker.update(poses, SIZE, stamp)
    assert tracker.comparison is not None
    return explain(tracker.comparison, tracked, tracker.options.match_threshold)


class TestChoice:
    def test_a_clear_case(self):
        (pose,) = second_frame((0.9, 0.02)).poses
        assert (pose.track_id, pose.cause, pose.continued, pose.doubtful) == (1, "best", True, False)
        assert pose.score == pytest.approx(0.9)
        assert pose.margin == pytest.approx(9 / (0.1 / 0.9), rel=1e-4)  # odds of 0.9 against those of the threshold
        assert pose.reason == "continues 1, seen in the last frame: score 0.90, network 0.90, predicted OKS 0.93"
        assert [(c.track_id, c.taken_by) for c in pose.candidates] == [(1, 0), (2, None)]

    def test_another_track_that_fits_nearly_as_well(self):
        (pose,) = second_frame((0.6, 0.7)).poses
        assert (pose.track_id, pose.cause, pose.doubtful) == (2, "best", True)
        assert pose.margin == pytest.approx((0.7 / 0.3) / (0.6 / 0.4), rel=1e-4)
        assert pose.reason.endswith(
            "geometry alone says track 1 (predicted OKS 0.93); doubtful, since track 1 has 0.60"
        )

    def test_two_poses_for_one_track(self):
        winner, loser = second_frame((0.8, NEVER), (0.7, NEVER)).poses
        assert (winner.cause, winner.doubtful) == ("best", True)
        assert winner.reason.endswith("doubtful, since the pose that became 3 has 0.70 with this track")
        assert (loser.track_id, loser.cause, loser.continued, loser.doubtful) == (3, "taken", False, True)
        assert winner.margin == loser.margin == pytest.approx((0.8 / 0.2) / (0.7 / 0.3), rel=1e-4)
        assert loser.reason.startswith("new: poses that fit better got what it could have continued, 1 (0.70)")
        assert loser.reason.endswith("doubtful, since track 1 went to a pose with 0.80")

    def test_the_second_choice(self):
        first, second = second_frame((0.95, 0.1), (0.8, 0.6)).poses
        assert (first.track_id, second.track_id) == (1, 2)
        assert (first.cause, second.cause) == ("best", "next")
        assert "its best, 1 (0.80), went to a pose that fits better" in second.reason
        assert second.margin == pytest.approx((0.95 / 0.05) / (0.8 / 0.2), rel=1e-4)
        assert not second.doubtful

    def test_a_pose_that_went_elsewhere_first_is_no_rival(self):
        # Pose 0 has 0.85 with track 2, but had taken track 1 by 0.9 before track 2 was given.
        _, second = second_frame((0.9, 0.85), (NEVER, 0.8)).poses
        assert second.margin == pytest.approx((0.8 / 0.2) / (0.1 / 0.9), rel=1e-4)

    def test_too_weak(self):
        weak, hopeless = (second_frame((score,)).poses[0] for score in (0.06, 0.001))
        assert [(pose.track_id, pose.cause, pose.doubtful) for pose in (weak, hopeless)] == [
            (2, "weak", True),
            (2, "weak", False),
        ]
        assert weak.reason == (
            "new: no track reaches 0.10; the best, 1: score 0.06, network 0.06, predicted OKS 0.93; "
            "doubtful, since track 1 has 0.06"
        )
        assert weak.score == 0

    def test_nobody_before_nobody_near_nothing_to_compare(self):
        tracker = PoseTracker()
        assert [pose.cause for pose in explained(tracker, people((100, 300)), 0.0).poses] == ["first"]
        blank = people((100, 300), score=0.0)
        found = explained(tracker, Poses.concatenate([people((100, 300), (700, 300)), blank]), 0.04)
        assert [pose.cause for pose in found.poses] == ["best", "far", "blank"]
        assert [pose.margin for pose in found.poses[1:]] == [None, None]
        assert found.poses[2].geometry is None

    def test_an_empty_frame(self):
        tracker = PoseTracker()
        explained(tracker, people((100, 300), (400, 300)), 0.0)
        found = explained(tracker, Poses.empty(), 0.04)
        assert found.poses == ()
        assert found.unseen == [1, 2]

    def test_certain_scores_have_finite_margins(self):
        (pose,) = second_frame((1.0, 0.0), threshold=0.0).poses
        assert np.isfinite(pose.margin)


class TestGeometry:
    def test_constant_velocity(self):
        tracker = PoseTracker(TrackerOptions(), OksMatcher())
        for frame in range(5):
            found = explained(tracker, people((100 + 10 * frame, 300)), frame / 10)
        # 100 px/s, shrunk towards rest; steps of 0.1 s have the weights 1, e^-0.5 and e^-1 by their age.
        weight = 0.1 * (1 + np.exp(-0.5) + np.exp(-1))
        ahead = 0.1 * 100 * weight / (weight + VELOCITY_PRIOR_S)
        (candidate,) = found.poses[0].candidates
        assert candidate.distance_px == pytest.approx(10 - ahead, rel=1e-3)
        assert candidate.predicted_oks > 0.95 > candidate.last_oks
        np.testing.assert_allclose(found.expected.keypoints - found.last.keypoints, [[[ahead, 0]] * 15], rtol=1e-3)

    def test_the_cameras_motion_is_undone(self):
        told = Told((0.9,), shift=(40, -10))
        tracker = PoseTracker(TrackerOptions(), told)
        for frame in range(3):
            found = explained(tracker, people((100 + 40 * frame, 300 - 10 * frame)), frame / 10)
        assert found.shift == (40, -10)
        assert found.poses[0].candidates[0].predicted_oks == pytest.approx(1, abs=1e-4)
        assert found.poses[0].candidates[0].last_oks < 0.3

    def test_how_long_ago(self):
        tracker = PoseTracker(TrackerOptions(), Told((0.9,)))
        tracker.update(people((100, 300)), SIZE, 0.0)
        tracker.update(Poses.empty(), SIZE, 0.1)
        candidate = explained(tracker, people((100, 300)), 0.3).poses[0].candidates[0]
        assert (candidate.gap_frames, candidate.gap_s) == (2, pytest.approx(0.3))


@pytest.mark.parametrize(("model", "pairs"), [("auto", 0), ("pose_entailment_paper", 3)])
def test_the_shipped_networks(model: str, pairs: int):
    options = TrackerOptions(model=model, delta=3, match_threshold=0.5, gating=False)
    tracker = PoseTracker(options)
    for frame in range(5):
        found = explained(tracker, people((100 + 4 * frame, 300), (180 - 4 * frame, 304)), frame / 10)
    assert [pose.track_id for pose in found.poses] == [1, 2]
    for pose in found.poses:
        own = pose.candidates[0]
        assert pose.cause == "best"
        assert pose.geometry == (pose.track_id, pytest.approx(own.predicted_oks))
        assert len(own.pairs) == pairs
        if pairs:  # a track is as alike as its most alike pose
            assert [gap for gap, _ in own.pairs] == [1, 2, 3]
            assert own.score == own.network == pytest.approx(max(score for _, score in own.pairs))
        else:  # alone a pair looks at least as sure as among others
            assert own.network >= own.score > 0.5


def test_the_tracker_is_not_changed_by_being_asked():
    asked, alone = PoseTracker(), PoseTracker()
    rng = np.random.default_rng(3)
    for frame in range(12):
        crowd = people(*[(100 + 60 * k + 9 * frame * (-1) ** k + rng.normal(0, 4), 300.0) for k in range(6)])
        found = explained(asked, crowd, frame / 10)
        tracked = alone.update(crowd, SIZE, frame / 10)
        assert [pose.track_id for pose in found.poses] == tracked.track_ids.tolist()
        np.testing.assert_array_equal(tracked.match_scores, [pose.score for pose in found.poses])
        assert all(pose.doubtful == (pose.margin is not None and pose.margin < DOUBT) for pose in found.poses)


def test_the_drawing_shows_tracks_that_are_not_seen_and_words():
    tracker = PoseTracker(TrackerOptions(), Told((0.9, 0.3), (0.4, NEVER)))
    tracker.update(people((100, 300), (400, 300)), SIZE, 0.0)
    poses = people((110, 300), (250, 300))
    tracked = tracker.update(poses, SIZE, 0.1)
    found = explain(tracker.comparison, tracked, 0.1)
    image = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
    drawn = draw_explanation(image, tracked, found)
    scale = 1000 / SIZE[1]
    width = round(SIZE[0] * scale)
    assert drawn.shape == (1000, width + 560, 3)
    picture = drawn[:, :width].astype(int)

    def share(x: float, y: float) -> float:
        """Of the pixels in a person's surroundings, those that are drawn on."""
        x, y = x * scale, y * scale
        part = picture[int(y - 140) : int(y + 140), int(x - 50) : int(x + 50)]
        return float((np.abs(part - 128).max(-1) > 20).mean())

    assert share(600, 300) == 0
    assert share(400, 300) > 0.03  # track 2, which nobody continues
    assert share(110, 300) > share(400, 300)  # somebody who is seen
    words = drawn[:, width:].min(-1) < 120
    assert words[: 17 * 4].any()
    assert not words[-17 * 10 :].any()
    reds = (drawn[:, width:, 2].astype(int) - drawn[:, width:, 0] > 90).sum()
    assert (reds > 0) == any(pose.doubtful for pose in found.poses)
    assert not np.shares_memory(drawn, image)
    assert (image == 128).all()


def test_a_clear_case_is_said_to_be_settled_by_geometry():
    tracker = PoseTracker(TrackerOptions())
    for frame in range(2):
        found = explained(tracker, people((100 + 2 * frame, 300), (400, 304)), frame / 10)
    first = found.poses[0]
    assert (first.cause, first.score) == ("best", pytest.approx(0.99))
    assert [candidate.network for candidate in first.candidates] == [None]
    assert first.reason.startswith("continues 1, seen in the last frame: nobody else is around, predicted OKS ")


def test_many_people_get_more_columns():
    count = 40
    tracker = PoseTracker(TrackerOptions(candidates=3, gating=False), OksMatcher())
    places = [(60.0 + 90 * (k % 8), 90 + 100 * (k // 8)) for k in range(count)]
    tracker.update(people(*places), SIZE, 0.0)
    tracked = tracker.update(people(*places), SIZE, 0.1)
    drawn = draw_explanation(
        np.zeros((SIZE[1], SIZE[0], 3), np.uint8), tracked, explain(tracker.comparison, tracked, 0.1)
    )
    assert (drawn.shape[1] - round(SIZE[0] * 1000 / SIZE[1])) // 560 >= 4
