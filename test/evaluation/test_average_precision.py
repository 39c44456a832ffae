"""AP, with numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from keytrack_ros import skeleton
from keytrack_ros.evaluation.average_precision import assign_poses
from keytrack_ros.evaluation.frames import SequencePair
from keytrack_ros.evaluation.protocol import CLEAN, OFFICIAL
from test.evaluation.toy_sequences import Person, score, sequence

TWO = [Person(1, 100), Person(2, 400)]


def assigned(ground_truth: list[Person], prediction: list[Person], *, official: bool) -> list[int]:
    (frame,) = SequencePair(sequence([ground_truth]), sequence([prediction])).frames("with_people")
    return assign_poses(frame, official=official).tolist()


def test_area_under_the_envelope():
    # By confidence: right, wrong, right. Precision 1 up to recall 1/2, then 2/3 up to 1: (1 + 2/3) / 2.
    found = [Person(1, 100, score=0.9), Person(3, 900, score=0.8), Person(2, 400, score=0.7)]
    for protocol in (CLEAN, OFFICIAL):
        scores = score(sequence([TWO]), sequence([found]), protocol)
        assert scores.totals["AP"] == pytest.approx(100 * (1 + 2 / 3) / 2)
        assert scores.totals["AP_precision"] == pytest.approx(100 * 2 / 3)
        assert scores.totals["AP_recall"] == pytest.approx(100)


def test_envelope_forgives_an_early_mistake():
    # Wrong, right, right: precision 0, 1/2, 2/3; the envelope is 2/3 everywhere.
    found = [Person(3, 900, score=0.9), Person(1, 100, score=0.8), Person(2, 400, score=0.7)]
    assert score(sequence([TWO]), sequence([found])).totals["AP"] == pytest.approx(100 * 2 / 3)


def test_equal_confidences_are_one_step_of_the_curve():
    # Neither order of the two may count: precision 1/2 at recall 1.
    found = [Person(1, 100, score=0.5), Person(3, 900, score=0.5)]
    for order in (found, found[::-1]):
        assert score(sequence([[Person(1, 100)]]), sequence([order])).totals["AP"] == pytest.approx(50)


def test_keypoint_without_confidence_comes_last():
    found = [Person(1, 100), Person(3, 900, score=0.0001)]
    for protocol in (CLEAN, OFFICIAL):
        scores = score(sequence([[Person(1, 100)]]), sequence([found]), protocol)
        assert scores.totals["AP"] == pytest.approx(50)


def test_limit_is_half_a_head_size_inclusive():
    # 9² + 12² = 15², half of the head size 30.
    moved = {"nose": (9.0, 12.0), "left_knee": (9.0, 12.01)}
    scores = score(sequence([[Person(1, 100)]]), sequence([[Person(1, 100, score=1.0, moved=moved)]]))
    assert scores.joints["AP"][skeleton.INDEX["nose"]] == 100
    assert scores.joints["AP"][skeleton.INDEX["left_knee"]] == 0


def test_each_person_takes_the_best_of_the_poses_that_turn_to_them():
    worse = Person(1, 100, moved={"left_wrist": (50, 0), "right_wrist": (50, 0)})
    better = Person(2, 100, moved={"left_wrist": (50, 0)})
    for official in (True, False):
        assert assigned(TWO, [worse, better], official=official) == [-1, 0]


def test_a_pose_that_finds_no_keypoint_is_nobody():
    assert assigned(TWO, [Person(1, 200)], official=True) == [-1]
    assert assigned(TWO, [], official=True) == []
    assert assigned([Person(1, 100, without=skeleton.NAMES)], [Person(1, 100)], official=True) == [-1]


def test_equally_good_poses():
    # Both find all keypoints. poseval takes the first in the file, `clean` the nearer one.
    far, near = Person(1, 106), Person(2, 102)
    assert assigned(TWO, [far, near], official=True) == [0, -1]
    assert assigned(TWO, [far, near], official=False) == [-1, 0]
    assert assigned(TWO, [near, far], official=False) == [0, -1]


def test_joint_that_is_never_annotated():
    # Never predicted either: poseval averages a 0 in. Predicted: no AP, but precision 0 is averaged in.
    nose = skeleton.INDEX["nose"]
    ground_truth = sequence([[Person(1, 100, without=["nose"])]])
    silent = sequence([[Person(1, 100, score=1.0, without=["nose"])]])
    wrong = sequence([[Person(1, 100, score=1.0)]])
    scores = score(ground_truth, silent, OFFICIAL)
    assert scores.joints["AP"][nose] == 0
    assert scores.totals["AP"] == pytest.approx(100 * 14 / 15)
    scores = score(ground_truth, wrong, OFFICIAL)
    assert np.isnan(scores.joints["AP"][nose])
    assert scores.totals["AP"] == pytest.approx(100)
    assert scores.totals["AP_precision"] == pytest.approx(100 * 14 / 15)
    for prediction in (silent, wrong):
        scores = score(ground_truth, prediction, CLEAN)
        assert np.isnan(scores.joints["AP"][nose])
        assert scores.totals["AP"] == pytest.approx(100)


def test_annotated_but_never_predicted_joint_has_ap_zero():
    scores = score(sequence([[Person(1, 100)]]), sequence([[Person(1, 100, score=1.0, without=["nose"])]]), CLEAN)
    assert scores.joints["AP"][skeleton.INDEX["nose"]] == 0
    assert scores.totals["AP"] == pytest.approx(100 * 14 / 15)


def test_predictions_in_ignore_regions_do_not_count():
    # The ghost stands in the region; of person 2 it covers all but the head, which is annotated at 100..142.
    region = np.array([[300.0, 145], [1000, 145], [1000, 400], [300, 400]])
    ground_truth = sequence([[*TWO]], ignore_regions=(region,))
    found = sequence([[Person(1, 100, score=0.5), Person(2, 400, score=0.5), Person(9, 700, y=200.0, score=0.9)]])
    for protocol in (CLEAN, OFFICIAL):
        scores = score(ground_truth, found, protocol)
        assert scores.totals["AP"] == pytest.approx(100)
        assert scores.counts["false_positives"].sum() == 0
    assert score(ground_truth, found).counts["objects"][skeleton.INDEX["nose"]] == 2
    assert score(ground_truth, found).counts["objects"][skeleton.INDEX["left_ankle"]] == 1
