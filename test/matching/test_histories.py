from dataclasses import fields, replace

import numpy as np
import pytest

from keytrack_ros.matching.boxes import HORIZON_S as BOX_HORIZON_S
from keytrack_ros.matching.boxes import overlap
from keytrack_ros.matching.histories import (
    FARTHEST,
    OBSERVATIONS,
    SUMMARY_WIDTH,
    TOKEN_WIDTH,
    Histories,
    box_distances,
    collect_histories,
    expected_boxes,
    expected_poses,
    near_pairs,
    pair_features,
    track_distances,
)
from keytrack_ros.matching.motion import HORIZON_S, pose_sizes
from keytrack_ros.poses import Poses, keypoint_boxes
from test.people import people


def history(*places: tuple[float, float], step_s: float = 0.04) -> Histories:
    """One track that was at `places`, newest first, the last time `step_s` ago."""
    keypoints = np.zeros((1, OBSERVATIONS, 15, 2), np.float32)
    scores = np.zeros((1, OBSERVATIONS, 15), np.float32)
    seconds = np.zeros((1, OBSERVATIONS), np.float32)
    for slot, place in enumerate(places):
        keypoints[0, slot], scores[0, slot] = people(place).keypoints[0], 0.9
        seconds[0, slot] = step_s * (slot + 1)
    boxes = np.zeros((1, OBSERVATIONS, 4), np.float32)
    contested, overlapped = np.zeros_like(scores), np.zeros_like(seconds)
    return Histories(keypoints, scores, seconds, np.ones(1, np.float32), boxes, seconds, contested, overlapped)


def boxed(past: Histories) -> Histories:
    """The same track with known boxes: 20 px wider than its keypoints' extents on each side."""
    for slot in np.flatnonzero(past.visible[0].any(-1)):
        extent = keypoint_boxes(past.keypoints[:, slot], past.scores[:, slot])
        past.boxes[:, slot] = extent + np.array([-20, -20, 20, 20])
    return past


def features(pose: Poses, past: Histories, velocity: tuple[float, float] = (0, 0), boxes=None):
    sizes = pose_sizes(pose.keypoints, pose.visible)
    boxes = np.zeros((len(pose), 4), np.float32) if boxes is None else np.asarray(boxes, np.float32)
    rivals = overlap(pose.keypoints, pose.scores, boxes, sizes)
    return pair_features(pose.keypoints, pose.scores, boxes, rivals, past, np.array([velocity], np.float32))


class TestCollecting:
    def test_poses_are_sorted_into_tracks_newest_first(self):
        past = Poses.concatenate(
            [
                people((100, 100), (300, 100), track_ids=[7, 4]),
                people((305, 100), track_ids=[4]),
                people((310, 100), (120, 100), track_ids=[4, 7]),
            ]
        )
        gaps, seconds = np.array([1, 1, 2, 3, 3]), np.array([0.1, 0.1, 0.2, 0.5, 0.5], np.float32)
        found = collect_histories(past, gaps, seconds, np.array([4, 7]))
        np.testing.assert_array_equal(found.keypoints[0, :3], past.keypoints[[1, 2, 3]])
        np.testing.assert_array_equal(found.keypoints[1, :2], past.keypoints[[0, 4]])
        np.testing.assert_allclose(found.seconds[:, :3], [[0.1, 0.2, 0.5], [0.1, 0.5, 0]])
        assert found.visible.any(-1).sum(1).tolist() == [3, 2]
        assert found.frames.tolist() == [1, 1]

    def test_a_track_seen_some_frames_ago_says_so(self):
        found = collect_histories(people((1, 1), track_ids=[3]), np.array([5]), np.array([0.2]), np.array([3]))
        assert found.frames.tolist() == [5]

    def test_only_the_last_poses_are_kept_and_those_without_keypoints_are_none(self):
        poses = [people((100 + k, 100), score=0.0 if k == 1 else 0.9, track_ids=[1]) for k in range(9)]
        gaps = np.arange(1, 10)
        found = collect_histories(Poses.concatenate(poses), gaps, gaps / 25, np.array([1]))
        np.testing.assert_allclose(found.seconds[0] * 25, [1, 3, 4, 5, 6, 7], rtol=1e-5)


def test_a_track_moves_on_up_to_the_horizon():
    velocity = np.array([[100, 0]], np.float32)
    soon, late = history((200, 100), step_s=0.1), history((200, 100), step_s=2.0)
    assert np.allclose(expected_poses(soon, velocity) - soon.keypoints[:, 0], [10, 0], atol=1e-3)
    assert np.allclose(expected_poses(late, velocity) - late.keypoints[:, 0], [100 * HORIZON_S, 0], atol=1e-3)


class TestNearPairs:
    def pairs(self, poses: Poses, *tracks: tuple[float, float], nearest: int | None = None) -> list[list[int]]:
        parts = [history(place) for place in tracks]
        names = [field.name for field in fields(Histories)]
        together = Histories(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))
        expected = together.keypoints[:, 0]
        distance = track_distances(poses.keypoints[None], poses.visible[None], expected, together)
        found = near_pairs(distance, nearest)
        return found[:, 1:].tolist()

    def test_far_away_is_in_sizes_of_the_person(self):
        pose = people((300, 300))
        reach = FARTHEST * float(pose_sizes(pose.keypoints, pose.visible)[0])  # about 230 px
        assert self.pairs(people((300, 300)), (300 + reach - 5, 300), (300 - reach - 5, 300)) == [[0, 0]]

    def test_at_most_so_many_of_the_nearest(self):
        tracks = (330, 300), (310, 300), (280, 300)
        assert self.pairs(people((300, 300)), *tracks) == [[0, 0], [0, 1], [0, 2]]
        assert self.pairs(people((300, 300)), *tracks, nearest=2) == [[0, 1], [0, 2]]

    def test_poses_without_keypoints_are_near_nobody(self):
        assert self.pairs(people((300, 300), score=0.0), (300, 300)) == []

    def test_a_pose_that_shares_no_keypoint_is_measured_by_its_centre(self):
        hand = people((300, 300)).with_fields(scores=(np.arange(15) == 8)[None] * 0.9)
        without = history((310, 300))
        without.scores[0, 0, 8] = 0
        distance = track_distances(hand.keypoints[None], hand.visible[None], without.keypoints[:, 0], without)
        found = near_pairs(distance)
        assert distance[0, 0, 0] < 1
        assert found.tolist() == [[0, 0, 0]]


class TestFeatures:
    PAST = ((300.0, 300.0), (296.0, 300.0), (292.0, 301.0))

    def test_shapes(self):
        tokens, summary = features(people((304, 300)), history(*self.PAST))
        assert (tokens.shape, tokens.dtype) == ((1, 15, TOKEN_WIDTH), np.float32)
        assert (summary.shape, summary.dtype) == ((1, SUMMARY_WIDTH), np.float32)

    def test_do_not_depend_on_place_or_scale(self):
        past, pose = boxed(history(*self.PAST)), people((304, 300))
        box = keypoint_boxes(pose.keypoints, pose.scores) + np.array([-22, -20, 20, 20])
        tokens, summary = features(pose, past, (100, 0), box)
        for scale, shift in ((1, 250), (2.5, 0), (0.5, -40)):
            moved = replace(past, keypoints=past.keypoints * scale + shift, boxes=past.boxes * scale + shift)
            again = features(
                Poses(pose.keypoints * scale + shift, pose.scores), moved, (100 * scale, 0), box * scale + shift
            )
            np.testing.assert_allclose(again[0], tokens, atol=2e-4)
            np.testing.assert_allclose(again[1], summary, atol=2e-4)

    def test_coordinates_of_missing_keypoints_do_not_matter(self):
        past, pose = history(*self.PAST), people((304, 300))
        past.scores[0, 1, 4] = 0
        pose = pose.with_fields(scores=np.where(np.arange(15) == 9, 0, pose.scores))
        tokens, summary = features(pose, past)
        past.keypoints[0, 1, 4] = 9000
        elsewhere = np.where((np.arange(15) == 9)[None, :, None], -9000, pose.keypoints)
        again = features(Poses(elsewhere, pose.scores), past)
        np.testing.assert_array_equal(again[0], tokens)
        np.testing.assert_array_equal(again[1], summary)

    def test_a_pose_where_the_track_is_expected_has_no_offset(self):
        tokens, _ = features(people((304, 300)), history((300, 300), (296, 300)), (100, 0))
        offsets = tokens[0, :, 4 : 4 + 2 * OBSERVATIONS]
        np.testing.assert_allclose(offsets, 0, atol=1e-4)
        tokens, _ = features(people((304, 300)), history((300, 300), (296, 300)))
        assert (np.abs(tokens[0, :, 4]) > 0.05).all()

    def test_one_false_pose_in_a_track_does_not_change_the_unit(self):
        past = history(*self.PAST)
        tokens, _ = features(people((330, 300)), past)
        past.keypoints[0, 1] *= 4
        again, _ = features(people((330, 300)), past)
        np.testing.assert_allclose(again[:, :, 2:6], tokens[:, :, 2:6], atol=1e-5)

    @pytest.mark.parametrize("visible", [0, 1])
    def test_people_with_one_keypoint_or_none_give_finite_numbers(self, visible):
        few = people((300, 300)).with_fields(scores=(np.arange(15) < visible)[None] * 0.9)
        past = history(*self.PAST)
        past.scores[0, :, 1:] = 0
        for tokens_or_summary in features(few, past):
            assert np.isfinite(tokens_or_summary).all()


class TestBoxEvidence:
    PAST = TestFeatures.PAST

    def test_without_known_boxes_all_its_features_are_zero(self):
        tokens, summary = features(people((304, 300)), history(*self.PAST), (100, 0))
        assert (tokens[..., -3 - OBSERVATIONS :] == 0).all()
        assert (summary[:, 10 + 8 * OBSERVATIONS :] == 0).all()
        # A box of the pose alone says nothing either: there is none of the track to compare it with.
        _, alone = features(people((304, 300)), history(*self.PAST), (100, 0), [[260, 200, 340, 400]])
        np.testing.assert_array_equal(alone, summary)

    def test_a_box_where_the_track_is_expected_has_overlap_one_and_no_offset(self):
        past = boxed(history((300, 300)))
        _, summary = features(people((300, 300)), past, boxes=past.boxes[:, 0])
        known, iou, edges = np.split(summary[0, 10 + 8 * OBSERVATIONS :], [1, 2])[:3]
        assert (known[0], iou[0]) == (1, pytest.approx(1))
        np.testing.assert_allclose(edges[OBSERVATIONS - 1 : 5 * OBSERVATIONS - 1], 0, atol=1e-6)

    def test_a_captured_pose_in_its_own_box_is_near_its_own_track(self):
        # Keypoints lie on a person 150 px away; the box of the detector is still where the track is expected.
        past = boxed(history((300, 300), (300, 300)))
        captured = people((450, 300))
        by_keypoints = track_distances(captured.keypoints[None], captured.visible[None], expected_pose(past), past)
        by_boxes = box_distances(past.boxes[None, :, 0], past)
        assert by_keypoints[0, 0, 0] > 1
        assert by_boxes[0, 0, 0] == pytest.approx(0, abs=1e-6)

    def test_boxes_move_on_up_to_their_horizon(self):
        # 25 frames a second, 10 px a frame: 250 px a second, shrunk a little.
        places = [(300 - 10 * k, 300) for k in range(OBSERVATIONS)]
        soon, late = boxed(history(*places)), boxed(history(*places))
        np.testing.assert_allclose(soon.box_velocities, [[232, 0]], atol=10)
        soon_step = (expected_boxes(soon) - soon.boxes)[0, 0]
        np.testing.assert_allclose(soon_step, soon.box_velocities[0, [0, 1, 0, 1]] * 0.04, atol=1e-3)
        late = replace(late, box_seconds=late.box_seconds + 5)
        late_step = (expected_boxes(late) - late.boxes)[0, 0]
        np.testing.assert_allclose(late_step, soon.box_velocities[0, [0, 1, 0, 1]] * BOX_HORIZON_S, atol=1e-2)

    def test_history_knows_which_keypoints_were_contested_in_their_frame(self):
        # Two tracks on one place in the last frame, far apart in the one before.
        past = Poses.concatenate(
            [people((300, 300), (301, 300), track_ids=[1, 2]), people((290, 300), (500, 300), track_ids=[1, 2])]
        )
        found = collect_histories(past, np.array([1, 1, 2, 2]), np.array([0.1, 0.1, 0.2, 0.2]), np.array([1, 2]))
        assert (found.contested[:, 0] > 0.95).all()
        assert (found.contested[:, 1] < 0.01).all()


def expected_pose(past: Histories):
    return expected_poses(past, past.velocities)
