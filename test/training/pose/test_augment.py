import numpy as np
import pytest

from keytrack_ros import skeleton
from keytrack_ros.estimation.heatmaps import decode
from keytrack_ros.training.pose.augment import (
    HIDDEN_WEIGHT,
    OFFSET,
    STRIDE,
    _behind,
    augmented_sample,
    heatmaps,
    hrnet_sample,
    plain_sample,
)
from test.training.pose.toy_poses import FIGURE, figure

BOX = np.array([*FIGURE.min(0), *FIGURE.max(0)], np.float32)
KNOWN = np.ones(15, bool)
WEIGHTS = np.ones(15, np.float32)


def test_a_heatmap_is_one_at_its_keypoint_and_falls_as_a_gaussian():
    at = np.array([[[4 * (10 + OFFSET), 4 * (20 + OFFSET)]] * 15], np.float32)  # the middle of pixel (10, 20)
    maps = heatmaps(at, np.ones((1, 15), bool), (192, 256), 2.0)
    assert maps.shape == (1, 15, 64, 48)
    assert maps[0, 0, 20, 10] == pytest.approx(1)
    assert maps[0, 0, 20, 12] == pytest.approx(np.exp(-0.5))
    assert maps[0, 0, 22, 12] == pytest.approx(np.exp(-1))


def test_an_absent_keypoint_has_an_empty_heatmap():
    maps = heatmaps(np.full((1, 15, 2), 40.0), np.zeros((1, 15), bool), (64, 64), 2.0)
    assert maps.max() == 0


def test_decoding_a_target_gives_its_keypoint():
    points = np.random.default_rng(1).uniform(20, 170, (5, 15, 2)).astype(np.float32)
    maps = heatmaps(points, np.ones((5, 15), bool), (192, 256), 2.0)
    found = (decode(maps, "quarter", 0.0)[0] + OFFSET) * STRIDE
    assert np.abs(found - points).max() <= 0.25 * STRIDE + 1e-3  # a quarter of a heatmap pixel


def test_the_plain_crop_has_the_box_in_its_middle():
    sample = plain_sample(figure(0), BOX, FIGURE, WEIGHTS, KNOWN, (96, 128))
    assert sample.crop.shape == (128, 96, 3)
    middle = (sample.keypoints.min(0) + sample.keypoints.max(0)) / 2
    assert middle == pytest.approx((48, 64), abs=1e-3)
    height = np.ptp(sample.keypoints[:, 1])
    assert height == pytest.approx(128 / 1.25, rel=1e-4)  # HRNet's padding around the box, which is taller than 3:4


def test_keypoints_follow_the_pixels_and_swap_sides_in_the_mirror():
    """One bright disc at the left wrist, on black: wherever the crop goes, it lies under a wrist's keypoint."""
    image = np.zeros((140, 100, 3), np.uint8)
    wrist = skeleton.INDEX["left_wrist"]
    x, y = FIGURE[wrist].astype(int)
    image[y - 5 : y + 6, x - 5 : x + 6] = 255
    only = np.zeros(15, bool)
    only[wrist] = True
    seen = lit = mirrored = 0
    for seed in range(80):
        sample = augmented_sample(
            image, BOX, FIGURE, only.astype(np.float32), only, (96, 128), np.random.default_rng(seed)
        )
        known = np.flatnonzero(sample.present & (sample.weights > 0))
        if not len(known):
            continue  # turned or cut out of the crop
        seen += 1
        mirrored += known[0] == skeleton.INDEX["right_wrist"]
        px, py = sample.keypoints[known[0]].astype(int)
        around = sample.crop[max(py - 2, 0) : py + 3, max(px - 2, 0) : px + 3]
        lit += around.mean() > 60
    assert seen > 50
    assert lit >= 0.85 * seen  # the rest is occluded on purpose
    assert 0.3 * seen < mirrored < 0.7 * seen


def test_keypoints_out_of_the_crop_are_asked_to_be_absent():
    far = FIGURE.copy()
    far[skeleton.INDEX["left_ankle"]] = (500, 500)
    sample = plain_sample(figure(0), BOX, far, WEIGHTS, KNOWN, (96, 128))
    ankle = skeleton.INDEX["left_ankle"]
    assert not sample.present[ankle]
    assert sample.weights[ankle] == 1


def test_the_same_chance_gives_the_same_sample():
    a, b = (
        augmented_sample(figure(0), BOX, FIGURE, WEIGHTS, KNOWN, (96, 128), np.random.default_rng(5), figure(3))
        for _ in range(2)
    )
    assert np.array_equal(a.crop, b.crop)
    assert np.array_equal(a.keypoints, b.keypoints)


def test_a_pasted_person_hides_keypoints_and_has_none_of_their_own():
    occluder = np.full((80, 60, 3), 255, np.uint8)
    hidden = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        crop = np.zeros((256, 192, 3), np.uint8)
        points = np.stack([rng.uniform(0, 191, 15), rng.uniform(0, 255, 15)], 1).astype(np.float32)
        after, weights = _behind(crop, points, WEIGHTS, occluder, rng)
        assert not crop.any()  # the crop is copied
        column, row = np.round(points).astype(int).T
        covered = after[row, column, 0] > 128
        assert (weights == np.where(covered, np.float32(HIDDEN_WEIGHT), 1)).all()
        assert 0.02 < (after > 128).mean() < 0.8
        hidden += covered.sum()
    assert hidden > 20


def test_hrnets_augmentation_scales_turns_and_mirrors_and_changes_nothing_else():
    image = np.full((140, 100, 3), 90, np.uint8)
    heights, turned, mirrored = [], 0, 0
    for seed in range(200):
        sample = hrnet_sample(image, BOX, FIGURE, WEIGHTS, KNOWN, (96, 128), np.random.default_rng(seed))
        assert set(np.unique(sample.crop)) <= set(range(91))  # no noise, no colour: only black beyond the border
        assert sample.weights.tolist() == WEIGHTS.tolist()
        head, foot = (sample.keypoints[skeleton.INDEX[name]] for name in ("head_top", "left_ankle"))
        heights.append(float(np.linalg.norm(head - foot)))
        shoulders = (sample.keypoints[skeleton.INDEX[f"{side}_shoulder"]] for side in ("left", "right"))
        left, right = shoulders
        axis = np.linalg.det([foot - head, left - right])
        before = np.linalg.det([FIGURE[13] - FIGURE[2], FIGURE[3] - FIGURE[4]])
        mirrored += axis * before < 0
        turned += abs((foot - head)[0] / (foot - head)[1]) > 0.25
    assert mirrored == 0  # mirrored people have their sides exchanged: left stays the person's own
    assert 60 < turned < 150
    assert max(heights) / min(heights) > 1.8
