import numpy as np

from keytrack_ros.estimation.heatmaps import average_flipped, decode


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
