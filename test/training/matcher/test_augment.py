import numpy as np
import pytest

from keytrack_ros import skeleton
from keytrack_ros.training.matcher.augment import (
    PairArrays,
    augmented,
    camera_moved,
    completed_heads,
    disturbed,
    heights,
    mirrored,
    reframed,
    truncated,
)
from test.toy import keypoints_of

COUNT = 200


@pytest.fixture
def pairs() -> PairArrays:
    poses = np.array([keypoints_of(300, 200), keypoints_of(310, 205)], np.float32)
    frame = np.array([[0, 0], [960, 540]], np.float32)
    present = np.ones((COUNT, 2, 15), bool)
    return PairArrays(np.tile(poses, (COUNT, 1, 1, 1)), present, np.zeros_like(present), np.tile(frame, (COUNT, 1, 1)))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_mirroring_swaps_left_and_right(pairs):
    out = mirrored(pairs, rng(), 1.0)
    left, right = skeleton.INDEX["left_wrist"], skeleton.INDEX["right_wrist"]
    np.testing.assert_allclose(out.keypoints[:, :, left, 0], 960 - pairs.keypoints[:, :, right, 0])
    np.testing.assert_allclose(out.keypoints[:, :, left, 1], pairs.keypoints[:, :, right, 1])


def test_a_new_frame_moves_no_keypoint_but_holds_the_pair(pairs):
    out = reframed(pairs, rng(), 1.0)
    np.testing.assert_array_equal(out.keypoints, pairs.keypoints)
    centre = pairs.keypoints.mean((1, 2))
    assert ((centre > out.frame[:, 0]) & (centre < out.frame[:, 0] + out.frame[:, 1])).all()
    assert out.frame[:, 1].std() > 50


def test_the_camera_moves_the_past_pose_as_a_whole(pairs):
    out = camera_moved(pairs, rng(), 1.0)
    np.testing.assert_array_equal(out.keypoints[:, 0], pairs.keypoints[:, 0])
    moved = out.keypoints[:, 1] - pairs.keypoints[:, 1]
    assert np.abs(moved.mean(1)).mean() > 5
    assert moved.std(1).max() < 20  # zoom of a few per cent


def test_truncation_takes_whole_parts(pairs):
    out = truncated(pairs, rng(), 1.0)
    lost = 15 - out.present.sum(-1)
    assert set(np.unique(lost)) == {0, 4, 6}
    assert (lost > 0).mean() == pytest.approx(0.7, abs=0.1)


def test_a_pose_is_never_truncated_to_less_than_three_keypoints(pairs):
    few = np.zeros_like(pairs.present)
    few[..., 9:] = True  # hips and legs only
    out = truncated(PairArrays(pairs.keypoints, few, pairs.hidden, pairs.frame), rng(), 1.0)
    assert out.present.sum(-1).min() >= 3


def test_disturbance_differs_in_strength_and_leaves_something(pairs):
    out = disturbed(pairs, rng(), 1.0)
    error = np.linalg.norm(out.keypoints - pairs.keypoints, axis=-1).mean((1, 2))
    assert error.min() < 1
    assert error.max() > 4
    assert out.present.any(-1).all()
    assert (out.present <= pairs.present).all()
    assert 0.05 < 1 - out.present.mean() < 0.3


def test_heads_are_completed_in_both_poses_or_in_none(pairs):
    present = pairs.present.copy()
    present[:, :, skeleton.INDEX["nose"]] = False
    out = completed_heads(PairArrays(pairs.keypoints, present, pairs.hidden, pairs.frame), rng())
    nose = out.present[:, :, 0]
    assert (nose[:, 0] == nose[:, 1]).all()
    assert 0.3 < nose.mean() < 0.7
    bottom, top = out.keypoints[nose][:, 1], out.keypoints[nose][:, 2]
    along = (out.keypoints[nose][:, 0] - bottom) / np.linalg.norm(top - bottom, axis=1, keepdims=True)
    assert np.abs(along).max() < 1  # between neck and crown, roughly


def test_a_single_head_point_gives_neck_and_crown(pairs):
    present = pairs.present.copy()
    present[..., 1:3] = False
    out = completed_heads(PairArrays(pairs.keypoints, present, pairs.hidden, pairs.frame), rng(), 1.0)
    assert out.present.all()
    assert (out.keypoints[..., 2, 1] < out.keypoints[..., 1, 1]).all()  # y points down


def test_height_of_a_pose():
    keypoints = np.array([[[0, 0], [30, 40], [900, 900]]], np.float32)
    assert heights(keypoints, np.array([[True, True, False]])).tolist() == [40]
    assert heights(keypoints, np.zeros((1, 3), bool)).tolist() == [1]


def test_all_together_keep_the_input_untouched_and_the_output_finite(pairs):
    before = pairs.keypoints.copy()
    out = augmented(pairs, rng())
    np.testing.assert_array_equal(pairs.keypoints, before)
    assert np.isfinite(out.keypoints).all()
    assert out.keypoints.dtype == np.float32
