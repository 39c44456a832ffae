"""People hidden by somebody: given out where they are expected, and nowhere else."""

import numpy as np
import pytest

from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.poses import Poses, TrackState
from keytrack_ros.tracker import PoseTracker, TrackerOptions
from test.people import people

SIZE = (768, 576)
FPS = 10.0


@pytest.fixture(scope="module")
def matcher():
    matcher = open_matcher()
    yield matcher
    matcher.close()


def detected(*places: tuple[float, float]) -> Poses:
    """Toy people in boxes that a detector would give, a little larger than their keypoints."""
    poses = people(*places, score=0.8)
    boxes = poses.boxes + np.array([-6, -16, 6, 16], np.float32)
    return poses.with_fields(boxes=boxes, box_scores=np.full(len(places), 0.8, np.float32))


class Walk:
    """Somebody stands at (400, 300); somebody else walks past behind, 6 pixels a frame, from x = 250 on."""

    def __init__(self, matcher, **options: object) -> None:
        self.tracker = PoseTracker(TrackerOptions(**options), matcher)  # type: ignore[arg-type]
        self.frame = 0

    @property
    def x(self) -> float:
        return 250.0 + 6 * self.frame

    def step(self, *places: tuple[float, float]) -> Poses:
        found = self.tracker.update(detected(*places), SIZE, self.frame / FPS)
        self.frame += 1
        return found

    def until_behind(self) -> None:
        while self.x < 375:
            self.step((400, 300), (self.x, 300))


def test_who_walks_behind_somebody_goes_on_where_expected(matcher):
    walk = Walk(matcher)
    walk.until_behind()
    assert len(walk.tracker.hidden()) == 0
    for _ in range(3):
        true = detected((walk.x, 300))
        found = walk.step((400, 300))
        assert found.track_ids.tolist() == [1]
        hidden = walk.tracker.hidden()
        assert hidden.track_ids.tolist() == [2]
        assert hidden.states.tolist() == [TrackState.LOST]
        assert hidden.carried.tolist() == [True]
        assert np.isnan(hidden.box_scores).all()
        assert hidden.ages.tolist() == [walk.frame - 1]
        np.testing.assert_allclose(hidden.scores, 0.4, atol=1e-6)  # half of 0.8
        np.testing.assert_allclose(hidden.boxes, true.boxes, atol=6)
        np.testing.assert_allclose(hidden.keypoints, true.keypoints, atol=6)
    assert walk.step((400, 300), (walk.x, 300)).track_ids.tolist() == [1, 2]
    assert len(walk.tracker.hidden()) == 0


def test_the_place_of_a_hidden_person_is_known_for_a_while_only(matcher):
    walk = Walk(matcher)
    for _ in range(30):  # stands still behind the other's edge, so that the expected box stays covered
        walk.step((400, 300), (440, 300))
    seconds = 0
    while len(walk.step((400, 300))) and len(walk.tracker.hidden()):
        seconds += 1 / FPS
    assert 0.2 <= seconds <= 1.0


def test_who_is_missing_in_plain_sight_has_gone(matcher):
    walk = Walk(matcher)
    for _ in range(10):
        walk.step((400, 300), (200, 300))
    walk.step((400, 300))
    assert len(walk.tracker.hidden()) == 0


def test_a_tentative_track_is_never_hidden(matcher):
    walk = Walk(matcher, confirm_frames=30)
    walk.until_behind()
    walk.step((400, 300))
    assert len(walk.tracker.hidden()) == 0


def test_who_reaches_the_edge_of_the_image_behind_somebody_leaves(matcher):
    frames = {}
    for left in (0, 300):  # of the scene in the image
        walk = Walk(matcher)
        for step in range(11):  # to 60
            walk.step((left + 40, 300), (left + 160 - 10 * step, 300))
        frames[left] = 0
        while len(walk.step((left + 40, 300))) and walk.tracker.hidden().track_ids.tolist() == [2]:
            frames[left] += 1
    assert 1 <= frames[0] < frames[300]


def test_nobody_is_hidden_before_the_first_frame_after_a_reset_or_without_people(matcher):
    walk = Walk(matcher)
    assert len(walk.tracker.hidden()) == 0
    walk.until_behind()
    walk.tracker.reset()
    assert len(walk.tracker.hidden()) == 0
    walk.tracker.update(Poses.empty(), SIZE, 100.0)
    assert len(walk.tracker.hidden()) == 0


def test_a_pose_without_boxes_moves_with_its_keypoints(matcher):
    tracker = PoseTracker(TrackerOptions(), matcher)
    for frame in range(21):
        x = 250.0 + 6 * frame
        tracker.update(people((400, 300), (x, 300), score=0.8), SIZE, frame / FPS)
    true = people((250.0 + 6 * 21, 300))
    tracker.update(people((400, 300), score=0.8), SIZE, 2.1)
    hidden = tracker.hidden()
    assert hidden.track_ids.tolist() == [2]
    np.testing.assert_allclose(hidden.keypoints, true.keypoints, atol=6)


def test_a_person_under_a_new_id_hides_not_the_track_of_before(matcher):
    walk = Walk(matcher, confirm_frames=1)
    for _ in range(10):
        walk.step((400, 300))
    walk.tracker.options = TrackerOptions(confirm_frames=1, match_threshold=1.0)
    assert walk.step((400, 300)).track_ids.tolist() == [2]
    assert len(walk.tracker.hidden()) == 0


def test_a_second_track_of_the_same_person_is_not_hidden_by_the_first(matcher):
    walk = Walk(matcher, confirm_frames=1, match_threshold=1.0)  # every frame begins a new track
    for _ in range(3):
        walk.step((400, 300))
    walk.tracker.options = TrackerOptions(confirm_frames=1)
    for _ in range(3):
        (track_id,) = walk.step((400, 300)).track_ids.tolist()
        assert track_id <= 3
        assert len(walk.tracker.hidden()) == 0


def test_who_has_got_a_new_id_behind_somebody_is_not_also_hidden_under_the_old_one(matcher):
    """Somebody beside another jumps by 26 pixels; under a threshold that hardly anything reaches they get a new id."""
    walk = Walk(matcher, confirm_frames=1)
    for _ in range(10):
        walk.step((400, 300), (420, 300))
    walk.tracker.options = TrackerOptions(confirm_frames=1, match_threshold=0.9998, gating=False)
    assert walk.step((400, 300), (446, 300)).track_ids.tolist() == [1, 3]
    assert len(walk.tracker.hidden()) == 0
    walk.tracker.options = TrackerOptions(confirm_frames=1)
    walk.step((400, 300))  # and is then hidden under the new one alone
    assert walk.tracker.hidden().track_ids.tolist() == [3]


def test_who_was_last_seen_in_a_box_of_two_is_hidden_in_the_pose_of_before(matcher):
    """Three walk abreast. One box holds the first two, with keypoints of either; then the first, whom
    the third covers a little, is not seen."""
    tracker = PoseTracker(TrackerOptions(), matcher)

    def places(frame: int) -> list[tuple[float, float]]:
        return [(258.0 + 4 * frame, 300.0), (293.0 + 4 * frame, 306.0), (212.0 + 4 * frame, 300.0)]

    for frame in range(8):
        assert tracker.update(detected(*places(frame)), SIZE, frame / FPS).track_ids.tolist() == [1, 2, 3]
    apart = detected(*places(8)[:2]).boxes
    shared = detected((places(8)[0][0] + 17.5, 290.0), places(8)[2])  # keypoints of nobody
    both = np.concatenate([apart[:, :2].min(0), apart[:, 2:].max(0)])
    shown = tracker.update(shared.with_fields(boxes=np.stack([both, shared.boxes[1]])), SIZE, 8 / FPS)
    assert shown.track_ids.tolist() == [1, 3]
    assert tracker.update(detected(*places(9)[1:]), SIZE, 9 / FPS).track_ids.tolist() == [2, 3]
    hidden = tracker.hidden()
    assert hidden.track_ids.tolist() == [1]
    np.testing.assert_allclose(hidden.keypoints, people(places(9)[0]).keypoints, atol=9)
    np.testing.assert_allclose(hidden.scores, 0.4, atol=1e-6)
