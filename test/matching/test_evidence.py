"""Box evidence: what is likelier must score higher, and contested keypoints must count for less."""

import numpy as np
import pytest

from keytrack_ros.matching import evidence
from keytrack_ros.matching.boxes import overlap
from keytrack_ros.matching.evidence import arrival_logits, box_logits, combined_logits, merged_logits
from keytrack_ros.matching.matcher import ExpectedBoxes
from keytrack_ros.matching.motion import pose_sizes
from test.people import people

IMAGE = np.array([0, 0, 640, 480], np.float32)


def expected(*centers: tuple[float, float], std: float = 10.0) -> ExpectedBoxes:
    """Tracks of people of 40 x 100 px."""
    count = len(centers)
    return ExpectedBoxes(
        np.array(centers, np.float32),
        np.tile(np.array([40, 100], np.float32), (count, 1)),
        np.full(count, std, np.float32),
        np.full((count, 2), 0.15, np.float32),
    )


def box(x: float, y: float, width: float = 40, height: float = 100) -> list[float]:
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def test_hand_worked_value_of_a_box_that_lies_where_it_is_expected():
    logits = box_logits(np.array([box(100, 100)], np.float32), expected((100, 100), std=10))
    # No surprise at all; a spread of 0.1 heights: −2 log 0.1. Gross errors, one box in a hundred, add next to nothing.
    assert logits[0, 0] == pytest.approx(2 * np.log(10), abs=2e-3)


def test_one_standard_deviation_off_hand_worked():
    near, off = box_logits(np.array([box(100, 100), box(110, 100)], np.float32), expected((100, 100)))[:, 0]
    # A t-distribution with 4 degrees of freedom in two axes: 3 log(1 + 1/4).
    assert near - off == pytest.approx(3 * np.log(1.25), abs=2e-3)


def test_farther_off_and_of_another_size_is_worse_and_far_away_is_hopeless():
    boxes = np.array([box(100, 100), box(120, 100), box(100, 100, 40, 50), box(600, 100)], np.float32)
    here, off, small, far = box_logits(boxes, expected((100, 100)))[:, 0]
    assert here > off > far
    assert here > small
    assert far < evidence.HOPELESS_LOGIT


def test_an_uncertain_track_takes_less_from_a_perfect_fit_and_more_from_a_poor_one():
    boxes = np.array([box(100, 100), box(150, 100)], np.float32)
    sure, unsure = (box_logits(boxes, expected((100, 100), std=std))[:, 0] for std in (5.0, 40.0))
    assert sure[0] > unsure[0]
    assert sure[1] < unsure[1]


def test_a_box_of_two_people_or_of_half_a_person_cannot_alone_overrule_the_keypoints():
    boxes = np.array([box(122, 100, 85, 100), box(100, 75, 40, 50), box(300, 100)], np.float32)
    logits = box_logits(boxes, expected((100, 100), std=6.0))
    both, half, elsewhere = logits[:, 0]
    assert min(both, half) > -evidence.LARGEST_LOGIT
    assert elsewhere < -evidence.LARGEST_LOGIT - 2  # of the next person: however sure the keypoints are
    poses = people((100, 100), (400, 100), (700, 100))
    rivals = overlap(poses.keypoints, poses.scores, poses.boxes, pose_sizes(poses.keypoints, poses.visible))
    sure = np.full((3, 1), evidence.LARGEST_LOGIT, np.float32)
    assert (combined_logits(sure, logits, rivals, poses.visible)[:, 0] > 0).tolist() == [True, True, False]


def test_a_track_that_began_in_a_tiny_box_is_found_again_in_the_box_of_the_whole_person():
    tiny = ExpectedBoxes(*(np.array(a, np.float32) for a in ([[100, 70]], [[12, 10]], [1.0], [[0.15, 0.15]])))
    assert box_logits(np.array([box(100, 100)], np.float32), tiny)[0, 0] > evidence.HOPELESS_LOGIT


def test_a_box_that_is_not_known_is_no_evidence():
    logits = box_logits(np.zeros((1, 4), np.float32), expected((100, 100)))
    assert logits.tolist() == [[-np.inf]]
    poses = people((100, 100))
    rivals = overlap(poses.keypoints, poses.scores, np.zeros((1, 4)), pose_sizes(poses.keypoints, poses.visible))
    network = np.array([[2.5]], np.float32)
    np.testing.assert_allclose(combined_logits(network, logits, rivals, poses.visible), network)


def test_the_network_counts_for_less_where_another_pose_claims_the_same_keypoints():
    apart, together = people((100, 100), (400, 100)), people((100, 100), (101, 100))
    box = np.zeros((2, 1), np.float32)
    network = np.array([[4.0], [4.0]], np.float32)

    def scores(poses):
        rivals = overlap(poses.keypoints, poses.scores, poses.boxes, pose_sizes(poses.keypoints, poses.visible))
        return combined_logits(network, box, rivals, poses.visible)[:, 0]

    np.testing.assert_allclose(scores(apart), evidence.POSE_WEIGHT * 4, rtol=1e-3)
    np.testing.assert_allclose(scores(together), evidence.CONTESTED_WEIGHT * 4, atol=0.1)


def test_a_box_around_two_people_who_overlap_is_that_of_both_hand_worked():
    tracks = expected((100, 100), (125, 100), (500, 100))
    boxes = np.array([box(112.5, 100, 65, 100)], np.float32)
    both = merged_logits(boxes, tracks)[0]
    # No surprise; a spread of 0.1 heights: −2 log 0.1; and the share of such boxes. The third track is far away.
    assert both[:2] == pytest.approx(2 * np.log(10) + np.log(evidence.MERGED_SHARE), abs=1e-5)
    assert both[2] == -np.inf
    assert (both[:2] > box_logits(boxes, tracks)[0, :2]).all()


def test_the_box_of_one_of_two_people_who_overlap_is_not_that_of_both():
    tracks = expected((100, 100), (125, 100))
    boxes = np.array([box(100, 100)], np.float32)
    assert (merged_logits(boxes, tracks)[0, 0] < box_logits(boxes, tracks)[0, 0]).all()


def test_a_track_with_a_box_of_its_own_has_no_part_in_the_box_of_two():
    tracks = expected((100, 100), (125, 100))
    boxes = np.array([box(112.5, 100, 65, 100), box(125, 100)], np.float32)
    assert np.isfinite(merged_logits(boxes, tracks)).tolist() == [[True, False], [True, True]]


def test_nobody_shares_a_box_with_a_track_whose_place_is_not_known():
    boxes = np.array([box(112.5, 100, 65, 100), [0, 0, 0, 0]], np.float32)
    assert np.isneginf(merged_logits(boxes, expected((100, 100), (125, 100), std=31.0))).all()
    assert np.isneginf(merged_logits(boxes, expected((100, 100), (125, 100)))[1]).all()
    assert merged_logits(np.zeros((0, 4), np.float32), expected((100, 100))).shape == (0, 1)


def test_a_box_at_the_border_is_judged_by_what_is_in_sight():
    # Half of the width of 40 pixels is left: as of a person who is expected with the middle on the border.
    cut = np.array([[620, 50, 640, 150]], np.float32)
    whole = expected((640, 100))
    assert box_logits(cut, whole, IMAGE)[0, 0] == pytest.approx(2 * np.log(10), abs=2e-3)
    assert box_logits(cut, whole)[0, 0] < 1


def test_who_comes_in_at_the_border_may_be_somebody_else():
    boxes = np.array([[620, 50, 640, 150], [300, 50, 340, 150], [0, 0, 0, 0]], np.float32)
    found = arrival_logits(boxes, np.array([0.0, 0.5]), IMAGE)
    np.testing.assert_allclose(found, [[0, -np.log(1 + 0.5 * evidence.ARRIVALS)], [0, 0], [0, 0]], rtol=1e-6)
