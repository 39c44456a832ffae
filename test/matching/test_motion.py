import numpy as np
import pytest

from keytrack_ros.matching.motion import (
    VELOCITY_PRIOR_S,
    VOTE_PRIOR,
    camera_shift,
    centroids,
    mean_offsets,
    pose_sizes,
    velocities,
)
from test.people import people

ALL = np.ones((1, 15), bool)


def crowd(*places: tuple[float, float]) -> np.ndarray:
    """[1, P, 15, 2]: one scene."""
    return people(*places).keypoints[None]


def shift(current: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return camera_shift(current, np.ones(current.shape[:3], bool), expected, np.ones(expected.shape[:3], bool))[0]


class TestSizes:
    def test_root_of_the_area_but_at_least_half_the_longer_side(self):
        box = np.zeros((2, 15, 2), np.float32)
        box[0, 1] = 40, 90  # 60 by area, 45 by side
        box[1, 1] = 4, 100  # 20 by area, 50 by side
        assert pose_sizes(box, np.ones((2, 15), bool)).tolist() == [60, 50]

    def test_a_lone_keypoint_has_two_pixels(self):
        one = np.arange(15) == 3
        assert pose_sizes(people((50, 50)).keypoints, one[None]).tolist() == [2]
        assert pose_sizes(people((50, 50)).keypoints, ~ALL).tolist() == [2]

    def test_missing_keypoints_do_not_count(self):
        poses = people((50, 50))
        far = poses.keypoints.copy()
        far[0, 4] = 5000
        seen = ALL.copy()
        seen[0, 4] = False
        assert pose_sizes(far, seen) == pose_sizes(poses.keypoints, seen)
        np.testing.assert_array_equal(centroids(far, seen), centroids(poses.keypoints, seen))
        assert centroids(far, ~ALL).tolist() == [[0, 0]]


def test_offsets_are_means_over_shared_keypoints():
    a, b = people((100, 100)).keypoints, people((90, 103), (0, 0)).keypoints
    a_seen, b_seen = np.arange(15)[None] < 9, np.stack([np.arange(15) >= 6, np.arange(15) >= 9])
    offsets, shared = mean_offsets(a, a_seen, b, b_seen)
    assert shared.tolist() == [[3, 0]]
    np.testing.assert_allclose(offsets, [[[10, -3], [0, 0]]], atol=1e-4)


class TestVelocity:
    def test_of_a_steady_walk(self):
        # 4 poses in 0.12 s at 100 px/s; the prior pulls towards standing still, least for the longest walk.
        poses = np.stack([people((100 - 4 * k, 50)).keypoints[0] for k in range(4)])[None]
        found = velocities(poses, np.ones((1, 4, 15), bool), 0.04 * (1 + np.arange(4))[None])
        weight = np.exp(-0.04 * np.arange(3) / 0.2)
        expected = 100 * 0.04 * weight.sum() / (0.04 * weight.sum() + VELOCITY_PRIOR_S)
        np.testing.assert_allclose(found, [[expected, 0]], rtol=1e-4)

    def test_is_zero_for_one_pose_and_for_poses_that_share_nothing(self):
        poses = np.stack([people((100 - 4 * k, 50)).keypoints[0] for k in range(2)])[None]
        upper, lower = np.arange(15) < 7, np.arange(15) >= 7
        seconds = np.array([[0.04, 0.08]])
        assert velocities(poses, np.stack([upper, ~ALL[0]])[None], seconds).tolist() == [[0, 0]]
        assert velocities(poses, np.stack([upper, lower])[None], seconds).tolist() == [[0, 0]]

    def test_equal_stamps_say_nothing_about_it(self):
        poses = np.stack([people((100 - 4 * k, 50)).keypoints[0] for k in range(2)])[None]
        assert velocities(poses, np.ones((1, 2, 15), bool), np.array([[0.04, 0.04]])).tolist() == [[0, 0]]


class TestCameraShift:
    PLACES = ((100.0, 150.0), (300.0, 200.0), (480.0, 180.0), (650.0, 260.0))

    def test_a_pan_by_more_than_the_distance_of_neighbours_is_found(self):
        # Nearest neighbours would give everyone the next person's id.
        expected = crowd(*((x, 200) for x in (100, 180, 260, 420, 600)))
        found = shift(expected + np.array([70, -10], np.float32), expected)
        np.testing.assert_allclose(found, np.array([70, -10]) * 5 / (5 + VOTE_PRIOR), rtol=1e-3)

    def test_people_who_walk_on_their_own_do_not_move_the_camera(self):
        moved = crowd(*self.PLACES).copy()
        moved[0, 1] += (60, 0)
        np.testing.assert_allclose(shift(moved, crowd(*self.PLACES)), [0, 0], atol=0.5)

    def test_those_who_enter_or_were_missed_do_not_disturb(self):
        expected = crowd(*self.PLACES, (200, 400))
        current = crowd(*self.PLACES, (560, 420)) + np.array([40, 25], np.float32)
        np.testing.assert_allclose(shift(current, expected), np.array([40, 25]) * 4 / (4 + VOTE_PRIOR), rtol=0.02)

    def test_nobody_means_no_shift(self):
        nobody = np.zeros((1, 3, 15), bool)
        places = crowd((100, 100), (300, 100), (500, 100))
        assert camera_shift(places, nobody, places + 9, ~nobody).tolist() == [[0, 0]]
        assert camera_shift(places, ~nobody, places + 9, nobody).tolist() == [[0, 0]]

    def test_scenes_do_not_influence_each_other(self):
        expected = np.concatenate([crowd(*self.PLACES), crowd(*self.PLACES[::-1])])
        current = expected + np.array([[[[30, 0]]], [[[0, -30]]]], np.float32)
        seen = np.ones((2, 4, 15), bool)
        both = camera_shift(current, seen, expected, seen)
        for scene in range(2):
            np.testing.assert_allclose(both[scene], shift(current[scene : scene + 1], expected[scene : scene + 1]))

    @pytest.mark.parametrize("people_count", [60, 200])
    def test_a_crowd_is_found_too(self, people_count):
        places = [(30.0 + 47 * (k % 20), 40.0 + 83 * (k // 20)) for k in range(people_count)]
        expected = crowd(*places)
        found = shift(expected + np.array([8, 5], np.float32), expected)
        np.testing.assert_allclose(found, np.array([8, 5]) * 16 / (16 + VOTE_PRIOR), rtol=1e-2)
