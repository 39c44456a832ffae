import numpy as np
import pytest

from keytrack_ros import skeleton
from keytrack_ros.training.pose.labels import agreed_points, exchanged_sides, nose_beside_head

WRIST, ELBOW = skeleton.INDEX["left_wrist"], skeleton.INDEX["left_elbow"]
BOTTOM, TOP = skeleton.INDEX["head_bottom"], skeleton.INDEX["head_top"]


def answer(place, score=0.9):
    """One person with all keypoints at one place."""
    return np.full((1, 15, 2), place, np.float32), np.full((1, 15), score, np.float32)


def test_the_closest_pair_within_reach_gives_the_mean():
    answers = [answer(50), answer((53, 54)), answer((50, 52))]
    points, known = agreed_points(answers, ((0, 1), (0, 2), (1, 2)), np.array([5.0]))
    assert known.all()
    assert points[0, WRIST] == pytest.approx((50, 51))  # of the first and the third: 2 apart, not 5
    points, known = agreed_points(answers, ((0, 1),), np.array([5.0]))
    assert points[0, WRIST] == pytest.approx((51.5, 52))
    _, known = agreed_points(answers, ((0, 1),), np.array([4.9]))
    assert not known.any()


def test_unsure_and_missing_points_agree_with_nobody():
    missing = answer(50)
    missing[0][0, WRIST] = np.nan
    missing[1][0, ELBOW] = 0.19
    points, known = agreed_points([answer(50), missing], ((0, 1),), np.array([5.0]))
    assert np.flatnonzero(~known[0]).tolist() == sorted((WRIST, ELBOW))
    assert points[0, WRIST].tolist() == [0, 0]


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
