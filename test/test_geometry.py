import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from keytrack_ros.geometry import oks
from keytrack_ros.poses import Poses
from keytrack_ros.skeleton import INDEX
from test.people import people


def test_a_pose_is_wholly_like_itself_and_not_like_one_far_away():
    poses = people((100, 100), (600, 400))
    np.testing.assert_allclose(oks(poses, poses), [[1, 0], [0, 1]], atol=1e-6)


def test_hand_worked_value():
    # Nose and left hip are common to both, each 10 px apart. a spans 110 x 40 px, b (with a knee) 100 x 30: s² = 3700.
    keypoints, scores = np.zeros((2, 15, 2)), np.zeros((2, 15))
    nose, hip, knee = INDEX["nose"], INDEX["left_hip"], INDEX["left_knee"]
    keypoints[0, [nose, hip]] = [[0, 0], [110, 40]]
    keypoints[1, [nose, hip, knee]] = [[10, 0], [110, 30], [20, 30]]
    scores[0, [nose, hip]] = 1
    scores[1, [nose, hip, knee]] = 0.3
    expected = (math.exp(-100 / (2 * 3700 * (2 * 0.026) ** 2)) + math.exp(-100 / (2 * 3700 * (2 * 0.107) ** 2))) / 2
    pose = Poses(keypoints, scores)
    np.testing.assert_allclose(oks(pose[0], pose[1]), [[expected]], rtol=1e-5)


def test_no_common_keypoint_and_nobody():
    keypoints, scores = np.ones((2, 15, 2)), np.zeros((2, 15))
    scores[0, 0] = scores[1, 1] = 1
    poses = Poses(keypoints, scores)
    assert oks(poses, poses).tolist() == [[1, 0], [0, 1]]
    assert oks(poses, Poses.empty()).shape == (2, 0)
    assert oks(Poses.empty(), Poses.empty()).shape == (0, 0)


coordinates = st.lists(st.floats(0, 1000, width=32), min_size=60, max_size=60)


@settings(max_examples=50)
@given(coordinates, st.floats(0.5, 4), st.floats(-500, 500))
def test_symmetric_bounded_and_independent_of_scale_and_place(values, scale, shift):
    keypoints = np.array(values).reshape(2, 15, 2)
    poses = Poses(keypoints, np.ones((2, 15)))
    value = oks(poses, poses)
    assert ((value >= 0) & (value <= 1 + 1e-6)).all()
    np.testing.assert_allclose(value, value.T, atol=1e-6)
    if np.prod(poses.boxes[:, 2:] - poses.boxes[:, :2], 1).min() * min(scale, 1) ** 2 > 4:  # beyond the floor of 1 px²
        moved = Poses(keypoints * scale + shift, np.ones((2, 15)))
        np.testing.assert_allclose(oks(moved, moved), value, atol=2e-2)
