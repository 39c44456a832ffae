"""What real detectors and cameras do wrong: the tracker must neither fail nor mix people up."""

import numpy as np
import pytest

from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.poses import Poses
from keytrack_ros.tracker import PoseTracker, TrackerOptions
from test.tracker.test_life import detected

SIZE = (768, 576)
PLACES = ((150, 300), (400, 300), (650, 300))


@pytest.fixture(scope="module")
def tracker():
    matcher = open_matcher()
    yield lambda **options: PoseTracker(TrackerOptions(**options), matcher)
    matcher.close()


BAD_BOXES = {
    "missing": lambda boxes: np.zeros_like(boxes),
    "nan": lambda boxes: np.full_like(boxes, np.nan),
    "infinite": lambda boxes: np.full_like(boxes, np.inf),
    "of no size": lambda boxes: np.repeat(boxes[:, :2], 2, 1).reshape(-1, 2, 2).swapaxes(1, 2).reshape(-1, 4),
    "turned round": lambda boxes: boxes[:, [2, 3, 0, 1]],
    "outside": lambda boxes: boxes + 10_000,
    "huge": lambda boxes: boxes * 1e6,
    "tiny": lambda boxes: np.concatenate([boxes[:, :2], boxes[:, :2] + 1e-3], 1),
}


@pytest.mark.parametrize("kind", BAD_BOXES)
def test_bad_boxes_in_every_frame(tracker, kind):
    one = tracker()
    for frame in range(8):
        poses = detected(*((x + 3 * frame, y) for x, y in PLACES))
        found = one.update(poses.with_fields(boxes=BAD_BOXES[kind](poses.boxes)), SIZE, frame / 10)
        assert len(set(found.track_ids.tolist())) == 3
        assert np.isfinite(found.match_scores).all()


@pytest.mark.parametrize("kind", ["missing", "nan", "infinite", "of no size", "turned round"])
def test_boxes_that_are_unusable_for_some_frames_leave_the_keypoints_to_decide(tracker, kind):
    one = tracker()
    for frame in range(12):
        poses = detected(*((x + 3 * frame, y) for x, y in PLACES))
        if 4 <= frame < 8:
            poses = poses.with_fields(boxes=BAD_BOXES[kind](poses.boxes))
        found = one.update(poses, SIZE, frame / 10)
    assert found.track_ids.tolist() == [1, 2, 3]


@pytest.mark.parametrize(("scale", "warned"), [(1 / 768, True), (1 / 100, True), (1.0, False)])
def test_coordinates_that_are_no_pixels_are_warned_of_once(tracker, scale, warned, caplog):
    # Fractions of the frame; metres.
    one = tracker()
    for frame in range(3):
        poses = detected(*((x + 3 * frame, y) for x, y in PLACES))
        one.update(Poses(poses.keypoints * scale, poses.scores), SIZE, frame / 10)
    assert caplog.text.count("coordinates must be pixels") == int(warned)


def test_poses_without_keypoints_are_tracked_by_their_boxes(tracker):
    one = tracker(birth_pose_score=0.0)
    for frame in range(10):
        poses = detected(*((x + 3 * frame, y) for x, y in PLACES))
        found = one.update(poses.with_fields(scores=np.zeros((3, 15))), SIZE, frame / 10)
    assert found.track_ids.tolist() == [1, 2, 3]


def test_two_hundred_people_with_boxes(tracker):
    places = [(30.0 + 37 * (k % 20), 40.0 + 53 * (k // 20)) for k in range(200)]
    one = tracker()
    first = one.update(detected(*places), SIZE, 0.0).track_ids
    order = np.random.default_rng(1).permutation(200)
    again = one.update(detected(*[places[k] for k in order]), SIZE, 0.1).track_ids
    assert again.tolist() == first[order].tolist()


def test_everyone_in_one_place(tracker):
    one = tracker()
    for frame in range(6):
        found = one.update(detected(*[(300, 300)] * 8), SIZE, frame / 10)
        assert sorted(found.track_ids.tolist()) == list(range(1, 9))


def test_the_frame_rate_changes_in_the_stream(tracker):
    one, stamp = tracker(), 0.0
    for frame in range(60):
        stamp += (1 / 30, 1 / 7, 1 / 3)[frame // 20]
        found = one.update(detected((100 + 40 * stamp, 300), (600 - 40 * stamp, 330)), SIZE, stamp)
    assert found.track_ids.tolist() == [1, 2]


def test_thirty_seconds_without_anybody(tracker):
    one = tracker()
    for frame in range(10):
        one.update(detected(*PLACES), SIZE, frame / 10)
    for frame in range(300):
        assert len(one.update(Poses.empty(), SIZE, 1 + frame / 10)) == 0
    assert one.update(detected(*PLACES), SIZE, 31.0).track_ids.tolist() == [4, 5, 6]


def test_a_camera_that_jerks(tracker):
    rng, one = np.random.default_rng(4), tracker()
    for frame in range(20):
        jerk = rng.uniform(-40, 40, 2) if frame % 4 == 3 else np.zeros(2)
        found = one.update(detected(*((x + jerk[0], y + jerk[1]) for x, y in PLACES)), SIZE, frame / 10)
    assert found.track_ids.tolist() == [1, 2, 3]


def test_stamps_that_stand_still_with_boxes(tracker):
    one = tracker()
    for _ in range(5):
        found = one.update(detected(*PLACES), SIZE, 0.0)
    assert found.track_ids.tolist() == [1, 2, 3]
