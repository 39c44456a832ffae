"""Predictions that do not have all frames of their recording."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keytrack_ros.annotations.sequence import LabelledSequence
from keytrack_ros.errors import EvaluationError
from keytrack_ros.evaluation.evaluate import combined, score_sequence
from keytrack_ros.evaluation.protocol import CLEAN
from keytrack_ros.evaluation.recording import on_recording, places_by_stamp
from test.evaluation.toy_sequences import Person, sequence


def walk(numbers: list[int], stamps: bool = False) -> LabelledSequence:
    """Someone who walks, in these frames; their stamps are 100 ns apart."""
    scene = sequence([[Person(1, 100.0 + 5 * k, score=0.9)] for k in numbers])
    images = [
        replace(image, file_name="", image_id=k, stamp_ns=100 * k if stamps else None)
        for image, k in zip(scene.images, numbers, strict=True)
    ]
    return replace(scene, images=tuple(images))


def test_frames_without_poses_are_misses_and_the_others_stay_where_they_are() -> None:
    prediction = walk([0, 1, 4])
    pair = on_recording(walk(list(range(5))), prediction, [0, 1, 4], 5)
    scores = combined([score_sequence(pair, CLEAN)], CLEAN)
    assert scores.totals["recall"] == pytest.approx(60)
    assert scores.totals["precision"] == pytest.approx(100)
    assert scores.totals["IDSW"] == 0


def test_predictions_beside_annotations_have_the_numbers_of_these() -> None:
    # The annotations have every frame; what the prediction knew of its own frames' places is no longer about them.
    prediction = walk([1, 4])
    placed = replace(prediction, images=tuple(replace(image, place=image.image_id) for image in prediction.images))
    assert placed.frame_numbers == [1, 4]
    assert on_recording(walk(list(range(5))), placed, [1, 4], 5).frame_numbers == list(range(5))


def test_annotations_after_the_end_of_the_recording_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    pair = on_recording(walk(list(range(5))), walk([0, 1, 2]), [0, 1, 2], 3)
    assert combined([score_sequence(pair, CLEAN)], CLEAN).totals["recall"] == pytest.approx(100)
    assert "ends after frame 3 of 5" in caplog.text


def test_a_recording_longer_than_its_annotations_is_refused() -> None:
    with pytest.raises(EvaluationError, match="the recording has 6 frames, but 5 are in the ground truth"):
        on_recording(walk(list(range(5))), walk([0, 5]), [0, 5], 6)


def test_places_by_stamp_take_equal_stamps_in_turn() -> None:
    assert places_by_stamp(walk([0, 3, 4], stamps=True), [0, 100, 200, 300, 400], "bag") == [0, 3, 4]
    twice = walk([1, 1], stamps=True)
    assert places_by_stamp(twice, [0, 100, 100, 200], "bag") == [1, 2]
    with pytest.raises(EvaluationError, match="frame 1: bag has no image with the stamp 100 ns"):
        places_by_stamp(twice, [0, 100, 200], "bag")
