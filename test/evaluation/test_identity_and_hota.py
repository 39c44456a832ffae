"""IDF1, HOTA and the measures of whole people, with numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from keytrack_ros import skeleton
from keytrack_ros.evaluation.frames import SequencePair
from keytrack_ros.evaluation.person import oks_similarity, pckh_similarity
from keytrack_ros.evaluation.protocol import CLEAN, OFFICIAL
from test.evaluation.toy_sequences import HEAD_SIZE, Person, score, sequence

ALONE = [[Person(1, 100)]] * 4


def tracked(*ids: int) -> list[list[Person]]:
    return [[Person(track_id, 100)] for track_id in ids]


def test_idf1_counts_the_longest_part_of_a_broken_track():
    scores = score(sequence(ALONE), sequence(tracked(5, 5, 5, 6)))
    assert scores.totals["IDF1"] == pytest.approx(100 * 2 * 3 / (4 + 4))
    assert scores.person["OKS"]["IDF1"] == pytest.approx(75)


def test_idf1_pairs_whole_tracks_one_to_one():
    # Tracks 1 and 2 are both followed by 5 at first; only one of them can have it.
    ground_truth = sequence([[Person(1, 100)], [Person(1, 100)], [Person(2, 100)], [Person(2, 100)]])
    scores = score(ground_truth, sequence(tracked(5, 5, 5, 6)))
    assert scores.totals["IDF1"] == pytest.approx(100 * 2 * (2 + 1) / 8)


def test_hota_of_a_track_that_breaks_in_the_middle():
    # All found: DetA 1. Each match has 2 matches in common with its track of 4, and its own of 2: 2 / 4.
    scores = score(sequence(ALONE), sequence(tracked(5, 5, 6, 6)))
    assert scores.totals["DetA"] == pytest.approx(100)
    assert scores.totals["AssA"] == pytest.approx(50)
    assert scores.totals["AssRe"] == pytest.approx(50)
    assert scores.totals["AssPr"] == pytest.approx(100)
    assert scores.totals["HOTA"] == pytest.approx(100 * np.sqrt(0.5))
    assert scores.totals["LocA"] == pytest.approx(100)
    assert scores.person["OKS"]["HOTA"] == pytest.approx(100 * np.sqrt(0.5))


def test_fragments():
    # 5, 5, 6, 5: AssA = (3·3/4 + 1·1/4) / 4; the runs of 5 are 2 and 1 long: FragA = (2·2/4 + 1·1/4 + 1·1/4) / 4.
    scores = score(sequence(ALONE), sequence(tracked(5, 5, 6, 5)))
    assert scores.totals["AssA"] == pytest.approx(62.5)
    assert scores.totals["FragA"] == pytest.approx(37.5)


def test_similarity_falls_from_one_to_zero_at_half_a_head():
    # 0.25 head sizes off: similarity 0.5001, found at 10 of the 19 thresholds.
    scores = score(sequence(ALONE), sequence([[Person(5, 100 + HEAD_SIZE / 4)]] * 4))
    assert scores.totals["DetA"] == pytest.approx(100 * 10 / 19)
    assert scores.totals["LocA"] == pytest.approx(100 * (10 * (1 - 0.25 / 0.5001) + 9) / 19)


def test_posetrack21_counts_the_whole_sequence_for_an_empty_frame():
    ground_truth, prediction = sequence([[Person(1, 100)]] * 3), sequence([[Person(5, 100)], [], [Person(5, 100)]])
    assert score(ground_truth, prediction, CLEAN).totals["DetA"] == pytest.approx(100 * 2 / 3)
    assert score(ground_truth, prediction, OFFICIAL).totals["DetA"] == pytest.approx(100 * 2 / (2 + 3))
    nothing = sequence([[], [], []])
    assert (
        score(ground_truth, nothing, OFFICIAL).totals["DetA"] == score(ground_truth, nothing, CLEAN).totals["DetA"] == 0
    )


def test_posetrack21_takes_keypoints_at_the_rim_for_absent():
    # The nose at x = 0 is annotated; PoseTrack21's code wants x > 0.
    ground_truth = sequence([[Person(1, 100, moved={"nose": (-100, 0)})]] * 3)
    nose = skeleton.INDEX["nose"]
    assert score(ground_truth, ground_truth, CLEAN).joints["DetA"][nose] == pytest.approx(100)
    assert score(ground_truth, ground_truth, OFFICIAL).joints["DetA"][nose] == 0


def test_total_of_hota_weighs_keypoints_as_posetrack21_does():
    # All noses missed. DetA of the total comes from summed counts, AssA from the mean over joints.
    scores = score(sequence(ALONE), sequence([[Person(5, 100, without=["nose"])]] * 4))
    assert scores.totals["DetA"] == pytest.approx(100 * 14 / 15)
    assert scores.totals["AssA"] == pytest.approx(100 * 14 / 15)
    assert scores.totals["LocA"] == pytest.approx(100)


def test_joint_that_is_never_annotated_has_no_hota():
    nose = skeleton.INDEX["nose"]
    ground_truth = sequence([[Person(1, 100, without=["nose"])]] * 4)
    for prediction in (ground_truth, sequence(ALONE)):
        clean = score(ground_truth, prediction, CLEAN)
        assert np.isnan(clean.joints["HOTA"][nose])
        assert clean.totals["HOTA"] == clean.totals["DetA"] == clean.totals["LocA"] == pytest.approx(100)
    # PoseTrack21's code averages an association of 0 in.
    assert score(ground_truth, ground_truth, OFFICIAL).totals["AssA"] == pytest.approx(100 * 14 / 15)


def test_oks_by_hand():
    # A shoulder and a hip, 40 x 50 px apart: area 2000. The shoulder is 10 px off, the hip is not predicted.
    kept = ["left_shoulder", "right_hip"]
    others = [name for name in skeleton.NAMES if name not in kept]
    place = {"left_shoulder": (-22.0, -50.0), "right_hip": (14.0 + 40, -112.0 + 50)}
    ground_truth = sequence([[Person(1, 100, without=others, moved=place)]])
    prediction = sequence([[Person(1, 110, without=[*others, "right_hip"], moved=place)]])
    (frame,) = SequencePair(ground_truth, prediction).frames("all")
    expected = np.exp(-(10**2) / (2 * 2000 * (2 * 0.079) ** 2)) / 2
    assert oks_similarity(frame) == pytest.approx(np.array([[expected]]))
    assert pckh_similarity(frame) == pytest.approx(np.array([[0.5]]))


def test_oks_of_a_person_without_extent_is_finite():
    others = [name for name in skeleton.NAMES if name != "nose"]
    ground_truth = sequence([[Person(1, 100, without=others), Person(2, 400, without=skeleton.NAMES)]])
    (frame,) = SequencePair(ground_truth, ground_truth).frames("all")
    assert oks_similarity(frame).tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_people_mostly_tracked_and_lost():
    ground_truth = sequence([[Person(1, 100), Person(2, 400)]] * 10)
    prediction = sequence([[Person(5, 100)] + [Person(6, 400)] * (k == 0) for k in range(10)])
    person = score(ground_truth, prediction).person["PCKh"]
    assert (person["MT"], person["PT"], person["ML"]) == (1, 0, 1)
    assert person["MOTA"] == pytest.approx(100 * 11 / 20)


def test_frames_that_count_for_whole_people_follow_the_mode():
    ground_truth = replace(sequence([[Person(1, 100)], []]), images=sequence([[], []], labelled=True).images)
    prediction = sequence([[Person(5, 100)], [Person(5, 100)]])
    assert score(ground_truth, prediction, CLEAN).person["OKS"]["precision"] == pytest.approx(50)
    assert score(ground_truth, prediction, OFFICIAL).person["OKS"]["precision"] == pytest.approx(100)
