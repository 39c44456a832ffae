"""Recall, precision and AP of boxes against values worked out by hand."""

import numpy as np
import pytest

from keytrack_ros.training.detector.scores import matched

A, B, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [80, 80, 90, 90]


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def labels(*rows: list[float], doubtful: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return boxes(*rows), np.arange(len(rows)) < len(rows) - doubtful


def test_each_person_is_found_once() -> None:
    result = matched([(boxes(A, A, FAR), np.array([0.9, 0.8, 0.7]))], [labels(A, B)])
    assert result.right.tolist() == [True, False, False]
    assert result.at(0.0) == (0.5, pytest.approx(1 / 3), 2.0)
    assert result.at(0.85) == (0.5, 1.0, 0.0)


def test_the_better_score_takes_the_person_whatever_the_order() -> None:
    result = matched([(boxes([0, 0, 10, 9], A), np.array([0.5, 0.9]))], [labels(A)])
    assert result.scores.tolist() == [0.9, 0.5]
    assert result.right.tolist() == [True, False]


def test_average_precision_over_images() -> None:
    # By score: right, wrong, right of three people: 1/3 · 1 + 1/3 · 2/3.
    found = [(boxes(A, FAR), np.array([0.9, 0.8])), (boxes(B), np.array([0.7]))]
    result = matched(found, [labels(A), labels(A, B)])
    assert result.average_precision() == pytest.approx(1 / 3 + 2 / 9)


def test_a_later_right_box_lifts_the_precision_before_it() -> None:
    # wrong, right, right of two: precision 0, 1/2, 2/3, made monotonous 2/3 throughout.
    result = matched([(boxes(FAR, A, B), np.array([0.9, 0.8, 0.7]))], [labels(A, B)])
    assert result.average_precision() == pytest.approx(2 / 3)


def test_doubtful_boxes_neither_help_nor_harm() -> None:
    inside = [82, 82, 88, 88]
    result = matched([(boxes(A, FAR, inside), np.array([0.9, 0.8, 0.7]))], [labels(A, FAR, doubtful=1)])
    assert result.right.tolist() == [True]
    assert result.people == 1


def test_the_threshold_for_a_number_of_false_boxes() -> None:
    found = [(boxes(A, FAR), np.array([0.9, 0.6])), (boxes(FAR), np.array([0.4]))]
    result = matched(found, [labels(A), labels(A)])
    assert result.at(result.threshold(0.5)) == (0.5, 0.5, 0.5)  # one false box in two images
    assert result.at(result.threshold(0.0)) == (0.5, 1.0, 0.0)
    assert result.threshold(1.0) == 0.0


def test_nothing_found() -> None:
    result = matched([(boxes(), np.zeros(0))], [labels(A)])
    assert result.at(0.0) == (0.0, 0.0, 0.0)
    assert result.average_precision() == 0.0
