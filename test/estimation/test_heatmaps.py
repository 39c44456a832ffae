import cv2
import numpy as np
import pytest

from keytrack_ros.estimation.heatmaps import average_flipped, dark_offsets, decode


def one_map(height: int = 8, width: int = 6, **values: float) -> np.ndarray:
    heatmap = np.zeros((1, 1, height, width), np.float32)
    for place, value in values.items():
        x, y = map(int, place[1:].split("_"))
        heatmap[0, 0, y, x] = value
    return heatmap


def test_maximum_moves_a_quarter_pixel_towards_the_larger_neighbour():
    heatmap = one_map(p3_4=0.9, p4_4=0.5, p2_4=0.4, p3_3=0.3)
    points, scores = decode(heatmap, "quarter", 0)
    assert points.tolist() == [[[3.25, 3.75]]]
    np.testing.assert_allclose(scores, [[0.9]], rtol=1e-6)
    assert decode(heatmap, "argmax", 0)[0].tolist() == [[[3, 4]]]


def test_each_axis_moves_by_its_own_sign_whatever_the_difference():
    heatmap = one_map(p3_4=0.9, p2_4=0.3, p4_4=0.2999, p3_5=0.001)
    assert decode(heatmap, "quarter", 0)[0].tolist() == [[[2.75, 4.25]]]


def test_the_first_of_equal_maxima_is_taken_row_by_row():
    assert decode(one_map(p4_3=0.9, p2_5=0.9), "argmax", 0)[0].tolist() == [[[4, 3]]]


def test_equal_neighbours_do_not_move_it():
    assert decode(one_map(p3_4=0.9, p2_4=0.5, p4_4=0.5), "quarter", 0)[0].tolist() == [[[3, 4]]]


def test_maxima_at_the_border_stay():
    # HRNet's rule: 1 < x < width − 1, 1 < y < height − 1
    assert decode(one_map(p1_4=0.9, p2_4=0.5), "quarter", 0)[0].tolist() == [[[1, 4]]]
    assert decode(one_map(p5_4=0.9, p4_4=0.5), "quarter", 0)[0].tolist() == [[[5, 4]]]
    assert decode(one_map(p2_2=0.9, p3_2=0.5), "quarter", 0)[0].tolist() == [[[2.25, 2]]]


def test_a_map_without_a_positive_value_has_score_zero():
    points, scores = decode(np.full((2, 3, 8, 6), -0.1, np.float32), "quarter", 0)
    assert (scores == 0).all()
    assert np.isfinite(points).all()


def test_scores_end_at_one():
    assert decode(one_map(p3_3=1.7), "argmax", 0)[1].max() == 1


def test_blur_prefers_a_broad_hill_to_a_lone_spike():
    heatmap = np.zeros((1, 1, 20, 20), np.float32)
    heatmap[0, 0, 3, 3] = 1.0
    heatmap[0, 0, 12:15, 12:15] = 0.8
    assert decode(heatmap, "argmax", 0)[0].tolist() == [[[3, 3]]]
    assert decode(heatmap, "argmax", 1.0)[0].tolist() == [[[13, 13]]]


def test_no_people():
    points, scores = decode(np.zeros((0, 15, 8, 6), np.float32), "quarter", 1.0)
    assert points.shape == (0, 15, 2)
    assert scores.shape == (0, 15)


def test_flipped_maps_are_mirrored_back_swapped_shifted_and_averaged():
    plain, flipped = np.zeros((2, 1, 2, 1, 4), np.float32)
    plain[0, 0, 0] = [0, 4, 0, 0]
    # In the mirrored image the joint appears in the other channel at column 3 − 1 = 2, one column early by the stride:
    flipped[0, 1, 0] = [0, 0, 0, 2]
    averaged = average_flipped(plain, flipped, mirrored=(1, 0), shift=1)
    assert averaged[0, 0, 0].tolist() == [1, 3, 0, 0]
    unshifted = average_flipped(plain, flipped, mirrored=(1, 0), shift=0)
    assert unshifted[0, 0, 0].tolist() == [1, 2, 0, 0]
    assert not averaged[0, 1].any()


def gaussian(x: float, y: float, sigma: tuple[float, float] = (2, 2), angle: float = 0, size=(48, 64)) -> np.ndarray:
    """[1, 1, h, w]: a hill of height 1 with its top at (x, y), its axes turned by `angle`."""
    columns, rows = np.meshgrid(np.arange(size[0]) - x, np.arange(size[1]) - y)
    u = columns * np.cos(angle) + rows * np.sin(angle)
    v = rows * np.cos(angle) - columns * np.sin(angle)
    return np.exp(-((u / sigma[0]) ** 2 + (v / sigma[1]) ** 2) / 2)[None, None].astype(np.float32)


@pytest.mark.parametrize("x", [20.0, 20.13, 20.37, 19.55])
@pytest.mark.parametrize("y", [31.0, 30.62, 31.49])
@pytest.mark.parametrize(("sigma", "kernel"), [((2, 2), 11), ((3, 3), 17), ((2, 2), 17)])
def test_dark_finds_the_centre_of_a_gaussian(x, y, sigma, kernel):
    (((found,),), ((score,),)) = decode(0.8 * gaussian(x, y, sigma), "dark", 0, kernel)
    np.testing.assert_allclose(found, [x, y], atol=0.01)
    assert 0.75 < score <= 0.8  # that of the highest pixel


def test_dark_finds_the_centre_of_a_slanting_gaussian():
    # needs the mixed derivative: without it the point would be drawn off along the long axis
    for angle in (0.5, 1.2, 2.5):
        (((found,),), _) = decode(gaussian(20.4, 30.7, (3, 1.8), angle), "dark", 0)
        np.testing.assert_allclose(found, [20.4, 30.7], atol=0.01)


def test_dark_step_of_hand_worked_logarithms():
    # exp(L) with L = −x²/8 + 0.1 x − y²/4 at (0, 0): D = (0.1, 0), D² = diag(−1/4, −1/2); step (0.4, 0).
    # Smoothing keeps the top of a Gaussian where it is, so that the step is the same after it.
    columns, rows = np.meshgrid(np.arange(40) - 20.0, np.arange(40) - 20.0)
    maps = np.exp(-(columns**2) / 8 + 0.1 * columns - rows**2 / 4)[None].astype(np.float32)
    offsets = dark_offsets(maps, np.array([20]), np.array([20]), 11)
    np.testing.assert_allclose(offsets, [[0.4, 0]], atol=0.01)


@pytest.mark.parametrize("place", [(1, 30), (46, 30), (20, 1), (20, 62), (0, 0), (47, 63)])
def test_dark_leaves_maxima_near_the_border(place):
    # published rule: 1 < x < width − 2, 1 < y < height − 2
    x, y = place
    (((found,),), _) = decode(gaussian(x + 0.3, y - 0.3), "dark", 0)
    assert found.tolist() == [x, y]


@pytest.mark.parametrize("place", [(2, 30), (45, 30), (20, 2), (20, 61)])
def test_dark_moves_the_first_maxima_off_the_border(place):
    (((found,),), _) = decode(gaussian(place[0] + 0.3, place[1] + 0.3), "dark", 0)
    assert found.tolist() != list(place)
    np.testing.assert_allclose(found, place, atol=1)  # what is cut off draws it inwards


def test_dark_leaves_what_is_no_hill():
    flat = np.full((1, 1, 20, 20), 0.3, np.float32)
    flat[0, 0, 10, 10] = 0.30001
    ridge = np.zeros((1, 1, 20, 20), np.float32)
    ridge[0, 0, :, 10] = 0.5
    for maps, place in ((flat, [10, 10]), (np.zeros((1, 1, 20, 20), np.float32), [0, 0]), (ridge, [10, 0])):
        assert decode(maps, "dark", 0)[0].tolist() == [[place]]
    valley = dark_offsets(1 - 0.9 * gaussian(20, 30)[0], np.array([20]), np.array([30]), 11)
    assert valley.tolist() == [[0, 0]]


def test_dark_equals_the_published_steps():
    # the whole map smoothed with zeros around it, scaled back, logarithm, Newton step, one map after another
    chance = np.random.default_rng(5)
    maps = np.concatenate([gaussian(*chance.uniform((6, 6), (41, 57)), (2.2, 1.9), a) for a in range(40)])
    maps += chance.normal(0, 0.01, maps.shape).astype(np.float32)
    expected = []
    for heatmap in maps[:, 0]:
        y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
        smooth = cv2.GaussianBlur(np.pad(heatmap, 8), (11, 11), 0)[8:-8, 8:-8]
        logs = np.log(np.maximum(smooth * heatmap.max() / smooth.max(), 1e-10))
        first = np.array([logs[y, x + 1] - logs[y, x - 1], logs[y + 1, x] - logs[y - 1, x]]) / 2
        mixed = (logs[y + 1, x + 1] - logs[y - 1, x + 1] - logs[y + 1, x - 1] + logs[y - 1, x - 1]) / 4
        xx = (logs[y, x + 2] - 2 * logs[y, x] + logs[y, x - 2]) / 4
        yy = (logs[y + 2, x] - 2 * logs[y, x] + logs[y - 2, x]) / 4
        expected.append([x, y] - np.linalg.inv([[xx, mixed], [mixed, yy]]) @ first)
    found = decode(maps.reshape(8, 5, 64, 48), "dark", 0)[0].reshape(-1, 2)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_dark_of_nobody():
    assert decode(np.zeros((0, 15, 64, 48), np.float32), "dark", 0)[0].shape == (0, 15, 2)
