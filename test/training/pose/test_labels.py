import numpy as np
import pytest

from keytrack_ros import skeleton
from keytrack_ros.training.pose.labels import exchanged_sides, merged_teachers, nose_beside_head

WRIST, ELBOW, NOSE = skeleton.INDEX["left_wrist"], skeleton.INDEX["left_elbow"], skeleton.INDEX["nose"]
BOTTOM, TOP = skeleton.INDEX["head_bottom"], skeleton.INDEX["head_top"]


def merged(**changes):
    """One person in a box of 100 pixels: both teachers put everything at (50, 50), surely and steadily."""
    arrays = {
        "first": np.full((1, 15, 2), 50.0),
        "first_score": np.full((1, 15), 0.9),
        "first_gap": np.zeros((1, 15)),
        "second": np.full((1, 15, 2), 50.0),
        "second_score": np.full((1, 15), 0.9),
    }
    for name, (joint, value) in changes.items():
        arrays[name][0, joint] = value
    points, weights, present = merged_teachers(*arrays.values(), extent=np.array([100.0]))
    return points[0], weights[0], present[0]


def test_agreement_is_the_mean_with_twice_the_weight_on_the_first():
    points, weights, present = merged(second=(WRIST, (56.0, 50.0)))
    assert points[WRIST] == pytest.approx((52, 50))
    assert (weights[WRIST], present[WRIST]) == (1, True)


def test_contradiction_is_unknown():
    _, weights, present = merged(second=(WRIST, (70.0, 50.0)))
    assert (weights[WRIST], present[WRIST]) == (0, False)


def test_a_steady_first_teacher_counts_a_little_where_the_second_is_unsure():
    points, weights, present = merged(second=(WRIST, (70.0, 50.0)), second_score=(WRIST, 0.3))
    assert points[WRIST] == pytest.approx((50, 50))
    assert (weights[WRIST], present[WRIST]) == (pytest.approx(0.7), True)


def test_an_unsteady_first_teacher_does_not_count():
    _, weights, _ = merged(first_gap=(WRIST, 7.0))  # 7 % of the box between image and mirror image
    assert weights[WRIST] == 0


def test_what_neither_sees_is_absent():
    _, weights, present = merged(first_score=(WRIST, 0.05), second_score=(WRIST, 0.05))
    assert (weights[WRIST], present[WRIST]) == (0.5, False)


def test_head_points_come_from_the_first_teacher_alone():
    points, weights, _ = merged(second=(TOP, (np.nan, np.nan)), second_score=(TOP, 0.0))
    assert points[TOP] == pytest.approx((50, 50))
    assert weights[TOP] == 1


def test_noses_are_believed_near_the_head():
    head = np.array([[[10.0, 20.0], [10.0, 0.0]]]).repeat(4, 0)  # middle (10, 10), length 20
    noses = np.array([[14.0, 10.0], [30.0, 10.0], [30.0, 10.0], [np.nan, np.nan]])
    found, sure = nose_beside_head(noses, np.array([0.4, 0.9, 0.6, 0.0]), head, np.array([True, True, False, True]))
    assert sure.tolist() == [True, False, True, False]  # the third: no head is known, but the nose is very sure
    assert found[0].tolist() == [14, 10]
    assert found[1].tolist() == [0, 0]


def test_exchanged_sides_need_five_limbs_on_the_other_side():
    label = np.zeros((1, 15, 2))
    label[0, BOTTOM], label[0, TOP] = (50, 20), (50, 0)  # a head of 20 pixels
    for number, name in enumerate(skeleton.NAMES):
        if name.startswith("left_"):
            label[0, number] = 80, 30 + 5 * number
            label[0, skeleton.MIRRORED[number]] = 20, 30 + 5 * number
    known, sure = np.ones((1, 15), bool), np.full((1, 15), 0.9)
    other = label[:, list(skeleton.MIRRORED)]
    assert not exchanged_sides(label, known, [(label, sure), (label, sure)])[0]
    assert exchanged_sides(label, known, [(other, sure), (other, sure)])[0]
    four = np.where(np.isin(np.arange(15), [3, 4, 5, 6]), 0.9, 0.0)[None]
    assert not exchanged_sides(label, known, [(other, four)])[0]  # too few
    two = np.where(np.isin(np.arange(15), [13, 14]), 0.9, 0.0)[None]
    assert not exchanged_sides(label, known, [(other, sure), (label, two)])[0]  # one teacher sees two as labelled
    known[0, TOP] = False
    assert not exchanged_sides(label, known, [(other, sure)])[0]  # no head to measure by
