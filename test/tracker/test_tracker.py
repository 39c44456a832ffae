import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keytrack_ros.geometry import box_iou
from keytrack_ros.matching.matcher import MatchQuery, TrackQuery, TrackScores
from keytrack_ros.poses import FloatArray, Poses, TrackState
from keytrack_ros.research.overlap import IouMatcher, OksMatcher
from keytrack_ros.tracker.assignment import assign_greedily, candidate_pairs
from keytrack_ros.tracker.tracker import PoseTracker, TrackerOptions
from test.people import people

SIZE = (768, 576)


def oks_tracker(**options: object) -> PoseTracker:
    """Tracks by OKS: what is tested here is the book-keeping, not the network."""
    return PoseTracker(TrackerOptions(**options), OksMatcher())  # type: ignore[arg-type]


def ids(tracker: PoseTracker, poses: Poses, stamp: float) -> list[int]:
    return tracker.update(poses, SIZE, stamp).track_ids.tolist()


class TestAssignment:
    def test_loser_of_a_contested_id_falls_to_its_second_choice(self):
        # Both prefer track 1, pose 0 more strongly. Pose 1 must get track 2, not a new id and not track 1 twice.
        found, won = assign_greedily(np.array([[0.9, 0.1], [0.8, 0.6]]), np.array([1, 2]), 0.5)
        assert found.tolist() == [1, 2]
        np.testing.assert_allclose(won, [0.9, 0.6])

    def test_greedy_is_not_hungarian(self):
        # The best sum would be 0.8 + 0.7; greedy takes 0.9 first and leaves pose 1 with 0.1.
        found, _ = assign_greedily(np.array([[0.9, 0.8], [0.7, 0.1]]), np.array([5, 6]), 0.05)
        assert found.tolist() == [5, 6]

    def test_below_the_threshold_nothing_is_assigned(self):
        found, won = assign_greedily(np.array([[0.5, 0.49]]), np.array([1, 2]), 0.5)
        assert found.tolist() == [1]
        found, won = assign_greedily(np.array([[0.49, 0.3]]), np.array([1, 2]), 0.5)
        assert found.tolist() == [-1]
        assert won.tolist() == [0]

    def test_pairs_that_were_not_compared_and_nan_are_never_assigned(self):
        scores = np.array([[-np.inf, np.nan], [np.nan, 0.7]])
        assert assign_greedily(scores, np.array([1, 2]), 0.0)[0].tolist() == [-1, 2]

    @settings(max_examples=100)
    @given(st.integers(0, 6), st.integers(1, 6), st.integers(0, 2**32 - 1), st.floats(0, 1))
    def test_each_id_once_and_only_above_the_threshold(self, poses, tracks, seed, threshold):
        scores = np.random.default_rng(seed).random((poses, tracks)).astype(np.float32)
        track_ids = np.arange(tracks) * 3 + 1
        found, won = assign_greedily(scores, track_ids, threshold)
        used = found[found >= 0]
        assert len(set(used)) == len(used)
        for row, track_id in enumerate(found):
            if track_id >= 0:
                assert won[row] == scores[row, (track_id - 1) // 3] >= threshold
            else:  # maximal: whatever reached the threshold was taken by somebody with a score at least as high
                for column in np.flatnonzero(scores[row] >= threshold):
                    winner = np.flatnonzero(found == track_ids[column])
                    assert len(winner) == 1
                    assert won[winner[0]] >= scores[row, column]


class TestCandidates:
    def test_the_nearest_of_every_past_frame(self):
        current = people((100, 100))
        past = Poses.concatenate([people((300, 100), (110, 100), (150, 100)), people((100, 120), (500, 500))])
        pairs = candidate_pairs(current, past, np.array([1, 1, 1, 2, 2]), nearest=2)
        assert pairs.tolist() == [[0, 1], [0, 2], [0, 3], [0, 4]]
        pairs = candidate_pairs(current, past, np.array([1, 1, 1, 2, 2]), nearest=1)
        assert pairs.tolist() == [[0, 1], [0, 3]]

    def test_distance_is_that_of_shared_keypoints(self):
        # One past pose is 30 px off everywhere; the other shows only the head, 4 px off.
        head = np.where(np.arange(15) < 3, 0.9, 0.0)
        near_head = people((104, 100)).with_fields(scores=head[None])
        pairs = candidate_pairs(
            people((100, 100)), Poses.concatenate([people((130, 100)), near_head]), np.array([1, 1]), nearest=1
        )
        assert pairs.tolist() == [[0, 1]]

    def test_poses_without_keypoints_are_no_candidates(self):
        nobody = people((100, 100), score=0.0)
        assert candidate_pairs(people((100, 100)), nobody, np.array([1]), 5).shape == (0, 2)
        assert candidate_pairs(nobody, people((100, 100)), np.array([1]), 5).shape == (0, 2)
        assert candidate_pairs(Poses.empty(), people((1, 1)), np.array([1]), 5).shape == (0, 2)


class TestTracks:
    def test_ids_follow_the_people_not_the_rows(self):
        tracker = oks_tracker()
        assert ids(tracker, people((100, 200), (400, 200)), 0.0) == [1, 2]
        assert ids(tracker, people((404, 200), (103, 200)), 0.1) == [2, 1]
        assert ids(tracker, people((700, 200), (106, 200), (407, 200)), 0.2) == [3, 1, 2]

    def test_result_keeps_rows_and_adds_ids_scores_and_ages(self):
        tracker = oks_tracker()
        first = tracker.update(people((100, 200)), SIZE, 0.0)
        assert first.match_scores.tolist() == [0]
        assert first.ages.tolist() == [0]
        given_poses = people((101, 200), (500, 300), carried=[True, False], box_scores=[np.nan, 0.4])
        second = tracker.update(given_poses, SIZE, 0.1)
        assert second.track_ids.tolist() == [1, 2]
        assert second.match_scores[0] > 0.9
        assert second.match_scores[1] == 0
        assert second.ages.tolist() == [1, 0]
        assert second.states.tolist() == [TrackState.TENTATIVE, TrackState.UNTRACKED]
        for name in ("keypoints", "scores", "boxes", "carried", "box_scores"):
            np.testing.assert_array_equal(getattr(second, name), getattr(given_poses, name))

    def test_a_person_missed_for_less_than_delta_frames_keeps_the_id(self):
        tracker = oks_tracker(delta=4)
        assert ids(tracker, people((100, 200)), 0.0) == [1]
        for frame in range(3):  # empty frames count
            assert ids(tracker, Poses.empty(), 0.1 * (frame + 1)) == []
        assert ids(tracker, people((100, 200)), 0.4) == [1]
        for frame in range(4):
            assert ids(tracker, Poses.empty(), 0.5 + 0.1 * frame) == []
        assert ids(tracker, people((100, 200)), 0.9) == [2]

    def test_age_counts_frames_since_birth_also_those_without_the_person(self):
        tracker = oks_tracker()
        tracker.update(people((100, 200)), SIZE, 0.0)
        tracker.update(Poses.empty(), SIZE, 0.1)
        assert tracker.update(people((100, 200)), SIZE, 0.2).ages.tolist() == [2]

    def test_frames_older_than_the_maximum_gap_are_forgotten(self):
        tracker = oks_tracker(lost_s=1.0)
        assert ids(tracker, people((100, 200)), 10.0) == [1]
        assert ids(tracker, people((100, 200)), 11.0) == [1]
        assert ids(tracker, people((100, 200)), 12.1) == [2]

    def test_uncertain_keypoints_do_not_take_part_but_are_returned(self):
        tracker = oks_tracker(keypoint_threshold=0.1)
        ids(tracker, people((100, 200)), 0.0)
        faint = tracker.update(people((100, 200), score=0.09), SIZE, 0.1)
        assert faint.track_ids.tolist() == [2]
        np.testing.assert_allclose(faint.scores, 0.09)

    def test_reset_forgets_people_but_never_gives_an_id_twice(self):
        tracker = oks_tracker()
        assert ids(tracker, people((100, 200), (400, 200)), 5.0) == [1, 2]
        tracker.reset()
        assert ids(tracker, people((100, 200), (400, 200)), 0.0) == [3, 4]

    def test_time_going_back_begins_anew_with_a_warning(self, caplog):
        tracker = oks_tracker()
        assert ids(tracker, people((100, 200)), 100.0) == [1]
        with caplog.at_level(logging.WARNING):
            assert ids(tracker, people((100, 200)), 99.5) == [2]
        assert "time went back by 0.500 s" in caplog.text
        assert ids(tracker, people((100, 200)), 99.6) == [2]

    def test_time_standing_still_is_taken_in_order_of_arrival(self):
        tracker = oks_tracker()
        assert [ids(tracker, people((100 + 3 * k, 200)), 0.0) for k in range(6)] == [[1]] * 6

    def test_a_new_image_size_begins_anew_with_a_warning(self, caplog):
        tracker = oks_tracker()
        tracker.update(people((100, 200)), (768, 576), 0.0)
        with caplog.at_level(logging.WARNING):
            assert tracker.update(people((100, 200)), (640, 480), 0.1).track_ids.tolist() == [2]
        assert "image size changed from 768x576 to 640x480" in caplog.text

    @pytest.mark.parametrize(
        ("size", "stamp", "message"),
        [
            ((0, 480), 0.0, "frame_size is 0x480"),
            (SIZE, float("nan"), "stamp is nan"),
            (SIZE, float("inf"), "stamp is"),
        ],
    )
    def test_unusable_arguments_are_refused_and_change_nothing(self, size, stamp, message):
        tracker = oks_tracker()
        ids(tracker, people((100, 200)), 0.0)
        with pytest.raises(ValueError, match=message):
            tracker.update(people((100, 200)), size, stamp)
        assert ids(tracker, people((100, 200)), 0.1) == [1]

    def test_two_hundred_people(self):
        places = [(30.0 + 37 * (k % 20), 40.0 + 53 * (k // 20)) for k in range(200)]
        tracker = oks_tracker()
        first = ids(tracker, people(*places), 0.0)
        assert first == list(range(1, 201))
        order = np.random.default_rng(1).permutation(200)
        again = ids(tracker, people(*[places[k] for k in order]), 0.1)
        assert again == [first[k] for k in order]

    def test_memory_does_not_grow_with_frames_or_tracks(self):
        tracker = oks_tracker()

        def resident_kib() -> int:
            return int(Path("/proc/self/statm").read_text().split()[1]) * 4

        for frame in range(6000):
            # every person is new: far from all of the last frames
            tracker.update(people((100 + 110 * (frame % 6), 100 + 350 * (frame // 6 % 2))), SIZE, frame / 10)
            if frame == 1000:
                early = resident_kib()
        assert resident_kib() - early < 1024

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
    def test_ids_are_unique_in_a_frame_positive_and_never_reused_by_strangers(self, counts, seed):
        rng = np.random.default_rng(seed)
        tracker = oks_tracker(delta=4)
        gone: set[int] = set()
        last_seen: dict[int, int] = {}
        for frame, count in enumerate(counts):
            places = [tuple(rng.uniform((50, 100), (700, 480))) for _ in range(count)]
            found = ids(tracker, people(*places), frame / 10)
            assert len(set(found)) == len(found)
            assert all(track_id > 0 for track_id in found)
            assert not gone & set(found)
            last_seen.update(dict.fromkeys(found, frame))
            gone |= {track_id for track_id, seen in last_seen.items() if frame - seen >= 4}

    def test_ids_do_not_depend_on_the_order_of_rows(self):
        rng = np.random.default_rng(3)
        forward, shuffled = oks_tracker(), oks_tracker()
        names: dict[int, int] = {}
        for frame in range(10):
            places = [(100 + 120 * k + 4 * frame, 200.0) for k in range(5)]
            order = rng.permutation(5)
            a = ids(forward, people(*places), frame / 10)
            b = ids(shuffled, people(*[places[k] for k in order]), frame / 10)
            for row, k in enumerate(order):
                assert names.setdefault(a[k], b[row]) == b[row]


class PanningCamera:
    """A track matcher that says the picture moves 10 px to the right in every frame, and that everyone is new."""

    def __init__(self) -> None:
        self.asked: list[TrackQuery] = []

    def score_tracks(self, query: TrackQuery) -> TrackScores:
        self.asked.append(query)
        nothing = TrackScores.none(len(query.current), len(query.track_ids))
        return TrackScores(nothing.scores, np.array([10, 0], np.float32))


class TestTrackMatchers:
    def test_are_told_how_far_the_picture_has_moved_since_each_past_pose(self):
        matcher = PanningCamera()
        tracker = PoseTracker(TrackerOptions(delta=3), matcher)
        for frame in range(6):
            tracker.update(people((100 + 10 * frame, 200)), SIZE, frame / 10)
        last = matcher.asked[-1]
        assert last.gaps.tolist() == [1, 2, 3]
        np.testing.assert_allclose(last.seconds, [0.1, 0.2, 0.3], atol=1e-5)
        # The newest remembered frame is where the camera was last known; those before it lie 10 px back each.
        np.testing.assert_allclose(last.camera, [[0, 0], [10, 0], [20, 0]])
        assert last.track_ids.tolist() == [3, 4, 5]

    def test_frames_without_people_are_not_asked_about(self):
        matcher = PanningCamera()
        tracker = PoseTracker(TrackerOptions(), matcher)
        tracker.update(people((100, 200)), SIZE, 0.0)
        tracker.update(Poses.empty(), SIZE, 0.1)
        assert matcher.asked == []

    def test_the_camera_is_forgotten_with_everyone(self):
        matcher = PanningCamera()
        tracker = PoseTracker(TrackerOptions(), matcher)
        for stamp in (0.0, 0.1, 0.2):
            tracker.update(people((100, 200)), SIZE, stamp)
        tracker.reset()
        for stamp in (0.0, 0.1):
            tracker.update(people((100, 200)), SIZE, stamp)
        assert matcher.asked[-1].camera.tolist() == [[0, 0]]

    def test_their_scores_are_taken_from_the_threshold_on(self):
        class Sure(PanningCamera):
            def score_tracks(self, query: TrackQuery) -> TrackScores:
                scores = np.full((len(query.current), len(query.track_ids)), 0.3, np.float32)
                return TrackScores(scores, np.zeros(2, np.float32))

        for threshold, expected in ((0.3, [1]), (0.31, [2])):
            tracker = PoseTracker(TrackerOptions(match_threshold=threshold), Sure())
            tracker.update(people((100, 200)), SIZE, 0.0)
            assert ids(tracker, people((700, 500)), 0.1) == expected


class TestGeometryMatchers:
    def query(self, current: Poses, past: Poses) -> MatchQuery:
        pairs = np.stack(np.meshgrid(range(len(current)), range(len(past)), indexing="ij"), -1).reshape(-1, 2)
        count = len(past)
        return MatchQuery(current, past, np.ones(count, np.int64), np.full(count, 0.1, np.float32), pairs, SIZE)

    def test_iou_hand_worked(self):
        # 48 x 128 px boxes, 24 px apart: intersection 24 x 128, union 72 x 128
        scores: FloatArray = IouMatcher().score(self.query(people((100, 100)), people((124, 100), (300, 100))))
        np.testing.assert_allclose(scores, [1 / 3, 0], atol=1e-6)

    def test_iou_of_empty_boxes_is_zero(self):
        assert box_iou(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [0]

    def test_oks_scores_the_asked_pairs_in_order(self):
        scores = OksMatcher().score(self.query(people((100, 100), (300, 100)), people((300, 100), (100, 100))))
        np.testing.assert_allclose(scores, [0, 1, 1, 0], atol=1e-5)
