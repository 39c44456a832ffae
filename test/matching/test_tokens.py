import numpy as np
import pytest

from keytrack_ros.matching.tokens import pair_tokens, pose_tokens, segment_rows

SIZE = (240, 180)  # a cell of the 24 x 18 grid is 10 x 10 px


def cell(x: float, y: float) -> tuple[int, bool]:
    """Token and mask of keypoint 0 at (x, y)."""
    keypoints = np.zeros((1, 15, 2), np.float32)
    keypoints[0, 0] = x, y
    visible = np.zeros((1, 15), bool)
    visible[0, 0] = True
    tokens = pose_tokens(keypoints, visible, SIZE)
    return int(tokens.positions[0, 0]), bool(tokens.mask[0, 0])


@pytest.mark.parametrize(
    ("x", "y", "token"),
    [
        (0, 0, 0),
        (9.99, 9.99, 0),
        (10, 0, 1),
        (0, 10, 24),
        (125, 95, 9 * 24 + 12),
        (239.9, 179.9, 431),
    ],
)
def test_a_cell_is_its_row_times_24_plus_its_column(x, y, token):
    assert cell(x, y) == (token, True)


@pytest.mark.parametrize(
    ("x", "y", "token"),
    [
        (240, 180, 431),  # exactly on the far edges
        (250, 180, 431),  # exactly one cell outside
        (-10, -10, 0),
        (-0.1, 45, 4 * 24),
        (100, 189, 17 * 24 + 10),
    ],
)
def test_points_up_to_one_cell_outside_are_clipped(x, y, token):
    assert cell(x, y) == (token, True)


@pytest.mark.parametrize(("x", "y"), [(250.1, 50), (-10.1, 50), (50, 190.1), (50, -10.1), (1e9, 1e9), (-1e9, 50)])
def test_points_further_outside_are_masked_and_say_nothing_of_their_place(x, y):
    assert cell(x, y) == (0, False)


def test_the_grid_is_stretched_over_the_frame():
    keypoints = np.full((1, 15, 2), (960, 540), np.float32)  # the middle of 1920 x 1080
    tokens = pose_tokens(keypoints, np.ones((1, 15), bool), (1920, 1080))
    assert set(tokens.positions[0]) == {9 * 24 + 12}
    assert set(pose_tokens(keypoints, np.ones((1, 15), bool), (1920, 1080), (2, 2)).positions[0]) == {3}


def test_a_missing_keypoint_is_masked_wherever_its_coordinates_are():
    visible = np.ones((1, 15), bool)
    visible[0, 4] = False
    keypoints = np.random.default_rng(0).uniform(0, 150, (1, 15, 2)).astype(np.float32)
    first = pose_tokens(keypoints, visible, SIZE)
    keypoints[0, 4] = np.nan
    second = pose_tokens(keypoints, visible, SIZE)
    np.testing.assert_array_equal(first.positions, second.positions)
    np.testing.assert_array_equal(first.mask, visible)
    assert first.positions[0, 4] == 0


def test_each_pose_may_have_a_frame_of_its_own():
    keypoints = np.full((2, 15, 2), 100, np.float32)
    tokens = pose_tokens(keypoints, np.ones((2, 15), bool), np.array([[240, 180], [120, 180]], np.float32))
    assert tokens.positions[:, 0].tolist() == [10 * 24 + 10, 10 * 24 + 20]


def test_a_pair_is_the_current_pose_then_the_past_one():
    visible = np.ones((2, 15), bool)
    current = pose_tokens(np.full((2, 15, 2), 15, np.float32), visible, SIZE)
    past = pose_tokens(np.full((2, 15, 2), 35, np.float32), visible, SIZE)
    pairs = pair_tokens(current, past, np.array([1, 4]))
    assert pairs.positions[0].tolist() == [25] * 15 + [75] * 15
    assert pairs.types[1].tolist() == [*range(15), *range(15)]
    assert pairs.segments.tolist() == [[0] * 15 + [1] * 15, [0] * 15 + [4] * 15]


def test_in_the_papers_segments_the_current_pose_and_t_minus_1_share_a_row():
    pose = pose_tokens(np.zeros((2, 15, 2), np.float32), np.ones((2, 15), bool), SIZE)
    pairs = pair_tokens(pose, pose, np.array([1, 4]), "paper")
    assert pairs.segments.tolist() == [[0] * 30, [0] * 15 + [3] * 15]


class TestRelativeCells:
    def test_are_those_of_a_grid_over_the_pose(self):
        keypoints = np.zeros((1, 15, 2), np.float32)
        keypoints[0, :4] = [(20, 10), (68, 46), (44, 28), (67, 11)]  # a box of 48 x 36: two pixels a cell
        visible = np.arange(15)[None] < 4
        relative = pose_tokens(keypoints, visible, SIZE).relative[0]
        assert relative[:4].tolist() == [0, 431, 9 * 24 + 12, 23]
        assert not relative[4:].any()

    def test_depend_neither_on_the_place_nor_on_the_size_of_a_pose(self):
        keypoints = np.random.default_rng(0).uniform(20, 80, (3, 15, 2))
        visible = np.random.default_rng(1).random((3, 15)) < 0.8
        here = pose_tokens(keypoints, visible, SIZE)
        there = pose_tokens(keypoints * 1.25 + (60, 40), visible, SIZE)
        np.testing.assert_array_equal(there.relative, here.relative)
        assert (there.positions != here.positions)[visible].mean() > 0.9

    def test_keypoints_out_of_the_frame_do_not_count(self):
        keypoints = np.array([[(20, 10), (68, 46), (44, 28)] + [(900, 900)] * 12], np.float32)
        relative = pose_tokens(keypoints, np.ones((1, 15), bool), SIZE).relative[0]
        assert relative[:3].tolist() == [0, 431, 9 * 24 + 12]
        assert not relative[3:].any()

    def test_of_one_keypoint_and_of_none_are_the_first_cell(self):
        visible = np.zeros((2, 15), bool)
        visible[0, 7] = True
        assert not pose_tokens(np.full((2, 15, 2), 77.0), visible, SIZE).relative.any()


def test_rows_of_the_segment_table():
    assert segment_rows(4, "distinct") == 5
    assert segment_rows(4, "paper") == 4


def test_no_poses_give_no_tokens():
    tokens = pose_tokens(np.zeros((0, 15, 2), np.float32), np.zeros((0, 15), bool), SIZE)
    assert tokens.positions.shape == tokens.mask.shape == (0, 15)
    assert pair_tokens(tokens, tokens, np.zeros(0, np.int64)).positions.shape == (0, 30)
