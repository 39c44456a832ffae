"""Boxes that are given out: between the detected one and that of the track's motion filter."""

import numpy as np
import pytest

from keytrack_ros.geometry import box_iou
from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.poses import Poses, TrackState
from keytrack_ros.tracker import PoseTracker, TrackerOptions
from test.people import people

SIZE = (768, 576)


@pytest.fixture(scope="module")
def matcher():
    matcher = open_matcher()
    yield matcher
    matcher.close()


def detected(*boxes: tuple[float, float, float, float], score: float = 0.8) -> Poses:
    """Toy people in the middle of given boxes."""
    table = np.array(boxes, np.float32).reshape(-1, 4)
    poses = people(*((table[:, :2] + table[:, 2:]) / 2).tolist(), score=0.8)
    return poses.with_fields(boxes=table, box_scores=np.full(len(table), score, np.float32))


def test_a_box_lies_halfway_between_the_filter_s_and_the_detected_one(matcher):
    """By hand: a variance of the center of .06² body heights and .1 s at a velocity of variance .5² make .00609; the
    gain of the second box is .00609 / (.00609 + .06²) = .628. What all have in common is the camera's."""
    tracker = PoseTracker(TrackerOptions(), matcher)
    others = ((100, 200, 150, 300), (450, 200, 500, 300), (600, 200, 650, 300))
    first = tracker.update(detected((300, 200, 350, 300), *others), SIZE, 0.0)
    np.testing.assert_array_equal(first.boxes[0], [300, 200, 350, 300])
    second = tracker.update(detected((310, 200, 360, 300), *others), SIZE, 0.1)
    assert second.track_ids.tolist() == first.track_ids.tolist()
    assert tracker.comparison is not None
    camera = float(tracker.comparison.found.shift[0])
    assert 0 <= camera < 2
    x = 0.5 * (300 + camera + (10 - camera) * 0.628) + 0.5 * 310
    np.testing.assert_allclose(second.boxes[0], [x, 200, x + 50, 300], atol=0.02)


def test_steadied_boxes_lie_closer_to_the_true_ones_than_the_detected_ones(matcher):
    """Somebody walks 60 pixels a second at 10 frames a second; boxes jitter as the filter expects."""
    rng = np.random.default_rng(0)
    tracker = PoseTracker(TrackerOptions(), matcher)
    errors = []
    for frame in range(40):
        true = np.array([100 + 6 * frame, 200, 150 + 6 * frame, 330], np.float32)
        given = true + np.tile(rng.normal(0, 0.06 * 130 / 2, 2), 2) + rng.normal(0, 4, 4)
        found = tracker.update(detected(tuple(given.tolist())), SIZE, frame / 10)
        assert found.track_ids.tolist() == [1]
        errors.append([1 - box_iou(box[None], true[None])[0] for box in (given.astype(np.float32), found.boxes[0])])
    raw, steadied = np.mean(errors[5:], 0)
    assert steadied < 0.9 * raw


def test_who_shares_a_box_with_somebody_keeps_a_box_of_their_own(matcher):
    """Two people who walk together get one box for both in the last frame."""
    tracker = PoseTracker(TrackerOptions(), matcher)
    for frame in range(6):
        x = 200 + 4 * frame
        tracker.update(detected((x, 200, x + 50, 330), (x + 30, 205, x + 80, 335)), SIZE, frame / 10)
    both = detected((224, 200, 304, 335))
    found = tracker.update(both, SIZE, 0.6)
    assert found.track_ids[0] in (1, 2)
    own = [(224, 200, 274, 330), (254, 205, 304, 335)][int(found.track_ids[0]) - 1]
    np.testing.assert_allclose(found.boxes[0], own, atol=10)
    assert both.boxes[0].tolist() == [224, 200, 304, 335]


def test_boxes_that_are_no_evidence_stay_as_they_are(matcher):
    """Of the keypoints alone, of somebody carried over, of the untracked, and where boxes are not used."""
    alone, carried, unused = (PoseTracker(TrackerOptions(use_boxes=use), matcher) for use in (True, True, False))
    for frame in range(4):
        boxes = detected((300 + 9 * frame, 200, 350 + 9 * frame, 330))
        keypoints = Poses(boxes.keypoints, boxes.scores)
        np.testing.assert_array_equal(alone.update(keypoints, SIZE, frame / 10).boxes, keypoints.boxes)
        np.testing.assert_array_equal(unused.update(boxes, SIZE, frame / 10).boxes, boxes.boxes)
        over = boxes.with_fields(carried=np.ones(1, bool)) if frame == 3 else boxes
        found = carried.update(over, SIZE, frame / 10)
    np.testing.assert_array_equal(found.boxes, over.boxes)
    weak = detected((600, 200, 650, 330), score=0.2)
    untracked = carried.update(weak, SIZE, 0.4)
    assert untracked.states.tolist() == [TrackState.UNTRACKED]
    np.testing.assert_array_equal(untracked.boxes, weak.boxes)
