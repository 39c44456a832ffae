"""MOTA, MOTP and what they count, with numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from keytrack_ros import skeleton
from keytrack_ros.evaluation.evaluate import combined, score_sequence
from keytrack_ros.evaluation.frames import SequencePair
from keytrack_ros.evaluation.protocol import CLEAN, OFFICIAL
from keytrack_ros.evaluation.scores import Scores
from test.evaluation.toy_sequences import HEAD_SIZE, Person, score, sequence

NOSE = skeleton.INDEX["nose"]


def counts(scores: Scores) -> dict[str, int]:
    """Those of the nose."""
    return {name: int(values[NOSE]) for name, values in scores.counts.items()}


def pair(a: int, b: int) -> list[Person]:
    return [Person(a, 100), Person(b, 400)]


def test_swap_of_two_identities():
    ground_truth = sequence([pair(1, 2)] * 4)
    prediction = sequence([pair(5, 6), pair(5, 6), pair(6, 5), pair(6, 5)])
    clean = score(ground_truth, prediction, CLEAN)
    assert counts(clean) == {"misses": 0, "switches": 2, "false_positives": 0, "objects": 8, "detections": 8}
    assert clean.totals["MOTA"] == pytest.approx(75)
    assert clean.totals["IDSW"] == pytest.approx(25)
    # poseval leaves the last frame out: 2 of 6.
    official = score(ground_truth, prediction, OFFICIAL)
    assert counts(official)["objects"] == 6
    assert official.totals["MOTA"] == pytest.approx(100 * 4 / 6)


def test_frame_without_predictions():
    ground_truth = sequence([[*pair(1, 2), Person(3, 700)]] * 3)
    prediction = sequence([[*pair(1, 2), Person(3, 700)], [], [*pair(1, 2), Person(3, 700)]])
    assert counts(score(ground_truth, prediction, CLEAN)) == {
        "misses": 3,
        "switches": 0,
        "false_positives": 0,
        "objects": 9,
        "detections": 6,
    }
    # poseval: one miss and one false positive, whoever is there; its last frame does not count.
    assert counts(score(ground_truth, prediction, OFFICIAL)) == {
        "misses": 1,
        "switches": 0,
        "false_positives": 1,
        "objects": 4,
        "detections": 3,
    }


def test_frames_without_people_at_start_and_end():
    ghosts = sequence([pair(1, 2)] * 4)
    unlabelled = sequence([[], pair(1, 2), pair(1, 2), []])
    labelled = sequence([[], pair(1, 2), pair(1, 2), []], labelled=True)
    assert counts(score(unlabelled, ghosts, CLEAN))["false_positives"] == 0
    assert counts(score(labelled, ghosts, CLEAN))["false_positives"] == 4
    assert counts(score(unlabelled, ghosts, CLEAN.with_frames("all")))["false_positives"] == 4
    # poseval removes both frames, labelled or not, and then drops the last of the two that are left.
    assert counts(score(labelled, ghosts, OFFICIAL)) == {
        "misses": 0,
        "switches": 0,
        "false_positives": 0,
        "objects": 2,
        "detections": 2,
    }


def test_a_valid_match_is_kept_though_another_is_nearer():
    ground_truth = sequence([[Person(1, 100)]] * 2)
    prediction = sequence([[Person(5, 110)], [Person(6, 100), Person(5, 110)]])
    assert counts(score(ground_truth, prediction)) == {
        "misses": 0,
        "switches": 0,
        "false_positives": 1,
        "objects": 2,
        "detections": 2,
    }


def test_switch_is_counted_after_a_gap():
    ground_truth = sequence([[Person(1, 100)]] * 3)
    prediction = sequence([[Person(5, 100)], [Person(7, 900)], [Person(6, 100)]])
    assert counts(score(ground_truth, prediction)) == {
        "misses": 1,
        "switches": 1,
        "false_positives": 1,
        "objects": 3,
        "detections": 2,
    }


def test_as_many_matches_as_possible_then_the_nearest():
    # Annotated at 100 and 120, predicted at 90 and 108: 100 is nearer to 108, but then 120 would stay alone.
    ground_truth = sequence([[Person(1, 100), Person(2, 120)]])
    prediction = sequence([[Person(5, 90), Person(6, 108)]])
    scores = score(ground_truth, prediction)
    assert counts(scores)["detections"] == 2
    assert scores.totals["MOTP"] == pytest.approx(100 * (1 - (10 + 12) / 2 / HEAD_SIZE))


def test_two_objects_claim_one_hypothesis():
    # Object 1 had hypothesis 5 first, object 2 more recently; in the last but one frame both are near it. Object 1
    # stands first in the file and is 6 px off, object 2 is 3 px off.
    ground_truth = sequence([[Person(1, 100)], [Person(2, 100)], [Person(1, 94), Person(2, 103)], [Person(1, 100)]])
    prediction = sequence([[Person(5, 100)]] * 4)
    last_frame_kept = replace(OFFICIAL, drop_last_frame=False)
    clean, official = score(ground_truth, prediction, CLEAN), score(ground_truth, prediction, last_frame_kept)
    assert counts(clean) == counts(official)
    assert clean.totals["MOTP"] == pytest.approx(100 * (1 - 3 / HEAD_SIZE / 4))
    reversed_ground_truth = sequence(
        [[Person(1, 100)], [Person(2, 100)], [Person(2, 103), Person(1, 94)], [Person(1, 100)]]
    )
    assert score(reversed_ground_truth, prediction, CLEAN).totals["MOTP"] == pytest.approx(clean.totals["MOTP"])
    assert official.totals["MOTP_events"] < clean.totals["MOTP_events"]


def test_motp():
    # 3 px off in both frames that poseval counts: 0.1 head sizes. poseval counts each pair once more.
    ground_truth, prediction = sequence([[Person(1, 100)]] * 3), sequence([[Person(5, 103)]] * 3)
    assert score(ground_truth, prediction, CLEAN).totals["MOTP"] == pytest.approx(90)
    official = score(ground_truth, prediction, OFFICIAL)
    assert official.totals["MOTP"] == pytest.approx(80)
    assert official.totals["MOTP_events"] == pytest.approx(90)


def test_joint_that_is_never_annotated():
    ground_truth = sequence([[Person(1, 100, without=["nose"])]] * 3)
    for prediction in (sequence([[Person(1, 100, without=["nose"])]] * 3), sequence([[Person(1, 100)]] * 3)):
        official = score(ground_truth, prediction, OFFICIAL)
        assert np.isnan(official.joints["MOTA"][NOSE])
        assert official.totals["MOTA"] == pytest.approx(100)
        assert official.joints["MOTP"][NOSE] == 0
        assert official.totals["MOTP"] == pytest.approx(100 * 14 / 15)
        assert np.isnan(official.group("MOTA")["Head"])
        clean = score(ground_truth, prediction, CLEAN)
        assert clean.totals["MOTP"] == pytest.approx(100)
        assert clean.group("MOTA")["Head"] == pytest.approx(100)


def test_sequences_of_different_lengths_add_up():
    # 5 frames without fault, and 2 frames of which one is missed. Clean: 1 of 7. poseval: 4 + 1 frames, and the missed
    # one is the last of its sequence.
    long = sequence([[Person(1, 100)]] * 5)
    short, half = sequence([[Person(1, 100)]] * 2), sequence([[Person(1, 100)], [Person(2, 900)]])
    for protocol, mota in ((CLEAN, 100 * (1 - 2 / 7)), (OFFICIAL, 100.0)):
        parts = [score_sequence(SequencePair(*both), protocol) for both in ((long, long), (short, half))]
        assert combined(parts, protocol).totals["MOTA"] == pytest.approx(mota)


def test_sequence_of_one_frame_has_no_mota_in_poseval():
    scores = score(sequence([[Person(1, 100)]]), sequence([[Person(1, 100, score=1.0)]]), OFFICIAL)
    assert np.isnan(scores.totals["MOTA"])
    assert scores.totals["AP"] == pytest.approx(100)
