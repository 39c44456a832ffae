"""The life of tracks, transition by transition, with boxes and the shipped matcher."""

import numpy as np
import pytest

from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.poses import Poses, TrackState
from keytrack_ros.tracker import PoseTracker, TrackerOptions
from test.people import people

SIZE = (768, 576)
FPS = 10.0
T, C, U = TrackState.TENTATIVE, TrackState.CONFIRMED, TrackState.UNTRACKED


@pytest.fixture(scope="module")
def matcher():
    matcher = open_matcher()
    yield matcher
    matcher.close()


def detected(*places: tuple[float, float], box_score: float = 0.8, score: float = 0.8, **fields: object) -> Poses:
    """Toy people in boxes that a detector would give, a little larger than their keypoints."""
    poses = people(*places, score=score)
    boxes = poses.boxes + np.array([-6, -16, 6, 16], np.float32)
    scores = np.full(len(places), box_score, np.float32)
    return poses.with_fields(**{"boxes": boxes, "box_scores": scores, **fields})


class Film:
    """Frames of a tracker at 10 a second."""

    def __init__(self, matcher, **options: object) -> None:
        self.tracker = PoseTracker(TrackerOptions(**options), matcher)  # type: ignore[arg-type]
        self.frame = 0

    def show(self, poses: Poses, frames: int = 1) -> Poses:
        for _ in range(frames):
            found = self.tracker.update(poses, SIZE, self.frame / FPS)
            self.frame += 1
        return found

    def rows(self, poses: Poses) -> list[tuple[int, int]]:
        found = self.show(poses)
        return list(zip(found.track_ids.tolist(), found.states.tolist(), strict=True))


def test_a_track_is_tentative_until_seen_in_three_frames(matcher):
    film = Film(matcher)
    assert [film.rows(detected((200, 300)))[0] for _ in range(4)] == [(1, T), (1, T), (1, C), (1, C)]


def test_frames_in_between_without_the_person_do_not_count(matcher):
    film = Film(matcher)
    assert film.rows(detected((200, 300))) == [(1, T)]
    film.show(Poses.empty())
    assert film.rows(detected((200, 300))) == [(1, T)]
    assert film.rows(detected((200, 300))) == [(1, C)]


def test_a_tentative_track_not_seen_for_delta_frames_ends(matcher):
    film = Film(matcher, delta=2)
    film.show(detected((200, 300)))
    film.show(Poses.empty(), frames=2)
    assert film.rows(detected((200, 300))) == [(2, T)]


def test_a_weak_detection_begins_no_track(matcher):
    film = Film(matcher, birth_score=0.5)
    assert film.rows(detected((200, 300), box_score=0.49)) == [(1, U)]
    assert film.rows(detected((200, 300), box_score=0.5)) == [(2, T)]


def test_a_weak_detection_continues_a_confirmed_track(matcher):
    film = Film(matcher, birth_score=0.5)
    film.show(detected((200, 300)), frames=3)
    assert film.rows(detected((203, 300), box_score=0.15)) == [(1, C)]


def test_a_weak_detection_keeps_its_track_when_a_strong_one_passes_by(matcher):
    film = Film(matcher)
    film.show(detected((200, 300)), 6)
    weak, strong = detected((200, 300), box_score=0.4), detected((240, 290), box_score=0.9)
    assert film.rows(Poses.concatenate([strong, weak])) == [(2, T), (1, C)]


def test_a_weak_detection_takes_up_a_lost_track_where_the_person_is_expected(matcher):
    film = Film(matcher, rebirth_threshold=0.5)
    film.show(detected((200, 300)), frames=10)
    film.show(Poses.empty(), frames=8)
    assert film.rows(detected((340, 300), box_score=0.4)) == [(2, U)]
    assert film.rows(detected((201, 300), box_score=0.4)) == [(1, C)]


def test_a_strong_detection_comes_before_a_weak_one_that_fits_better(matcher):
    film = Film(matcher, birth_score=0.5)
    film.show(detected((200, 300)), frames=5)
    strong, weak = detected((206, 300), box_score=0.9), detected((200, 300), box_score=0.2)
    assert film.rows(Poses.concatenate([weak, strong])) == [(2, U), (1, C)]


def test_a_signpost_with_an_implausible_pose_is_never_confirmed(matcher):
    film = Film(matcher)
    found = [film.rows(detected((200, 300), box_score=0.6, score=0.3))[0] for _ in range(30)]
    assert {state for _, state in found} == {T}
    # A person who stood behind something: of the last 12 poses, four of 0.8 and eight of 0.3 are 0.47 on average.
    assert [film.rows(detected((200, 300)))[0][1] for _ in range(4)] == [T, T, T, C]


def test_a_lost_track_is_taken_up_again_within_lost_s(matcher):
    film = Film(matcher, lost_s=3.0)
    film.show(detected((200, 300)), frames=10)
    film.show(Poses.empty(), frames=20)
    assert film.rows(detected((203, 300))) == [(1, C)]


def test_a_lost_track_ends_after_lost_s(matcher):
    film = Film(matcher, lost_s=3.0)
    film.show(detected((200, 300)), frames=10)
    film.show(Poses.empty(), frames=31)
    assert film.rows(detected((203, 300))) == [(2, T)]


def test_a_lost_track_is_not_given_to_somebody_elsewhere_or_of_another_size(matcher):
    film = Film(matcher)
    film.show(detected((200, 300)), frames=10)
    film.show(Poses.empty(), frames=15)
    assert film.rows(detected((500, 300))) == [(2, T)]
    film = Film(matcher)
    film.show(detected((200, 300)), frames=10)
    film.show(Poses.empty(), frames=15)
    child = detected((200, 300))
    middle = child.keypoints.mean(1, keepdims=True)
    child = child.with_fields(keypoints=middle + 0.4 * (child.keypoints - middle))
    box = (child.keypoints.min(1) - 4, child.keypoints.max(1) + 4)
    assert film.rows(child.with_fields(boxes=np.concatenate(box, 1))) == [(2, T)]


def test_a_carried_pose_continues_a_track_for_three_frames_only(matcher):
    film = Film(matcher, carry_frames=3)
    film.show(detected((200, 300)), frames=5)
    carried = detected((200, 300), box_score=np.nan, carried=np.array([True]))
    assert [film.rows(carried)[0] for _ in range(5)] == [(1, C), (1, C), (1, C), (2, U), (3, U)]


def test_two_people_who_pass_each_other_keep_their_ids(matcher):
    film = Film(matcher)
    for frame in range(40):
        left, right = 150 + 8 * frame, 470 - 8 * frame
        found = film.show(detected((left, 300), (right, 310)))
    assert found.track_ids.tolist() == [1, 2]


def one_box(poses: Poses) -> Poses:
    """The two people as a detector and a pose network find them where it sees one: both boxes, the first one's pose."""
    both = np.concatenate([poses.boxes[:, :2].min(0), poses.boxes[:, 2:].max(0)])
    return poses[[0]].with_fields(boxes=both[None])


@pytest.mark.parametrize("in_front", [0, 1])
def test_two_people_who_pass_each_other_in_one_box_keep_their_ids(matcher, in_front):
    # The second one is farther away from the camera, 16 px higher; for 0.6 s there is one box, half as wide again.
    film, begun = Film(matcher), set()
    for frame in range(50):
        poses = detected((200 + 4 * frame, 300), (400 - 4 * frame, 284))
        seen = one_box(poses[[in_front, 1 - in_front]]) if 22 <= frame < 28 else poses
        begun |= set(film.show(seen).track_ids.tolist())
    assert begun == {1, 2}
    assert film.show(detected((400, 300), (200, 284))).track_ids.tolist() == [1, 2]


def test_of_two_who_were_hidden_the_one_lost_longer_ago_gets_the_own_track_back(matcher):
    # Both walk towards each other behind a wall; the one who has been hidden for longer comes out first.
    film = Film(matcher)
    for frame in range(44):
        one, other = detected((200 + 10 * frame, 300)), detected((640 - 10 * frame, 300))
        shown = [one] * (not 17 <= frame < 26) + [other] * (not 23 <= frame < 44)
        found = film.show(Poses.concatenate(shown))
    assert found.track_ids.tolist() == [1]


def test_captured_keypoints_do_not_take_the_boxes_ids_along(matcher):
    # Two people side by side; for ten frames the pose network gives both boxes the pose of the person in front.
    film = Film(matcher)
    for frame in range(40):
        poses = detected((200 + 3 * frame, 300), (232 + 3 * frame, 300))
        if 15 <= frame < 25:
            poses = poses.with_fields(keypoints=np.repeat(poses.keypoints[:1], 2, 0))
        found = film.show(poses)
    assert found.track_ids.tolist() == [1, 2]


def test_every_track_is_published_at_once_with_the_papers_options(matcher):
    film = Film(matcher, confirm_frames=1, birth_score=0.0, birth_pose_score=0.0)
    assert film.rows(detected((200, 300), box_score=0.01, score=0.2)) == [(1, C)]


def test_people_known_by_keypoints_alone_keep_their_ids_at_crossings_and_through_gaps(matcher):
    # Three people cross each other twice; each in turn is not seen for 0.4 s. No boxes, no box scores.
    film, ids = Film(matcher), []
    for frame in range(80):
        phase = np.pi * frame / 40
        places = [(400 + 250 * np.cos(phase), 250), (400 - 250 * np.cos(phase), 300), (400, 350 + 80 * np.sin(phase))]
        seen = [k for k in range(3) if not 10 + 20 * k <= frame < 14 + 20 * k]
        poses = people(*(places[k] for k in seen))
        found = film.show(Poses(poses.keypoints, poses.scores)).track_ids.tolist()
        ids += list(zip(seen, found, strict=True))
    assert set(ids) == {(0, 1), (1, 2), (2, 3)}
