import numpy as np
import pytest

from keytrack_ros.matching.boxes import box_velocities, known_boxes, overlap, uncut
from keytrack_ros.matching.motion import pose_sizes
from keytrack_ros.poses import Poses
from test.people import people


class TestKnownBoxes:
    def test_the_extent_of_the_keypoints_is_no_evidence(self):
        poses = people((100, 100), (300, 100))
        assert (known_boxes(poses) == 0).all()

    def test_given_boxes_are_kept_and_bad_ones_dropped(self):
        poses = people((100, 100), (300, 100), (500, 100))
        boxes = np.array([[60, 0, 140, 220], [300, 100, 300, 100], [np.nan, 0, 1, 1]], np.float32)
        np.testing.assert_array_equal(known_boxes(poses.with_fields(boxes=boxes)), [boxes[0], [0] * 4, [0] * 4])


class TestVelocity:
    def test_of_evenly_moving_boxes(self):
        seconds = np.array([[0.1, 0.2, 0.3, 0.4]])
        boxes = np.array([[[40, 0, 60, 50], [30, 0, 50, 50], [20, 0, 40, 50], [10, 0, 30, 50]]], float)
        # Least squares gives 100 px/s; the prior takes 0.002 / (0.002 + sum of w (t − mean)²), here about 5 %.
        np.testing.assert_allclose(box_velocities(boxes, seconds), [[95, 0]], atol=1)

    def test_one_box_or_none_has_no_velocity(self):
        boxes = np.zeros((2, 3, 4))
        boxes[0, 0] = 10, 10, 30, 60
        np.testing.assert_array_equal(box_velocities(boxes, np.zeros((2, 3))), 0)


def rivals(poses: Poses):
    return overlap(poses.keypoints, poses.scores, known_boxes(poses), pose_sizes(poses.keypoints, poses.visible))


class TestOverlap:
    def test_two_poses_on_one_person_contest_every_keypoint(self):
        poses = people((100, 100), (102, 100), (600, 100))
        poses = poses.with_fields(scores=poses.scores * np.array([[1], [0.5], [1]]))
        found = rivals(poses)
        assert (found.contested[:2] > 0.95).all()
        assert (found.contested[2] == 0).all()
        assert (found.claim[0] > 0.3).all()  # the pose with the higher score has the better claim
        np.testing.assert_allclose(found.claim[1], -found.claim[0], atol=0.02)

    def test_a_missing_keypoint_contests_nothing(self):
        poses = people((100, 100), (102, 100))
        poses = poses.with_fields(scores=np.where(np.arange(15) == 7, [[0.9], [0.0]], 0.9))
        assert rivals(poses).contested[:, 7].tolist() == [0, 0]

    def test_covered_is_what_lies_in_the_box_of_another(self):
        poses = people((100, 100), (150, 100))
        x = poses.keypoints[0, :, 0]
        boxes = np.array([[0, 0, 200, 300], [100, 0, 300, 300]], np.float32)
        found = rivals(poses.with_fields(boxes=boxes))
        np.testing.assert_array_equal(found.covered[0] == 1, x > 100)
        assert found.area.tolist() == pytest.approx([0.5, 0.5])

    def test_a_lone_pose_and_an_empty_frame(self):
        assert (rivals(people((100, 100))).contested == 0).all()
        assert rivals(Poses.empty()).area.shape == (0,)

    def test_the_nearest_of_several_rivals_counts(self):
        poses = people((100, 100), (104, 100), (112, 100))
        poses = poses.with_fields(scores=np.array([[0.9], [0.5], [0.2]]) * np.ones(15))
        found = rivals(poses)
        assert (np.abs(found.claim[0] - 0.4) < 0.05).all()  # against 0.5 of the second, not 0.2 of the third

    def test_frames_do_not_mix(self):
        together, apart = people((100, 100), (103, 100)), people((100, 100), (500, 100))
        stacked = [np.stack([getattr(p, name) for p in (together, apart)]) for name in ("keypoints", "scores")]
        found = overlap(*stacked, np.zeros((2, 2, 4), np.float32), pose_sizes(stacked[0], stacked[1] > 0))
        np.testing.assert_array_equal(found.contested[0], rivals(together).contested)
        assert (found.contested[1] == 0).all()


IMAGE = np.array([0, 0, 640, 480], np.float32)


class TestUncut:
    """Image of 640 × 480; people are 60 × 150 pixels large."""

    @pytest.mark.parametrize(
        ("box", "whole"),
        [
            ((300, 100, 340, 220), (300, 100, 340, 220)),  # inside: as it is, however small
            ((610, 100, 640, 250), (610, 100, 670, 250)),  # leaves to the right
            ((0, 100, 20, 250), (-40, 100, 20, 250)),
            ((300, 400, 360, 480), (300, 400, 360, 550)),  # feet below the image
            ((300, 0, 360, 100), (300, -50, 360, 100)),
            ((638, 478, 640, 480), (638, 478, 698, 628)),
            ((560, 100, 640, 250), (560, 100, 640, 250)),  # wider than expected: nothing is missing
            ((0, 100, 640, 250), (0, 100, 640, 250)),  # from border to border
            ((620, 100, 660, 250), (620, 100, 660, 250)),  # not cut at the border: ends beyond it
        ],
    )
    def test_a_box_at_the_border_goes_on_as_far_as_the_person_is_large(self, box, whole):
        found = uncut(np.array([box], np.float32), np.array([[60, 150]], np.float32), IMAGE)
        np.testing.assert_allclose(found, [whole])

    def test_every_box_with_every_size(self):
        boxes = np.array([[610, 100, 640, 250], [0, 100, 20, 250]], np.float32)
        found = uncut(boxes[:, None], np.array([[[60, 150], [90, 150], [10, 150]]], np.float32), IMAGE)
        assert found[0, :, 2].tolist() == [670, 700, 640]
        assert found[1, :, 0].tolist() == [-40, -70, 0]
