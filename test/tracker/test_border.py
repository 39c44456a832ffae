"""Who leaves the image leaves it: boxes that its border cuts off do not hold people back."""

import numpy as np
import pytest

from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.poses import Poses
from keytrack_ros.tracker import PoseTracker, TrackerOptions
from test.people import people

WIDTH, HEIGHT, FPS = 640, 480, 10.0


@pytest.fixture(scope="module")
def matcher():
    matcher = open_matcher()
    yield matcher
    matcher.close()


def detected(*places: tuple[float, float], size: float = 1.0) -> Poses:
    """Toy people as a detector and a pose network find them: boxes and keypoints end at the image's border."""
    standard, middle = people(*places, score=0.8), np.array(places, np.float32)[:, None]
    keypoints = middle + size * (standard.keypoints - middle)
    poses = Poses(keypoints, standard.scores)
    boxes = np.clip(poses.boxes + np.array([-6, -16, 6, 16], np.float32), 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    inside = (poses.keypoints >= 0).all(-1) & (poses.keypoints < [WIDTH, HEIGHT]).all(-1)
    found = poses.with_fields(scores=poses.scores * inside, boxes=boxes)
    return found[np.flatnonzero(boxes[:, 2] - boxes[:, 0] >= 8)]


def walk_out(tracker: PoseTracker, *others: tuple[float, float]) -> tuple[int, float]:
    """Somebody walks out to the right, 8 pixels a frame; number of frames and where they would be."""
    frame, x = 0, 480.0
    while len(poses := detected((x, 240), *others)) > len(others):
        tracker.update(poses, (WIDTH, HEIGHT), frame / FPS)
        frame, x = frame + 1, x + 8
    return frame, x


def test_the_track_goes_on_beyond_the_border(matcher) -> None:
    tracker = PoseTracker(TrackerOptions(), matcher)
    frame, x = walk_out(tracker)
    for later in range(5):
        tracker.update(Poses.empty(), (WIDTH, HEIGHT), (frame + later) / FPS)
        expected = tracker.comparison.query.expected
        assert expected.centers[0, 0] == pytest.approx(x + 8 * later, abs=10)  # not at the border
        assert expected.sizes[0, 0] == pytest.approx(62, abs=8)  # not of what was left in sight


def test_who_has_left_behind_somebody_is_not_given_out_as_hidden(matcher) -> None:
    tracker = PoseTracker(TrackerOptions(), matcher)
    standing = (590.0, 250.0)
    frame, _ = walk_out(tracker, standing)
    for later in range(10):
        tracker.update(detected(standing), (WIDTH, HEIGHT), (frame + later) / FPS)
        assert len(tracker.hidden()) == 0


def test_boxes_given_out_end_at_the_border(matcher) -> None:
    tracker = PoseTracker(TrackerOptions(), matcher)
    for frame in range(18):
        found = tracker.update(detected((480 + 8 * frame, 240)), (WIDTH, HEIGHT), frame / FPS)
        assert (found.boxes[:, 2] <= WIDTH).all()
        assert found.track_ids.tolist() == [1]


def test_who_comes_in_where_somebody_has_left_is_somebody_else(matcher) -> None:
    tracker = PoseTracker(TrackerOptions(), matcher)
    frame, _ = walk_out(tracker)
    for later in range(8):
        tracker.update(Poses.empty(), (WIDTH, HEIGHT), (frame + later) / FPS)
    for later in range(8, 20):
        came = tracker.update(detected((690 - 8 * (later - 7), 240), size=0.7), (WIDTH, HEIGHT), (frame + later) / FPS)
        assert 1 not in came.track_ids


def test_who_is_seen_again_away_from_the_border_is_the_same(matcher) -> None:
    tracker = PoseTracker(TrackerOptions(), matcher)
    for frame in range(10):
        tracker.update(detected((200 + 8 * frame, 240)), (WIDTH, HEIGHT), frame / FPS)
    for frame in range(10, 18):
        tracker.update(Poses.empty(), (WIDTH, HEIGHT), frame / FPS)
    assert tracker.update(detected((200 + 8 * 18, 240)), (WIDTH, HEIGHT), 18 / FPS).track_ids.tolist() == [1]


def test_a_camera_that_turns_does_not_hide_the_border(matcher) -> None:
    """Three people stand while the camera turns by 6 pixels a frame: the last one leaves the image by it."""
    tracker = PoseTracker(TrackerOptions(), matcher)
    for frame in range(20):
        poses = detected(*[(x + 6 * frame, 240) for x in (150, 330, 575)])
        found = tracker.update(poses, (WIDTH, HEIGHT), frame / FPS)
        assert found.track_ids.tolist() == [1, 2, 3][: len(poses)]
    assert len(poses) == 2
    expected = tracker.comparison.query.expected
    assert expected.centers[2, 0] == pytest.approx(575 + 6 * 18, abs=15)  # the last step of the camera comes after it
