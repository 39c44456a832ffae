import numpy as np
import pytest

from keytrack_ros.matching.boxes import covered_parts
from keytrack_ros.poses import keypoint_boxes
from keytrack_ros.training.matcher.occlusion import (
    captured,
    depth_order,
    detected_boxes,
    duplicates,
    full_boxes,
    runs_of_misses,
    shifted_boxes,
)
from test.people import people

ALWAYS = np.ones(1, bool)
BEHIND = np.array([[[False, True], [False, False]]])
"""The first of two people is behind the second."""


def scene(*places: tuple[float, float], frames: int = 40):
    """One scene of people who stand at `places`: points, scores, present, boxes, seconds."""
    pose = people(*places)
    points = np.repeat(pose.keypoints[None, None].astype(np.float64), frames, 1)
    scores = np.full(points.shape[:-1], 0.8)
    boxes = np.repeat(
        (keypoint_boxes(pose.keypoints, pose.scores) + np.array([-10, -10, 10, 10]))[None, None], frames, 1
    )
    return points, scores, np.ones(scores.shape, bool), boxes, np.arange(frames)[None] / 25


def share_captured(points, found, person: int, other: int) -> float:
    own, others = (np.linalg.norm(found[:, :, person] - points[:, :, who], axis=-1) for who in (person, other))
    return float((others < own).mean())


class TestCoveredParts:
    def test_by_hand(self):
        boxes = np.array([[0, 0, 10, 20], [5, 0, 25, 20], [100, 0, 110, 20], [0, 0, 0, 0]], float)
        expected = np.zeros((4, 4))
        expected[0, 1], expected[1, 0] = 0.5, 0.25
        np.testing.assert_allclose(covered_parts(boxes), expected)


def test_lower_feet_are_in_front():
    boxes = np.array([[[[0, 0, 40, 100], [10, 60, 50, 160]]]], float)
    assert depth_order(boxes, np.random.default_rng(0))[0].tolist() == [[False, True], [False, False]]


class TestCapture:
    def test_people_apart_keep_their_keypoints(self):
        points, scores, present, boxes, seconds = scene((100, 300), (900, 300))
        found, new, shown = captured(points, scores, present, boxes, BEHIND, seconds, ALWAYS, np.random.default_rng(0))
        np.testing.assert_array_equal(found, points)
        np.testing.assert_array_equal(new, scores)
        assert shown.all()

    def test_the_one_behind_loses_more_keypoints_the_more_is_covered(self):
        shares = []
        for apart in (60, 30, 10):
            parts = []
            for seed in range(20):
                points, scores, present, boxes, seconds = scene((300, 300), (300 + apart, 360))
                found, *_ = captured(
                    points, scores, present, boxes, BEHIND, seconds, ALWAYS, np.random.default_rng(seed)
                )
                parts.append([share_captured(points, found, 0, 1), share_captured(points, found, 1, 0)])
            shares.append(np.mean(parts, 0))
        behind, in_front = np.transpose(shares)
        assert behind[0] < behind[1] < behind[2]
        assert (in_front < behind).all()

    def test_captured_keypoints_have_scores_of_the_other_and_lower(self):
        points, scores, present, boxes, seconds = scene((300, 300), (315, 330), frames=200)
        scores[:, :, 1] = 0.9
        found, new, _ = captured(points, scores, present, boxes, BEHIND, seconds, ALWAYS, np.random.default_rng(1))
        taken = np.linalg.norm(found[:, :, 0] - points[:, :, 1], axis=-1) < 3
        assert taken.mean() > 0.2
        assert 0.5 < new[:, :, 0][taken].mean() < 0.8

    def test_a_keypoint_that_the_own_pose_lacks_may_be_the_others(self):
        points, scores, present, boxes, seconds = scene((300, 300), (310, 320), frames=200)
        present[:, :, 0, 7] = False
        _, _, shown = captured(points, scores, present, boxes, BEHIND, seconds, ALWAYS, np.random.default_rng(2))
        assert 0 < shown[:, :, 0, 7].mean() < 1

    def test_only_in_chosen_scenes(self):
        points, scores, present, boxes, seconds = scene((300, 300), (305, 310))
        found, *_ = captured(points, scores, present, boxes, BEHIND, seconds, ~ALWAYS, np.random.default_rng(3))
        np.testing.assert_array_equal(found, points)

    def test_capture_lasts(self):
        # Poses 0.04 s apart are captured alike, poses 1.2 s apart are not.
        points, scores, present, boxes, seconds = scene((300, 300), (330, 330), frames=2000)
        found, *_ = captured(points, scores, present, boxes, BEHIND, seconds, ALWAYS, np.random.default_rng(4))
        own, others = (np.linalg.norm(found[0, :, 0] - points[0, :, who], axis=-1) for who in (0, 1))
        share = (others < own).mean(-1)
        near, far = (np.corrcoef(share[:-lag], share[lag:])[0, 1] for lag in (1, 30))
        assert near > 0.5
        assert abs(far) < 0.3


class TestBoxes:
    def test_full_boxes_hold_the_keypoints_with_a_detectors_margins(self):
        points, _, present, _, _ = scene((300, 300), (600, 300), frames=2)
        present[0, 1, 1] = False
        boxes = full_boxes(points, present, np.random.default_rng(0))
        extent = keypoint_boxes(points[0, 0], present[0, 0])
        height = extent[:, 3] - extent[:, 1]
        margin = np.abs(boxes[0, 0] - extent) / height[:, None]
        assert margin.max() < 0.14
        assert (boxes[0, 1, 1] == 0).all()

    def test_exact_boxes_stay_as_they_are(self):
        points, _, present, boxes, _ = scene((300, 300), (305, 300))
        found, merged = detected_boxes(boxes, BEHIND, points, present, np.zeros(1), np.random.default_rng(0))
        np.testing.assert_allclose(found, boxes)
        assert not merged.any()

    def test_a_merged_box_holds_both_and_the_one_behind_has_none(self):
        held = []
        for seed in range(60):
            points, _, present, boxes, _ = scene((300, 300), (315, 320), frames=1)
            found, merged = detected_boxes(boxes, BEHIND, points, present, np.ones(1), np.random.default_rng(seed))
            assert not merged[0, 0, 1]
            if merged[0, 0, 0]:
                held.append(covered_parts(np.stack([boxes[0, 0, 0], found[0, 0, 1]]))[0, 1])
        assert 5 <= len(held) <= 30  # a quarter
        assert np.median(held) > 0.9  # some are cut off besides


def test_misses_come_in_runs():
    _, _, _, boxes, seconds = scene((300, 300), (900, 300), frames=100)
    boxes, seconds, behind = (np.repeat(array, 400, 0) for array in (boxes, seconds, BEHIND))
    lost = runs_of_misses(boxes, behind, seconds, np.ones(400, bool), np.random.default_rng(0))
    begins = lost[:, 1:] & ~lost[:, :-1]
    assert 0.08 < lost.any(1).mean() < 0.16  # one of eight people, some runs end before the scene does
    assert begins.sum(1).max() == 1
    assert lost.sum() / max(begins.sum(), 1) == pytest.approx(14, abs=6)  # frames: 0.1 to 2 s at 25 a second
    assert not runs_of_misses(boxes, behind, seconds, np.zeros(400, bool), np.random.default_rng(0)).any()


class TestDuplicates:
    def test_take_free_places_and_are_of_people_who_are_seen(self):
        seen = np.zeros((300, 4, 5), bool)
        seen[..., 1] = seen[::2, :, 3] = True
        seen[:, 0] = False  # a frame without anybody
        added, of = duplicates(seen, np.ones(300, bool), np.random.default_rng(0))
        assert not added[:, 0].any()
        assert not (added & seen).any()
        assert added[:, 1:][~seen[:, 1:]].mean() == pytest.approx(0.06, abs=0.015)
        assert np.take_along_axis(seen, of, 2)[added].all()
        assert not duplicates(seen, np.zeros(300, bool), np.random.default_rng(0))[0].any()

    def test_their_boxes_are_shifted_or_parts(self):
        boxes = np.tile(np.array([100.0, 100, 150, 250]), (400, 1))
        found = shifted_boxes(boxes, np.random.default_rng(0))
        inside = (found[:, :2] >= 100).all(1) & (found[:, 2:] <= (150, 250)).all(1)
        assert 0.4 < inside.mean() < 0.65
        np.testing.assert_allclose((found[:, 2:] - found[:, :2])[~inside], np.tile([50, 150], ((~inside).sum(), 1)))
